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
from distmllm_bench.teaching.submission import MODULE, SUFFIXES, prepare

CLASS = "Scheduler"
"""What the class of a submission is called."""


def leaderboard(
    folder: Path,
    out: Path,
    suite: Suite,
    engine: Engine,
    *,
    salt: str | None = None,
    seconds: float = 60.0,
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
        ValueError: The folder holds no submissions, two of one name, or one that is called like a
            policy of the suite.
    """
    files = _submissions(folder)
    refused: dict[str, str] = {}
    policies = list(_references(suite))
    for policy in policies:
        if policy.id in (path.stem for path in files):
            raise ValueError(f"{folder}: no submission may be called {policy.id!r} as a reference.")
    for path in files:
        place = (out / "submissions" / path.stem).resolve()
        about = _refused(path)
        try:
            prepare(path, place)
            about = about_policy(f"{MODULE}:{CLASS}", {}, place)
            if about.beyond:
                raise ValueError(
                    f"it declares that it {about.beyond}, which the closed division refuses"
                )
        except ValueError as error:
            refused[path.stem] = str(error)
        policies.append(PlannedPolicy(path.stem, f"{MODULE}:{CLASS}", {}, about, str(place)))
    plan = lay_out(suite, policies, salt=salt, command=command)
    store = Store(out / "cells")
    for path in files:
        if path.stem not in refused:
            (found,) = play_job(_trial(plan, path.stem, seconds))
            if isinstance(found, Failure):
                refused[path.stem] = f"a first run failed: {found.error}"
    for cell in plan.cells:
        if cell.policy in refused:
            store.put(cell.key, Failure(f"refused: {refused[cell.policy]}", "", {}))
        else:
            store.forget_failure(cell.key)  # it may have more time than at an earlier call
    bench(plan, out, engine, seconds=seconds)
    return {**write_report(out), "refused": refused}


def _submissions(folder: Path) -> list[Path]:
    visible = [path for path in folder.glob("[!.]*") if path.is_file()]
    files = sorted(path for path in visible if path.suffix in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no submissions: files ending in .py or .ipynb.")
    names = [path.stem for path in files]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{folder} holds two submissions of {name!r}.")
    return files


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
