"""The mapping problem and its solution, for one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from distmllm_env.policy import Problem
from distmllm_env.slot import TOLERANCE

Array = np.ndarray[Any, np.dtype[Any]]
OUT = -1
"""Choice of an item that stays out (C8)."""


@dataclass(frozen=True)
class MappingProblem:
    """maximise sum u[k, n] x[k, n]: each item at most once, loads within capacities (Section 2.3).

    Attributes:
        utility: u, (K, N). With two stages, item ``s * M + m`` is stage s of provider m.
        weight: (K,), above 0.
        capacity: (P, N), one row per capacity pool.
        pool: Pool of each item, int (K,).
        allowed: bool (K, N).
        transfer_cost: (K / 2,): charged if items m and K / 2 + m are both in, on different workers.
            None if there is no such charge.
    """

    utility: Array
    weight: Array
    capacity: Array
    pool: Array
    allowed: Array
    transfer_cost: Array | None = None

    @property
    def useful(self) -> Array:
        """Pairs worth considering, bool (K, N): allowed, above 0, and within capacity alone."""
        fits = self.weight[:, None] <= self.capacity[self.pool] + TOLERANCE
        return self.allowed & (self.utility > 0) & fits

    def value(self, choice: Array) -> float:
        """Objective of ``choice``, int (K,), :data:`OUT` for items left out."""
        placed = np.flatnonzero(choice != OUT)
        total = float(self.utility[placed, choice[placed]].sum())
        if self.transfer_cost is not None:
            enc, llm = choice.reshape(2, -1)
            total -= float(self.transfer_cost[(enc != OUT) & (llm != OUT) & (enc != llm)].sum())
        return total

    def check(self, choice: Array) -> None:
        """Raise ``ValueError`` if ``choice`` breaks a capacity or uses a forbidden pair."""
        load = np.zeros_like(self.capacity)
        for k, n in enumerate(choice):
            if n != OUT:
                if not self.allowed[k, n]:
                    raise ValueError(f"item {k} is not allowed on worker {n}.")
                load[self.pool[k], n] += self.weight[k]
        over = np.argwhere(load > self.capacity + TOLERANCE)
        if over.size:
            p, n = over[0]
            raise ValueError(f"worker {n} holds {load[p, n]} of {self.capacity[p, n]}.")


@dataclass(frozen=True)
class Mapping:
    """A solution.

    Attributes:
        choice: Worker of each item, int (K,), :data:`OUT` for items left out.
        value: Its objective.
        status: ``optimal`` if proven so, else ``feasible``.
    """

    choice: Array
    value: float
    status: Literal["optimal", "feasible"]


Solver = Callable[[MappingProblem], Mapping]


def disaggregated(problem: Problem, utility: Array, b: int) -> MappingProblem:
    """Two items per provider, ENC and LLM, for row ``b`` (C1).

    Args:
        problem: What the scheduler knows.
        utility: Estimated profits of that row, (S, M, N).
        b: Row.
    """
    m, n = problem.providers, problem.workers
    cost = problem.transfer_cost[b]
    pools = 2 if problem.per_stage else 1
    return MappingProblem(
        utility=utility.reshape(2 * m, n),
        weight=np.tile(problem.demand[b], 2),
        capacity=np.tile(problem.capacity[b], (pools, 1)),
        pool=np.repeat(np.arange(2) % pools, m),
        allowed=problem.feasible[b].reshape(2 * m, n),
        transfer_cost=cost if cost.any() else None,
    )


def monolithic(problem: Problem, utility: Array, b: int) -> MappingProblem:
    """One item per provider: both stages on one worker, for row ``b`` (A17).

    It weighs 2 c_m in a shared pool, so both designs use equal compute; with a pool per stage each
    pool takes c_m, which the one pool kept here expresses.
    """
    m = problem.providers
    return MappingProblem(
        utility=utility.sum(axis=0),
        weight=problem.demand[b] * (1 if problem.per_stage else 2),
        capacity=problem.capacity[b][None],
        pool=np.zeros(m, int),
        allowed=problem.feasible[b].all(axis=0),
    )


def to_allocation(choice: Array, providers: int, workers: int) -> Array:
    """Turn item choices, (2M,) or (M,) for monolithic items, into an allocation (M, S)."""
    stages = choice.reshape(-1, providers).T
    return np.where(stages == OUT, workers, np.broadcast_to(stages, (providers, 2)))
