"""Algorithm 2 of the paper: one residual knapsack per worker, worker by worker."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from distmllm_agents.mapping.knapsack import knapsack
from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem
from distmllm_env.errors import unknown_name
from distmllm_env.layout import TOLERANCE

ORDERS = ("index", "capacity", "reverse")


def solve_sequential(
    problem: MappingProblem,
    previous: Mapping | None = None,
    *,
    order: str | Sequence[int] = "index",
    refill: bool = False,
) -> Mapping:
    """Map items as Algorithm 2 prints it.

    Worker by worker, each item offers what it would gain by moving there from where it is; an exact
    knapsack picks the items that move. With exact knapsacks this is the residual heuristic for the
    generalized assignment problem and reaches at least half of the optimum, not always more: what a
    worker loses to a later one is never refilled (C6). A residual of 0 or less never moves (C3).
    Transfer cost plays no part in it; the paper's objective has none.

    Args:
        problem: Any mapping problem in which items may stay out.
        previous: Not used; it solves anew.
        order: Order of the workers (C2): ``index`` as printed, ``reverse``, ``capacity`` (largest
            first), or the workers one by one.
        refill: Afterwards place what is still out where there is room, best utility first (C6).

    Returns:
        A feasible mapping. Its bound is twice its value where the guarantee holds (no transfer
        cost), and never more than the sum of the items' best utilities.

    Raises:
        ValueError: Every item must be in, or the order is none.
    """
    if problem.exactly_one:
        raise ValueError("Algorithm 2 may leave items out: exactly_one = True is not allowed.")
    start = time.perf_counter()
    items, _ = problem.utility.shape
    choice = np.full(items, OUT)
    held = np.zeros(items)  # u of the worker that holds the item, 0 if none (lines 4 to 10)
    for n in worker_order(order, problem.capacity.sum(axis=0)).tolist():  # line 2
        residual = problem.utility[:, n] - held
        for p in range(problem.capacity.shape[0]):
            offer = np.flatnonzero(problem.useful[:, n] & (residual > 0) & (problem.pool == p))
            accepted = offer[
                knapsack(residual[offer], problem.weights[offer, n], problem.capacity[p, n])
            ]  # line 12
            choice[accepted] = n  # lines 13 to 17
            held[accepted] = problem.utility[accepted, n]
    if refill:
        _refill(problem, choice)
    value = problem.value(choice)
    best = np.where(problem.useful, problem.utility, 0.0).max(axis=1, initial=0.0).sum()
    bound = best if problem.transfer_cost is not None else min(2.0 * value, best)
    return Mapping(
        choice, value, max(bound, value), "feasible", seconds=time.perf_counter() - start
    )


def worker_order(order: str | Sequence[int], capacity: Array) -> Array:
    """Return the workers in their order (C2), int (..., N), for capacities (..., N)."""
    workers = capacity.shape[-1]
    if not isinstance(order, str):
        if sorted(order) != list(range(workers)):
            raise ValueError(
                f"order = {order!r} is not allowed: every worker 0..{workers - 1} once."
            )
        return np.broadcast_to(np.array(order), capacity.shape)
    if order not in ORDERS:
        raise unknown_name("order", order, ORDERS)
    if order == "capacity":
        return np.argsort(-capacity, axis=-1, kind="stable")
    line = np.arange(workers)[:: -1 if order == "reverse" else 1]
    return np.broadcast_to(line, capacity.shape)


def _refill(problem: MappingProblem, choice: Array) -> None:
    room = problem.capacity + TOLERANCE
    for k in np.flatnonzero(choice != OUT):
        room[problem.pool[k], choice[k]] -= problem.weights[k, choice[k]]
    for flat in np.argsort(-problem.utility, axis=None, kind="stable"):
        k, n = np.unravel_index(flat, problem.utility.shape)
        pool = problem.pool[k]
        if choice[k] == OUT and problem.useful[k, n] and problem.weights[k, n] <= room[pool, n]:
            choice[k] = n
            room[pool, n] -= problem.weights[k, n]
