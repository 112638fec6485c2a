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
from distmllm_bench.teaching.remote import SubmissionError, SubmittedClass, with_place
from distmllm_env import Run, Scenario, draw_world, load_policy, play
from distmllm_env.equations import Array

RUN_SECONDS = 5.0
"""What a submission may take for one run of 500 slots, on average over runs played together."""


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
        SubmissionError: What was handed in knows more than it may, is a policy of this package,
            fails, or took too long, now or in an earlier call: it is not waited for again.
    """
    chosen = Scenario.load(scenario, slots=slots)
    if isinstance(scheduler, SubmittedClass):
        profit = _played(scheduler, chosen, seeds)
    else:
        profit = _earned(play(chosen, load_policy(scheduler), seeds))
    best = optimum(draw_world(chosen, seeds)).value * chosen.slots
    return float(np.mean(profit / best))


def _played(scheduler: SubmittedClass, scenario: Scenario, seeds: Sequence[int]) -> Array:
    """Play what was handed in, its runs together in a process of their own.

    They may know nothing of each other, so one is played again alone. Where that gives another
    profit, all are: what counts is what each earns by itself.
    """
    if scheduler.late:
        raise SubmissionError(scheduler.late)
    try:
        profit = _profit(scheduler, scenario, seeds)
        again = len(seeds) // 2
        if len(seeds) > 1:
            (alone,) = _profit(scheduler, scenario, seeds[again : again + 1])
            if alone != profit[again]:
                profit = np.concatenate([_profit(scheduler, scenario, [seed]) for seed in seeds])
        return profit
    except OutsideError as error:
        if error.late:
            scheduler.late = str(error)
        raise SubmissionError(with_place(error)) from None
    except ValueError as error:  # an allocation that is none
        raise SubmissionError(str(error)) from None


def _profit(scheduler: SubmittedClass, scenario: Scenario, seeds: Sequence[int]) -> Array:
    """Return the expected profit of what was handed in, (B,)."""
    with Isolated(scheduler.spec, {}, RUN_SECONDS * len(seeds), scheduler.folder) as policy:
        if policy.about.beyond:
            raise SubmissionError(
                f"it declares that it {policy.about.beyond}, which is not allowed: only rewards, "
                f"or latency and energy, and nothing learned before."
            )
        if policy.about.built_on:
            raise SubmissionError(
                f"it is built on {policy.about.built_on}, a policy of this package: not your own."
            )
        return _earned(play(scenario, policy, seeds))


def _earned(run: Run) -> Array:
    """Return the expected profit of each run, (B,)."""
    return run.expected_profit.sum(axis=(1, 2, 3))


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
