"""How fast the mapping solvers are, side by side: same instances, same process, balanced order."""

from __future__ import annotations

import csv
import gc
import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ortools.sat.python import cp_model

from distmllm_agents.mapping import solve_branch_and_bound, solve_exact, solve_sequential
from distmllm_agents.mapping.problem import OUT, Mapping, MappingProblem, disaggregated
from distmllm_agents.mapping.search import compiled
from distmllm_bench import style
from distmllm_bench.files import write_atomic
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
_REPEAT_BELOW_MS = 20.0
_REPEATS = 3
_PLAIN_SCALE = 1e6
_UNIFORM_LOAD = 0.9


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
    profit = (round(float(problem.utility[k, n]) * _PLAIN_SCALE) * v for (k, n), v in x.items())
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
    rounding = items * 0.5 / _PLAIN_SCALE
    bound = solver.best_objective_bound / _PLAIN_SCALE + rounding
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


_NEVER_PROVE = ("sequential", "sequential + refill")
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
    each, rest = divmod(round(float(weight.sum()) / _UNIFORM_LOAD), workers)
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
        if len(took) == _REPEATS or took[0] > _REPEAT_BELOW_MS:
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
    if optima and max(optima) - min(optima) > len(instance.problem.utility) / _PLAIN_SCALE:
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


@dataclass(frozen=True)
class Cell:
    """What the instances of one kind, demands, size and method come to.

    Attributes:
        ms: Lower quartile, median and upper quartile of the times.
        ratio: The same of the ratios to plain CP-SAT, instance by instance.
        gap_pct: Mean gap.
        status: Share of the instances by status.
    """

    kind: str
    demands: str
    size: str
    method: str
    instances: int
    ms: tuple[float, float, float]
    ratio: tuple[float, float, float]
    gap_pct: float
    status: dict[str, float]

    @property
    def proven(self) -> float:
        """Share of instances whose optimum was proven."""
        return self.status.get("optimal", 0.0)

    @property
    def cut_short(self) -> bool:
        """Whether a limit ended at least one solve of a method that would else have proven it."""
        return self.proven < 1.0 and self.method not in _NEVER_PROVE


Key = tuple[str, str, str, str]


def summarise(rows: Sequence[Row]) -> dict[Key, Cell]:
    """Sum rows up by (kind, demands, size, method); cells that were left out are missing."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        if row.ms is not None:
            key = (row.kind, row.demands, f"{row.providers}x{row.workers}", row.method)
            groups.setdefault(key, []).append(row)
    cells = {}
    for key, group in groups.items():
        statuses = [row.status for row in group]
        cells[key] = Cell(
            *key,
            instances=len(group),
            ms=_quartiles([row.ms for row in group]),
            ratio=_quartiles([row.ratio for row in group]),
            gap_pct=statistics.fmean(row.gap_pct or 0.0 for row in group),
            status={s: statuses.count(s) / len(group) for s in dict.fromkeys(statuses)},
        )
    return cells


def _quartiles(numbers: Sequence[float | None]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(np.array(numbers, float), (25, 50, 75))
    return float(low), float(middle), float(high)


def _short(x: float) -> str:
    """Three digits, or all before the point."""
    if x >= 99.95:
        return f"{x:.0f}"
    return f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def _time_cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    star = "*" if cell.cut_short else ""
    return f"{_short(cell.ms[1])}{star} ({_short(cell.ratio[1])}x)"


def _gap_cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    gap = (
        f"{cell.gap_pct:.2f}" if cell.gap_pct >= 0.005 else "<0.01" if cell.gap_pct > 1e-4 else "0"
    )
    return f"{gap} ({cell.proven:.0%})"


BLOCKS = (
    ("time in ms, median (times faster than CP-SAT plain, median)", _time_cell),
    ("mean gap to the best known bound in % (optimum proven by the method)", _gap_cell),
)


def _grid(
    cells: dict[Key, Cell], kind: str, demands: str, render: Callable[[Cell | None], str]
) -> list[list[str]]:
    sizes = list(dict.fromkeys(cell.size for cell in cells.values()))
    grid = [["M x N", *sizes]]
    for method in methods():
        line = [render(cells.get((kind, demands, size, method.name))) for size in sizes]
        grid.append([method.name, *line])
    return grid


def _panels(cells: dict[Key, Cell]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.kind, cell.demands) for cell in cells.values()))


def text_table(cells: dict[Key, Cell], notes: Sequence[str]) -> str:
    """Return all blocks as plain text, at most 110 columns wide, and the notes below."""
    out = []
    for kind, demands in _panels(cells):
        out.append(f"{kind}, {demands} demands")
        for title, render in BLOCKS:
            grid = _grid(cells, kind, demands, render)
            widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
            out.append(f"  {title}")
            for first, *rest in grid:
                numbers = (
                    cell.rjust(max(width, 12)) for cell, width in zip(rest, widths[1:], strict=True)
                )
                out.append("  ".join(["    " + first.ljust(widths[0]), *numbers]))
        out.append("")
    return "\n".join([*out, *(line for note in notes for line in _wrap(note))])


def _wrap(note: str) -> list[str]:
    import textwrap

    return textwrap.wrap(note, 108, initial_indent="- ", subsequent_indent="  ")


def markdown(cells: dict[Key, Cell], notes: Sequence[str]) -> str:
    """Return the same as Markdown."""
    out = ["# Speed of the mapping solvers", ""]
    for kind, demands in _panels(cells):
        out += [f"## {kind}, {demands} demands", ""]
        for title, render in BLOCKS:
            head, *lines = _grid(cells, kind, demands, render)
            out += [f"{title[0].upper()}{title[1:]}:", "", "| " + " | ".join(head) + " |"]
            out += ["|:--|" + "--:|" * (len(head) - 1)]
            out += ["| " + " | ".join(line).replace("*", r"\*") + " |" for line in lines]
            out.append("")
    return "\n".join([*out, *(f"- {note}".replace("*", r"\*") for note in notes), ""])


def notes(rows: Sequence[Row], seed: int, limit: float, node_limit: int) -> list[str]:
    """Say how the numbers came about."""
    left_out = {row.method for row in rows if row.status == "left out"}
    count: dict[str, int] = {}
    for row in rows:
        size = f"{row.providers}x{row.workers}"
        count[size] = max(count.get(size, 0), row.instance + 1)
    counts = ", ".join(f"{size}: {number}" for size, number in count.items())
    out = [
        f"M providers, two tasks each, on N workers. Instances per column: {counts}. Each was "
        f"solved before; then its utilities changed by N(0, {CHANGE}), and all methods were timed "
        "on the changed instance, in one process, in an order balanced over six instances; below "
        f"{_REPEAT_BELOW_MS:g} ms the median of {_REPEATS} solves counts.",
        "paper: mean utilities, demands and capacities of worlds of the scenario paper (equal: "
        "all demands 1). uniform: utilities U[0, 1], weights 1..5 or all 1, load "
        f"{_UNIFORM_LOAD}, less where each worker must have room for the heaviest task.",
        "exact, re-solve starts from the earlier solution; equal demands go to min-cost flow, "
        "which starts anew each time. CP-SAT plain: model built anew, default parameters, one "
        f"worker, utilities rounded to {1 / _PLAIN_SCALE:.0e}.",
    ]
    if any(row.status == "feasible" and row.method not in _NEVER_PROVE for row in rows):
        out.append(
            f"*: a limit ({limit:g} deterministic seconds of CP-SAT, {node_limit} nodes of "
            "branch-and-bound) came before the proof on at least one instance: time cut short."
        )
    if left_out:
        pairs = next(method.pairs for method in methods() if method.name in left_out)
        out.append(
            f"-: {', '.join(sorted(left_out))} is in Python, to be read; above {pairs} pairs of "
            "task and worker it would take minutes per instance."
        )
    if compiled() is None:
        out.append("numba is not installed: unequal demands fall to CP-SAT in exact (extra fast).")
    else:
        out.append(f"numba {version('numba')} is installed: exact uses the compiled search.")
    out.append(
        f"Seed {seed}; distmllm-env {version('distmllm-env')}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, OR-Tools {version('ortools')}, {platform.machine()}, "
        f"{os.cpu_count()} cores."
    )
    return out


# Okabe and Ito's colours, a dash and a marker each, so that grey print is readable too.
_LOOKS: dict[str, dict[str, Any]] = {
    "sequential": {"color": "#E69F00", "linestyle": (0, (1, 1)), "marker": "v"},
    "sequential + refill": {"color": "#CC79A7", "linestyle": (0, (3, 1, 1, 1)), "marker": "^"},
    "branch-and-bound": {"color": "#009E73", "linestyle": (0, (5, 1.5)), "marker": "D"},
    "CP-SAT plain": {"color": "#000000", "linestyle": "-", "marker": "s"},
    "exact": {"color": "#56B4E9", "linestyle": (0, (7, 2)), "marker": "X"},
    "exact, re-solve": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
}


def time_figure(cells: dict[Key, Cell]) -> dict[str, bytes]:
    """Draw the median time against the size, with quartiles; one panel per kind and demands.

    Returns:
        ``png`` and ``svg`` -> file content.
    """

    def draw(ax: Any, at: Sequence[int], found: Sequence[Cell], look: dict[str, Any]) -> None:
        low, middle, high = np.array([cell.ms for cell in found]).T
        ax.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(at, middle, **look)
        for x, cell in zip(at, found, strict=True):
            if cell.cut_short:
                ax.plot(x, cell.ms[1], **{**look, "markerfacecolor": "white", "label": None})
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")

    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    hollow = Line2D([], [], color="#666666", marker="o", linestyle="", markerfacecolor="white")
    extra = {"cut short by a limit": hollow, "quartiles": Patch(color="#666666", alpha=0.2, lw=0)}
    if not any(cell.cut_short for cell in cells.values()):
        del extra["cut short by a limit"]
    names = [method.name for method in methods()]
    return _draw(cells, names, "time per solve (ms)", draw, extra, sharey="all")


def gap_figure(cells: dict[Key, Cell]) -> dict[str, bytes]:
    """Draw the mean gap of the methods that may miss the optimum, as :func:`time_figure` does."""

    def draw(ax: Any, at: Sequence[int], found: Sequence[Cell], look: dict[str, Any]) -> None:
        x = np.array(at) + 0.22 * (HEURISTIC.index(found[0].method) - 1)
        gap = [cell.gap_pct for cell in found]
        ax.vlines(x, 0.0, gap, color=look["color"], linewidth=2.2)
        ax.plot(x, gap, clip_on=False, zorder=3, **{**look, "linestyle": "", "markersize": 5.5})
        ax.grid(visible=False, axis="x")

    return _draw(cells, HEURISTIC, "mean gap to best bound (%)", draw, {}, sharey="row", floor=0.0)


def _draw(
    cells: dict[Key, Cell],
    names: Sequence[str],
    y_label: str,
    draw: Callable[[Any, Sequence[int], Sequence[Cell], dict[str, Any]], None],
    extra: dict[str, Any],
    sharey: Literal["all", "row"],
    floor: float | None = None,
) -> dict[str, bytes]:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(cells)
    kinds = list(dict.fromkeys(kind for kind, _ in panels))
    demands = list(dict.fromkeys(which for _, which in panels))
    sizes = list(dict.fromkeys(cell.size for cell in cells.values()))
    with mpl.rc_context(style.RC):
        height = 0.9 + 2.3 * len(kinds)
        fig = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasAgg(fig)
        grid = fig.subplots(len(kinds), len(demands), squeeze=False, sharex=True, sharey=sharey)
        for i, kind in enumerate(kinds):
            for j, which in enumerate(demands):
                ax = grid[i, j]
                for name in names:
                    keys = [(kind, which, size, name) for size in sizes]
                    at = [x for x, key in enumerate(keys) if key in cells]
                    if at:
                        look = {**_LOOKS[name], "label": name, "markersize": 4.5, "linewidth": 1.4}
                        draw(ax, at, [cells[keys[x]] for x in at], look)
                ax.set_title(f"{kind}, {which} demands", fontsize=9, loc="left")
                ax.set_xticks(
                    range(len(sizes)), [size.replace("x", "×") for size in sizes], fontsize=8
                )
                if j == 0:
                    ax.set_ylabel(y_label)
                if i == len(kinds) - 1:
                    ax.set_xlabel("providers × workers")
        if floor is not None:
            for row in grid:
                row[0].set_ylim(bottom=floor)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        fig.legend(
            [*handles, *extra.values()],
            [*labels, *extra],
            loc="outside upper center",
            ncols=4,
            handlelength=3.2,
            columnspacing=1.4,
            fontsize=8.5,
        )
        files = {}
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            fig.savefig(buffer, format=kind, dpi=200, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV; numbers that do not exist are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return buffer.getvalue()


def run_mapping_speed(
    out: Path,
    seed: int = 0,
    sizes: Sequence[Size] = SIZES,
    limit: float = LIMIT,
    node_limit: int = NODE_LIMIT,
) -> tuple[str, dict[str, Any]]:
    """Time all methods and save tables and figures under ``out``.

    Args:
        out: Folder for the results.
        seed: Fixes the instances.
        sizes: What to time.
        limit: Deterministic seconds for CP-SAT per solve.
        node_limit: Nodes for branch-and-bound per solve.

    Returns:
        The tables as text, and the same numbers as a JSON-ready dict.
    """
    rows = measure(sizes, seed, limit, node_limit)
    cells = summarise(rows)
    foot = notes(rows, seed, limit, node_limit)
    text = text_table(cells, foot)
    write_atomic(out / "table.csv", to_csv(rows))
    write_atomic(out / "mapping.md", markdown(cells, foot))
    for name, files in (("mapping", time_figure(cells)), ("mapping-gap", gap_figure(cells))):
        for kind, content in files.items():
            write_atomic(out / f"{name}.{kind}", content)
    numbers = {
        "numba": compiled() is not None,
        "notes": foot,
        "cells": [asdict(cell) for cell in cells.values()],
    }
    return text, numbers
