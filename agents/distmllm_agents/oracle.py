"""The oracle: the exact joint optimum on the true means (D5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distmllm_agents.mapping.batch import solve_batch
from distmllm_agents.mapping.problem import Array
from distmllm_env.policy import Feedback, Observation, Problem, make_problem
from distmllm_env.scenario import ENC, LLM
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


@dataclass(frozen=True)
class Optimum:
    """The exact joint optimum of a world.

    Attributes:
        allocation: int (B, M, S).
        task_value: Mean profit per slot of each task, (B, M, S); the transfer cost counts for LLM.
    """

    allocation: Array
    task_value: Array

    @property
    def stage_value(self) -> Array:
        """Mean profit per slot of each stage, (B, S)."""
        return self.task_value.sum(axis=1)

    @property
    def value(self) -> Array:
        """V*, mean total profit per slot, (B,)."""
        return self.stage_value.sum(axis=1)


def optimum(world: World) -> Optimum:
    """Solve a world. Every policy on the same worlds can share the answer."""
    allocation = best_allocation(world)
    index = allocation.transpose(0, 2, 1)[..., None]
    value = np.take_along_axis(world.mean_profit, index, axis=3)[..., 0]
    value = np.ascontiguousarray(value.transpose(0, 2, 1))
    placed = (allocation < world.scenario.workers).all(axis=2)
    apart = placed & (allocation[:, :, ENC] != allocation[:, :, LLM])
    value[:, :, LLM] -= world.transfer_cost * apart
    return Optimum(allocation, value)
