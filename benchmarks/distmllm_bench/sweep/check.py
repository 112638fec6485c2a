"""``distmllm check``: plays a sample of a sweep again, each run alone, and compares bit for bit."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench.engines import Engine, Lost
from distmllm_bench.progress import Progress
from distmllm_bench.sweep.cells import Cell, Failure
from distmllm_bench.sweep.planning import PlannedCell
from distmllm_bench.sweep.playing import play_job
from distmllm_bench.sweep.results import Results


def check(
    folder: Path, engine: Engine, sample: int | None, seed: int = 0, seconds: float | None = None
) -> dict[str, Any]:
    """Check a folder of results.

    A policy whose rows hang on one another, or on how they were batched, or that draws from
    elsewhere than the generator it is given, does not pass: here every run is played alone.

    Args:
        folder: Where ``distmllm bench`` kept them.
        engine: What plays.
        sample: Number of cells to play again, at least one of every policy; None: all.
        seed: Of the draw of the sample.
        seconds: What a run of a policy from outside may take.

    Returns:
        ``cells`` by state; ``equal``, how many played the same again; ``different``, the others
        with what differs or why they could not be played; ``passed``: no cell is failed, missing
        or damaged, and none is different.

    Raises:
        ValueError: The folder holds no sweep, or its policies cannot be found here.
    """
    results = Results(folder)
    plan = results.plan
    states = Counter(results.state(c.market, c.policy, c.seed)[0] for c in plan.cells)
    done = [c for c in plan.cells if results.cell(c.market, c.policy, c.seed) is not None]
    chosen = _sample(done, sample, seed)
    jobs = []
    for cell in chosen:
        policy, market = results.policies[cell.policy], results.markets[cell.market]
        jobs.append(policy.job(market, (cell.seed,), (cell.key,), seconds))
    differences: dict[int, str] = {}
    with (
        Progress(len(jobs), "cell") as progress,
        closing(engine.run(play_job, jobs)) as played,
    ):
        progress.begin(f"{len(jobs)} of {len(done)} cells again")
        for index, result in played:
            progress.step()
            cell = chosen[index]
            kept = results.cell(cell.market, cell.policy, cell.seed)
            assert kept is not None
            what = _compare(kept, result)
            if what:
                differences[index] = what
    different = [
        {
            "scenario": chosen[i].market,
            "policy": chosen[i].policy,
            "seed": chosen[i].seed,
            "difference": what,
            "key": chosen[i].key,
        }
        for i, what in sorted(differences.items())
    ]
    undone = {state: states[state] for state in ("failed", "missing", "damaged")}
    return {
        "suite": plan.suite,
        "cells": {"done": states["done"], **undone},
        "played": len(jobs),
        "equal": len(jobs) - len(different),
        "different": different,
        "passed": not different and not any(undone.values()),
    }


def text(result: dict[str, Any]) -> str:
    """Return what is printed."""
    counts = ", ".join(f"{n} {state}" for state, n in result["cells"].items() if n)
    lines = [
        f"{result['suite']}: {counts}",
        f"{result['played']} played again, each alone: {result['equal']} equal bit for bit",
    ]
    for row in result["different"]:
        lines.append(
            f"  {row['scenario']}, {row['policy']}, seed {row['seed']}: {row['difference']}"
        )
    return "\n".join([*lines, "passed" if result["passed"] else "NOT passed"])


def _sample(cells: list[PlannedCell], count: int | None, seed: int) -> list[PlannedCell]:
    """Draw cells: one of every policy first, then any."""
    if count is None or count >= len(cells):
        return cells
    order = np.random.default_rng(seed).permutation(len(cells)).tolist()
    leaders: dict[str, int] = {}
    for i in order:
        leaders.setdefault(cells[i].policy, i)
    first = list(leaders.values())
    rest = [i for i in order if i not in first]
    return [cells[i] for i in sorted((first + rest)[: max(count, len(first))])]


def _compare(kept: Cell, again: list[Cell | Failure] | Lost) -> str:
    if isinstance(again, Lost):
        return f"the process that played it was lost: {again.why}"
    (row,) = again
    if isinstance(row, Failure):
        return row.error
    return ", ".join(kept.differences(row))
