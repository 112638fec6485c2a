"""The mapping problem and its solution, for one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from distmllm_env.layout import TOLERANCE
from distmllm_env.policy import Problem

Array = np.ndarray[Any, np.dtype[Any]]
OUT = -1
"""Choice of an item that stays out (C8)."""


@dataclass(frozen=True, eq=False)
class MappingProblem:
    """maximise sum u[k, n] x[k, n]: each item at most once, loads within capacities (Section 2.3).

    Attributes:
        utility: u, (K, N). With two stages, item ``s * M + m`` is stage s of provider m.
        weight: (K,), or (K, N) where it depends on the worker; above 0.
        capacity: (P, N), one row per capacity pool, at least 0.
        pool: Pool of each item, int (K,).
        allowed: bool (K, N).
        transfer_cost: (K / 2,): charged if items m and K / 2 + m are both in, on different workers.
            None if there is no such charge.
        exactly_one: Every item must be in, whatever it costs.

    Raises:
        ValueError: A shape does not fit, a number is not finite, a weight is not above 0, a
            capacity or charge is below 0, or a pool does not exist; says which and where.
    """

    utility: Array
    weight: Array
    capacity: Array
    pool: Array
    allowed: Array
    transfer_cost: Array | None = None
    exactly_one: bool = False

    def __post_init__(self) -> None:
        if self.utility.ndim != 2 or self.utility.shape[1] == 0:
            raise ValueError(f"utility has shape {self.utility.shape}: (K, N) is allowed, N >= 1.")
        items, workers = self.utility.shape
        _require_shape("weight", self.weight, (items,), (items, workers))
        _require_shape("capacity", self.capacity, (*self.capacity.shape[:1], workers))
        _require_shape("pool", self.pool, (items,))
        _require_shape("allowed", self.allowed, (items, workers))
        _require_numbers("utility", self.utility)
        _require_numbers("weight", self.weight, self.weight > 0, "above 0")
        _require_numbers("capacity", self.capacity, self.capacity >= 0, "at least 0")
        inside = (self.pool >= 0) & (self.pool < len(self.capacity))
        _require_numbers("pool", self.pool, inside, f"0..{len(self.capacity) - 1}")
        if self.transfer_cost is not None:
            _require_shape("transfer_cost", self.transfer_cost, (items // 2,))
            fits = self.transfer_cost >= 0
            _require_numbers("transfer_cost", self.transfer_cost, fits, "at least 0")

    @cached_property
    def weights(self) -> Array:
        """Weight of every item on every worker, (K, N)."""
        if self.weight.ndim == 2:
            return self.weight
        return np.broadcast_to(self.weight[:, None], self.utility.shape)

    @cached_property
    def useful(self) -> Array:
        """Pairs worth considering, bool (K, N): allowed, within capacity alone, and above 0.

        Where every item must be in, pairs of any utility are worth considering.
        """
        fits = self.allowed & (self.weights <= self.capacity[self.pool] + TOLERANCE)
        return fits if self.exactly_one else fits & (self.utility > 0)

    def value(self, choice: Array) -> float:
        """Objective of ``choice``, int (K,), :data:`OUT` for items left out."""
        placed = np.flatnonzero(choice != OUT)
        total = float(self.utility[placed, choice[placed]].sum())
        if self.transfer_cost is not None:
            enc, llm = choice.reshape(2, -1)
            total -= float(self.transfer_cost[(enc != OUT) & (llm != OUT) & (enc != llm)].sum())
        return total

    def check(self, choice: Array) -> None:
        """Raise ``ValueError`` if ``choice`` breaks a capacity, a forbidden pair or exactly-one."""
        load = np.zeros_like(self.capacity, dtype=float)
        for k, n in enumerate(choice):
            if n == OUT:
                if self.exactly_one:
                    raise ValueError(f"item {k} is left out, but every item must be in.")
                continue
            if not self.allowed[k, n]:
                raise ValueError(f"item {k} is not allowed on worker {n}.")
            load[self.pool[k], n] += self.weights[k, n]
        over = np.argwhere(load > self.capacity + TOLERANCE)
        if over.size:
            p, n = over[0]
            raise ValueError(f"worker {n} holds {load[p, n]} of {self.capacity[p, n]}.")


@dataclass(frozen=True, eq=False)
class MappingBatch:
    """Mapping problems of R rows: one size, one capacity pool each, items may stay out.

    Attributes:
        utility: u, (R, K, N).
        weight: (R, K), above 0.
        capacity: (R, N), at least 0.
        allowed: bool (R, K, N).
    """

    utility: Array
    weight: Array
    capacity: Array
    allowed: Array

    def row(self, r: int) -> MappingProblem:
        """Return the problem of row ``r``, checked."""
        return MappingProblem(
            utility=self.utility[r],
            weight=self.weight[r],
            capacity=self.capacity[r][None],
            pool=np.zeros(self.weight.shape[1], int),
            allowed=self.allowed[r],
        )

    @cached_property
    def useful(self) -> Array:
        """Pairs worth considering, bool (R, K, N), as :attr:`MappingProblem.useful` has them."""
        fits = self.weight[..., None] <= self.capacity[:, None] + TOLERANCE
        return self.allowed & fits & (self.utility > 0)


def _require_shape(name: str, array: Array, *allowed: tuple[int, ...]) -> None:
    if array.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        raise ValueError(f"{name} has shape {array.shape}: {shapes} is allowed.")


def _require_numbers(name: str, array: Array, fits: Array | None = None, allowed: str = "") -> None:
    bad = ~np.isfinite(array) if fits is None else ~(fits & np.isfinite(array))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        at = ", ".join(map(str, where))
        rule = f"a finite number{', ' + allowed if allowed else ''}"
        raise ValueError(f"{name}[{at}] = {array[where]} is not allowed: {rule}.")


@dataclass(frozen=True, eq=False)
class Mapping:
    """A solution.

    Attributes:
        choice: Worker of each item, int (K,), :data:`OUT` for items left out.
        value: Its objective; minus infinity if there is no solution.
        bound: No solution is worth more than this.
        status: ``optimal`` if proven so, ``infeasible`` if proven that none exists, ``feasible`` if
            stopped with a solution, ``unknown`` if stopped without one (then, as if infeasible, all
            items are :data:`OUT`).
        nodes: Work done, in units of the method: nodes, labels or branches; 0 where it has none.
        seconds: Wall time.
        multipliers: Price of capacity, (P, N), that the method ended with; a start for the next
            solve of a similar problem.
    """

    choice: Array
    value: float
    bound: float
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    nodes: int = 0
    seconds: float = 0.0
    multipliers: Array | None = None

    @property
    def gap(self) -> float:
        """``bound - value``, at least 0: how far from the optimum the value can be."""
        return max(0.0, self.bound - self.value)


def no_solution(problem: MappingProblem, nodes: int = 0) -> Mapping:
    """Return the answer for a problem that has none."""
    out = np.full(len(problem.utility), OUT)
    return Mapping(out, -np.inf, -np.inf, "infeasible", nodes)


Solver = Callable[[MappingProblem, Mapping | None], Mapping]
"""Takes a problem and the solution of a similar one to start from, or None."""


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


def disaggregated_batch(problem: Problem, utility: Array, rows: Array) -> MappingBatch:
    """Two items per provider for many rows at once, as :func:`disaggregated` has them for one.

    Pools have nothing in common: where each stage has its own, a row becomes two of the batch, ENC
    and then LLM. Transfer cost is left out.

    Args:
        problem: What the scheduler knows.
        utility: Estimated profits of those rows, (R, S, M, N).
        rows: int (R,).
    """
    pools = 2 if problem.per_stage else 1
    items = 2 * problem.providers // pools
    return MappingBatch(
        utility=utility.reshape(-1, items, problem.workers),
        weight=np.tile(problem.demand[rows], 2).reshape(-1, items),
        capacity=np.repeat(problem.capacity[rows], pools, axis=0),
        allowed=problem.feasible[rows].reshape(-1, items, problem.workers),
    )


def monolithic_batch(problem: Problem, utility: Array, rows: Array) -> MappingBatch:
    """One item per provider for many rows at once, as :func:`monolithic` has them for one."""
    return MappingBatch(
        utility=utility.sum(axis=1),
        weight=problem.demand[rows] * (1 if problem.per_stage else 2),
        capacity=problem.capacity[rows],
        allowed=problem.feasible[rows, 0] & problem.feasible[rows, 1],
    )


def to_allocation(choice: Array, providers: int, workers: int) -> Array:
    """Turn item choices, (..., 2M) or (..., M) if monolithic, into an allocation (..., M, S)."""
    stages = choice.reshape(*choice.shape[:-1], -1, providers).swapaxes(-1, -2)
    both = np.broadcast_to(stages, (*choice.shape[:-1], providers, 2))
    return np.where(both == OUT, workers, both)
