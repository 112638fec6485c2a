"""The exact 0/1 knapsack inside Algorithm 2 (line 12)."""

from __future__ import annotations

import math

import numpy as np
from ortools.algorithms.python import knapsack_solver

from distmllm_agents.mapping.problem import Array
from distmllm_env.layout import TOLERANCE

SCALE = 1e9
"""Utilities become integers at this resolution: an error of at most 5e-10 per item (C9)."""

DP_CELLS = 200_000


def knapsack(profit: Array, weight: Array, capacity: float) -> Array:
    """Choose items of the largest total profit within ``capacity``.

    Dynamic programming where all weights are whole numbers, OR-Tools' branch and bound otherwise
    (C4); both are exact.

    Args:
        profit: (K,), at least 0.
        weight: (K,), above 0.
        capacity: At least 0.

    Returns:
        bool (K,), the chosen items.
    """
    if profit.size == 0:
        return np.zeros(0, bool)
    if profit.min() < 0:  # OR-Tools would end the process
        raise ValueError(f"profit {profit.min()} is not allowed: at least 0.")
    cap = int(capacity + TOLERANCE)
    if (weight == np.floor(weight)).all() and profit.size * (cap + 1) <= DP_CELLS:
        return _dynamic_program(profit.tolist(), weight.astype(int).tolist(), cap)
    return _branch_and_bound(profit, weight, capacity)


def _dynamic_program(profit: list[float], weight: list[int], capacity: int) -> Array:
    # best[k][c]: most profit from items k.. within c. Reading it back from item 0 prefers to keep
    # an early item on a tie, so ties go to the lowest index (C7).
    best = [[0.0] * (capacity + 1)]
    for p, w in zip(reversed(profit), reversed(weight), strict=True):
        after = best[-1]
        best.append([max(v, after[c - w] + p) if c >= w else v for c, v in enumerate(after)])
    best.reverse()
    taken = np.zeros(len(profit), bool)
    room = capacity
    for k, w in enumerate(weight):
        if w <= room and best[k + 1][room - w] + profit[k] >= best[k + 1][room]:
            taken[k] = True
            room -= w
    return taken


def _branch_and_bound(profit: Array, weight: Array, capacity: float) -> Array:
    solver = knapsack_solver.KnapsackSolver(
        knapsack_solver.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER, "worker"
    )
    weights, room = whole_weights(weight, np.array([capacity]))
    solver.init(np.rint(profit * SCALE).astype(int).tolist(), [weights.tolist()], room.tolist())
    solver.solve()
    return np.array([solver.best_solution_contains(k) for k in range(profit.size)])


def whole_weights(weight: Array, capacity: Array) -> tuple[Array, Array]:
    """Turn weights and capacities into integers that admit the same loads as a slot does.

    Whole numbers stay as they are. Others count units of 2^-40, weights rounded up, capacities
    after adding half of the slot's tolerance: about 550 units, so that up to as many items that
    fill a worker exactly (three thirds) still fit, and whatever fits the integers passes the slot.
    Numbers above 2^20 take a coarser unit, so that sums stay within 64 bits.
    """
    if (weight == np.floor(weight)).all():
        return weight.astype(np.int64), np.floor(capacity + TOLERANCE).astype(np.int64)
    _, magnitude = math.frexp(max(weight.sum(), capacity.max()))
    bits = min(40, 61 - magnitude)
    heavy = np.ceil(np.ldexp(weight, bits)).astype(np.int64)
    return heavy, np.floor(np.ldexp(capacity + TOLERANCE / 2, bits)).astype(np.int64)
