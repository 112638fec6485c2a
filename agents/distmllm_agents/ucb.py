"""Multi-agent UCB, the paper's decentralised baseline: every provider and stage for itself."""

from __future__ import annotations

from typing import Literal

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.policy import Feedback, Observation, Problem


class UCB:
    """UCB1 (Auer et al. 2002) for each provider and stage: mean + scale sqrt(2 ln t / n).

    Every worker is tried once, in an order of the provider's own; nobody coordinates. A rejected
    task counts as a sample of 0 (A13), so contention lowers a worker's index.

    Args:
        scale: ``range``: the width of the interval of mean profits, so that rewards lie in an
            interval of length 1 as UCB1 assumes (D1). ``sigma``: the standard deviation of the
            noise, the scale that the concentration of means asks for.

    Raises:
        ValueError: Another scale.
    """

    name = "ucb"
    batched = True
    knows = "rewards"
    coordinates = False

    def __init__(self, scale: Literal["range", "sigma"] = "range") -> None:
        if scale not in ("range", "sigma"):
            raise unknown_name("scale", scale, ("range", "sigma"))
        self.scale = scale

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Forget everything and draw each provider's order of first trials."""
        shape = (problem.batch, problem.providers, 2, problem.workers)
        feasible = np.ascontiguousarray(problem.feasible.transpose(0, 2, 1, 3))
        self._workers = problem.workers
        self._defer = ~feasible.any(axis=3)
        self._row = np.arange(self._defer.size).reshape(shape[:3]) * problem.workers
        width = problem.profit_range if self.scale == "range" else problem.profit_std
        self._width = width[:, None, None, None]
        keys = np.stack([row.random(shape[1:]) for row in rng])
        self._first = np.where(feasible, keys, -np.inf)  # -inf once tried
        self._trying = True
        # What cannot run is never chosen; a count of 1 keeps it out of divisions.
        self._count = np.where(feasible, 0.0, 1.0)
        self._mean = np.where(feasible, 0.0, -np.inf)

    def act(self, observation: Observation) -> Array:
        """Choose the largest index; ties go to the lowest worker."""
        log_t = np.log(max(observation.slot, 1))
        if self._trying:
            choice = self._first.argmax(axis=3)
            tried = self._first.max(axis=3) == -np.inf
            index = self._mean + self._width * np.sqrt(2.0 * log_t / np.maximum(self._count, 1.0))
            choice = np.where(tried, index.argmax(axis=3), choice)
            self._trying = not tried.all()
        else:
            index = self._mean + self._width * np.sqrt(2.0 * log_t / self._count)
            choice = index.argmax(axis=3)
        choice[self._defer] = self._workers
        return choice

    def update(self, feedback: Feedback) -> None:
        """Update the mean of every chosen pair; rejection is a reward of 0."""
        pair, profit = self._row + feedback.allocation, feedback.profit
        if self._defer.any() or (feedback.allocation == self._workers).any():
            placed = feedback.allocation < self._workers
            pair, profit = pair[placed], profit[placed]
        count, mean = self._count.reshape(-1), self._mean.reshape(-1)
        count[pair] += 1
        old = mean[pair]
        mean[pair] = old + (profit - old) / count[pair]
        if self._trying:
            self._first.reshape(-1)[pair] = -np.inf


class UCBSigma(UCB):
    """UCB with the bonus on the scale of the noise instead of the range."""

    name = "ucb-sigma"

    def __init__(self) -> None:
        super().__init__("sigma")
