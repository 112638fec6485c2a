"""Times the mapping solvers side by side: same instances, same process, balanced order."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ortools.sat.python import cp_model

from distmllm_agents.mapping import solve_branch_and_bound, solve_exact, solve_sequential
from distmllm_agents.mapping.problem import OUT, Mapping, MappingProblem, disaggregated
from distmllm_bench.progress import Progress
from distmllm_env import Scenario, draw_world
from distmllm_env.policy import make_problem

KINDS = ("paper", "uniform")
DEMANDS = ("unequal", "equal")
CHANGE = 0.01
"""Standard deviation of what utilities change by between a solve and its re-solve."""

LIMIT = 2.0
"""Deterministic seconds that CP-SAT may take per solve."""

NODE_LIMIT = 2000
REPEAT_BELOW_MS = 20.0
REPEATS = 3
PLAIN_SCALE = 1e6
UNIFORM_LOAD = 0.9


@dataclass(frozen=True)
class Size:
    """Providers and workers of an instance, and how many instances to time."""

    providers: int
    workers: int
    instances: int

    def __str__(self) -> str:
        return f"{self.providers}x{self.workers}"


SIZES = (
    Size(5, 5, 20),
    Size(10, 5, 20),
    Size(10, 30, 10),
    Size(50, 10, 5),
    Size(100, 20, 3),
    Size(400, 40, 2),
)
QUICK = tuple(replace(size, instances=5) for size in SIZES[:3])


@dataclass(frozen=True)
class Instance:
    """A problem to time, and the solution of the problem it was a moment ago."""

    problem: MappingProblem
    previous: Mapping


@dataclass(frozen=True)
class Row:
    """One solve. Where the method was left out, ``status`` says so and there are no numbers.

    Attributes:
        ratio: Time of plain CP-SAT on the same instance over the time of this solve.
        gap_pct: How far the value is below the best bound of all methods, in percent of that bound.
    """

    kind: str
    demands: str
    providers: int
    workers: int
    instance: int
    method: str
    status: str
    ms: float | None = None
    ratio: float | None = None
    value: float | None = None
    bound: float | None = None
    gap_pct: float | None = None


def plain_cp_sat(problem: MappingProblem, limit: float = LIMIT) -> Mapping:
    """Solve as one would without a second thought: the model built anew, default parameters.

    Args:
        problem: One capacity pool, whole weights, items may stay out, no transfer cost.
        limit: Deterministic seconds.
    """
    items, workers = problem.utility.shape
    model = cp_model.CpModel()
    x = {
        (k, n): model.new_bool_var("")
        for k in range(items)
        for n in range(workers)
        if problem.allowed[k, n]
    }
    for k in range(items):
        model.add(sum(x[k, n] for n in range(workers) if (k, n) in x) <= 1)
    for n in range(workers):
        load = sum(int(problem.weights[k, n]) * x[k, n] for k in range(items) if (k, n) in x)
        model.add(load <= int(problem.capacity[0, n]))
    profit = (round(float(problem.utility[k, n]) * PLAIN_SCALE) * v for (k, n), v in x.items())
    model.maximize(sum(profit))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = limit
    status = solver.solve(model)
    choice = np.full(items, OUT)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        for (k, n), var in x.items():
            if solver.boolean_value(var):
                choice[k] = n
    value = problem.value(choice)
    if status == cp_model.OPTIMAL:
        return Mapping(choice, value, value, "optimal", solver.num_branches)
    rounding = items * 0.5 / PLAIN_SCALE
    bound = solver.best_objective_bound / PLAIN_SCALE + rounding
    return Mapping(choice, value, max(bound, value), "feasible", solver.num_branches)


@dataclass(frozen=True)
class Method:
    """A way to solve an instance.

    Attributes:
        pairs: Largest number of items x workers for which to try it; None for all.
    """

    name: str
    solve: Callable[[MappingProblem, Mapping], Mapping]
    pairs: int | None = None


def methods(limit: float = LIMIT, node_limit: int = NODE_LIMIT) -> tuple[Method, ...]:
    """Return all methods under the given limits; each gets a problem and the earlier solution."""
    return (
        Method("sequential", lambda p, _: solve_sequential(p)),
        Method("sequential + refill", lambda p, _: solve_sequential(p, refill=True)),
        Method(
            "branch-and-bound",
            lambda p, _: solve_branch_and_bound(p, node_limit=node_limit),
            pairs=600,
        ),
        Method("CP-SAT plain", lambda p, _: plain_cp_sat(p, limit)),
        Method("exact", lambda p, _: solve_exact(p, limit=limit)),
        Method("exact, re-solve", lambda p, earlier: solve_exact(p, earlier, limit=limit)),
    )


NEVER_PROVE = ("sequential", "sequential + refill")
HEURISTIC = ("sequential", "sequential + refill", "branch-and-bound")
"""Methods whose gap is worth a picture: those made to stop before the optimum."""


def instances(
    kind: str, demands: str, size: Size, seed: int, limit: float = LIMIT
) -> Iterator[Instance]:
    """Draw the instances of one cell, each with the solution from before its utilities changed.

    Args:
        kind: ``paper``: means of worlds of the scenario ``paper``, with these numbers of providers
            and workers. ``uniform``: utilities uniform on [0, 1], weights 1..5, room for 1 / 0.9 of
            all of them, in all and spread evenly, but on each worker for the heaviest task.
        demands: ``unequal``, or ``equal``: all are 1.
        size: Providers, two items each; workers; how many instances.
        seed: Fixes them all.
        limit: Deterministic seconds for the earlier solution.
    """
    draw = {"paper": _paper, "uniform": _uniform}[kind]
    for i in range(size.instances):
        earlier = draw(demands, size, seed + i)
        rng = np.random.default_rng([seed + i, size.providers, size.workers, 1])
        change = rng.normal(0.0, CHANGE, earlier.utility.shape)
        problem = replace(earlier, utility=earlier.utility + change)
        yield Instance(problem, solve_exact(earlier, limit=limit))


def _paper(demands: str, size: Size, seed: int) -> MappingProblem:
    change = {"demand": {"kind": "integers", "low": 1, "high": 1}} if demands == "equal" else {}
    scenario = Scenario.load(
        "paper", change, providers=size.providers, workers=size.workers, slots=1
    )
    world = draw_world(scenario, [seed])
    return disaggregated(make_problem(world), world.mean_profit[0, ..., :-1], 0)


def _uniform(demands: str, size: Size, seed: int) -> MappingProblem:
    items, workers = 2 * size.providers, size.workers
    rng = np.random.default_rng([seed, items, workers, 0])
    weight = rng.integers(1, 5, items, endpoint=True) if demands == "unequal" else np.ones(items)
    each, rest = divmod(round(float(weight.sum()) / UNIFORM_LOAD), workers)
    capacity = each + (rng.permutation(workers) < rest)
    return MappingProblem(
        utility=rng.random((items, workers)),
        weight=weight.astype(float),
        capacity=np.maximum(capacity, weight.max())[None].astype(float),
        pool=np.zeros(items, int),
        allowed=np.ones((items, workers), bool),
    )


def measure(
    sizes: Sequence[Size],
    seed: int = 0,
    limit: float = LIMIT,
    node_limit: int = NODE_LIMIT,
    kinds: Sequence[str] = KINDS,
    demands: Sequence[str] = DEMANDS,
) -> list[Row]:
    """Time all methods on all instances.

    Returns:
        One row per kind, demands, size, instance and method.

    Raises:
        RuntimeError: A solver broke a capacity, or two proven optima differ.
    """
    solvers = methods(limit, node_limit)
    total = len(kinds) * len(demands) * sum(size.instances for size in sizes)
    rows = []
    _warm_up(solvers)
    with Progress(total, "instance") as progress:
        for kind in kinds:
            for which in demands:
                for size in sizes:
                    progress.begin(f"{kind}, {which} demands, {size}")
                    for i, instance in enumerate(instances(kind, which, size, seed, limit)):
                        rows += _time(instance, solvers, (kind, which, size, i))
                        progress.step()
    return rows


def _warm_up(solvers: Sequence[Method]) -> None:
    """Load and compile all there is, outside of what is timed."""
    for demands in DEMANDS:
        for instance in instances("paper", demands, Size(3, 3, 1), 0):
            for method in solvers:
                method.solve(instance.problem, instance.previous)


def _balanced(solvers: Sequence[Method], turn: int) -> list[Method]:
    """Order number ``turn``; over len(solvers) turns, if even, each follows each other one once.

    What ran before decides what lies in the caches, which short solves feel: a mere rotation would
    let one method run after the same slow one nearly always.
    """
    n = len(solvers)
    zigzag = [(step + 1) // 2 * (1 if step % 2 else -1) for step in range(n)]  # 0, 1, -1, 2, -2
    return [solvers[(turn + offset) % n] for offset in zigzag]


def _timed(method: Method, instance: Instance) -> tuple[float, Mapping]:
    """Solve; in milliseconds, the median of three solves where one is over in no time."""
    took: list[float] = []
    while True:
        problem = replace(instance.problem)  # a fresh one: nothing computed earlier is there
        gc.disable()
        start = time.perf_counter()
        mapping = method.solve(problem, instance.previous)
        took.append(1e3 * (time.perf_counter() - start))
        gc.enable()
        if len(took) == REPEATS or took[0] > REPEAT_BELOW_MS:
            return statistics.median(took), mapping


def _time(
    instance: Instance, solvers: Sequence[Method], cell: tuple[str, str, Size, int]
) -> list[Row]:
    kind, demands, size, index = cell
    solved: dict[str, tuple[float, Mapping]] = {}
    gc.collect()
    for method in _balanced(solvers, index):
        if method.pairs is not None and instance.problem.utility.size > method.pairs:
            continue
        ms, mapping = _timed(method, instance)
        try:
            instance.problem.check(mapping.choice)
        except ValueError as error:
            raise RuntimeError(f"{method.name} on {kind} {size}: {error}") from error
        solved[method.name] = (ms, mapping)
    optima = [m.value for _, m in solved.values() if m.status == "optimal"]
    if optima and max(optima) - min(optima) > len(instance.problem.utility) / PLAIN_SCALE:
        raise RuntimeError(
            f"optima differ on {kind}, {demands}, {size}, instance {index}: {optima}"
        )
    # Values that are proven count as found; a bound may lie below them by its rounding.
    best = max(min(m.bound for _, m in solved.values()), max(m.value for _, m in solved.values()))
    plain = solved["CP-SAT plain"][0]
    rows = []
    for method in solvers:
        where = (kind, demands, size.providers, size.workers, index, method.name)
        if method.name not in solved:
            rows.append(Row(*where, "left out"))
            continue
        ms, mapping = solved[method.name]
        gap = 100.0 * (best - mapping.value) / best if best > 0 else 0.0
        value, bound = float(mapping.value), float(mapping.bound)
        rows.append(Row(*where, mapping.status, ms, plain / ms, value, bound, float(gap)))
    return rows
