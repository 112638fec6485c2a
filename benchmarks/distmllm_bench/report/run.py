"""``distmllm report``: reads a folder of ``distmllm bench`` and writes what it says beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distmllm_bench.report.comparison import Comparison
from distmllm_bench.report.document import document
from distmllm_bench.report.drawing import Picture
from distmllm_bench.report.exports import leaderboard_rows, pairwise_csv, timing_csv
from distmllm_bench.report.figures import figures
from distmllm_bench.report.latex import leaderboard_tex
from distmllm_bench.report.markdown import summary
from distmllm_bench.report.market_figures import market_figures
from distmllm_bench.report.markets import MarketView
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.undone import counts, ranges, undone
from distmllm_bench.sweep.results import Results
from distmllm_env.files import write_atomic


def write_report(folder: Path) -> dict[str, Any]:
    """Write the report of a sweep into its folder; the same cells give the same files.

    Args:
        folder: Where ``distmllm bench`` kept the sweep.

    Returns:
        The files, the leaderboard, how many cells are in each state, and those that are undone by
        policy and reason. All as JSON knows it.

    Raises:
        ValueError: The folder holds no sweep.
        OSError: A file cannot be written.
    """
    results = Results(folder)
    comparison, names = Comparison(results), Names(results)
    views = [MarketView(comparison, market) for market in results.markets]
    overall = figures(comparison, names)
    pictures = {view.market: market_figures(view, names) for view in views}
    content = (comparison, names, views, overall, pictures)
    files = {
        "report": ("report.html", document(*content)),
        "summary": ("summary.md", summary(*content)),
        "results": ("results.csv", results.csv()),
        "timing": ("timing.csv", timing_csv(results)),
        "pairwise": ("pairwise.csv", pairwise_csv(comparison)),
        "latex": ("leaderboard.tex", leaderboard_tex(comparison, names)),
    }
    for name, written in files.values():
        write_atomic(folder / name, written)
    drawn = [*overall.values(), *(picture for found in pictures.values() for picture in found)]
    return {
        "suite": results.plan.suite,
        **{kind: str(folder / name) for kind, (name, _) in files.items()},
        "figures": _write_figures(folder / "figures", drawn),
        "leaderboard": leaderboard_rows(comparison),
        "cells": counts(results),
        "failures": [
            {**vars(group), "seeds": list(group.seeds), "scenarios": list(group.scenarios)}
            for group in undone(results)
        ],
    }


def text(result: dict[str, Any]) -> str:
    """Return what is printed after a report: leaderboard, undone cells, files."""
    lines = []
    ranked = [row for row in result["leaderboard"] if row["rank"] is not None]
    width = max((len(printable(row["policy"])) for row in ranked), default=0)
    for division in dict.fromkeys(row["division"] for row in ranked):
        lines.append(f"{division} division (score: 0 random play, 1 optimum)")
        for row in ranked:
            if row["division"] == division:
                ends = "" if row["low"] is None else f"  [{row['low']:z.3f}, {row['high']:z.3f}]"
                name = f"{printable(row['policy']):{width}}"
                score = f"{row['score']:z.3f}{ends}"
                lines.append(f"{row['rank']:4}  {name}  {score}  {row['verdict']}")
    lines += [] if ranked else ["nobody is ranked"]
    lines += [
        f"not ranked: {printable(row['policy'])}, {row['why']}"
        for row in result["leaderboard"]
        if row["rank"] is None
    ]
    told = [row["why"] for row in result["leaderboard"] if row["rank"] is None]
    groups = [
        g for g in result["failures"] if not any(g["error"] and g["error"] in w for w in told)
    ]
    shown: Sequence[dict[str, Any]] = groups[:10]
    lines += [
        f"{group['status']}: {printable(group['policy'])} on "
        f"{printable(', '.join(group['scenarios']))}, seeds {ranges(group['seeds'])}"
        + (f": {printable(group['error'])}" if group["error"] else "")
        for group in shown
    ]
    more = len(groups) - len(shown)
    lines += [f"and {more} more groups of cells: see {result['report']}"] if more else []
    counted = ", ".join(f"{n} {state}" for state, n in result["cells"].items() if n)
    return "\n".join([*lines, f"cells:  {counted}", f"report: {result['report']}"])


def _write_figures(folder: Path, pictures: Sequence[Picture]) -> list[str]:
    written = []
    for picture in pictures:
        for kind, content in picture.files.items():
            path = folder / f"{picture.name}.{kind}"
            write_atomic(path, content)
            written.append(str(path))
    return written
