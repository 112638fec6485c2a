"""Policies over all scenarios of a sweep: who is ahead, by how much, and how sure that is.

Scores are :meth:`.Results.normalised`: 0 is random play, 1 the optimum, each world for itself. One
seed makes the worlds and the luck of all scenarios, so intervals draw it with all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from distmllm_bench import statistics
from distmllm_bench.report.undone import STATES, counted
from distmllm_bench.statistics import Interval, Profile
from distmllm_bench.sweep.cells import State
from distmllm_bench.sweep.results import Results
from distmllm_bench.sweep.suite import REFERENCES
from distmllm_env.equations import Array

LEVEL = 0.95

DIVISIONS = {
    "closed": "policies that know rewards, or latency and energy, and have learned nothing before",
    "open": "policies that know more, or have learned from other worlds before",
}

ROUNDING = 1e-9
"""What is no more than this share of the optimum is rounding: room above random play, scores."""

_IQM = partial(statistics.iqm, axis=(-2, -1))


@dataclass(frozen=True)
class Standing:
    """A policy in its division.

    Attributes:
        policy: Id.
        rank: From 1; equal scores share one.
        score: Interquartile mean over scenarios and seeds; ends are NaN with one run.
        mean: Mean of the same scores.
        gap: Optimality gap.
        share: Realised profit as a share of the optimum, mean; NaN where an optimum is 0.
        behind: Mean paired difference to the leader, Student's interval; ends NaN with one run.
        wins: Probability of improvement over the leader.
        leads: Whether it is the leader.
    """

    policy: str
    rank: int
    score: Interval
    mean: float
    gap: float
    share: float
    behind: Interval
    wins: Interval
    leads: bool

    @property
    def verdict(self) -> str:
        """What the paired difference says: is it shown to be worse than the leader?"""
        if self.leads:
            return "best"
        if math.isnan(self.behind.high):
            return "one run: not known"
        return "behind" if self.behind.high < 0 else "not told apart"


@dataclass(frozen=True)
class Decision:
    """Seconds that a policy takes for a slot of one market: median over scenarios, and the ends."""

    median: float
    low: float
    high: float


class Comparison:
    """A sweep compared over all its scenarios.

    Args:
        results: The sweep.

    Attributes:
        results: The sweep.
        entrants: Policies that are no references, in the order of the plan.
        left_out: Scenarios without a score -> why.
        markets: The others.
        unranked: Policies without a score -> why.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.entrants = [policy for policy in results.policies if policy not in REFERENCES]
        self.left_out = {
            market: why for market in results.markets if (why := self._no_room(market))
        }
        self.markets = [market for market in results.markets if market not in self.left_out]
        self.unranked: dict[str, str] = {}
        for policy in results.policies:
            why = self._no_score(policy)
            if why:
                self.unranked[policy] = why

    @cached_property
    def scores(self) -> dict[str, Array]:
        """Normalised scores of every policy that has all of them, (R, K), references among them.

        Rounded, so that two policies that do the same tie.
        """
        digits = round(-math.log10(ROUNDING))
        normalised = self.results.normalised
        return {
            policy: np.stack([normalised(m, policy) for m in self.markets], axis=1).round(digits)
            for policy in self.results.policies
            if policy not in self.unranked
        }

    @cached_property
    def standings(self) -> dict[str, list[Standing]]:
        """The leaderboard, division -> policies, best first; only divisions that have some."""
        found = {}
        for division in DIVISIONS:
            members = [
                policy
                for policy in self.entrants
                if policy in self.scores and self.division(policy) == division
            ]
            score = {policy: interval(_IQM, self.scores[policy]) for policy in members}
            members.sort(key=lambda policy: -score[policy].estimate)
            if members:
                found[division] = [self._standing(p, members[0], score) for p in members]
        return found

    @cached_property
    def ranked(self) -> list[str]:
        """Policies with a rank, best first over both divisions."""
        standings = [s for division in self.standings.values() for s in division]
        return [s.policy for s in sorted(standings, key=lambda s: -s.score.estimate)]

    @cached_property
    def order(self) -> list[str]:
        """All policies: the oracle, those ranked, those not, random play."""
        rest = [policy for policy in self.entrants if policy not in self.ranked]
        known = [policy for policy in REFERENCES if policy in self.results.policies]
        return [
            *(p for p in known if p == "oracle"),
            *self.ranked,
            *rest,
            *(p for p in known if p == "random"),
        ]

    @cached_property
    def improvement(self) -> dict[tuple[str, str], Interval]:
        """P(the first beats the second) in the same world with the same luck, for all pairs.

        Of ranked policies and random play; ties count half.
        """
        names = [*self.ranked, *(p for p in ("random",) if p in self.scores)]
        found = {}
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                one = wins(self.scores[a], self.scores[b])
                found[a, b] = one
                found[b, a] = Interval(1 - one.estimate, 1 - one.high, 1 - one.low, LEVEL)
        return found

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Performance profiles of the ranked policies and random play."""
        names = [*self.ranked, *(p for p in ("random",) if self.ranked and p in self.scores)]
        if not self.ranked:
            return {}
        lowest = min(float(self.scores[name].min()) for name in names)
        highest = max(float(self.scores[name].max()) for name in names)
        thresholds = np.linspace(max(min(lowest, 0.0), -0.2), max(highest, 1.0), 241)
        return {name: profile(self.scores[name], thresholds) for name in names}

    def division(self, policy: str) -> str:
        """Return the division of a policy."""
        return self.results.policies[policy].about.division

    def share(self, policy: str) -> float:
        """Return realised profit as a share of the optimum, mean over scenarios and seeds."""
        return float(np.mean([of_optimum(self.results, m, policy) for m in self.markets]))

    def decision(self, policy: str) -> Decision | None:
        """Return what a policy takes for a decision, or None where it never played one market."""
        per_market = []
        for market in self.results.markets:
            cells = [self.results.cell(market, policy, seed) for seed in self.results.seeds]
            alone = [
                cell.about["decision_s"]
                for cell in cells
                if cell is not None and cell.about.get("batch") == 1
            ]
            if alone:
                per_market.append(float(np.median(alone)))
        if not per_market:
            return None
        return Decision(float(np.median(per_market)), min(per_market), max(per_market))

    def undone(self, policy: str) -> dict[State, int]:
        """Return how many cells of a policy are in each state."""
        found: dict[State, int] = dict.fromkeys(STATES, 0)
        for market in self.results.markets:
            for seed in self.results.seeds:
                found[self.results.state(market, policy, seed)[0]] += 1
        return found

    def _standing(self, policy: str, leader: str, score: Mapping[str, Interval]) -> Standing:
        table, best = self.scores[policy], self.scores[leader]
        behind, beats = difference(table, best), wins(table, best)
        return Standing(
            policy=policy,
            rank=1 + sum(s.estimate > score[policy].estimate for s in score.values()),
            score=score[policy],
            mean=float(table.mean()),
            gap=float(statistics.optimality_gap(table)),
            share=self.share(policy),
            behind=behind,
            wins=beats,
            leads=policy == leader,
        )

    def _no_room(self, market: str) -> str:
        """Say why a scenario gives no scores: random play earns the optimum on some world."""
        slots = self.results.markets[market].scenario.slots
        best = self.results.score("optimum", market, "random") * slots
        room = best - self.results.score("expected_profit", market, "random")
        worlds = int((room <= ROUNDING * np.abs(best)).sum())
        if not worlds:
            return ""
        return f"random play earns the optimum in {worlds} of {len(room)} worlds"

    def _no_score(self, policy: str) -> str:
        """Say why a policy has no score."""
        found = self.undone(policy)
        if found["done"] < sum(found.values()):
            total = sum(found.values())
            told = f"{total - found['done']} of {total} cells undone: {counted(found)}"
            rows = [row for row in self.results.rows if row["policy"] == policy]
            errors = {row["error"] for row in rows if row["status"] != "done"}
            return f"{told}: {errors.pop()}" if len(errors) == 1 and "" not in errors else told
        if not self.markets:
            return "no scenario gives scores"
        floor = [self.results.score("expected_profit", m, "random") for m in self.markets]
        gaps = int(np.isnan(floor).sum())
        return f"{gaps} cells of random, the 0 of the scale, are undone" if gaps else ""


def of_optimum(results: Results, market: str, policy: str) -> Array:
    """Return realised profit as a share of the optimum, (R,); NaN where there is none."""
    best = results.score("optimum", market, policy) * results.markets[market].scenario.slots
    earned = results.score("profit", market, policy)
    return np.divide(earned, best, out=np.full(len(best), np.nan), where=best > 0)


def interval(statistic: Callable[[Array], Array], scores: Array) -> Interval:
    """Return a statistic of scores (R, K); the ends are NaN with one run."""
    if len(scores) < 2:
        return _alone(float(statistic(scores[None])[0]))
    return statistics.stratified_bootstrap(statistic, scores, whole_runs=True, level=LEVEL)


def difference(a: Array, b: Array) -> Interval:
    """Return the mean of a - b over scenarios, (R, K) each, paired by seed, with Student's t."""
    means = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    if len(a) < 2:
        return _alone(float((means[0] - means[1]).mean()))
    return statistics.paired_difference(*means, method="student", level=LEVEL)


def wins(a: Array, b: Array) -> Interval:
    """Return how often a beats b at the same seed, (R, K) each."""
    once = len(a) < 2
    # One run twice has the same share of wins; its interval would mean nothing.
    pair = [np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0)] if once else [a, b]
    found = statistics.probability_of_improvement(*pair, paired=True, whole_runs=True, level=LEVEL)
    return _alone(found.estimate) if once else found


def profile(scores: Array, thresholds: Array) -> Profile:
    """Return the share of runs above each threshold; its band is NaN with one run."""
    once = len(scores) < 2
    table = np.repeat(scores, 2, axis=0) if once else scores
    found = statistics.performance_profile(table, thresholds, whole_runs=True, level=LEVEL)
    if not once:
        return found
    nothing = np.full(len(thresholds), np.nan)
    return Profile(found.thresholds, found.share, nothing, nothing, LEVEL)


def _alone(estimate: float) -> Interval:
    return Interval(estimate, math.nan, math.nan, LEVEL)
