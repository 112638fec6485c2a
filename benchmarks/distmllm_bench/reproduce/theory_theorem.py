"""Theorem 1, empirically: how regret grows with the horizon, and what exploration costs.

The theorem bounds the regret of each stage, for Algorithm 1 with an exact mapping, by

    (T_explore + M) N u_max log2(T + 2) + C0,    C0 = O(N^2 M u_max),

of which C0 is taken as N^2 M u_max. Its main reading has the estimator as printed and the exact
mapping; others change the mapping, the estimator, the market or the letters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from distmllm_agents.mapping import Mapping as Solution
from distmllm_agents.mapping import MappingProblem, solve_exact, solve_sequential
from distmllm_agents.mapping.problem import OUT, disaggregated
from distmllm_bench.reproduce.drawing import Panel, Row, spread
from distmllm_bench.reproduce.evidence import Finding, Part, above_zero
from distmllm_bench.reproduce.lab import Contender, Curves, Lab, Setting
from distmllm_bench.statistics import t_quantile
from distmllm_env import World, draw_world, equations
from distmllm_env.equations import Array
from distmllm_env.policy import make_problem
from distmllm_env.scenario import ENC, LLM, STAGES

LONGER = 40
"""The horizon is so many times the paper's: 20,000 slots."""

LOSSLESS = 1e-6
"""A loss per slot below this is rounding."""

EXACT = Contender("distmllm", {"mapping": "exact"}, "exact mapping")
FIXED = Contender("distmllm-fixed", {}, "exact mapping, all samples")
PRINTED = Contender("distmllm", {}, "Algorithm 2")
FIVE = Setting("5x5")
TEN = Setting("10x5", {"providers": 10})
SLACK = Setting("5x5 with room for all", {"demand": 1, "capacity": 10})
QUIET = Setting("5x5 without noise", {"noise.on": "none"})
"""The control: one visit tells all, so only the mapping can cost something after exploration."""
PLAYED = (
    (EXACT, (FIVE, TEN, QUIET)),
    (FIXED, (FIVE, TEN)),
    (PRINTED, (FIVE, TEN, QUIET, SLACK)),
)

NARROW = Setting(
    "20x2, one worker with room for one task",
    {
        "providers": 20,
        "workers": 2,
        "demand": 1,
        "capacity": [40, 1],
        "performance": 1.0,
        "price": 1.0,
        "data_bytes": 1e6,
    },
)
"""All pairs are worth the same, and while they explore half of the providers find no room: a slot
then costs about M / 2 = 10 times u_max, where the printed bound has N = 2 times."""

EXPLORE = (5, 10, 25, 50, 100)
BASES = (2, 100)


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return ``theorem-1`` and ``explore``."""
    return [_theorem(lab, band), _explore(lab, band)]


def quarters(slots: int) -> tuple[int, int, int]:
    """Return the horizons T/16, T/4 and T between which growth is looked at, at least 1 each."""
    return max(slots // 16, 1), max(slots // 4, 1), slots


def rises(regret: Array) -> Array:
    """Return how regret, (B, T), rises from T/16 to T/4 and from T/4 to T, (2, B)."""
    a, b, c = (regret[:, t - 1] for t in quarters(regret.shape[1]))
    return np.stack([b - a, c - b])


def growth(regret: Array) -> Part:
    """Weigh whether regret grows more like log T than like T.

    Both rises are over two doublings. Logarithmic regret rises by the same in both, linear regret
    four times as much in the second, T^a 4^a times. Less than twice means a below 1/2, the middle.
    The rises of a run are compared with each other: the mean is tested and not a mean of ratios,
    which the few runs of a small first rise would rule.

    Args:
        regret: Cumulative regret, (B, T).
    """
    a, b, c = quarters(regret.shape[1])
    before, after = rises(regret)
    return above_zero(f"2 x rise from slot {a:,} to {b:,} > rise to {c:,}", 2.0 * before - after)


def exponent(regret: Array) -> tuple[float, float]:
    """Return the growth exponent of the mean regret over the last doublings, and its half width.

    0 for logarithmic growth, 1 for linear, a for T^a: half the binary logarithm of the ratio of the
    rises in :func:`growth`. The half width is that of the jackknife's 95 % interval.

    Args:
        regret: Cumulative regret, (B, T).

    Returns:
        Two numbers; NaN where the mean regret does not rise, or of one run no width.
    """
    each = rises(regret)
    runs = each.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(0.5 * np.log2(each[1].mean() / each[0].mean()))
        if runs < 2:
            return whole, math.nan
        left_out = (each.sum(axis=1, keepdims=True) - each) / (runs - 1)
        error = math.sqrt((runs - 1) * float((0.5 * np.log2(left_out[1] / left_out[0])).var()))
    return whole, t_quantile(runs - 1, 0.95) * error


@dataclass(frozen=True, eq=False)
class Grown:
    """Regret of one contender in one setting over the long horizon, B runs.

    Attributes:
        regret: Of each stage, (B, T, S).
        top: u_max of each stage, (B, S).
        explore: T_explore, (B,).
        loss: What Algorithm 2 on the true means loses per slot, (B,).
        size: M and N.
    """

    regret: Array
    top: Array
    explore: Array
    loss: Array
    size: tuple[int, int]

    @classmethod
    def of(cls, curves: Curves, world: World) -> Grown:
        """Collect what is needed; T_explore is how many slots pass before one that exploits."""
        done = ~curves.exploring
        explore = np.where(done.any(axis=1), done.argmax(axis=1), curves.slots)
        size = world.scenario.providers, world.scenario.workers
        top = world.mean_profit.max(axis=(2, 3))
        return cls(curves.regret, top, explore, sequential_loss(world), size)

    def some(self, rows: Array) -> Grown:
        """Return some of the runs."""
        tables = self.regret[rows], self.top[rows], self.explore[rows], self.loss[rows]
        return Grown(*tables, self.size)

    @property
    def total(self) -> Array:
        """Regret of both stages, (B, T)."""
        return self.regret.sum(axis=2)

    def bound(self, slots: int, letters: str = "printed") -> Array:
        """Return the theorem's bound for each stage after ``slots`` slots, (B, S).

        Args:
            slots: T.
            letters: ``printed``: a slot of exploration costs at most N u_max. ``providers``: at
                most M u_max, since M providers may lose in a slot, and the mapping takes none.
        """
        m, n = self.size
        each = (self.explore + m) * n if letters == "printed" else self.explore * m
        return self.top * (each[:, None] * math.log2(slots + 2) + n * n * m)

    def within(self, letters: str = "printed") -> tuple[Part, ...]:
        """Weigh whether the regret of each stage ends below the bound."""
        slots = self.regret.shape[1]
        room = self.bound(slots, letters) - self.regret[:, -1]
        return tuple(
            above_zero(f"bound at slot {slots:,} > {name.upper()} regret", room[:, s])
            for s, name in enumerate(STAGES)
        )


def sequential_loss(world: World) -> Array:
    """Return what Algorithm 2 on the true means loses per slot against the optimum, (B,)."""
    problem, utility = make_problem(world), world.mean_profit[..., :-1]
    tasks = [disaggregated(problem, utility[b].copy(), b) for b in range(world.batch)]
    return np.array([solve_exact(p, None).value - solve_sequential(p).value for p in tasks])


def gap(problem: MappingProblem, best: Solution) -> float:
    """Return by how much ``best`` beats every other mapping; below 0 if another beats it.

    Another mapping lacks one of the pairs of ``best``, or has them all and more, for which there is
    no room. So each pair is forbidden in turn.

    Args:
        problem: Its utilities may differ from those that ``best`` is best for.
        best: A mapping to which nothing can be added.
    """
    other = -math.inf
    for k in np.flatnonzero(best.choice != OUT).tolist():
        allowed = problem.allowed.copy()
        allowed[k, best.choice[k]] = False
        other = max(other, solve_exact(replace(problem, allowed=allowed), None).value)
    return problem.value(best.choice) - other


def sample_range(world: World) -> Array:
    """Return the width of the interval that holds all samples of a pair, (B, S, M, N).

    Closed form for uniform noise on latency and energy, whose factors lie in 1 +- sqrt(3) std.
    """
    scenario, half = world.scenario, math.sqrt(3.0) * world.scenario.noise.std
    weight = scenario.stage_weights_per_s[:, None, None]
    slow, quick = (
        equations.latency_cost(scenario.reward, weight, world.latency_s[..., :-1] * factor)
        for factor in (1.0 + half, 1.0 - half)
    )
    paid = world.price[:, None, None, :-1] * world.energy_j[..., :-1]
    return slow - quick + 2.0 * half * paid


Runs = Mapping[tuple[str, str], Grown]


def _play(lab: Lab) -> Runs:
    found = {}
    for who, settings in PLAYED:
        for setting in settings:
            scenario = setting.load(lab.base)
            longer = {**setting.overrides, "slots": LONGER * scenario.slots}
            # A lab of its own: what so many slots leave is large, and takes longer to pack for the
            # disk than to play again.
            curves = Lab(lab.seeds, base=lab.base).curves(replace(setting, overrides=longer), who)
            grown = Grown.of(curves, draw_world(scenario, lab.seeds))
            found[setting.id, who.id] = grown
    return found


def _theorem(lab: Lab, band: str) -> Panel:
    runs = _play(lab)
    rows = [row for key, grown in runs.items() for row in _rows(key, grown, band)]
    findings = (*(f for key, grown in runs.items() for f in _findings(key, grown)), *_letters(lab))
    draw = partial(_draw_growth, runs=runs, band=band)
    return Panel("theorem-1", "Regret against T", rows, draw, findings, size=(6.6, 3.4))


def groups(grown: Grown, mapping: str) -> dict[str, Array]:
    """Return which runs to look at together: for Algorithm 2, by whether it can be optimal."""
    lossy = grown.loss > LOSSLESS
    if mapping != PRINTED.id:
        return {"all": np.ones_like(lossy)}
    return {"Algorithm 2 is optimal": ~lossy, "Algorithm 2 is suboptimal": lossy}


def _rows(key: tuple[str, str], grown: Grown, band: str) -> list[Row]:
    """One line per group of worlds and horizon."""
    rows: list[Row] = []
    for worlds, which in groups(grown, key[1]).items():
        if not which.any():
            continue
        some, slots = grown.some(which), grown.regret.shape[1]
        for t in sorted({max(slots // 4**k, 2) for k in range(3)}):
            regret = some.total[:, :t]
            mean, half = spread(regret[:, -1], band)
            rate, error = exponent(regret)
            row: dict[str, Any] = {"setting": key[0], "mapping": key[1], "worlds": worlds}
            row |= {"runs": len(regret), "slots": t, "regret": float(mean), band: float(half)}
            row |= {"growth exponent": rate, "exponent +-": error}
            late = (regret[:, -1] - regret[:, t // 2 - 1]).mean() / (t - t // 2)
            row["regret per slot in last half"] = float(late)
            row["loss per slot of Algorithm 2 on true means"] = float(some.loss.mean())
            for s, name in ((ENC, "ENC"), (LLM, "LLM")):
                row[f"{name} regret"] = float(some.regret[:, t - 1, s].mean())
                row[f"{name} bound"] = float(some.bound(t)[:, s].mean())
            rows.append(row)
    return rows


def _findings(key: tuple[str, str], grown: Grown) -> list[Finding]:
    findings = []
    for worlds, which in groups(grown, key[1]).items():
        if which.sum() < 2:  # no interval
            continue
        some = grown.some(which)
        where = "" if worlds == "all" else f" where {worlds} on the true means"
        slots = f"T up to {grown.regret.shape[1]:,}"
        reading = f"{key[0]}, {key[1]}, {slots}, {which.sum()} worlds{where}"
        findings.append(
            Finding("theorem-1", reading, (growth(some.total), *some.within()), "regret")
        )
    return findings


def _letters(lab: Lab) -> list[Finding]:
    """The printed bound where more providers than workers lose in a slot, and with M for N."""
    who = Contender("distmllm", {"mapping": "exact", "explore_slots": 50}, "exact mapping")
    world = draw_world(NARROW.load(lab.base), lab.seeds)
    grown = Grown.of(lab.curves(NARROW, who), world)
    place = f"{NARROW.id}, exact mapping, T_explore = 50: bound"
    return [
        Finding("theorem-1", f"{place} as printed", grown.within(), "regret"),
        Finding(
            "theorem-1",
            f"{place} with T_explore M for (T_explore + M) N",
            grown.within("providers"),
            "regret",
        ),
    ]


def _draw_growth(ax: Any, runs: Runs, band: str) -> None:
    looks: tuple[tuple[tuple[str, str], dict[str, Any]], ...] = (
        ((FIVE.id, PRINTED.id), {"color": "#0072B2", "linestyle": "-"}),
        ((FIVE.id, EXACT.id), {"color": "#D55E00", "linestyle": (0, (6, 1))}),
        ((FIVE.id, FIXED.id), {"color": "#56B4E9", "linestyle": (0, (4, 1, 1, 1))}),
        ((QUIET.id, PRINTED.id), {"color": "#CC79A7", "linestyle": (0, (1, 1))}),
        ((QUIET.id, EXACT.id), {"color": "#009E73", "linestyle": (0, (2, 1))}),
    )
    for key, look in looks:
        total = runs[key].total
        slots = total.shape[1]
        at = np.unique(np.geomspace(min(5, slots), slots, 200).astype(int))
        mean, half = spread(total[:, at - 1], band)
        low = np.maximum(mean - half, 1e-3)  # the axis is logarithmic
        ax.fill_between(at, low, mean + half, color=look["color"], alpha=0.12, lw=0)
        where = "" if key[0] == FIVE.id else ", no noise"
        ax.plot(at, mean, label=f"{key[1]}{where}", **look)
    printed = runs[FIVE.id, EXACT.id]
    limit = [printed.bound(int(t)).sum(axis=1).mean() for t in at]
    ax.plot(at, limit, color="black", lw=1, linestyle=":", label="bound, both stages")
    ax.set(xscale="log", yscale="log", xlabel="T (time slots)", ylabel="regret")
    ax.set_ylim(bottom=0.5 * min(grown.total[:, at[0] - 1].mean() for grown in runs.values()))
    ax.margins(x=0)
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _explore(lab: Lab, band: str) -> Panel:
    rows: list[Row] = []
    drawn: dict[str, tuple[Array, Array]] = {}
    for mapping, label in (("sequential", PRINTED.id), ("exact", EXACT.id)):
        for base in BASES:
            points = []
            for length in EXPLORE:
                options = {"explore_slots": length, "exploit_base": base, "mapping": mapping}
                curves = lab.curves(FIVE, Contender("distmllm", options))
                mean, half = spread(curves.regret.sum(axis=2)[:, -1], band)
                points.append((float(mean), float(half)))
                row: dict[str, Any] = {"mapping": label, "exploit base": base}
                row |= {"T_explore": length, "share exploring": float(curves.exploring.mean())}
                rows.append(row | {"regret": float(mean), band: float(half)})
            drawn[f"{label}, {base}^epoch"] = tuple(np.array(points).T)
    draw = partial(_draw_explore, drawn=drawn)
    heading = "Regret after the paper's T against the length of exploration, 5 x 5"
    return Panel("explore", heading, rows, draw, (_affordable(lab),), size=(4.6, 3.0))


def _affordable(lab: Lab) -> Finding:
    """Whether the exploration that part (iii) of the proof asks for fits into the horizon.

    A failure in epoch tau must have a probability of at most 2^(-2 tau). With k samples per pair
    and epoch Lemma 1 gives 4 M N exp(-2 k tau eps^2 / R^2) over both stages, at eps = gap / (2B),
    which needs k >= 4 ln 2 (B R / gap)^2 and more. B is the number of tasks, the least that Lemma 2
    allows; R the widest range of samples.
    """
    world = draw_world(FIVE.load(lab.base), lab.seeds)
    problem, utility = make_problem(world), world.mean_profit[..., :-1]
    tasks, workers = 2 * problem.providers, problem.workers
    margin = np.empty(world.batch)
    for b in range(world.batch):
        mapping = disaggregated(problem, utility[b].copy(), b)
        margin[b] = max(gap(mapping, solve_exact(mapping, None)), 1e-12)
    width = sample_range(world).max(axis=(1, 2, 3))
    needed = workers * 4.0 * math.log(2.0) * (tasks * width / margin) ** 2
    slots = world.scenario.slots
    what = (
        f"T = {slots:,} > T_explore that the proof asks for, in the median {np.median(needed):.1e}"
    )
    part = above_zero(what, math.log10(slots) - np.log10(needed))
    return Finding("theorem-1", "5x5: T_explore as part (iii) of the proof asks", (part,), "log10")


def _draw_explore(ax: Any, drawn: Mapping[str, tuple[Array, Array]]) -> None:
    colors = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00")
    markers = ("o", "s", "^", "D")
    dashes = ("-", (0, (4, 1)), "-", (0, (4, 1)))
    for (label, (mean, half)), color, marker, dash in zip(
        drawn.items(), colors, markers, dashes, strict=True
    ):
        ax.fill_between(EXPLORE, mean - half, mean + half, color=color, alpha=0.08, lw=0)
        ax.plot(EXPLORE, mean, color=color, marker=marker, ms=4, linestyle=dash, label=label)
    ax.set(xscale="log", xlabel="T_explore (time slots)", ylabel="regret", ylim=(0.0, None))
    ax.set_xticks(EXPLORE, [str(x) for x in EXPLORE])
    ax.minorticks_off()
    ax.legend(fontsize=7)
