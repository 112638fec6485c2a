"""The exact optimum: min-cost flow where all weights are equal, CP-SAT otherwise (C5)."""

from __future__ import annotations

import numpy as np
from ortools.graph.python import min_cost_flow
from ortools.sat.python import cp_model

from distmllm_agents.mapping.knapsack import SCALE, whole_weights
from distmllm_agents.mapping.problem import OUT, Array, Mapping, MappingProblem
from distmllm_env.slot import TOLERANCE


def solve_exact(problem: MappingProblem) -> Mapping:
    """Solve to the optimum.

    Args:
        problem: Any mapping problem.

    Returns:
        The optimum; its value is exact to K * 5e-10, the rounding of utilities to integers.
    """
    useful = problem.useful
    if not useful.any():
        return Mapping(np.full(len(problem.weight), OUT), 0.0, "optimal")
    equal = (problem.weight == problem.weight[0]).all()
    solve = _flow if equal and problem.transfer_cost is None else _cp_sat
    choice = solve(problem, useful)
    return Mapping(choice, problem.value(choice), "optimal")


def _flow(problem: MappingProblem, useful: Array) -> Array:
    """Equal weights make a worker a number of places: a transportation problem."""
    items, workers = problem.utility.shape
    pools = problem.capacity.shape[0]
    room = problem.capacity + TOLERANCE / 2
    places = np.floor(room / problem.weight[0]).astype(int).ravel()
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
    flow.add_arcs_with_capacity_and_unit_cost(
        everyone, np.full(items, sink), np.ones(items, int), np.zeros(items, int)
    )  # stay out
    every_bin = np.arange(places.size)
    flow.add_arcs_with_capacity_and_unit_cost(
        source_of_bin + every_bin, np.full(places.size, sink), places, np.zeros(places.size, int)
    )
    flow.set_nodes_supplies(everyone, np.ones(items, int))
    flow.set_node_supply(sink, -items)
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"min-cost flow ended with status {status}.")
    chosen = flow.flows(pairs) > 0
    choice = np.full(items, OUT)
    choice[k[chosen]] = n[chosen]
    return choice


def _cp_sat(problem: MappingProblem, useful: Array) -> Array:
    items, workers = problem.utility.shape
    weight, capacity = whole_weights(problem.weight, problem.capacity)
    model = cp_model.CpModel()
    x = {(k, n): model.new_bool_var("") for k, n in np.argwhere(useful).tolist()}
    objective = [round(problem.utility[k, n] * SCALE) * var for (k, n), var in x.items()]
    for k in range(items):
        model.add_at_most_one(x[k, n] for n in range(workers) if (k, n) in x)
    for p in range(capacity.shape[0]):
        for n in range(workers):
            inside = [k for k in range(items) if problem.pool[k] == p and (k, n) in x]
            if sum(int(weight[k]) for k in inside) > capacity[p, n]:
                load = sum(int(weight[k]) * x[k, n] for k in inside)
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
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # parallel search is not deterministic
    solver.parameters.random_seed = 0
    solver.parameters.linearization_level = 2
    # Presolve costs more than these solves, but for the structure of the transfer cost.
    solver.parameters.cp_model_presolve = problem.transfer_cost is not None
    status = solver.solve(model)
    if status != cp_model.OPTIMAL:
        raise RuntimeError(f"CP-SAT ended with status {solver.status_name(status)}.")
    choice = np.full(items, OUT)
    for (k, n), var in x.items():
        if solver.boolean_value(var):
            choice[k] = n
    return choice
