"""``distmllm reproduce``: all figures, tables and claims, or some."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from distmllm_bench.progress import Progress
from distmllm_bench.reproduce import (
    ablations,
    fig1,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    robustness,
    tables,
    theory,
)
from distmllm_bench.reproduce.drawing import Panel
from distmllm_bench.reproduce.lab import Lab
from distmllm_bench.reproduce.ledger import identity_error, ledger, markdown, summary
from distmllm_env.errors import unknown_name
from distmllm_env.files import write_atomic
from distmllm_env.schema import require

EXPERIMENTS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "1": (fig1, ("1a", "1b")),
    "3": (fig3, ("3a", "3b")),
    "4": (fig4, ("4a", "4b", "4c", "4d")),
    "5": (fig5, ("5-enc", "5-llm")),
    "6": (fig6, ("6a", "6b")),
    "7": (fig7, ("7a", "7b")),
    "tables": (tables, ("table-1", "table-2")),
    "theory": (theory, ("lemma-1", "lemma-2", "lemma-3", "theorem-1", "explore")),
    "ablations": (ablations, ("ablations",)),
}
"""What ``--only`` takes: a group, or one of its panels."""

BANDS = ("sd", "ci")


def reproduce(
    out: Path,
    seeds: Sequence[int],
    only: Sequence[str] = (),
    band: str = "sd",
    command: str = "distmllm reproduce",
) -> dict[str, Any]:
    """Run experiments and write figures, numbers and the ledger of claims.

    Args:
        out: Folder. What was played is kept in ``out/runs`` and found again by the next call.
        seeds: One per run, at least two.
        only: Groups or panels; empty: all.
        band: ``sd`` or ``ci``, see :func:`.drawing.spread`.
        command: What the ledger names as its source.

    Returns:
        The ledger's rows, the counts of verdicts, the files written and the seconds taken.

    Raises:
        ValueError: An unknown panel or band, or fewer than two seeds.
    """
    require(len(seeds) >= 2, "number of seeds", len(seeds), "at least two")
    if band not in BANDS:
        raise unknown_name("band", band, BANDS)
    wanted = _wanted(only)
    start = time.perf_counter()
    panels: list[Panel] = []
    groups = [(m, ids) for m, ids in EXPERIMENTS.values() if set(ids) & wanted]
    with Progress(len(groups), "experiment") as progress:
        lab = Lab(seeds, out / "runs", progress=progress.begin)
        for module, _ in groups:
            panels += [panel for panel in module.panels(lab, band) if panel.id in wanted]
            progress.step()
        proof = identity_error(lab) if any(p.id.startswith("4") for p in panels) else None
    files = [file for panel in panels for file in _written(panel, out)]
    rows = ledger([f for panel in panels for f in panel.findings], proof, command)
    seconds = time.perf_counter() - start
    notes = [_origin(seeds, command)]
    # A part of the claims never takes the place of the whole ledger.
    name = "-".join(["claims", *only])
    write_atomic(out / f"{name}.json", json.dumps(rows, indent=2) + "\n")
    write_atomic(out / f"{name}.md", markdown(rows, notes))
    return {
        "claims": rows,
        "verdicts": summary(rows),
        "files": files,
        "ledger": str(out / f"{name}.md"),
        "seconds": seconds,
    }


def robust(out: Path, seeds: Sequence[int], draws: int, jobs: int) -> dict[str, Any]:
    """Look at the claims under random draws of the constants, see :mod:`.robustness`.

    Args:
        out: Folder; draws are kept in ``out/robustness`` and found again by the next call.
        seeds: One per run of every draw, at least two.
        draws: Number of draws.
        jobs: Processes.

    Returns:
        The shares, the files written and the seconds taken.
    """
    require(len(seeds) >= 2, "number of seeds", len(seeds), "at least two")
    start = time.perf_counter()
    with Progress(draws, "draw") as progress:
        progress.begin(f"{draws} draws of the constants")
        panel = robustness.robustness(draws, seeds, out / "robustness", jobs, progress.step)
    files = _written(panel, out)
    return {
        "robustness": list(panel.rows),
        "files": files,
        "folder": str(out / "figures"),
        "seconds": time.perf_counter() - start,
    }


def _written(panel: Panel, out: Path) -> list[str]:
    files = []
    for kind, content in panel.files().items():
        path = out / "figures" / f"{panel.id}.{kind}"
        write_atomic(path, content)
        files.append(str(path))
    return files


def text(result: dict[str, Any]) -> str:
    """Return the ledger or the shares in short, for a terminal."""
    if "robustness" in result:
        lines = [f"{'claim':11}{'holds':>7}{'surely':>8}{'surely not':>12}  reading"]
        lines += [
            f"{row['claim']:11}{row['holds']:7.0%}{row['surely']:8.0%}{row['surely not']:12.0%}"
            f"  {row['reading']}"
            for row in result["robustness"]
        ]
        return "\n".join([*lines, "", f"figures: {result['folder']}"])
    lines = [
        f"{row['id']:11}{row['verdict']:27}{row['hangs_on']}: {row['effect']:.3g}"
        for row in result["claims"]
    ]
    counts = ", ".join(f"{n} {verdict}" for verdict, n in result["verdicts"].items())
    return "\n".join([*lines, "", counts, "", f"ledger:  {result['ledger']}"])


def _wanted(only: Sequence[str]) -> set[str]:
    every = {panel for _, ids in EXPERIMENTS.values() for panel in ids}
    if not only:
        return every
    wanted: set[str] = set()
    for name in only:
        if name in EXPERIMENTS:
            wanted |= set(EXPERIMENTS[name][1])
        elif name in every:
            wanted.add(name)
        else:
            raise unknown_name("figure", name, [*EXPERIMENTS, *sorted(every)])
    return wanted


def _origin(seeds: Sequence[int], command: str) -> str:
    return (
        f"`{command}`: {len(seeds)} seeds from {min(seeds)} on; distmllm-env "
        f"{version('distmllm-env')}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"OR-Tools {version('ortools')}, {platform.machine()}, {os.cpu_count()} cores."
    )
