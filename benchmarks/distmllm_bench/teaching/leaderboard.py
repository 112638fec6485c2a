"""``distmllm leaderboard``: a folder of schedulers that a class handed in, compared on one page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distmllm_bench.engines import Engine
from distmllm_bench.report.run import write_report
from distmllm_bench.sweep.cells import Failure, Store
from distmllm_bench.sweep.isolation import About, about_policy
from distmllm_bench.sweep.planning import Plan, PlannedPolicy, lay_out
from distmllm_bench.sweep.playing import Job, play_job
from distmllm_bench.sweep.run import bench
from distmllm_bench.sweep.suite import Suite
from distmllm_bench.teaching.submission import MODULE, prepare, submissions

CLASS = "Scheduler"
"""What the class of a submission is called."""


def leaderboard(
    folder: Path,
    out: Path,
    suite: Suite,
    engine: Engine,
    *,
    salt: str | None = None,
    seconds: float = 10.0,
    command: str = "",
) -> dict[str, Any]:
    """Play all submissions of a folder in the closed division, and write a report.

    Each runs in a process that is kept to a folder of its own. One that cannot be loaded, or knows
    more than it may, is refused with the reason; one that fails on a cell fails there. The others
    are played all the same.

    Args:
        folder: ``.py`` and ``.ipynb`` files, one per submission, named by who handed it in. Each
            defines the class ``Scheduler``.
        out: Folder of the results.
        suite: What to play; its policies are played for comparison.
        engine: What plays.
        salt: Seeds drawn by this word.
        seconds: What a submission may take for a run.
        command: What the user typed.

    Returns:
        What the report returns, and ``refused``: submission -> reason.

    Raises:
        ValueError: The folder holds no submissions.
    """
    refused: dict[str, str] = {}
    policies = list(_references(suite))
    files = submissions(folder, {policy.id for policy in policies})
    for name, path in files.items():
        place = (out / "submissions" / name).resolve()
        about = _refused(path)
        try:
            prepare(path, place)
            about = about_policy(f"{MODULE}:{CLASS}", {}, place)
            if about.beyond:
                raise ValueError(
                    f"it declares that it {about.beyond}, which the closed division refuses"
                )
            if about.built_on:
                raise ValueError(f"it is built on {about.built_on}, a policy of this package")
        except ValueError as error:
            refused[name] = str(error)
        policies.append(PlannedPolicy(name, f"{MODULE}:{CLASS}", {}, about, str(place)))
    plan = lay_out(suite, policies, salt=salt, command=command)
    store = Store(out / "cells")
    for name in files:
        if name not in refused:
            trial = _trial(plan, name, seconds)
            (key,) = trial.keys
            if store.state(key)[0] == "done":
                continue
            (found,) = play_job(trial)
            if isinstance(found, Failure):
                refused[name] = f"a first run failed: {found.error}"
            else:
                store.put(key, found)
    for cell in plan.cells:
        if cell.policy in refused:
            store.put(cell.key, Failure(f"refused: {refused[cell.policy]}", "", {}))
        else:
            store.forget_failure(cell.key)  # it may have more time than at an earlier call
    bench(plan, out, engine, seconds=seconds)
    return {**write_report(out), "refused": refused}


def _trial(plan: Plan, name: str, seconds: float) -> Job:
    """Return the job of a submission's first run: who fails there is not played for hours."""
    cell = next(cell for cell in plan.cells if cell.policy == name)
    policy = next(policy for policy in plan.policies if policy.id == name)
    return policy.job(plan.markets[0], (cell.seed,), (cell.key,), seconds)


def _references(suite: Suite) -> Iterator[PlannedPolicy]:
    for name, entrant in suite.entrants().items():
        about = about_policy(entrant.policy, entrant.parameters)
        yield PlannedPolicy(name, entrant.policy, dict(entrant.parameters), about)


def _refused(path: Path) -> About:
    """Return what stands in the plan for a submission that told nothing about itself."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    files = {path.name: digest}
    return About(f"{MODULE}:{CLASS}", "rewards", False, False, files, {}, f"refused {digest}")
