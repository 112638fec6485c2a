"""Algorithm 2 of the paper: one residual knapsack per worker, in the order of the workers."""

from __future__ import annotations

import numpy as np

from distmllm_agents.mapping.knapsack import knapsack
from distmllm_agents.mapping.problem import OUT, Mapping, MappingProblem


def solve_sequential(problem: MappingProblem) -> Mapping:
    """Map items as Algorithm 2 prints it.

    Worker by worker, each item offers what it would gain by moving there from where it is; an exact
    knapsack picks the items that move. With exact knapsacks this is the residual heuristic for the
    generalized assignment problem and reaches at least half of the optimum, not always more: what a
    worker loses to a later one is never refilled (C6). A residual of 0 or less never moves (C3).
    Transfer cost plays no part in it; the paper's objective has none.

    Args:
        problem: Any mapping problem.

    Returns:
        A feasible mapping.
    """
    items, workers = problem.utility.shape
    choice = np.full(items, OUT)
    held = np.zeros(items)  # u of the worker that holds the item, 0 if none (lines 4 to 10)
    for n in range(workers):  # line 2
        residual = problem.utility[:, n] - held
        for p in range(problem.capacity.shape[0]):
            offer = np.flatnonzero(problem.useful[:, n] & (residual > 0) & (problem.pool == p))
            accepted = offer[
                knapsack(residual[offer], problem.weight[offer], problem.capacity[p, n])
            ]  # line 12
            choice[accepted] = n  # lines 13 to 17
            held[accepted] = problem.utility[accepted, n]
    return Mapping(choice, problem.value(choice), "feasible")
