"""Proportional fairness, equation (5).

A mapping x* with r_m(x*) > 0 for every provider m is proportionally fair if, for every feasible x,

    sum_m (r_m(x) - r_m(x*)) / r_m(x*) <= 0,        r_m = profit of provider m over both its stages.

**Such an x* maximises sum_m log r_m.** By (5) the M ratios r_m(x) / r_m(x*) have a mean of at most
1, so their geometric mean is at most 1 too: prod_m r_m(x) <= prod_m r_m(x*), if all r_m(x) > 0.
It is equal only if every ratio is 1: all maximisers have the same profits and satisfy (5).

**The converse fails, and there may be no such x*,** as mappings are not a convex set. Let two
providers earn 2 on worker 0 and 1 on worker 1, each with room for one. Profits can be (2, 1) or
(1, 2); seen from either, the other gives (1 - 2) / 2 + (2 - 1) / 1 = 1/2 > 0. Both maximise the
sum of logarithms, neither satisfies (5).

So :func:`solve_fair` returns the only candidate and :func:`fairness_violation` says whether (5)
holds for it. Both enumerate what a provider can do, at most (N + 1)^2 pairs of workers, as columns
of an integer program that takes one column per provider. A column knows its profit, so neither the
logarithm nor the transfer cost needs an approximation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
from ortools.sat.python import cp_model

from distmllm_agents.mapping.knapsack import SCALE, whole_weights
from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem, no_solution


def solve_fair(problem: MappingProblem, providers: int) -> Mapping:
    """Maximise the sum of log r_m over the mappings in which every provider earns more than 0.

    Args:
        problem: Item k belongs to provider ``k % providers``: 2M items, or M monolithic ones.
        providers: M.

    Returns:
        ``value`` and ``bound`` are sums of natural logarithms, exact to M * 1e-9 (the rounding of
        logarithms to integers). ``infeasible`` if no mapping gives every provider more than 0.

    Raises:
        ValueError: ``problem`` has neither M nor 2M items, or a transfer cost without two stages.
    """
    start = time.perf_counter()
    items = _items(problem, providers)
    columns, room = _columns(problem, items, above=0)
    choice, nodes = _best(columns, [np.log(column.profit) for column in columns], room)
    if choice is None:
        return no_solution(problem, nodes)
    value = float(np.log(_profit(problem, items, choice.reshape(items.shape))).sum())
    return Mapping(choice, value, value, "optimal", nodes, time.perf_counter() - start)


def fairness_violation(problem: MappingProblem, choice: Array, providers: int) -> float:
    """Return the largest left side of (5) over every feasible alternative to ``choice``.

    At least 0, as ``choice`` is its own alternative; 0 up to rounding (1e-8) if it is fair. The
    left side is linear in r_m(x), so this takes one more integer program and no enumeration.

    Args:
        problem: As in :func:`solve_fair`.
        choice: x*, int (K,), :data:`OUT` for items left out.
        providers: M.

    Returns:
        The left side, exact to M * 1e-9, or to 1e-18 of the ratios where these exceed 1e9.

    Raises:
        ValueError: As :func:`solve_fair`; or ``choice`` is not feasible, or not above 0 for all.
    """
    items = _items(problem, providers)
    if choice.shape != (items.size,):
        raise ValueError(f"choice has shape {choice.shape}: ({items.size},) is allowed.")
    if choice.min() < OUT or choice.max() >= problem.utility.shape[1]:
        raise ValueError(f"choice {choice} names a worker that does not exist.")
    problem.check(choice)
    earned = _profit(problem, items, choice.reshape(items.shape))
    if (earned <= 0).any():
        raise ValueError(f"providers earn {earned}: (5) needs more than 0 for each.")
    columns, room = _columns(problem, items, above=-np.inf)
    scores = [column.profit / r for column, r in zip(columns, earned, strict=True)]
    other, _ = _best(columns, scores, room)
    if other is None:
        return 0.0  # nothing fits but for the slot's tolerance, of which the program takes half
    gain = _profit(problem, items, other.reshape(items.shape)) - earned
    return max(0.0, float((gain / earned).sum()))


@dataclass(frozen=True, eq=False)
class _Columns:
    """What one provider can do: choice (S, C), profit (C,), load (C, P * N)."""

    choice: Array
    profit: Array
    load: Array


def _items(problem: MappingProblem, providers: int) -> Array:
    """Items of every provider, (S, M)."""
    items = len(problem.utility)
    if items not in (providers, 2 * providers):
        raise ValueError(f"{items} items, {providers} providers: one or two items each is allowed.")
    if items == providers and problem.transfer_cost is not None:
        raise ValueError("transfer_cost is given: it is allowed with two items per provider only.")
    return np.arange(items).reshape(-1, providers)


def _profit(problem: MappingProblem, items: Array, choice: Array) -> Array:
    """Profit over the stages, the leading axis of ``items`` and ``choice``."""
    gain = np.pad(problem.utility, ((0, 0), (0, 1)))  # OUT = -1 is the last column
    profit = gain[items, choice].sum(axis=0)
    if problem.transfer_cost is not None:
        (enc, llm), m = choice, items[0]
        profit -= problem.transfer_cost[m] * ((enc != OUT) & (llm != OUT) & (enc != llm))
    return profit


def _columns(problem: MappingProblem, items: Array, above: float) -> tuple[list[_Columns], Array]:
    """Return what earns more than ``above``, fits alone and is not dominated; and room (P * N,)."""
    # A pair of utility 0 or less is not useful: leaving the item out earns as much or more.
    weight, capacity = whole_weights(np.where(problem.useful, problem.weights, 0), problem.capacity)
    weight, room = np.pad(weight, ((0, 0), (0, 1))), capacity.ravel()
    out = [] if problem.exactly_one else [OUT]
    columns = []
    for mine in items.T:
        options = [out + np.flatnonzero(problem.useful[k]).tolist() for k in mine]
        choice = np.array(list(product(*options)), dtype=int).reshape(-1, len(mine)).T
        profit = _profit(problem, mine[:, None], choice)
        held = np.zeros((profit.size, len(capacity), weight.shape[1]), dtype=np.int64)
        for k, at in zip(mine, choice, strict=True):
            held[np.arange(at.size), problem.pool[k], at] += weight[k, at]
        load = held[:, :, :-1].reshape(profit.size, room.size)
        kept: list[int] = []
        for c in np.lexsort((load.sum(axis=1), -profit)):  # best first, of equals the lightest
            fits = profit[c] > above and (load[c] <= room).all()
            if fits and not (load[kept] <= load[c]).all(axis=1).any():
                kept.append(c)
        columns.append(_Columns(choice[:, kept], profit[kept], load[kept]))
    return columns, room


def _best(columns: list[_Columns], scores: list[Array], room: Array) -> tuple[Array | None, int]:
    """Choice (K,) with one column per provider, of the largest total score; and the branches."""
    # Keeps the objective within 64 bits.
    scale = min(SCALE, 2.0**60 / sum(1 + np.abs(score).max(initial=0) for score in scores))
    model = cp_model.CpModel()
    taken = [[model.new_bool_var("") for _ in score] for score in scores]
    for mine in taken:
        model.add_exactly_one(mine)
    flat = [var for mine in taken for var in mine]
    load = np.concatenate([column.load for column in columns])
    for row, most in zip(load.T.tolist(), room.tolist(), strict=True):
        model.add(cp_model.LinearExpr.weighted_sum(flat, row) <= most)
    gain = np.rint(np.concatenate(scores) * scale).astype(np.int64)
    model.maximize(cp_model.LinearExpr.weighted_sum(flat, gain.tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # parallel search is not deterministic
    solver.parameters.random_seed = 0
    if (status := solver.solve(model)) == cp_model.INFEASIBLE:
        return None, solver.num_branches
    if status != cp_model.OPTIMAL:
        raise RuntimeError(f"CP-SAT ended with status {solver.status_name(status)}.")
    chosen = [[solver.boolean_value(var) for var in mine].index(True) for mine in taken]
    best = [column.choice[:, [c]] for column, c in zip(columns, chosen, strict=True)]
    return np.hstack(best).ravel(), solver.num_branches
