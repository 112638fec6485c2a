"""The main job: the paper's policies on its world and on real devices, as a table and a page."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench import style
from distmllm_bench.metrics import Scores, optimum
from distmllm_bench.page import inline_svg, page
from distmllm_bench.progress import Progress
from distmllm_bench.provenance import versions_line
from distmllm_env import Scenario, draw_world, load_policy, play
from distmllm_env.files import write_atomic

SCENARIOS = ("paper", "testbed")
POLICIES = (
    "oracle",
    "distmllm-fixed",
    "distmllm",
    "monolithic",
    "heu",
    "ucb-sigma",
    "ucb",
    "random",
)


@dataclass(frozen=True)
class Line:
    """One policy on one scenario: the scores and what the policy declares."""

    policy: str
    knows: str
    coordinates: bool
    scores: Scores

    def numbers(self) -> dict[str, tuple[float, float]]:
        """Return mean and standard deviation over the runs of every measure in the table."""
        slots = self.scores.run.profit.shape[1]
        columns = {
            "profit": self.scores.profit / slots,
            "share": self.scores.share_curve[:, -1],
            "regret": self.scores.regret,
            "jain": self.scores.jain,
            "rejected": self.scores.rejected,
        }
        return {name: (float(x.mean()), _spread(x)) for name, x in columns.items()}


def play_all(
    scenarios: Sequence[Scenario], policies: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Line]]:
    """Play every policy on every scenario, on the same worlds and the same luck.

    Returns:
        Scenario name -> one line per policy, in the order given.
    """
    total = sum(s.slots for s in scenarios) * len(policies)
    results: dict[str, list[Line]] = {}
    with Progress(total, "slot") as progress:
        for scenario in scenarios:
            best = optimum(draw_world(scenario, seeds))
            lines = results[scenario.name] = []
            for name in policies:
                progress.begin(f"{scenario.name}: {style.title(name)}")
                policy = load_policy(name)
                run = play(scenario, policy, seeds, progress=progress.step)
                knows = getattr(policy, "knows", "rewards")
                together = bool(getattr(policy, "coordinates", False))
                lines.append(Line(name, knows, together, Scores(run, best)))
    return results


COLUMNS = (
    ("profit", "profit / slot", "{:z.2f}"),
    ("share", "of optimum", "{:.1%}"),
    ("regret", "regret R(T)", "{:z.0f}"),
    ("jain", "Jain index", "{:.3f}"),
    ("rejected", "rejected", "{:.1%}"),
)


def text_table(scenario: Scenario, lines: Sequence[Line], runs: int) -> str:
    """Return the table of one scenario as plain text: mean ± standard deviation over the runs."""
    head = ["policy", *(title for _, title, _ in COLUMNS), "knows"]
    rows = [head]
    for line in lines:
        numbers = line.numbers()
        cells = [
            f"{form.format(numbers[key][0])} ± {form.format(numbers[key][1])}"
            for key, _, form in COLUMNS
        ]
        rows.append([style.title(line.policy), *cells, line.knows])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    title = (
        f"{scenario.name}: {scenario.providers} providers, {scenario.workers} workers, "
        f"{scenario.slots} slots, {runs} runs (mean ± sd)"
    )
    out = [title]
    for row in rows:
        first, *middle, last = (
            cell.rjust(w) if 0 < i < len(head) - 1 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        out.append("  ".join(["  " + first, *middle, last]).rstrip())
    return "\n".join(out)


def figure(scenario: Scenario, lines: Sequence[Line]) -> dict[str, bytes]:
    """Draw time-averaged profit and cumulative regret with bands of one standard deviation.

    Profit is shown as a share of the optimum of the same world: what the worlds of the runs differ
    by would else hide what the policies differ by.

    Returns:
        ``png`` and ``svg`` -> file content.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with mpl.rc_context(style.RC):
        fig = Figure(figsize=(9.6, 3.9), layout="constrained")
        FigureCanvasAgg(fig)
        left, right = fig.subplots(1, 2)
        for line in lines:
            look = {**style.style(line.policy), "label": style.title(line.policy)}
            _band(left, line.scores.share_curve, look)
            if line.policy != "oracle":  # its regret is 0 by definition
                _band(right, line.scores.regret_curve, look)
        left.set_ylabel("average profit up to t, share of the optimum")
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        right.set_ylabel("cumulative pseudo-regret R(t)")
        finals = [line.scores.share_curve.mean(axis=0)[-1] for line in lines]
        left.set_ylim(min(finals) - 0.15, max(*finals, 1.0) + 0.02)
        right.set_ylim(bottom=0)
        for ax in (left, right):
            ax.set_xlabel("slot t")
            ax.set_xlim(0, scenario.slots)
        handles, labels = left.get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside right center", handlelength=3.2)
        m, n = scenario.providers, scenario.workers
        fig.suptitle(f"{scenario.name}: {m} providers, {n} workers", fontsize=10)
        return style.rendered(fig, 160)


def _band(ax: Any, curves: np.ndarray, look: dict[str, Any]) -> None:
    t = np.arange(1, curves.shape[1] + 1)
    keep = np.unique(np.linspace(0, len(t) - 1, min(len(t), 250)).astype(int))
    t, curves = t[keep], curves[:, keep]
    mean, sd = curves.mean(axis=0), curves.std(axis=0, ddof=1 if len(curves) > 1 else 0)
    ax.plot(t, mean, linewidth=1.6, **look)
    ax.fill_between(t, mean - sd, mean + sd, color=look["color"], alpha=0.12, linewidth=0)


def _spread(x: np.ndarray) -> float:
    return float(x.std(ddof=1)) if len(x) > 1 else 0.0


def demo_page(
    scenarios: Sequence[Scenario],
    results: dict[str, list[Line]],
    figures: dict[str, dict[str, bytes]],
    facts: dict[str, str],
) -> str:
    """Return the report as one HTML page that needs no network."""
    parts = [_INTRO]
    for i, scenario in enumerate(scenarios):
        svg = inline_svg(figures[scenario.name]["svg"], f"s{i}")
        heads = "".join(f"<th>{html.escape(title)}</th>" for _, title, _ in COLUMNS)
        rows = []
        for line in results[scenario.name]:
            numbers = line.numbers()
            cells = "".join(
                f"<td>{form.format(mean)} <span>± {form.format(sd)}</span></td>"
                for (mean, sd), form in ((numbers[key], form) for key, _, form in COLUMNS)
            )
            who = "together" if line.coordinates else "each alone"
            rows.append(
                f"<tr><th>{html.escape(style.title(line.policy))}</th>{cells}"
                f'<td class="text">{html.escape(line.knows.replace("_", ", "))}</td>'
                f'<td class="text">{who}</td></tr>'
            )
        parts.append(
            f'<section class="whole"><h2>{html.escape(scenario.name)}</h2>'
            f"<p>{html.escape(scenario.description)}</p>"
            f'<div class="scroll"><table><thead><tr><th>policy</th>{heads}'
            '<th class="text">knows</th><th class="text">decides</th></tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
            f'<figure role="img" aria-label="Average profit and cumulative regret on '
            f'{html.escape(scenario.name)}; the table above has the final values">{svg}</figure>'
            "</section>"
        )
    return page("DistMLLM on the edge market", "".join(parts), facts)


_INTRO = """<p>Every provider splits a multimodal request into an encoder task (ENC) and an LLM task
and places each on an edge worker. Profit is what the providers keep after paying for energy; regret
is what is lost against the exact optimum on the true means. Mean ± standard deviation over the
runs; a good part of the spread in profit and regret is that the worlds of the runs differ.</p>"""


def run_demo(
    out: Path, seeds: int, slots: int | None, scenarios: Sequence[str], policies: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Play the demo and save table, figures and page under ``out``.

    Args:
        out: Folder for the results.
        seeds: Number of runs; seeds are 0 .. seeds - 1.
        slots: Horizon, if other than the scenarios'.
        scenarios: Names or files.
        policies: Names or ``package.module:Class``.

    Returns:
        The tables as text, and the same numbers as a JSON-ready dict.

    Raises:
        ValueError: A scenario or policy is not known.
    """
    start = time.perf_counter()
    chosen = [Scenario.load(name, slots=slots) for name in scenarios]
    results = play_all(chosen, policies, range(seeds))
    took = time.perf_counter() - start
    figures = {s.name: figure(s, results[s.name]) for s in chosen}
    provenance = {
        "command": _command(seeds, slots, scenarios, policies),
        "seeds": f"0 to {seeds - 1}; every policy met the same worlds and the same luck",
        "versions": versions_line(),
        "time": f"{took:.1f} s for {seeds * len(policies) * len(chosen)} runs",
    }
    tables = "\n\n".join(text_table(s, results[s.name], seeds) for s in chosen)
    for name, files in figures.items():
        for kind, content in files.items():
            write_atomic(out / "figures" / f"{name}.{kind}", content)
    write_atomic(out / "report.html", demo_page(chosen, results, figures, provenance))
    write_atomic(out / "table.txt", tables + "\n")
    numbers = {
        scenario: {
            line.policy: {
                key: {"mean": mean, "sd": sd} for key, (mean, sd) in line.numbers().items()
            }
            for line in lines
        }
        for scenario, lines in results.items()
    }
    return tables, {"provenance": provenance, "scenarios": numbers}


def _command(
    seeds: int, slots: int | None, scenarios: Sequence[str], policies: Sequence[str]
) -> str:
    words = [f"distmllm demo --seeds {seeds}"]
    words += [f"--slots {slots}"] if slots else []
    words += [f"--scenario {s}" for s in scenarios] if tuple(scenarios) != SCENARIOS else []
    words += [f"--policy {p}" for p in policies] if tuple(policies) != POLICIES else []
    return " ".join(words)
