"""All that was measured, and the arithmetic on it: ratios within rounds, and their quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distmllm_bench.speed.memory import Memory
from distmllm_bench.speed.policies import ExperimentTiming, PolicyTiming
from distmllm_bench.speed.setting import Setting
from distmllm_bench.speed.sweeps import SweepTiming
from distmllm_bench.speed.timing import Timing
from distmllm_env.equations import Array


@dataclass(frozen=True)
class Measurements:
    """All that was measured."""

    setting: Setting
    timings: tuple[Timing, ...]
    policies: tuple[PolicyTiming, ...]
    experiment: tuple[ExperimentTiming, ...]
    memory: Memory
    sweeps: tuple[SweepTiming, ...]


@dataclass(frozen=True)
class Spread:
    """Lower quartile, median and upper quartile over rounds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:  # a single round
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)}, {short(self.high)})"


def spread(values: Array | Sequence[float]) -> Spread:
    """Return the quartiles of some rounds."""
    low, median, high = np.percentile(np.asarray(values, float), (25, 50, 75))
    return Spread(float(low), float(median), float(high))


def ratio(of: Timing, to: Timing) -> Spread:
    """Return agent-steps per second of one over those of another, round by round.

    Raises:
        ValueError: They did not play alternating windows, so that rounds do not belong together.
    """
    if of.group != to.group:
        raise ValueError(f"{of.form} and {to.form} were not timed side by side.")
    return spread(of.rate / to.rate)


def above(timing: Timing, empty: Timing) -> Spread:
    """Return microseconds per step beyond those of an empty environment, round by round."""
    return spread(1e6 * (timing.seconds - empty.seconds))


def find(measured: Measurements, group: str, form: str) -> Timing | None:
    """Return the timing of one contender, None where it was not timed."""
    found = [t for t in measured.timings if (t.group, t.form) == (group, form)]
    return found[0] if found else None


def experiment_ratio(measured: Measurements) -> Spread:
    """Return how many times faster the main experiment is batched, all policies together."""
    batched, single = (
        np.sum([getattr(row, way) for row in measured.experiment], axis=0)
        for way in ("batched_s", "single_s")
    )
    return spread(single / batched)


def short(x: float) -> str:
    """Three digits, or all before the point; two decimals at most."""
    size = abs(x)
    return f"{x:.0f}" if size >= 99.95 else f"{x:.1f}" if size >= 9.995 else f"{x:.2f}"


def si(x: float) -> str:
    """Three digits with k, M or G."""
    for unit, power in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x >= 0.9995 * power:
            return f"{x / power:.3g}{unit}"
    return f"{x:.3g}"
