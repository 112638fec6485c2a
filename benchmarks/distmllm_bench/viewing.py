"""Recorded runs on disk as a page to step through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distmllm_bench import style
from distmllm_bench.files import load_run
from distmllm_bench.metrics import Scores, optimum
from distmllm_env.files import write_atomic
from distmllm_env.viewer import run_page


def view_files(
    paths: Sequence[Path], out: Path, row: int = 0, slots: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Turn one file that :func:`.files.save_run` wrote, or two side by side, into an HTML page.

    Args:
        paths: One file, or two of the same scenario and seeds.
        out: The page.
        row: Which run of the records, from 0.
        slots: First and last slot to show, counted from 1; None: all.

    Returns:
        What was made, as JSON knows it: ``page``, ``bytes``, ``scenario``, ``seed``, ``slots`` on
        the page (first and last), ``policies``, and ``profit`` and ``regret`` of each over the
        whole run, in money.

    Raises:
        ValueError: A file is no recorded run, or as in :func:`.viewer.run_page`.
    """
    loaded = [load_run(path) for path in paths]
    runs = [run for run, _ in loaded]
    policies = [str(about.get("policy", "unknown")) for _, about in loaded]
    if not runs:
        raise ValueError("no file to view: one recorded run, or two to be shown side by side.")
    best = optimum(runs[0].world)
    labels = [style.title(name) for name in policies]
    text = run_page(runs, labels, best.value, row=row, slots=slots)
    write_atomic(out, text)
    scores = [Scores(run, best) for run in runs]
    world = runs[0].world
    return {
        "page": str(out),
        "bytes": len(text.encode()),
        "scenario": world.scenario.name,
        "seed": runs[0].seeds[row],
        "slots": list(slots or (1, world.scenario.slots)),
        "policies": policies,
        "profit": [float(score.profit[row]) for score in scores],
        "regret": [float(score.regret[row]) for score in scores],
    }
