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


FATES = ("served", "rejected", "idle")
"""What becomes of a task: a worker served it; an overloaded one dropped it; it was placed nowhere,
or where it can never run."""


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
    def regret_by_fate(self) -> Array:
        """Pseudo-regret split by what became of the tasks, (B, 3): see :data:`FATES`.

        A task loses in a slot what it earns in the optimum less its expected profit. Where it was
        served the difference says what another worker cost it; it may be negative, for a task can
        take the place of one that the optimum serves there. The three sum to :attr:`regret`.
        """
        status = self.run.status
        lost = self.best.task_value[:, None] - self.run.expected_profit
        served, rejected = status == Status.ADMITTED, status == Status.REJECTED
        fates = (served, rejected, ~(served | rejected))
        return np.stack([(lost * fate).sum(axis=(1, 2, 3)) for fate in fates], axis=1)

    @cached_property
    def switches(self) -> Array:
        """Number of tasks placed elsewhere than in the slot before, int (B, T); 0 at first."""
        moved = np.zeros(self.run.allocation.shape[:2], np.int64)
        before, after = self.run.allocation[:, :-1], self.run.allocation[:, 1:]
        moved[:, 1:] = (before != after).sum(axis=(2, 3))
        return moved

    @cached_property
    def jain_curve(self) -> Array:
        """Jain's index of the providers' profits up to each slot, (B, T)."""
        return _jain(self.run.profit.sum(axis=3).cumsum(axis=1))

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
        return _jain(self.run.profit.sum(axis=(1, 3)))

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


def _jain(totals: Array) -> Array:
    """Jain's index over the last axis."""
    square = totals.shape[-1] * (totals**2).sum(axis=-1)
    return np.where(square > 0, totals.sum(axis=-1) ** 2 / np.where(square > 0, square, 1.0), 1.0)
