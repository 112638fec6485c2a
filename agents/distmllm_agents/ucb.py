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
        self._feasible = problem.feasible.transpose(0, 2, 1, 3)
        self._defer = ~self._feasible.any(axis=3)
        self._workers = problem.workers
        self._width = problem.profit_range if self.scale == "range" else problem.profit_std
        keys = np.stack([row.random(shape[1:]) for row in rng])
        self._first = np.where(self._feasible, keys, -np.inf)
        self._count = np.zeros(shape)
        self._mean = np.zeros(shape)

    def act(self, observation: Observation) -> Array:
        """Choose the largest index; ties go to the lowest worker."""
        log_t = np.log(max(observation.slot, 1))
        seen = np.maximum(self._count, 1.0)
        bonus = self._width[:, None, None, None] * np.sqrt(2.0 * log_t / seen)
        index = np.where(self._feasible, self._mean + bonus, -np.inf)
        untried = (self._count == 0) & self._feasible
        first = np.where(untried, self._first, -np.inf).argmax(axis=3)
        choice = np.where(untried.any(axis=3), first, index.argmax(axis=3))
        return np.where(self._defer, self._workers, choice)

    def update(self, feedback: Feedback) -> None:
        """Update the mean of every chosen pair; rejection is a reward of 0."""
        b, m, s = np.nonzero(feedback.allocation < self._workers)
        pair = (b, m, s, feedback.allocation[b, m, s])
        self._count[pair] += 1
        step = feedback.profit[b, m, s] - self._mean[pair]
        self._mean[pair] += step / self._count[pair]


class UCBSigma(UCB):
    """UCB with the bonus on the scale of the noise instead of the range."""

    name = "ucb-sigma"

    def __init__(self) -> None:
        super().__init__("sigma")
