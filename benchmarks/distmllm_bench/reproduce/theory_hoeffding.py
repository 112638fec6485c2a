"""Lemma 1: Hoeffding's bound on what an estimate errs by, against what estimates err by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import SURE, Finding, Part
from distmllm_bench.reproduce.lab import Lab, Setting
from distmllm_bench.reproduce.theory_theorem import FIVE, sample_range
from distmllm_env import World, draw_world, equations
from distmllm_env.equations import Array

TAUS = (2, 4, 8, 16, 32)
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""eps as a share of R. Hoeffding's bound depends on nothing else."""
DRAWS = 200
VISITS = 20
"""Visits of a pair per epoch with T_explore = 100 and five workers."""

UNIFORM = {"noise.on": "latency_energy", "noise.distribution": "uniform"}
ALIKE = Setting("5x5, requests and prices alike", {"data_bytes": 1e6, "price": 1.0, **UNIFORM})


def printed_estimates(draw: Callable[[], Array], visits: int, epochs: int) -> Iterator[Array]:
    """Yield the estimate of Algorithm 1 after every epoch, 1 to ``epochs``.

    It divides by the epoch at every visit. With one visit per epoch that is the sample mean.

    Args:
        draw: Gives a sample of every estimate.
        visits: Samples per epoch.
        epochs: How many.
    """
    estimate = np.zeros_like(draw())
    for tau in range(1, epochs + 1):
        for _ in range(visits):
            estimate = (estimate * (tau - 1) + draw()) / tau
        yield estimate


def sampler(world: World, draws: int, rng: np.random.Generator) -> Callable[[], Array]:
    """Return what gives ``draws`` samples of every pair less its mean, (draws, B, S, M, N)."""
    scenario = world.scenario
    weight = scenario.stage_weights_per_s[:, None, None]
    latency, energy = world.latency_s[..., :-1], world.energy_j[..., :-1]
    value, price = world.value[..., None], world.price[:, None, None, :-1]
    mean, edge = world.mean_profit[..., :-1], math.sqrt(3.0)

    def draw() -> Array:
        slow, hungry = equations.noise_effect(
            scenario.noise, rng.uniform(-edge, edge, (2, draws, *latency.shape))
        )
        profit = equations.profit(
            scenario.reward, weight, value, latency * slow, price, energy * hungry
        )
        return profit - mean

    return draw


def misses(
    world: World, width: Array, visits: int, epochs: Sequence[int], seeds: Sequence[int], draws: int
) -> tuple[Array, Array]:
    """Count how often estimates err by more than a share of a range.

    Args:
        world: Its pairs are estimated, each run's by a generator of its seed.
        width: R of every pair, (B, S, M, N).
        visits: Samples per epoch.
        epochs: When to look.
        seeds: One per run.
        draws: Repetitions.

    Returns:
        Misses of single pairs, int (epochs, FRACTIONS), and of repetitions in which some pair of a
        stage misses by more than a share of the widest range of that stage.
    """
    single = np.zeros((len(epochs), len(FRACTIONS)), int)
    some = np.zeros_like(single)
    for b, seed in enumerate(seeds):
        draw = sampler(world.row(b), draws, np.random.default_rng([seed, visits]))
        widest = width[b].max(axis=(1, 2))
        for tau, estimate in enumerate(printed_estimates(draw, visits, max(epochs)), 1):
            if tau not in epochs:
                continue
            error, i = np.abs(estimate[:, 0]), list(epochs).index(tau)
            worst = error.max(axis=(2, 3))
            for j, share in enumerate(FRACTIONS):
                single[i, j] += (error > share * width[b]).sum()
                some[i, j] += (worst > share * widest).sum()
    return single, some


def hoeffding(samples: float, share: float, pairs: int = 1) -> float:
    """Return the bound on the chance to err by more than ``share`` R, for any of ``pairs``."""
    return 2.0 * pairs * math.exp(-2.0 * samples * share**2)


def frequency_limit(hits: int, trials: int, level: float, upper: bool) -> float:
    """Return a confidence limit of a frequency by Chernoff's bound, valid at any size.

    Args:
        hits: Out of ``trials``.
        trials: Independent.
        level: Of the two-sided interval.
        upper: Which end.
    """
    seen, most = hits / trials, math.log(2.0 / (1.0 - level)) / trials
    inner, outer = seen, 1.0 if upper else 0.0
    for _ in range(60):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if _divergence(seen, middle) < most else (inner, middle)
    return outer


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of coins p and q."""
    total = p * math.log(p / q) if p > 0 else 0.0
    return total + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def below_bound(what: str, hits: int, trials: int, limit: float, runs: int) -> Part:
    """Weigh whether a frequency lies below a bound, by the confidence limits of the frequency."""
    low, high, sure_low, sure_high = (
        limit - frequency_limit(hits, trials, level, upper)
        for level in (0.95, SURE)
        for upper in (True, False)
    )
    return Part(what, limit - hits / trials, low, high, sure_low, sure_high, runs)


def panel(lab: Lab) -> Panel:
    """Return ``lemma-1``: how often estimates miss, against the bound."""
    mean, printed = "sample mean", f"printed estimator, {VISITS} visits per epoch, {FIVE.id}"
    few = tuple(tau for tau in TAUS if tau <= 8)
    means = "R = u_max - u_min of the means as printed"
    looks: tuple[tuple[Setting, int, Sequence[int], bool, dict[str, int]], ...] = (
        (FIVE, 1, TAUS, False, {f"{mean}, R the range of the samples, {FIVE.id}": 1}),
        (
            FIVE,
            VISITS,
            few,
            False,
            {
                f"{printed}, counted as one sample per epoch": 1,
                f"{printed}, counted as {VISITS} samples per epoch": VISITS,
            },
        ),
        (FIVE, 1, TAUS, True, {f"{mean}, {means}, {FIVE.id}": 1}),
        (ALIKE, 1, TAUS, True, {f"{mean}, {means}, {ALIKE.id}": 1}),
    )
    rows: list[Row] = []
    findings = []
    for place, visits, epochs, of_means, readings in looks:
        scenario = replace(place, overrides={**place.overrides, **UNIFORM}).load(lab.base)
        world = draw_world(scenario, lab.seeds)
        width = mean_range(world) if of_means else sample_range(world)
        counted = misses(world, width, visits, epochs, lab.seeds, DRAWS)
        for reading, samples in readings.items():
            lines, parts = _against_bound(counted, width.shape, epochs, samples)
            rows += [{"reading": reading, "visits per epoch": visits, **line} for line in lines]
            findings.append(Finding("lemma-1", reading, parts, "probability"))
    draw = partial(_draw_lemma_1, rows=rows, readings=(findings[0].reading, findings[2].reading))
    heading = "How often an estimate errs by more than eps, against Hoeffding's bound"
    return Panel("lemma-1", heading, rows, draw, tuple(findings), size=(5.6, 3.2))


def mean_range(world: World) -> Array:
    """Return u_max - u_min of the means of a stage, for each of its pairs, (B, S, M, N)."""
    mean = world.mean_profit[..., :-1]
    return np.broadcast_to(np.ptp(mean, axis=(2, 3))[..., None, None], mean.shape)


def _against_bound(
    counted: tuple[Array, Array], shape: tuple[int, ...], epochs: Sequence[int], samples: int
) -> tuple[list[Row], tuple[Part, ...]]:
    """Set what :func:`misses` counted beside the bound for so many samples per epoch."""
    runs, stages, *size = shape
    pairs = math.prod(size)
    rows: list[Row] = []
    parts = []
    for words, of, hits in (("a pair", 1, counted[0]), ("some pair", pairs, counted[1])):
        trials = runs * stages * DRAWS * (pairs if of == 1 else 1)
        resolved = frequency_limit(0, trials, SURE, upper=True)
        for (i, tau), (j, share) in product(enumerate(epochs), enumerate(FRACTIONS)):
            seen, limit = int(hits[i, j]), hoeffding(samples * tau, share, of)
            row: dict[str, Any] = {"of": words, "epochs": tau, "eps / R": share, "bound": limit}
            row |= {"frequency": seen / trials, "trials": trials}
            rows.append(row | {"upper 95 %": frequency_limit(seen, trials, 0.95, upper=True)})
            # A bound of 1 says nothing, and no number of hits would put one so small to the test.
            if resolved < limit < 1:
                what = f"bound > P({words} errs by > {share:g} R) after {tau} epochs"
                parts.append(below_bound(what, seen, trials, limit, runs))
    return rows, tuple(parts)


def _draw_lemma_1(ax: Any, rows: Sequence[Row], readings: tuple[str, str]) -> None:
    shown = (
        (readings[0], 2, "#56B4E9", "o", "2 samples"),
        (readings[0], 8, "#0072B2", "s", "8 samples"),
        (readings[0], 32, "#000000", "D", "32 samples"),
        (readings[1], 4, "#D55E00", "^", f"printed estimator,\n{4 * VISITS} samples"),
    )
    for reading, tau, color, marker, label in shown:
        line = [
            row
            for row in rows
            if (row["reading"], row["of"], row["epochs"]) == (reading, "a pair", tau)
        ]
        at = [row["eps / R"] for row in line]
        seen = [row["frequency"] or math.nan for row in line]
        ax.plot(at, [row["bound"] for row in line], color=color, lw=1, linestyle="--")
        ax.plot(at, seen, color=color, marker=marker, ms=4, lw=1.4, label=label)
    ax.plot([], [], color="#666666", lw=1, linestyle="--", label="bound for it")
    ax.set(yscale="log", ylim=(1e-6, 3.0), xlabel="eps / R", ylabel="P(|error| > eps)")
    ax.set_xticks(FRACTIONS)
    ax.minorticks_off()
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
