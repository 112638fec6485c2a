"""The oracle: the exact joint optimum on the true means (D5)."""

from __future__ import annotations

import numpy as np

from distmllm_agents.mapping.batch import solve_batch
from distmllm_agents.mapping.problem import Array
from distmllm_env.policy import Feedback, Observation, Problem, make_problem
from distmllm_env.world import World


class Oracle:
    """Plays the optimum in every slot; regret is measured against it."""

    name = "oracle"
    batched = True
    knows = "world"
    coordinates = True

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Solve every row once."""
        assert problem.world is not None
        self._plan = best_allocation(problem.world)

    def act(self, observation: Observation) -> Array:
        """Return the optimum."""
        return self._plan.copy()

    def update(self, feedback: Feedback) -> None:
        """Learn nothing."""


def best_allocation(world: World) -> Array:
    """Allocation of the largest total mean profit that fits all capacities, (B, M, S).

    Both stages are placed jointly, transfer cost included. Where capacity is soft
    (``overload = "share"``) this is still the best allocation within capacity; overloading can then
    earn more, so regret against it may be negative.

    Args:
        world: The true tables.
    """
    return solve_batch(make_problem(world), world.mean_profit[..., :-1])[0]
