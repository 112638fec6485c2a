"""``distmllm bench``: plays what is not there yet, and keeps every cell as it comes."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distmllm_bench.engines import Engine, Lost
from distmllm_bench.progress import Progress
from distmllm_bench.sweep.cells import Failure, State, Store
from distmllm_bench.sweep.planning import Plan, PlannedCell
from distmllm_bench.sweep.playing import Job, play_job
from distmllm_bench.sweep.results import write_results

BATCH = 10
"""Most cells in a job: what an interruption may lose per process."""


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``, from 1: a split by key that needs no talk between machines."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            ValueError: Not of this form, or not 1 <= i <= n.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"shard {text!r} is not allowed: i/n with 1 <= i <= n, e.g. 1/8.")
        return cls(int(match[1]), int(match[2]))

    def holds(self, key: str) -> bool:
        """Whether a cell belongs to this part."""
        return int(key, 16) % self.count == self.index - 1


def to_play(plan: Plan, store: Store, shard: Shard | None, retry: bool) -> list[PlannedCell]:
    """Return the cells that a call has to play; a damaged one counts as missing."""
    wanted: tuple[State, ...] = (
        ("missing", "damaged", "failed") if retry else ("missing", "damaged")
    )
    mine = [cell for cell in plan.cells if shard is None or shard.holds(cell.key)]
    return [cell for cell in mine if store.state(cell.key)[0] in wanted]


def bench(
    plan: Plan,
    out: Path,
    engine: Engine,
    *,
    shard: Shard | None = None,
    retry_failed: bool = False,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Play a sweep, or what is left of it.

    Args:
        plan: What to play.
        out: Folder of the results: ``sweep.json``, ``cells/``, ``results.csv``.
        engine: What plays the jobs.
        shard: Only this part.
        retry_failed: Cells that failed before are played again.
        seconds: What a run of a policy from outside may take.

    Returns:
        Counts of cells by state, those played now, the failures and the files.

    Raises:
        OSError: A result cannot be written; what was kept stays.
    """
    store = Store(out / "cells")
    plan.write(out)
    todo = to_play(plan, store, shard, retry_failed)
    jobs = plan.jobs({cell.key for cell in todo}, BATCH, seconds)
    kept = failed = 0
    with (
        Progress(sum(len(job.keys) for job in jobs), "cell") as progress,
        closing(engine.run(play_job, jobs)) as played,
    ):
        for index, result in played:
            job = jobs[index]
            rows = [_lost(result, job)] * len(job.keys) if isinstance(result, Lost) else result
            for key, row in zip(job.keys, rows, strict=True):
                try:
                    store.put(key, row)
                except OSError as error:
                    why = error.strerror or str(error)
                    raise OSError(f"cannot write to {store.folder}: {why}") from error
                kept += 1
                failed += isinstance(row, Failure)
            progress.begin(_label(plan, job, failed))
            progress.step(len(job.keys))
    table = write_results(plan, out)
    states = Counter(row["status"] for row in table)
    return {
        "suite": plan.suite,
        "cells": {state: states[state] for state in ("done", "failed", "missing", "damaged")},
        "played": kept,
        "failures": [
            {
                **{name: row[name] for name in ("scenario", "policy", "seed", "error")},
                "trace": _trace(store, row),
            }
            for row in table
            if row["status"] in ("failed", "damaged")
        ],
        "results": str(out / "results.csv"),
    }


def dry_run(plan: Plan, out: Path, shard: Shard | None, retry: bool) -> list[dict[str, Any]]:
    """Say how many cells a call would play, one row per scenario and policy."""
    todo = {cell.key for cell in to_play(plan, Store(out / "cells"), shard, retry)}
    rows = []
    for market in plan.markets:
        for policy in plan.policies:
            cells = [c for c in plan.cells if (c.market, c.policy) == (market.id, policy.id)]
            play = sum(cell.key in todo for cell in cells)
            row = {"scenario": market.id, "policy": policy.id, "division": policy.about.division}
            rows.append({**row, "cells": len(cells), "to play": play})
    return rows


def text(result: dict[str, Any], out: Path) -> str:
    """Return what is printed after a sweep."""
    counts = ", ".join(f"{n} {state}" for state, n in result["cells"].items() if n)
    lines = [f"{result['suite']}: {counts}; {result['played']} played now"]
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for f in result["failures"]:
        key = (f["scenario"], f["policy"], f["error"], f["trace"])
        groups.setdefault(key, []).append(f["seed"])
    for (market, policy, error, trace), seeds in groups.items():
        first = f"seed {seeds[0]}" + (f" and {len(seeds) - 1} more" if len(seeds) > 1 else "")
        lines.append(f"  {market}, {policy}, {first}: {error}")
        where = [line.strip() for line in trace.splitlines() if line.strip(" ^~")]
        lines += [f"    {line}" for line in where[-2:]]  # file and line where it raised
    lines += ["  --retry-failed plays failed cells again"] if result["cells"]["failed"] else []
    return "\n".join([*lines, f"results: {result['results']}", f"report:  distmllm report {out}"])


def _trace(store: Store, row: dict[str, Any]) -> str:
    """Return where the policy of a failed cell raised; empty if it did not."""
    found = store.get(row["key"]) if row["status"] == "failed" else None
    return found.trace if isinstance(found, Failure) else ""


def _lost(result: Lost, job: Job) -> Failure:
    return Failure(f"the process that played it was lost: {result.why}", "", {"policy": job.name})


def _label(plan: Plan, job: Job, failed: int) -> str:
    market = next(market.id for market in plan.markets if market.toml == job.scenario)
    seeds = f"{len(job.seeds)} runs" if len(job.seeds) > 1 else "1 run"
    return f"{market}: {job.name}, {seeds} done" + (f"; {failed} failed" if failed else "")
