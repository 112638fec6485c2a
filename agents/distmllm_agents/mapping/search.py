"""An exact search made for re-solving: priced capacities, few choices left, labels for the rest.

The mapping is solved again and again with slightly changed utilities. The prices of capacity from
the last solve still bound the new optimum well, so nearly all pairs are ruled out at once, and what
is left is settled by dynamic programming over the room that partial mappings leave. The inner loops
are compiled by numba, the extra ``fast``; without it CP-SAT does this work, to the same value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem
from distmllm_env.compiled import compiled as loops
from distmllm_env.layout import TOLERANCE

LABEL_LIMIT = 60_000
"""Partial mappings per pass after which CP-SAT is the better tool. A count, so that runs repeat."""

COLD_STEPS, WARM_STEPS = 400, 100
"""Steps that prices are improved by, from nothing and from the last solve."""


def compiled() -> Any | None:
    """Return the loops of the search, or None where numba is not installed."""
    return loops("distmllm_agents.mapping._kernel")


def solve_search(problem: MappingProblem, previous: Mapping | None = None) -> Mapping | None:
    """Solve to the optimum, if this search fits the problem.

    Args:
        problem: At most one worker per item, whole weights, no transfer cost.
        previous: Solution of a similar problem; its prices and choice are where the search starts.

    Returns:
        The solution; with status ``feasible``, a valid bound and the best found if the label limit
        stopped it; None if the problem is of another form, or numba is not installed.
    """
    kernel = compiled()
    whole = (problem.weight == np.floor(problem.weight)).all()
    if kernel is None or problem.exactly_one or problem.transfer_cost is not None or not whole:
        return None
    items, workers = problem.utility.shape
    pools = len(problem.capacity)
    bins = pools * workers
    useful = problem.useful
    utility = np.full((items, pools, workers), -np.inf)
    utility[np.arange(items), problem.pool] = np.where(useful, problem.utility, -np.inf)
    weight = np.repeat(problem.weights.astype(np.int64)[:, None], pools, axis=1)
    capacity = np.floor(problem.capacity + TOLERANCE).astype(np.int64)
    # A capacity that is never reached needs no more bits than one that holds every item.
    capacity = np.minimum(capacity, problem.weights.sum(axis=0).astype(np.int64)).ravel()
    price, steps = np.zeros(bins), COLD_STEPS
    start = np.full(items, OUT)
    if previous is not None:
        start = _still_valid(problem, previous.choice, useful)
        if previous.multipliers is not None and previous.multipliers.size == bins:
            price, steps = previous.multipliers.ravel().copy(), WARM_STEPS
    flat = np.where(start == OUT, OUT, problem.pool * workers + start)
    proven, _, bound, found, made, price = kernel.search(
        utility.reshape(items, bins),
        np.ascontiguousarray(weight.reshape(items, bins)),
        capacity,
        price,
        flat,
        steps,
        LABEL_LIMIT,
    )
    choice = np.where(found == OUT, OUT, found % workers)
    value = problem.value(choice)
    return Mapping(
        choice,
        value,
        value if proven else bound,
        "optimal" if proven else "feasible",
        nodes=int(made),
        multipliers=price.reshape(pools, workers),
    )


def worth_trying(problem: MappingProblem, found: Mapping) -> Array:
    """Return the pairs that some mapping better than ``found`` may use, bool (K, N).

    Choosing a pair costs what it forgoes, at the prices of ``found``, against the item's best
    choice; one that forgoes more than lies between the bound of these prices and ``found`` cannot
    help.
    """
    assert found.multipliers is not None
    price = found.multipliers
    reduced = problem.utility - price[problem.pool] * problem.weights
    reduced = np.where(problem.useful, reduced, -np.inf)
    top = np.maximum(reduced.max(axis=1, initial=-np.inf), 0.0)
    bound = top.sum() + (price * np.floor(problem.capacity + TOLERANCE)).sum()
    slack = bound - found.value + 1e-9 * max(1.0, abs(bound))
    return top[:, None] - reduced <= slack


def _still_valid(problem: MappingProblem, choice: Array, useful: Array) -> Array:
    """Keep of an earlier choice what this problem allows, in the order of the items."""
    items, workers = problem.utility.shape
    if len(choice) != items or choice.max(initial=OUT) >= workers:
        return np.full(items, OUT)
    kept = np.where(useful[np.arange(len(choice)), choice], choice, OUT)
    room = (problem.capacity + TOLERANCE).tolist()
    for k, n in enumerate(kept.tolist()):
        if n != OUT:
            pool, weight = room[problem.pool[k]], problem.weights[k, n]
            if weight <= pool[n]:
                pool[n] -= weight
            else:
                kept[k] = OUT
    return kept
