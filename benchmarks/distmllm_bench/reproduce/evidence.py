"""From paired runs to verdicts. A verdict is computed here and nowhere typed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distmllm_bench.statistics import t_quantile
from distmllm_env.equations import Array

SURE = 0.99
"""Confidence that a difference must reach to decide; intervals are printed at 95 %."""

REPRODUCED, NOT_REPRODUCED, CANNOT_HOLD = "reproduced", "not reproduced", "cannot hold"


@dataclass(frozen=True)
class Part:
    """One inequality that a claim needs: ``effect`` must be above 0.

    Attributes:
        what: The inequality in words or symbols.
        effect: Mean of the paired difference.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        sure_low: Lower end of the interval that decides.
        sure_high: Upper end.
        runs: Number of pairs; 1 where nothing is random.
    """

    what: str
    effect: float
    low: float
    high: float
    sure_low: float
    sure_high: float
    runs: int

    @property
    def verdict(self) -> str:
        """``reproduced``, ``not reproduced`` or undetermined."""
        if self.sure_low > 0:
            return REPRODUCED
        if self.sure_high < 0 or self.low == self.high:
            return NOT_REPRODUCED
        return undetermined(self.runs)


@dataclass(frozen=True)
class Finding:
    """What the runs say about one claim under one reading.

    Attributes:
        claim: Id of the claim.
        reading: How its words were read.
        parts: All must hold. The weakest is quoted.
        unit: Of the effects.
    """

    claim: str
    reading: str
    parts: tuple[Part, ...]
    unit: str = "profit per slot"

    def __post_init__(self) -> None:
        """Refuse a finding about nothing."""
        if not self.parts:
            raise ValueError(f"claim {self.claim}: a finding needs at least one part.")

    @property
    def verdict(self) -> str:
        """Reproduced if all parts are; not, if one is surely false; else undetermined."""
        verdicts = [part.verdict for part in self.parts]
        if NOT_REPRODUCED in verdicts:
            return NOT_REPRODUCED
        return next((verdict for verdict in verdicts if verdict != REPRODUCED), REPRODUCED)

    @property
    def weakest(self) -> Part:
        """The part that the verdict hangs on: the one whose lower end is the lowest."""
        worst = [part for part in self.parts if part.verdict == self.verdict]
        return min(worst, key=lambda part: part.sure_low)


def undetermined(runs: int) -> str:
    """Return the verdict where the runs are too few to decide."""
    return f"undetermined at {runs} seeds"


def above_zero(what: str, difference: Array) -> Part:
    """Weigh whether a paired difference, one number per run, is above 0 in the mean.

    Student's t intervals of the mean; its runs share worlds and luck, so that what the worlds
    differ by drops out.

    Args:
        what: The inequality.
        difference: (B,), B at least 2.

    Raises:
        ValueError: Fewer than two runs, or a number that is not finite.
    """
    sample = np.asarray(difference, float)
    if sample.ndim != 1 or sample.size < 2:
        raise ValueError(f"{what}: {sample.shape} runs; at least two are needed for an interval.")
    if not np.isfinite(sample).all():
        raise ValueError(f"{what}: a difference is not finite.")
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    printed, deciding = (t_quantile(sample.size - 1, level) * error for level in (0.95, SURE))
    ends = (mean - printed, mean + printed, mean - deciding, mean + deciding)
    return Part(what, mean, *ends, runs=sample.size)


def fact(what: str, margin: float) -> Part:
    """State an inequality about numbers that have no luck in them: ``margin`` must be above 0.

    Raises:
        ValueError: The margin is not finite.
    """
    if not math.isfinite(margin):
        raise ValueError(f"{what}: margin = {margin} is not finite.")
    return Part(what, margin, margin, margin, margin, margin, runs=1)


def chain(names: Sequence[str], samples: Sequence[Array]) -> tuple[Part, ...]:
    """Weigh ``names[0] > names[1] > ...`` on paired samples, (B,) each."""
    return tuple(
        above_zero(f"{names[i]} > {names[i + 1]}", samples[i] - samples[i + 1])
        for i in range(len(names) - 1)
    )
