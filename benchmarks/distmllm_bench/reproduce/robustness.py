"""How much of the verdicts hangs on the constants that the paper does not print.

Every constant of scenario ``paper`` that is ours is drawn at random, within a factor that the text
allows; for each draw all claims of Figures 4 to 7 are looked at again. What the paper prints (T,
p_n, providers and workers) stays. The share of draws in which a claim holds is the honest answer to
"does it reproduce".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench.reproduce import fig4, fig5, fig6, fig7
from distmllm_bench.reproduce.claims import CLAIMS
from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import NOT_REPRODUCED, REPRODUCED
from distmllm_bench.reproduce.lab import Lab
from distmllm_bench.sweep.identity import module_sources, policy_sources
from distmllm_bench.sweep.isolation import is_ours
from distmllm_env.files import write_atomic
from distmllm_env.registry import policy_names

FIGURES = (fig4, fig5, fig6, fig7)


def constants(draw: int) -> dict[str, Any]:
    """Return draw number ``draw`` of the constants, as scenario overrides.

    Latency scales and energies vary by a factor of two either way; data sizes spread by 10 % to
    80 % around 1 MB, prices by up to 50 % around 1; the exponent of psi is between 0.3 and 1, the
    noise between 2 % and 30 %. Values are set so that a task earns between 0.2 and 3 times what it
    costs on a middling worker, LLM at least as much as ENC, as Section 3.3 has it. Demands are
    whole numbers 1 .. k, k up to 3, and every worker holds both tasks of any provider, since
    Algorithm 1 and Figure 7b send both to one.
    """
    rng = np.random.default_rng([20251214, draw])

    def factor() -> float:
        return float(2.0 ** rng.uniform(-1.0, 1.0))

    enc_s, llm_s = 0.3 * factor(), 1.8 * factor()
    enc_j, llm_j, mu = 0.2 * factor(), 0.5 * factor(), 0.1 * factor()
    p, spread = 0.9, float(rng.uniform(0.1, 0.8))
    cost_enc = enc_s / p + (enc_j + mu) * p**2
    cost_llm = llm_s / p + (llm_j + mu) * p**2
    gain_enc = cost_enc * float(rng.uniform(0.2, 3.0))
    gain_llm = max(cost_llm * float(rng.uniform(0.2, 3.0)), gain_enc)
    price = float(rng.uniform(0.0, 0.5))
    largest, extra = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    return {
        "latency.enc_scale_s": enc_s,
        "latency.llm_scale_s": llm_s,
        "latency.exponent": float(rng.uniform(0.3, 1.0)),
        "energy.enc_j_per_mb": enc_j,
        "energy.llm_j_per_mb": llm_j,
        "energy.mu_j_per_mb": mu,
        "reward.value_enc": cost_enc + gain_enc,
        "reward.value_llm": cost_llm + gain_llm,
        "price": {"kind": "uniform", "low": 1.0 - price, "high": 1.0 + price},
        "data_bytes": {
            "kind": "uniform",
            "low": 1e6 * (1.0 - spread),
            "high": 1e6 * (1.0 + spread),
        },
        "demand": {"kind": "integers", "low": 1, "high": largest},
        "capacity": {"kind": "integers", "low": 2 * largest, "high": 2 * largest + extra},
        "noise.std": float(rng.uniform(0.02, 0.3)),
    }


def look(draw: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Play one draw and return what its runs say: claim, reading, verdict, holds in the mean."""
    lab = Lab(seeds, base=constants(draw))
    return [
        {
            "claim": finding.claim,
            "reading": finding.reading,
            "verdict": finding.verdict,
            "holds": all(part.effect > 0 for part in finding.parts),
        }
        for module in FIGURES
        for panel in module.panels(lab, "sd")
        for finding in panel.findings
    ]


def robustness(
    draws: int,
    seeds: Sequence[int],
    folder: Path,
    jobs: int = 1,
    progress: Callable[[], object] | None = None,
) -> Panel:
    """Look at all claims under ``draws`` draws of the constants.

    Args:
        draws: How many.
        seeds: One per run.
        folder: Where each draw is kept, so that an interrupted sweep goes on.
        jobs: Processes.
        progress: Called after every draw.

    Returns:
        A panel with one row per claim and reading.
    """
    from joblib import Parallel, delayed

    tag = hashlib.sha256(f"{_sources()} {tuple(seeds)}".encode()).hexdigest()[:12]
    results: dict[int, list[dict[str, Any]]] = {}
    missing = []
    for draw in range(draws):
        kept = _read(folder / f"{tag}-{draw}.json")
        if kept is None:
            missing.append(draw)
        else:
            results[draw] = kept
            if progress is not None:
                progress()
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for draw, found in work(delayed(_numbered)(draw, seeds) for draw in missing):
        write_atomic(folder / f"{tag}-{draw}.json", json.dumps(found))
        results[draw] = found
        if progress is not None:
            progress()
    rows = shares(list(results.values()))
    return Panel(
        "robustness",
        f"Share of {draws} draws of the constants in which a claim holds",
        rows,
        lambda ax: _draw(ax, rows),
        size=(7.2, 0.26 * len(rows) + 0.9),
    )


def _numbered(draw: int, seeds: Sequence[int]) -> tuple[int, list[dict[str, Any]]]:
    return draw, look(draw, seeds)


def _sources() -> str:
    """Return a hash of all that a look hangs on: ranges, readings and verdicts, and policies."""
    policies = [policy_sources(name, {}).digest for name in policy_names() if is_ours(name)]
    return " ".join([module_sources(__name__).digest, *policies])


def _read(path: Path) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or cut short: played again
        return None
    return found


def shares(results: Sequence[Sequence[Mapping[str, Any]]]) -> list[Row]:
    """Return one row per claim and reading: in what share of the draws it holds.

    ``holds``: all its inequalities hold in the mean over the runs; ``surely`` and ``surely not``:
    the intervals decide; the rest is undetermined.
    """
    order = {claim.id: i for i, claim in enumerate(CLAIMS)}
    keys = dict.fromkeys((f["claim"], f["reading"]) for found in results for f in found)
    rows: list[Row] = []
    for claim, reading in sorted(keys, key=lambda key: order[key[0]]):
        found = [f for fs in results for f in fs if (f["claim"], f["reading"]) == (claim, reading)]
        verdicts = [f["verdict"] for f in found]
        rows.append(
            {
                "claim": claim,
                "reading": reading,
                "draws": len(found),
                "holds": sum(f["holds"] for f in found) / len(found),
                "surely": verdicts.count(REPRODUCED) / len(found),
                "surely not": verdicts.count(NOT_REPRODUCED) / len(found),
            }
        )
    return rows


def _draw(ax: Any, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import PercentFormatter

    at = np.arange(len(rows))
    yes, no = (np.array([row[key] for row in rows]) for key in ("surely", "surely not"))
    ax.barh(at, yes, color="#0072B2", label="surely holds")
    ax.barh(at, 1 - yes - no, left=yes, color="#DDDDDD", label="undetermined")
    ax.barh(at, no, left=1 - no, color="#D55E00", hatch="//", edgecolor="w", label="surely not")
    ax.plot([row["holds"] for row in rows], at, "k|", ms=9, mew=2, label="holds in the mean")
    ax.set_yticks(at, [f"{row['claim']}: {_short(row['reading'])}" for row in rows], fontsize=7)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel("share of draws")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=4, fontsize=7)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
