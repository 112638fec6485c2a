"""One scenario of a sweep: what each policy earned there, how it was split, how it went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distmllm_bench.report.comparison import Comparison, of_optimum
from distmllm_bench.reproduce.drawing import spread
from distmllm_bench.sweep.results import Results
from distmllm_env.equations import Array

MEASURES = {
    "profit": "profit / slot",
    "share": "of optimum",
    "normalised": "score",
    "regret": "regret R(T)",
    "regret_served": "regret: served elsewhere",
    "regret_rejected": "regret: rejected",
    "regret_idle": "regret: idle",
    "jain": "Jain index",
    "rejected": "tasks rejected",
    "deferred": "tasks deferred",
    "switches": "tasks moved",
}
"""Numbers of a run that are shown, and their heads."""

POINTS = 150
"""Most points of a curve in a figure."""


@dataclass(frozen=True)
class Band:
    """Mean over runs of a curve, and half the width of its 95 % interval (0 with one run)."""

    slots: Array
    mean: Array
    half: Array


class MarketView:
    """One scenario of a sweep.

    A policy with an undone cell here is in :attr:`incomplete` and nowhere else: its average over
    the other seeds is that of other worlds.

    Args:
        comparison: The sweep.
        market: Id of the scenario.
    """

    def __init__(self, comparison: Comparison, market: str) -> None:
        self.results: Results = comparison.results
        self.market = market
        self.scenario = self.results.markets[market].scenario
        self.runs = len(self.results.seeds)
        done = {
            policy: int(np.isfinite(self.results.score("regret", market, policy)).sum())
            for policy in comparison.order
        }
        self.incomplete = {policy: n for policy, n in done.items() if n < self.runs}
        self.policies = [policy for policy in comparison.order if policy not in self.incomplete]
        regret = {policy: self.values("regret", policy).mean() for policy in self.policies}
        self.best_first = sorted(self.policies, key=lambda policy: regret[policy])

    def values(self, measure: str, policy: str) -> Array:
        """Return one of :data:`MEASURES` of every run, (R,)."""
        if measure == "share":
            return of_optimum(self.results, self.market, policy)
        if measure == "normalised":
            return self.results.normalised(self.market, policy)
        found = self.results.score(measure, self.market, policy)
        return found / self.scenario.slots if measure == "profit" else found

    def mean_and_sd(self, measure: str, policy: str) -> tuple[float, float]:
        """Return mean and standard deviation (R - 1) over the runs; sd is NaN with one run."""
        values = self.values(measure, policy)
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan

    @property
    def window(self) -> int:
        """Slots that a moving average goes back."""
        return max(1, round(self.scenario.slots / 20))

    def share_curve(self, policy: str) -> Band:
        """Return realised profit per slot from slot 1 to t, as a share of the optimum."""
        best = self.results.score("optimum", self.market, policy)[:, None]
        earned = self.results.curve("profit", self.market, policy).cumsum(axis=1)
        ideal = best * np.arange(1, earned.shape[1] + 1)
        share = np.divide(earned, ideal, out=np.full(earned.shape, np.nan), where=ideal > 0)
        return _band(share)

    def curve(self, name: str, policy: str) -> Band:
        """Return ``regret`` or ``jain`` up to each slot."""
        return _band(self.results.curve(name, self.market, policy))

    def rejections(self, policy: str) -> Band:
        """Return the moving average of tasks that were placed and not admitted, share of all."""
        dropped = self.results.curve("rejected", self.market, policy)
        hopeless = self.results.curve("infeasible", self.market, policy)
        return _band(self._recent(dropped + hopeless))

    def switches(self, policy: str) -> Band:
        """Return the moving average of tasks that moved, share of all; from the second slot on."""
        moved = self.results.curve("switches", self.market, policy)[:, 1:]
        return _band(self._recent(moved), first=2)

    def _recent(self, tasks: Array) -> Array:
        """Average counts of tasks (R, T) over the window up to each slot, as a share of tasks."""
        total = np.pad(tasks.cumsum(axis=1), ((0, 0), (1, 0)))
        ends = np.arange(1, tasks.shape[1] + 1)
        starts = np.maximum(ends - self.window, 0)
        share = (total[:, ends] - total[:, starts]) / (ends - starts)
        return share / (2 * self.scenario.providers)


def _band(curves: Array, first: int = 1) -> Band:
    """Return mean and interval over runs of curves (R, T), thinned."""
    slots = curves.shape[1]
    keep = np.unique(np.linspace(0, max(slots - 1, 0), min(slots, POINTS)).astype(int))
    mean, half = spread(curves[:, keep], "ci")
    return Band(keep + first, mean, half)
