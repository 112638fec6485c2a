"""The exact optimum: min-cost flow, the compiled search or CP-SAT, whichever fits (C5)."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from ortools.graph.python import min_cost_flow
from ortools.sat.python import cp_model

from distmllm_agents.mapping.knapsack import SCALE, whole_weights
from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem, no_solution
from distmllm_agents.mapping.search import solve_search, worth_trying
from distmllm_env.layout import TOLERANCE


def solve_exact(
    problem: MappingProblem, previous: Mapping | None = None, *, limit: float | None = None
) -> Mapping:
    """Solve to the optimum.

    Equal weights and no transfer cost: min-cost flow. Whole weights, at most one worker per item,
    no transfer cost: :func:`~.search.solve_search`. All else, and what that gives up on: CP-SAT.

    Args:
        problem: Any mapping problem.
        previous: Solution of a similar problem, to start from; it changes the time, not the value.
        limit: Deterministic seconds for CP-SAT, which repeat where seconds on the clock do not.

    Returns:
        The optimum; its value is exact to K * 5e-10, the rounding of utilities to integers, or to
        1e-9 of itself, the margin by which the search asks for something better. Status
        ``infeasible`` if every item must be in and that cannot be; ``feasible`` with a valid bound
        if the limit came first, and ``unknown`` if it came before any solution.
    """
    start = time.perf_counter()
    mapping = _solve(problem, previous, limit)
    return replace(mapping, seconds=time.perf_counter() - start)


def _solve(problem: MappingProblem, previous: Mapping | None, limit: float | None) -> Mapping:
    useful = problem.useful
    if not useful.any(axis=1).all() and problem.exactly_one:
        return no_solution(problem)
    if not useful.any():
        return Mapping(np.full(len(problem.utility), OUT), 0.0, 0.0, "optimal")
    equal = (problem.weight == problem.weight.flat[0]).all()
    if equal and problem.transfer_cost is None:
        return _flow(problem, useful)
    found = solve_search(problem, previous)
    if found is not None and found.status == "optimal":
        return found
    if found is None:
        return _cp_sat(problem, useful, limit=limit)
    exact = _cp_sat(problem, useful & worth_trying(problem, found), found.choice, limit)
    if exact.value < found.value:  # the limit came first, or they differ by rounding alone
        bound = found.value if exact.status == "optimal" else found.bound
        exact = replace(found, bound=bound, status=exact.status, nodes=exact.nodes)
    return replace(exact, multipliers=found.multipliers)


def _flow(problem: MappingProblem, useful: Array) -> Mapping:
    """Equal weights make a worker a number of places: a transportation problem."""
    items, workers = problem.utility.shape
    pools = problem.capacity.shape[0]
    room = problem.capacity + TOLERANCE / 2
    places = np.floor(room / problem.weight.flat[0]).astype(int).ravel()
    k, n = np.nonzero(useful)
    bins = problem.pool[k] * workers + n
    source_of_bin, sink = items, items + pools * workers
    flow = min_cost_flow.SimpleMinCostFlow()
    pairs = flow.add_arcs_with_capacity_and_unit_cost(
        k,
        source_of_bin + bins,
        np.ones_like(k),
        -np.rint(problem.utility[k, n] * SCALE).astype(int),
    )
    everyone = np.arange(items)
    if not problem.exactly_one:  # stay out
        flow.add_arcs_with_capacity_and_unit_cost(
            everyone, np.full(items, sink), np.ones(items, int), np.zeros(items, int)
        )
    every_bin = np.arange(places.size)
    flow.add_arcs_with_capacity_and_unit_cost(
        source_of_bin + every_bin, np.full(places.size, sink), places, np.zeros(places.size, int)
    )
    flow.set_nodes_supplies(everyone, np.ones(items, int))
    flow.set_node_supply(sink, -items)
    status = flow.solve()
    if status == flow.INFEASIBLE:
        return no_solution(problem)
    if status != flow.OPTIMAL:
        raise RuntimeError(f"min-cost flow ended with status {status}.")
    chosen = flow.flows(pairs) > 0
    choice = np.full(items, OUT)
    choice[k[chosen]] = n[chosen]
    value = problem.value(choice)
    return Mapping(choice, value, value, "optimal")


def _cp_sat(
    problem: MappingProblem,
    useful: Array,
    hint: Array | None = None,
    limit: float | None = None,
) -> Mapping:
    items, workers = problem.utility.shape
    weight, capacity = whole_weights(problem.weights, problem.capacity)
    model = cp_model.CpModel()
    x = {(k, n): model.new_bool_var("") for k, n in np.argwhere(useful).tolist()}
    objective = [round(float(problem.utility[k, n]) * SCALE) * var for (k, n), var in x.items()]
    for k in range(items):
        options = [x[k, n] for n in range(workers) if (k, n) in x]
        (model.add_exactly_one if problem.exactly_one else model.add_at_most_one)(options)
    for p in range(capacity.shape[0]):
        for n in range(workers):
            inside = [k for k in range(items) if problem.pool[k] == p and (k, n) in x]
            if sum(int(weight[k, n]) for k in inside) > capacity[p, n]:
                load = sum(int(weight[k, n]) * x[k, n] for k in inside)
                model.add(load <= int(capacity[p, n]))
    if problem.transfer_cost is not None:
        # The charge is due if both stages are in (``both``), and returned if they are on one worker
        # (``here``). Its linear relaxation is tight enough to prove optima in under a second where
        # "ENC here and LLM elsewhere" per worker took minutes.
        half = items // 2
        for m, cost in enumerate(problem.transfer_cost):
            charge = round(float(cost) * SCALE)
            placed = [var for (k, _), var in x.items() if k in (m, half + m)]
            both = model.new_bool_var("")
            model.add(both >= sum(placed) - 1)
            objective.append(-charge * both)
            for n in range(workers):
                if (m, n) in x and (half + m, n) in x:
                    here = model.new_bool_var("")
                    model.add_implication(here, x[m, n])
                    model.add_implication(here, x[half + m, n])
                    objective.append(charge * here)
    model.maximize(sum(objective))
    if hint is not None:
        for (k, n), var in x.items():
            model.add_hint(var, bool(hint[k] == n))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # parallel search is not deterministic
    solver.parameters.random_seed = 0
    solver.parameters.linearization_level = 2
    # Presolve costs more than these solves, but for the structure of the transfer cost.
    structured = problem.transfer_cost is not None or problem.exactly_one
    solver.parameters.cp_model_presolve = structured
    if limit is not None:
        solver.parameters.max_deterministic_time = limit
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return no_solution(problem, solver.num_branches)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.UNKNOWN):
        raise RuntimeError(f"CP-SAT ended with status {solver.status_name(status)}.")
    bound = solver.best_objective_bound / SCALE
    if status == cp_model.UNKNOWN:
        empty = np.full(items, OUT)
        if problem.exactly_one:
            return Mapping(empty, -np.inf, bound, "unknown", solver.num_branches)
        return Mapping(empty, 0.0, bound, "feasible", solver.num_branches)
    choice = np.full(items, OUT)
    for (k, n), var in x.items():
        if solver.boolean_value(var):
            choice[k] = n
    value = problem.value(choice)
    if status == cp_model.FEASIBLE:
        return Mapping(choice, value, max(bound, value), "feasible", solver.num_branches)
    return Mapping(choice, value, value, "optimal", solver.num_branches)
