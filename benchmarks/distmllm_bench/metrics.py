"""What a run is worth: profit, regret, fairness, rejections. One number per run of a batch.

The headline regret is pseudo-regret of the total against the exact joint optimum on the true means
(D5, D6): R(T) = T V* - sum of expected profit. The expectation is over the noise of the slot, given
who was admitted, so with hard capacity it is never negative. Where overloaded workers only slow
down (``overload = "share"``) the optimum within capacity can be beaten and regret may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distmllm_agents.oracle import Optimum, optimum
from distmllm_env.equations import Array
from distmllm_env.runs import Run
from distmllm_env.slot import Status

__all__ = ["Optimum", "Scores", "optimum"]


@dataclass(frozen=True)
class Scores:
    """Measures of a recorded batch of runs.

    Args:
        run: The record.
        best: Optimum of its world.
    """

    run: Run
    best: Optimum

    @cached_property
    def profit(self) -> Array:
        """Realised total profit, (B,)."""
        return self.run.profit.sum(axis=(1, 2, 3))

    @cached_property
    def regret(self) -> Array:
        """Pseudo-regret of the total after T slots, (B,)."""
        return self.regret_curve[:, -1]

    @cached_property
    def regret_curve(self) -> Array:
        """Pseudo-regret of the total after each slot, (B, T)."""
        return (self.best.value[:, None] - self.run.expected_profit.sum(axis=(2, 3))).cumsum(axis=1)

    @cached_property
    def realised_regret(self) -> Array:
        """T V* less the realised profit, (B,): the noise of the run included."""
        return self.best.value * self.run.profit.shape[1] - self.profit

    @cached_property
    def stage_regret(self) -> Array:
        """Pseudo-regret of each stage against its part of the joint optimum, (B, S).

        It may be negative: a policy may favour one stage more than the optimum does (D7).
        """
        slots = self.run.profit.shape[1]
        return self.best.stage_value * slots - self.run.expected_profit.sum(axis=(1, 2))

    @cached_property
    def profit_curve(self) -> Array:
        """Realised total profit per slot, averaged from slot 1 to t, (B, T) (D8)."""
        per_slot = self.run.profit.sum(axis=(2, 3))
        return per_slot.cumsum(axis=1) / np.arange(1, per_slot.shape[1] + 1)

    @cached_property
    def share_curve(self) -> Array:
        """:attr:`profit_curve` as a share of V* of the same world, (B, T); NaN where V* is 0.

        Noise may carry it a little above 1.
        """
        best = self.best.value[:, None]
        return np.divide(
            self.profit_curve, best, out=np.full(self.profit_curve.shape, np.nan), where=best > 0
        )

    @cached_property
    def jain(self) -> Array:
        """Jain's index of the providers' total profits, (B,): 1 if equal, 1 / M if one has all."""
        totals = self.run.profit.sum(axis=(1, 3))
        square = totals.shape[1] * (totals**2).sum(axis=1)
        return np.where(
            square > 0, totals.sum(axis=1) ** 2 / np.where(square > 0, square, 1.0), 1.0
        )

    @cached_property
    def rejected(self) -> Array:
        """Share of placed tasks that were not admitted, (B,)."""
        status = self.run.status
        placed = (status != Status.DEFERRED).sum(axis=(1, 2, 3))
        failed = placed - (status == Status.ADMITTED).sum(axis=(1, 2, 3))
        return failed / np.maximum(placed, 1)

    @cached_property
    def deferred(self) -> Array:
        """Share of all tasks that were placed nowhere, (B,)."""
        return (self.run.status == Status.DEFERRED).mean(axis=(1, 2, 3))
