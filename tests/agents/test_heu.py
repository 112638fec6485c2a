"""HEU by hand: tiers by rank, going round, spilling, waiting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from distmllm_agents.heu import HEU
from distmllm_env import Scenario, Status, draw_world, play
from distmllm_env.policy import Observation, Problem, make_problem


@dataclass
class Case:
    """A market and the plan, one [ENC, LLM] per provider; the number of workers means wait."""

    performance: list[float]
    capacity: list[float]
    demand: list[float]
    plan: list[list[int]]
    keys: dict[str, Any] = field(default_factory=dict)
    infeasible: list[tuple[int, int, int]] = field(default_factory=list)
    """(stage, provider, worker)."""

    def problem(self) -> Problem:
        keys = {"performance": self.performance, "capacity": self.capacity, "demand": self.demand}
        scenario = Scenario.load(
            "slack", {**keys, **self.keys}, providers=len(self.demand), workers=len(self.capacity)
        )
        problem = make_problem(draw_world(scenario, [0]), "performance")
        feasible = problem.feasible.copy()
        for stage, m, n in self.infeasible:
            feasible[0, stage, m, n] = False
        return replace(problem, feasible=feasible)


CASES = {
    # By rank 1 4 2 0 3: ENC goes round (1, 4), LLM, strongest first, round (3, 0, 2).
    "tiers and going round": Case(
        [0.9, 0.5, 0.7, 1.0, 0.6], [9] * 5, [1] * 4, [[1, 3], [4, 0], [1, 2], [4, 3]]
    ),
    # Provider 2 starts at positions 0 of (0, 1) and 2 % 2 = 0 of (3, 2); both are full by then.
    "the next of the tier with room": Case(
        [0.6, 0.7, 0.8, 0.9], [1, 2, 2, 1], [1] * 3, [[0, 3], [1, 2], [1, 2]]
    ),
    # ENC of provider 1 starts at worker 1, too small for it, and goes round to worker 0.
    "round the end of the tier": Case([0.6, 0.7, 0.8, 0.9], [3, 1, 9, 9], [1, 2], [[0, 3], [0, 2]]),
    "equal ranks go to the lowest": Case([0.8] * 4, [9] * 4, [1] * 3, [[0, 2], [1, 3], [0, 2]]),
    # ENC of provider 1 finds worker 0 full and takes what the LLM tasks leave on worker 1.
    "spill": Case([0.5, 1.0], [1, 3], [1, 1], [[0, 1], [1, 1]]),
    # The LLM task of provider 1 is placed before any spill, so the spill of its ENC finds nothing.
    "spill comes last, then wait": Case([0.5, 1.0], [1, 2], [1, 1], [[0, 1], [2, 1]]),
    "LLM spills to the ENC tier": Case([0.5, 1.0], [3, 1], [1, 1], [[0, 1], [0, 0]]),
    # One worker: the ENC tier is empty and LLM comes first.
    "one worker": Case([0.8], [2], [1], [[0, 0]]),
    "one worker, one place": Case([0.8], [1], [1], [[1, 0]]),
    # Three workers: one in the ENC tier, two in the LLM tier.
    "odd number of workers": Case([0.9, 0.8, 1.0], [9] * 3, [1, 1], [[1, 2], [1, 0]]),
    # Provider 0 (demand 2) never fits worker 0 and leaves 1 on worker 1 for provider 1.
    "unequal demands": Case([0.5, 1.0], [1, 3], [2, 1], [[2, 1], [0, 1]]),
    # 0.1 + 0.2 fills 0.3 in spite of rounding.
    "real demands fill a worker": Case([0.5, 1.0], [0.3, 0.3], [0.1, 0.2], [[0, 1], [0, 1]]),
    "soft capacity": Case(
        [0.5, 1.0], [1, 2], [1, 1], [[0, 1], [0, 1]], {"market.overload": "share"}
    ),
    # ENC has places of its own on worker 1.
    "per stage": Case(
        [0.5, 1.0], [1, 2], [1, 1], [[0, 1], [1, 1]], {"market.capacity": "per_stage"}
    ),
    # LLM of provider 0 cannot run on its tier (worker 1) and finds worker 0 taken by its ENC.
    "infeasible in the tier": Case(
        [0.5, 1.0], [1, 2], [1, 1], [[0, 2], [1, 1]], infeasible=[(1, 0, 1)]
    ),
    "infeasible in the spill": Case(
        [0.5, 1.0], [1, 3], [1, 1], [[0, 1], [2, 1]], infeasible=[(0, 1, 1)]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_plan(case: Case) -> None:
    policy, problem = HEU(), case.problem()
    policy.reset(problem, [np.random.default_rng(0)])
    for slot in range(2):
        assert policy.act(Observation(slot))[0].tolist() == case.plan


def test_rows_are_planned_apart() -> None:
    scenario = Scenario.load("paper", slots=3)
    together = play(scenario, HEU(), [0, 1, 2])
    assert len({row.tobytes() for row in together.allocation[:, 0]}) == 3
    for b in range(3):
        alone = play(scenario, HEU(), [b])
        np.testing.assert_array_equal(together.allocation[b], alone.allocation[0])


@pytest.mark.parametrize("source", Scenario.names())
def test_nothing_it_places_is_rejected(source: str) -> None:
    run = play(Scenario.load(source, slots=2), HEU(), range(5))
    assert np.isin(run.status, [Status.ADMITTED, Status.DEFERRED]).all()
