"""Comparing policies over scenarios and seeds: averages, differences, profiles, with intervals.

Scores are (R, K): R runs (seeds) in each of K scenarios. Row r of two policies is the same seed:
same worlds, same luck. The measures are those of Agarwal et al., "Deep reinforcement learning at
the edge of the statistical precipice" (NeurIPS 2021); their intervals are percentile intervals of
a stratified bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 8
and 13). With R around 20 such an interval is a few percent too narrow: its variance is short by
the factor (R - 1) / R, and it does without the longer tails of Student's distribution.

NaN stands for a run that failed or is missing. Nothing here skips it: every function refuses
values that are not finite, and :func:`complete` tells which runs can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.schema import require

CHUNK = 2**18
"""Scores that are resampled at once, per sample: bounds the memory, changes no result."""


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval.

    Attributes:
        estimate: Of the scores as they are.
        low: Lower end.
        high: Upper end.
        level: Confidence, in (0, 1).
    """

    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Profile:
    """Share of runs above each threshold, and a confidence band.

    Attributes:
        thresholds: (T,).
        share: (T,), of the scores as they are.
        low: (T,), lower end at each threshold by itself.
        high: (T,), upper end.
        level: Confidence at one threshold, in (0, 1); of the whole curve it is lower.
    """

    thresholds: Array
    share: Array
    low: Array
    high: Array
    level: float


def complete(*samples: Array) -> Array:
    """Tell which runs have a finite score in every scenario of every sample.

    Args:
        samples: Scores, (R, K) each.

    Returns:
        bool (R,); ``scores[complete(scores, others)]`` leaves the other runs out.

    Raises:
        ValueError: No sample, no (R, K), or shapes that differ.
    """
    tables = [_table(f"samples[{i}]", sample, gaps=True) for i, sample in enumerate(samples)]
    _same_shape(tables)
    return np.isfinite(np.stack(tables)).all(axis=(0, 2))


def normalised(score: Array, floor: Array, ceiling: Array) -> Array:
    """Return (score - floor) / (ceiling - floor): 0 is as good as chance, 1 as the oracle.

    NaN where ``ceiling <= floor``: there is nothing to win, so no share of it either. Leave such
    runs out with :func:`complete`, or the scenario as a whole.

    Args:
        score: Of the policy, e.g. (R, K).
        floor: Of the random policy; a number or any shape that broadcasts with ``score``.
        ceiling: Of the oracle, alike.

    Raises:
        ValueError: A value that is not finite, or shapes that do not broadcast.
    """
    parts = [
        _finite(name, value)
        for name, value in (("score", score), ("floor", floor), ("ceiling", ceiling))
    ]
    shapes = tuple(part.shape for part in parts)
    try:
        score, floor, ceiling = np.broadcast_arrays(*parts)
    except ValueError:
        require(False, "shapes of score, floor, ceiling", shapes, "shapes that broadcast")
    gap = np.where(ceiling > floor, ceiling - floor, np.nan)
    return (score - floor) / gap


def iqm(scores: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the interquartile mean: the mean without the lowest and the highest quarter.

    Of n values, sorted, floor(n / 4) are cut at either end, as a 25 % trimmed mean does; with n < 4
    it is the mean. It is less moved by single runs than the mean, and less noisy than the median
    (Agarwal et al. 2021, section 4.3).

    Args:
        scores: Any shape but an empty one.
        axis: What to average over; None is everything. :func:`stratified_bootstrap` needs
            ``functools.partial(iqm, axis=(-2, -1))``.

    Raises:
        ValueError: No value, or one that is not finite.
    """
    values = _finite("scores", scores)
    axes = tuple(range(values.ndim)) if axis is None else axis
    axes = axes if isinstance(axes, tuple) else (axes,)
    last = np.moveaxis(values, axes, range(-len(axes), 0))
    flat = np.sort(last.reshape(*last.shape[: values.ndim - len(axes)], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def optimality_gap(
    scores: Array, target: float = 1.0, axis: int | tuple[int, ...] | None = None
) -> Array:
    """Return the mean of max(target - score, 0): how much is missing; lower is better.

    What a run has beyond the target makes up for nothing (Agarwal et al. 2021, section 4.3).

    Args:
        scores: Any shape but an empty one, e.g. normalised.
        target: What is good enough; the oracle by default.
        axis: What to average over; None is everything.

    Raises:
        ValueError: No value, or one that is not finite.
    """
    values = _finite("scores", scores)
    return np.maximum(_finite("target", target) - values, 0.0).mean(axis=axis)


def mean_and_sd(scores: Array) -> tuple[Array, Array]:
    """Return the mean over runs and the standard deviation between runs (R - 1), (K,) each.

    Args:
        scores: (R, K), R at least 2. ``scores.mean(axis=1, keepdims=True)`` gives both for the mean
            over the scenarios.

    Raises:
        ValueError: No such shape, or a value that is not finite.
    """
    table = _table("scores", scores, runs=2)
    return table.mean(axis=0), table.std(axis=0, ddof=1)


def stratified_bootstrap(
    statistic: Callable[..., Array],
    *samples: Array,
    paired: bool = True,
    whole_runs: bool = False,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return a statistic with its percentile interval under a stratified bootstrap.

    A replicate draws R runs with replacement in each scenario by itself, so that scores of one
    scenario never stand in for those of another; the interval holds the middle ``level`` of the
    replicates. That takes the runs of different scenarios for independent. Where one seed makes the
    luck of several scenarios, scores rise and fall together and the interval is too narrow: ask
    for ``whole_runs``, which draws a run with all its scenarios.

    Args:
        statistic: Takes arrays (n, R, K), one per sample, and returns (n,).
        samples: Scores, (R, K) each, R at least 2.
        paired: Every sample is resampled by the same draws, so that row r stays with row r, and
            shapes must be equal. Otherwise by draws of its own, and only K must be equal.
        whole_runs: Draw a run with all its scenarios, instead of scenario by scenario.
        level: Confidence, in (0, 1).
        replicates: How often to resample.
        seed: Same seed, same interval. No global generator is used.

    Raises:
        ValueError: A sample has no such shape or a value that is not finite, a setting is not
            allowed, or the statistic does not return one finite number per replicate.
    """
    tables = [_table(f"samples[{i}]", sample, runs=2) for i, sample in enumerate(samples)]
    if paired:
        _same_shape(tables)
    ends = _resampled(statistic, tables, paired, whole_runs, level, replicates, seed)
    shape = ends[0].shape
    require(shape == (), "shape of statistic per replicate", shape, "(), one number")
    estimate, low, high = (float(end) for end in ends)
    return Interval(estimate, low, high, level)


def paired_difference(
    a: Array,
    b: Array,
    *,
    method: Literal["bootstrap", "student"] = "bootstrap",
    whole_runs: bool = False,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of a - b over all runs and scenarios, paired by run, with its interval.

    Args:
        a: (R, K), R at least 2.
        b: (R, K).
        method: ``bootstrap`` is :func:`stratified_bootstrap`. ``student`` is mean +- t sd / sqrt(R)
            with R - 1 degrees of freedom, which keeps its level also at few runs, for K = 1; means
            over the scenarios, (R, 1), are such a column.
        whole_runs: As in :func:`stratified_bootstrap`.
        level: Confidence, in (0, 1).
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes or settings that are not allowed, or a value that is not finite.
    """
    difference = np.subtract(*_same_shape([_table("a", a, runs=2), _table("b", b, runs=2)]))
    if method == "bootstrap":
        return stratified_bootstrap(
            _mean, difference, whole_runs=whole_runs, level=level, replicates=replicates, seed=seed
        )
    require(method == "student", "method", method, "'bootstrap' or 'student'")
    _check_level(level)
    runs, scenarios = difference.shape
    require(scenarios == 1, "scenarios of a and b", scenarios, "1 if the method is 'student'")
    mean = float(difference.mean())
    half = t_quantile(runs - 1, level) * float(difference.std(ddof=1)) / math.sqrt(runs)
    return Interval(mean, mean - half, mean + half, level)


def probability_of_improvement(
    a: Array,
    b: Array,
    *,
    paired: bool = False,
    whole_runs: bool = False,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean over scenarios of P(a > b) + P(a = b) / 2, with its bootstrap interval.

    Unpaired, P is over all pairs of a run of a and a run of b, that is U / (R R') with the U of
    Mann and Whitney (Agarwal et al. 2021, section 4.3), and a and b are resampled each by itself.
    Scores that share worlds and luck seed by seed get too wide an interval that way. Paired, P is
    over seeds: how often a beats b in the same world with the same luck.

    The reverse is known from it: P(b, a) = 1 - P(a, b), and so, up to the draws if unpaired, are
    the ends of its interval.

    Args:
        a: (R, K), R at least 2.
        b: (R, K); (R', K) will do if unpaired.
        paired: Compare run r with run r only.
        whole_runs: As in :func:`stratified_bootstrap`.
        level: Confidence, in (0, 1).
        replicates: How often to resample.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes or settings that are not allowed, or a value that is not finite.
    """
    tables = [_table("a", a, runs=2), _table("b", b, runs=2)]
    if paired:
        _same_shape(tables)
    statistic = _wins_by_run if paired else _wins_of_all_pairs
    return stratified_bootstrap(
        statistic,
        *tables,
        paired=paired,
        whole_runs=whole_runs,
        level=level,
        replicates=replicates,
        seed=seed,
    )


def performance_profile(
    scores: Array,
    thresholds: Array,
    *,
    whole_runs: bool = False,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Profile:
    """Return the share of runs with score > threshold; each scenario weighs the same.

    The tail distribution of the scores (Agarwal et al. 2021, section 4.2); the area under it from 0
    to a target is the target less the :func:`optimality_gap`, if no score is below 0.

    Args:
        scores: (R, K), R at least 2.
        thresholds: (T,), in any order.
        whole_runs: As in :func:`stratified_bootstrap`.
        level: Confidence of the band at one threshold, in (0, 1).
        replicates: How often to resample.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes or settings that are not allowed, or a value that is not finite.
    """
    table = _table("scores", scores, runs=2)
    at = _finite("thresholds", thresholds)
    require(at.ndim == 1, "shape of thresholds", at.shape, "(T,)")

    def shares(sample: Array) -> Array:
        return np.stack([_mean(sample > threshold) for threshold in at], axis=-1)

    return Profile(
        at, *_resampled(shares, [table], True, whole_runs, level, replicates, seed), level
    )


def _resampled(
    statistic: Callable[..., Array],
    tables: list[Array],
    paired: bool,
    whole_runs: bool,
    level: float,
    replicates: int,
    seed: int,
) -> tuple[Array, Array, Array]:
    """Return estimate, low and high of a statistic (n, R, K) -> (n, ...), each of shape (...)."""
    _check_level(level)
    require(replicates >= 1, "replicates", replicates, "at least 1")
    counts = [table.shape[1] for table in tables]
    require(len(set(counts)) == 1, "scenarios of the samples", counts, "at least one, all equal")
    columns, width = np.arange(counts[0]), 1 if whole_runs else counts[0]
    rng = np.random.default_rng(seed)
    # Draws of its own for every sample, so that the size of a chunk does not change them.
    sources = [rng] if paired else rng.spawn(len(tables))
    rows = max(1, CHUNK // max(table.size for table in tables))
    values = []
    for start in range(0, replicates, rows):
        n = min(rows, replicates - start)
        drawn = [
            source.integers(len(table), size=(n, len(table), width))
            for source, table in zip(sources, tables, strict=False)
        ]
        drawn = drawn * len(tables) if paired else drawn
        chunk = [table[runs, columns] for table, runs in zip(tables, drawn, strict=True)]
        values.append(_one_per_replicate(statistic(*chunk), n))
    estimate = _one_per_replicate(statistic(*(table[None] for table in tables)), 1)[0]
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.concatenate(values), ends, axis=0)
    return estimate, low, high


def _one_per_replicate(values: Any, n: int) -> Array:
    """Return what a statistic gave for n replicates, checked."""
    array = np.asarray(values, float)
    allowed = "(n, ...), for n replicates: reduce the last two axes, and only these"
    require(array.shape[:1] == (n,), f"shape of statistic for n = {n}", array.shape, allowed)
    return _finite("statistic", array)


def _mean(scores: Array) -> Array:
    """(..., R, K) -> (...)."""
    return scores.mean(axis=(-2, -1))


def _wins_by_run(a: Array, b: Array) -> Array:
    """Share of runs of a above the same run of b; (..., R, K) -> (...)."""
    return (_mean(a > b) + _mean(a >= b)) / 2


def _wins_of_all_pairs(a: Array, b: Array) -> Array:
    """Share of pairs with the run of a above that of b; (..., R, K), (..., R', K) -> (...)."""
    twice = np.zeros(b.shape, np.int32)
    for r in range(a.shape[-2]):
        one = a[..., r : r + 1, :]
        twice += one > b
        twice += one >= b
    return _mean(twice) / (2 * a.shape[-2])


def _check_level(level: float) -> None:
    require(0.0 < level < 1.0, "level", level, "between 0 and 1, both excluded")


def _finite(name: str, values: Any) -> Array:
    """Return ``values`` as an array of floats, at least one, all finite."""
    array = np.asarray(values, float)
    require(array.size > 0, f"shape of {name}", array.shape, "at least one value")
    bad = int(array.size - np.isfinite(array).sum())
    allowed = f"0 of {array.size}, all must be finite; complete() tells which runs are"
    require(bad == 0, f"values of {name} that are not finite", bad, allowed)
    return array


def _table(name: str, scores: Any, runs: int = 1, gaps: bool = False) -> Array:
    """Return ``scores`` as floats (R, K) with R >= ``runs``, all finite unless ``gaps``."""
    table = np.asarray(scores, float)
    fits = table.ndim == 2 and table.shape[0] >= runs and table.shape[1] >= 1
    allowed = f"(R, K), runs x scenarios, with R at least {runs} and K at least 1"
    require(fits, f"shape of {name}", table.shape, allowed)
    return table if gaps else _finite(name, table)


def _same_shape(tables: list[Array]) -> list[Array]:
    shapes = [table.shape for table in tables]
    require(len(set(shapes)) == 1, "shapes of the samples", shapes, "at least one, all equal")
    return tables


@cache
def t_quantile(freedom: int, level: float) -> float:
    """Return t with P(|T| <= t) = ``level`` for Student's T, by bisection on its distribution.

    Args:
        freedom: Degrees of freedom, at least 1.
        level: In (0, 1).
    """
    low, high = 0.0, 1.0
    while _inside(high, freedom) < level:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """P(|T| <= t), in closed form for whole degrees of freedom (Abramowitz and Stegun 26.7.3-4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        total, term = 0.0, cosine
        for k in range(1, freedom // 2 + 1):
            total += term
            term *= cosine * cosine * (2 * k) / (2 * k + 1)
        return 2.0 / math.pi * (angle + sine * total)
    total, term = 0.0, 1.0
    for k in range(freedom // 2):
        total += term
        term *= cosine * cosine * (2 * k + 1) / (2 * k + 2)
    return sine * total
