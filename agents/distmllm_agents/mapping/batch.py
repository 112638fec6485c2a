"""Mapping problems of many runs at once: utilities (B, S, M, N) in, allocations (B, M, S) out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distmllm_agents.mapping.exact import solve_exact
from distmllm_agents.mapping.problem import (
    Array,
    Mapping,
    Solver,
    disaggregated,
    to_allocation,
)
from distmllm_env.policy import Problem


def solve_batch(
    problem: Problem,
    utility: Array,
    solver: Solver = solve_exact,
    previous: Sequence[Mapping] | None = None,
) -> tuple[Array, list[Mapping]]:
    """Map the tasks of every run.

    Args:
        problem: What the scheduler knows of B runs.
        utility: Estimated profits, (B, S, M, N).
        solver: One of :data:`~distmllm_agents.mapping.SOLVERS`.
        previous: The solutions of the last call, to start from.

    Returns:
        The allocation, int (B, M, S), and the solution of each run.

    Raises:
        ValueError: The utilities have another shape, or one is not finite.
    """
    m, n = problem.providers, problem.workers
    shape = (problem.batch, 2, m, n)
    if utility.shape != shape:
        raise ValueError(f"utility has shape {utility.shape}: {shape} is allowed.")
    before: Sequence[Mapping | None] = previous or [None] * problem.batch
    mappings = [
        solver(disaggregated(problem, utility[b], b), before[b]) for b in range(problem.batch)
    ]
    return np.stack([to_allocation(x.choice, m, n) for x in mappings]), mappings
