"""The lemmas and the theorem of Section 2.4, empirically.

Lemma 1 says how far an estimate can be off, Lemma 2 how far it may be off before the mapping
changes, Lemma 3 that branch and bound finds that mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from distmllm_agents.mapping import Mapping as Solution
from distmllm_agents.mapping import (
    MappingProblem,
    solve_branch_and_bound,
    solve_exact,
    solve_sequential,
)
from distmllm_agents.mapping.problem import OUT, disaggregated
from distmllm_bench.reproduce import theory_hoeffding, theory_theorem
from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import Finding, fact
from distmllm_bench.reproduce.lab import Lab, Setting
from distmllm_bench.reproduce.theory_theorem import FIVE, TEN, gap
from distmllm_env import draw_world
from distmllm_env.equations import Array
from distmllm_env.policy import make_problem

SMALL = 10
"""Random instances per seed."""
CLOSE = 1e-6
"""Values that differ by less are equal: solvers round to 1e-9 of the value."""
BELOW = 0.99
"""At gap / (2B) itself two mappings can tie, which is a reading of its own."""
RADII = (0.5, 1, 2, 4, 8, 16, 32, 64)
NODES = (0, 1, 4, 16, 64)


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return ``lemma-1``, ``lemma-2``, ``lemma-3``, ``theorem-1`` and ``explore``."""
    return [
        theory_hoeffding.panel(lab),
        _lemma_2(lab),
        _lemma_3(lab),
        *theory_theorem.panels(lab, band),
    ]


def random_problem(
    rng: np.random.Generator, providers: int, workers: int, largest: int = 3
) -> MappingProblem:
    """Draw a mapping problem with two tasks per provider; utilities uniform on 0.1 to 1."""
    items = 2 * providers
    return MappingProblem(
        utility=rng.uniform(0.1, 1.0, (items, workers)),
        weight=np.tile(rng.integers(1, largest + 1, providers).astype(float), 2),
        capacity=rng.integers(largest, largest + 3, (1, workers)).astype(float),
        pool=np.zeros(items, int),
        allowed=np.ones((items, workers), bool),
    )


def world_problems(lab: Lab, setting: Setting) -> list[MappingProblem]:
    """Return the mapping problem of every seed's world on its true means."""
    problem = make_problem(world := draw_world(setting.load(lab.base), lab.seeds))
    utility = world.mean_profit[..., :-1]
    return [disaggregated(problem, utility[b].copy(), b) for b in range(world.batch)]


def most_assignments(problem: MappingProblem) -> int:
    """Return the paper's B: the sum over workers of floor(C_n / c_min)."""
    return int(np.floor(problem.capacity / problem.weight.min() + 1e-9).sum())


def shifted(problem: MappingProblem, best: Solution, eps: float) -> MappingProblem:
    """Return the problem with the estimates that favour all other mappings most.

    The pairs of ``best`` are underestimated by ``eps`` and all others overestimated, which costs
    ``best`` the most against every other mapping at once. So if it stays the best here, it stays so
    under every error of at most ``eps``.
    """
    sign = np.ones_like(problem.utility)
    placed = np.flatnonzero(best.choice != OUT)
    sign[placed, best.choice[placed]] = -1.0
    return replace(problem, utility=problem.utility + eps * sign)


def _lemma_2(lab: Lab) -> Panel:
    rows: list[Row] = []
    slack: dict[str, list[float]] = {}
    limits = {
        "B = sum of floor(C_n / c_min) as printed": most_assignments,
        "B = number of tasks": tasks,
    }
    for place, problems in _instances(lab).items():
        changed = {"worst signs": np.zeros(len(RADII)), "random signs": np.zeros(len(RADII))}
        unique = 0
        rng = np.random.default_rng(list(lab.seeds))
        for problem in problems:
            best = solve_exact(problem, None)
            margin = gap(problem, best)
            if margin < CLOSE:  # the lemma asks for one optimum
                continue
            unique += 1
            for name, most in limits.items():
                moved = shifted(problem, best, BELOW * margin / (2 * most(problem)))
                slack.setdefault(name, []).append(gap(moved, best) / margin)
            for i, radius in enumerate(RADII):
                eps = radius * margin / (2 * tasks(problem))
                signs = rng.choice([-eps, eps], problem.utility.shape)
                for name, moved in (
                    ("worst signs", shifted(problem, best, eps)),
                    ("random signs", replace(problem, utility=problem.utility + signs)),
                ):
                    found = solve_exact(moved, None).choice
                    changed[name][i] += not np.array_equal(found, best.choice)
        for name, count in changed.items():
            rows += [
                {
                    "instances": place,
                    "unique optimum": unique,
                    "errors": name,
                    "eps / (gap / 2B), B = number of tasks": radius,
                    "mapping changed": float(count[i] / max(unique, 1)),
                }
                for i, radius in enumerate(RADII)
            ]
    findings = [
        Finding(
            "lemma-2",
            f"worst signs, size {BELOW:g} gap / (2B), {name}: {len(left)} instances",
            (fact("lowest lead of the true optimum on the estimates", min(left)),),
            "gaps",
        )
        for name, left in slack.items()
    ]
    findings.append(
        Finding(
            "lemma-2",
            "eps = gap / (2B) itself, on two tasks and two workers where the bound is tight",
            (fact("lead of the true optimum on the estimates", tied_lead()),),
            "gaps",
        )
    )
    draw = partial(_draw_lemma_2, rows=rows)
    heading = "Share of instances whose exact mapping changes under errors of size eps"
    return Panel("lemma-2", heading, rows, draw, tuple(findings), size=(6.0, 3.0))


def tasks(problem: MappingProblem) -> int:
    """Return the number of items: no mapping assigns more."""
    return len(problem.utility)


def tied_lead() -> float:
    """Return the lead, in gaps, that errors of gap / (2B) leave where two of two tasks swap."""
    problem = MappingProblem(
        utility=np.array([[1.0, 0.75], [0.75, 1.0]]),
        weight=np.ones(2),
        capacity=np.ones((1, 2)),
        pool=np.zeros(2, int),
        allowed=np.ones((2, 2), bool),
    )
    best = solve_exact(problem, None)
    margin = gap(problem, best)
    return gap(shifted(problem, best, margin / (2 * most_assignments(problem))), best) / margin


def _instances(lab: Lab) -> dict[str, list[MappingProblem]]:
    drawn = [
        random_problem(rng, 3, 3)
        for rng in map(np.random.default_rng, lab.seeds)
        for _ in range(SMALL)
    ]
    return {"random 3x3": drawn, "paper 5x5": world_problems(lab, FIVE)}


def _draw_lemma_2(ax: Any, rows: Sequence[Row]) -> None:
    radius = "eps / (gap / 2B), B = number of tasks"
    for place, color, marker in (("random 3x3", "#0072B2", "o"), ("paper 5x5", "#D55E00", "s")):
        for errors, dash in (("worst signs", "-"), ("random signs", (0, (4, 1)))):
            line = [row for row in rows if (row["instances"], row["errors"]) == (place, errors)]
            ax.plot(
                [row[radius] for row in line],
                [row["mapping changed"] for row in line],
                color=color,
                marker=marker,
                ms=4,
                linestyle=dash,
                label=f"{place}, {errors}",
            )
    ax.axvline(1.0, color="black", lw=1, linestyle=":")
    ax.annotate(
        "gap / (2B)", (1.0, 0.55), (-3, 0), textcoords="offset points", ha="right", rotation=90
    )
    ax.set(xscale="log", xlabel="eps in units of gap / (2B), B = number of tasks")
    ax.set_xticks(RADII, [f"{x:g}" for x in RADII])
    ax.minorticks_off()
    ax.set_ylabel("share of mappings changed")
    ax.legend(fontsize=7, handlelength=3.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _lemma_3(lab: Lab) -> Panel:
    places = {
        "random 5x5": [random_problem(rng, 5, 5) for rng in map(np.random.default_rng, lab.seeds)],
        "paper 5x5": world_problems(lab, FIVE),
        "paper 10x5": world_problems(lab, TEN),
    }
    rows: list[Row] = []
    bounds, sequential, narrowing = [], [], []
    for place, problems in places.items():
        best = np.array([solve_exact(problem, None).value for problem in problems])
        low, high = np.stack([_stopped(problem) for problem in problems], axis=-1)
        bounds += [(best - low).min(), (high - best).min()]
        gaps = (high - low) / best
        narrowing.append(-np.diff(high - low, axis=0).max())
        value = np.array([solve_sequential(problem).value for problem in problems])
        sequential.append(_sequential(place, 1.0 - value / best))
        for i, nodes in enumerate((*NODES, "Algorithm 2")):
            lower, upper = (low[i], high[i]) if i < len(NODES) else (value, None)
            row: dict[str, Any] = {"instances": place, "count": len(best), "nodes": nodes}
            row["L / optimum"] = float((lower / best).mean())
            row["U / optimum"] = "" if upper is None else float((upper / best).mean())
            row["L optimal"] = float((lower >= best - CLOSE).mean())
            row["gap closed"] = "" if upper is None else float((gaps[i] <= CLOSE).mean())
            rows.append(row)
    ended = [
        abs(solve_branch_and_bound(problem).value - solve_exact(problem, None).value)
        for problems in _instances(lab).values()
        for problem in problems
    ]
    whole = (
        fact(f"run to the end on {len(ended)} instances, error < {CLOSE:g}", CLOSE - max(ended)),
        fact(f"stopped, L <= optimum + {CLOSE:g}", CLOSE + min(bounds[::2])),
        fact(f"stopped, optimum <= U + {CLOSE:g}", CLOSE + min(bounds[1::2])),
        fact(f"U - L with more nodes <= with fewer + {CLOSE:g}", CLOSE + min(narrowing)),
    )
    name = "branch and bound over the whole mapping"
    findings = (Finding("lemma-3", name, whole, "profit"), *sequential)
    draw = partial(_draw_lemma_3, rows=rows)
    heading = "Value and bound of branch and bound stopped early, and Algorithm 2"
    return Panel("lemma-3", heading, rows, draw, findings, size=(5.0, 3.2))


def _stopped(problem: MappingProblem) -> Array:
    """Return L and U of branch and bound at every node limit, (2, limits); L is feasible."""
    found = [solve_branch_and_bound(problem, node_limit=nodes) for nodes in NODES]
    for mapping in found:
        problem.check(mapping.choice)
    return np.array([[m.value for m in found], [m.bound for m in found]])


def _sequential(place: str, short: Array) -> Finding:
    """Whether one exact knapsack per worker reaches the optimum; ``short``: of it lost, (B,)."""
    lossy = int((short > CLOSE).sum())
    lost = f"{lossy} of {short.size} lose some, {short.mean():.1%} on average"
    return Finding(
        "lemma-3",
        f"one exact knapsack per worker as Algorithm 2 prints it, {place}",
        (fact(f"largest loss < {CLOSE:g} ({lost})", CLOSE - float(short.max())),),
        "of the optimum",
    )


def _draw_lemma_3(ax: Any, rows: Sequence[Row]) -> None:
    looks = (
        ("random 5x5", "#009E73", "o"),
        ("paper 5x5", "#0072B2", "s"),
        ("paper 10x5", "#D55E00", "^"),
    )
    at = range(len(NODES))
    for place, color, marker in looks:
        line = [row for row in rows if row["instances"] == place]
        low, high = ([row[f"{end} / optimum"] for row in line[:-1]] for end in "LU")
        ax.plot(at, high, color=color, marker=marker, ms=4, linestyle=(0, (4, 1)))
        ax.plot(at, low, color=color, marker=marker, ms=4, label=place)
        ax.plot(len(NODES), line[-1]["L / optimum"], color=color, marker=marker, ms=6)
    ax.axhline(1.0, color="black", lw=1, linestyle=":")
    ax.plot([], [], color="#666666", linestyle=(0, (4, 1)), label="upper bound U")
    ax.plot([], [], color="#666666", label="value L")
    ax.set_xticks([*at, len(NODES)], [*map(str, NODES), "Algorithm 2"])
    ax.set(xlabel="nodes", ylabel="share of the optimum")
    ax.legend(fontsize=7)
