"""Playing jobs: the seeds of one policy on one scenario, side by side. Runs on any machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_agents.oracle import Optimum, optimum
from distmllm_bench.provenance import provenance
from distmllm_bench.sweep.cells import Cell, Failure, measure
from distmllm_bench.sweep.child import OutsideError, error_text
from distmllm_bench.sweep.identity import cell_key, hash_of, module_sources, profiles
from distmllm_bench.sweep.isolation import (
    About,
    Isolated,
    Timed,
    declared,
    is_ours,
)
from distmllm_env import Scenario, draw_world, load_policy, play


@dataclass(frozen=True)
class Job:
    """Cells that are played as one batch.

    Attributes:
        scenario: TOML text, so that a job can travel.
        name: Of the policy in tables.
        policy: Name, ``package.module:Class`` or file.
        parameters: What its class is called with.
        seeds: One per cell.
        keys: Name of each cell.
        seconds: What a run may take if the policy is from outside; None: any time.
        folder: That of somebody's submission, to which its process is kept; None: no submission.
    """

    scenario: str
    name: str
    policy: str
    parameters: Mapping[str, Any]
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    seconds: float | None = None
    folder: str | None = None


@cache
def measured() -> str:
    """Return the hash of the sources that play and measure."""
    return module_sources(__name__).digest


def play_job(job: Job) -> list[Cell | Failure]:
    """Play a job; where the batch fails, each of its runs alone, so that one spoils no other.

    A batch from outside may take no longer than a single run: what hangs is told soon, and each run
    then has all of its time. The runs of a submission may know nothing of each other, so one is
    played again by itself; where that gives something else, all are.

    Returns:
        What became of each cell. Nothing that a policy does raises.
    """
    rows = _attempt(job, job.seeds, job.keys)
    if len(job.seeds) == 1:
        return rows
    if isinstance(rows[0], Failure) or (job.folder is not None and not _alone_too(job, rows)):
        pairs = zip(job.seeds, job.keys, strict=True)
        rows = [_attempt(job, (seed,), (key,))[0] for seed, key in pairs]
    return rows


def _alone_too(job: Job, rows: list[Cell | Failure]) -> bool:
    """Whether a run in the middle of a batch is the same when it is played alone."""
    i = len(job.seeds) // 2
    (alone,) = _attempt(job, job.seeds[i : i + 1], job.keys[i : i + 1])
    together = rows[i]
    if isinstance(alone, Failure) or isinstance(together, Failure):
        return False
    return not alone.differences(together)


def _attempt(job: Job, seeds: tuple[int, ...], keys: tuple[str, ...]) -> list[Cell | Failure]:
    about = {
        **provenance(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": Scenario.from_toml(job.scenario).name,
        "policy": job.name,
        "batch": len(seeds),
    }
    try:
        return _played(job, seeds, keys, about)
    except OutsideError as error:
        return [Failure(str(error), error.trace, about)] * len(seeds)
    except Exception as error:  # whatever a policy may raise, or the code that plays it
        return [Failure(error_text(error), "", about)] * len(seeds)


def _played(
    job: Job, seeds: tuple[int, ...], keys: tuple[str, ...], about: dict[str, Any]
) -> list[Cell | Failure]:
    scenario = Scenario.from_toml(job.scenario)
    start = time.perf_counter()
    with _policy(job) as (known, policy):
        for seed, key in zip(seeds, keys, strict=True):
            if cell_key(scenario, known.hash, seed, measured()) != key:
                raise OutsideError(
                    "the sources or packages here, or what the policy declares, are not those that "
                    "the sweep was planned with: install the same versions everywhere, and leave "
                    "the files alone meanwhile."
                )
        run = play(scenario, policy, seeds)
        slots = np.array(policy.times())
    about["seconds"] = (time.perf_counter() - start) / len(seeds)
    about["decision_s"] = float(np.median(slots))
    cells: list[Cell | Failure] = []
    devices = hash_of(profiles(scenario))
    for b, seed in enumerate(seeds):
        best = _best(job.scenario, devices, seed)
        cells.append(measure(run.row(b), best, about))
    return cells


@contextmanager
def _policy(job: Job) -> Iterator[tuple[About, Timed | Isolated]]:
    """Make the policy of a job, from outside in a process of its own."""
    folder = None if job.folder is None else Path(job.folder)
    if folder is None and is_ours(job.policy):
        made = load_policy(job.policy, **job.parameters)
        yield declared(made, job.policy, job.parameters), Timed(made)
        return
    with Isolated(job.policy, job.parameters, job.seconds, folder) as policy:
        yield policy.about, policy


@lru_cache(maxsize=4096)
def _best(scenario: str, devices: str, seed: int) -> Optimum:
    """Return the optimum of a run's world; all policies of a scenario share it.

    ``devices`` is a hash of the profiles that the scenario reads: they may be written again.
    """
    return optimum(draw_world(Scenario.from_toml(scenario), [seed]))
