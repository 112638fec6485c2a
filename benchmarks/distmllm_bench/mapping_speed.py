"""What the mapping solvers cost, as tables and figures; ``distmllm mapping-speed`` writes them."""

from __future__ import annotations

import csv
import io
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distmllm_agents.mapping.search import compiled
from distmllm_bench import style
from distmllm_bench.mapping_measure import (
    CHANGE,
    HEURISTIC,
    LIMIT,
    NEVER_PROVE,
    NODE_LIMIT,
    PLAIN_SCALE,
    REPEAT_BELOW_MS,
    REPEATS,
    SIZES,
    UNIFORM_LOAD,
    Row,
    Size,
    measure,
    methods,
)
from distmllm_env.files import write_atomic


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
        return self.proven < 1.0 and self.method not in NEVER_PROVE


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
        f"{REPEAT_BELOW_MS:g} ms the median of {REPEATS} solves counts.",
        "paper: mean utilities, demands and capacities of worlds of the scenario paper (equal: "
        "all demands 1). uniform: utilities U[0, 1], weights 1..5 or all 1, load "
        f"{UNIFORM_LOAD}, less where each worker must have room for the heaviest task.",
        "exact, re-solve starts from the earlier solution; equal demands go to min-cost flow, "
        "which starts anew each time. CP-SAT plain: model built anew, default parameters, one "
        f"worker, utilities rounded to {1 / PLAIN_SCALE:.0e}.",
    ]
    if any(row.status == "feasible" and row.method not in NEVER_PROVE for row in rows):
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
        return style.rendered(fig, 200)


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
