"""How cost grows with one size, and the exponent that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from distmllm_bench.speed.environments import vector_contender
from distmllm_bench.speed.setting import Setting, Sweep, capacity_for
from distmllm_bench.speed.timing import Contender, alternate, order, timed
from distmllm_env import Scenario, load_policy, play

SWEEP_POLICY = "distmllm"

SLACK = 0.05
"""How far above 1 an exponent may lie, beyond two standard errors."""


@dataclass(frozen=True)
class SweepTiming:
    """What one sweep took.

    Attributes:
        of: Name of the sweep.
        sizes: Rising.
        markets: B, where it is not what changes.
        seconds: At each size, round by round: (sizes, rounds).
        judged: Whether its exponent is.
    """

    of: str
    sizes: tuple[int, ...]
    markets: int
    seconds: tuple[tuple[float, ...], ...]
    judged: bool = True


def sweep_group(setting: Setting, sweep: Sweep) -> SweepTiming:
    """Time one sweep: steps of the vector environment, or whole plays where slots change."""
    if sweep.of == "slots":
        seconds = _whole_plays(setting, sweep)
    else:
        contenders = [_sized(setting, sweep, size) for size in sweep.sizes]
        timings = alternate(sweep.name, contenders, setting.sweep_rounds, setting.window_s)
        seconds = [timing.step_s for timing in timings]
    return SweepTiming(sweep.name, sweep.sizes, sweep.markets, tuple(seconds), sweep.judged)


def _sized(setting: Setting, sweep: Sweep, size: int) -> Contender:
    if sweep.of == "markets":
        return vector_contender(setting, size)
    if sweep.of == "workers":
        return vector_contender(replace(setting, workers=size), sweep.markets)
    overrides = {"capacity": capacity_for(size)} if sweep.same_load else None
    sized = replace(setting, providers=size)
    return vector_contender(sized, sweep.markets, overrides=overrides)


def _whole_plays(setting: Setting, sweep: Sweep) -> list[tuple[float, ...]]:
    scenarios = [
        Scenario.load("paper", providers=setting.providers, workers=setting.workers, slots=slots)
        for slots in sweep.sizes
    ]
    seeds = range(sweep.markets)
    seconds: list[list[float]] = [[] for _ in scenarios]
    play(scenarios[0], load_policy(SWEEP_POLICY), seeds)  # loads and compiles
    for turn in range(setting.sweep_rounds):
        for i in order(len(scenarios), turn):
            job = partial(play, scenarios[i], load_policy(SWEEP_POLICY), seeds)
            seconds[i].append(timed(job))
    return [tuple(s) for s in seconds]


@dataclass(frozen=True)
class Exponent:
    """The slope of log cost against log size.

    Attributes:
        of: What is swept.
        slope: Least squares through the best of the rounds.
        error: Its standard error; 0 with two sizes.
    """

    of: str
    slope: float
    error: float

    @property
    def met(self) -> bool:
        """Whether growth is linear at most."""
        return self.slope <= 1.0 + 2.0 * self.error + SLACK


def fit(sweep: SweepTiming) -> Exponent:
    """Fit cost = a size^slope.

    Args:
        sweep: At least two sizes.
    """
    x = np.log(np.array(sweep.sizes, float))
    y = np.log(np.min(sweep.seconds, axis=1))
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / (x * x).sum())
    rest = float(((y - slope * x) ** 2).sum())
    error = math.sqrt(rest / (len(x) - 2) / float((x * x).sum())) if len(x) > 2 else 0.0
    return Exponent(sweep.of, slope, error)
