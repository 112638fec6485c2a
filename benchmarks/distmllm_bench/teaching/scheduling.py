"""How good a scheduler is, for the assignment in which one is designed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from distmllm_agents.oracle import optimum
from distmllm_bench.sweep.child import OutsideError
from distmllm_bench.sweep.isolation import Isolated
from distmllm_bench.sweep.suite import run_seeds
from distmllm_bench.teaching.remote import SubmissionError, SubmittedClass
from distmllm_env import Run, Scenario, load_policy, play

RUN_SECONDS = 20.0
"""What a submission may take for one run of 500 slots."""


def share_of_optimum(
    scheduler: Any, scenario: str, seeds: Sequence[int], slots: int | None = None
) -> float:
    """Play a scheduler and return its expected profit as a share of the optimum, mean over runs.

    Args:
        scheduler: A class, a name such as ``"heu"``, or what was handed in.
        scenario: Name.
        seeds: One per run, see :func:`unseen`.
        slots: Horizon; the scenario's own if None.

    Raises:
        SubmissionError: What was handed in knows more than it may, fails, or took too long, now or
            in an earlier call: it is not waited for again.
    """
    chosen = Scenario.load(scenario, slots=slots)
    if isinstance(scheduler, SubmittedClass):
        run = _played(scheduler, chosen, seeds)
    else:
        run = play(chosen, load_policy(scheduler), seeds)
    best = optimum(run.world).value * chosen.slots
    return float(np.mean(run.expected_profit.sum(axis=(1, 2, 3)) / best))


def _played(scheduler: SubmittedClass, scenario: Scenario, seeds: Sequence[int]) -> Run:
    """Play what was handed in, in a process of its own."""
    if scheduler.late:
        raise SubmissionError(scheduler.late)
    try:
        with Isolated(scheduler.spec, {}, RUN_SECONDS * len(seeds), scheduler.folder) as policy:
            if policy.about.beyond:
                raise SubmissionError(
                    f"it declares that it {policy.about.beyond}, which is not allowed: only "
                    f"rewards, or latency and energy, and nothing learned before."
                )
            return play(scenario, policy, seeds)
    except (OutsideError, ValueError) as error:  # ValueError: an allocation that is none
        if isinstance(error, OutsideError) and error.late:
            scheduler.late = str(error)
        raise SubmissionError(str(error)) from None


SHARES = {
    "UCB": {"paper": 0.951, "scarce": 0.788, "testbed": 0.853},
    "HEU": {"paper": 0.976, "scarce": 0.885, "testbed": 0.587},
    "DistMLLM": {"paper": 0.973, "scarce": 0.937, "testbed": 0.906},
}
"""Shares of the optimum that the references reach 99 times in 100 in the mean of 20 runs, by
``python notebooks/assignments/calibrate.py``: 400 worlds of each scenario."""

GRADED_RUNS = 20


def play_unseen(scheduler: Any, scenario: str, salt: str) -> float:
    """Return :func:`share_of_optimum` on the 20 worlds of a word; played once for all tests.

    Raises:
        SubmissionError: As there.
    """
    found = _unseen(scheduler, scenario, salt)
    if isinstance(found, str):
        raise SubmissionError(found)
    return found


@cache
def _unseen(scheduler: Any, scenario: str, salt: str) -> float | str:
    """Return what is reached, or why nothing: a failure is not played again either."""
    try:
        return share_of_optimum(scheduler, scenario, unseen(salt, GRADED_RUNS))
    except SubmissionError as error:
        return str(error)


def unseen(salt: str, runs: int) -> list[int]:
    """Return seeds that hang on a word: who does not know the word cannot have tuned on them."""
    return run_seeds(runs, salt=salt)
