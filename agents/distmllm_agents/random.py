"""Uniformly random placement on workers that can run the task: the floor of every comparison."""

from __future__ import annotations

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.policy import Feedback, Observation, Problem


class RandomPolicy:
    """Every task goes to a uniformly random feasible worker in every slot."""

    name = "random"
    batched = True
    knows = "rewards"
    coordinates = False

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Remember who can run what."""
        self._rng = rng
        self._feasible = problem.feasible.transpose(0, 2, 1, 3)

    def act(self, observation: Observation) -> Array:
        """Draw one key per pair and take the largest among the feasible."""
        keys = np.stack([rng.random(self._feasible.shape[1:]) for rng in self._rng])
        choice = np.where(self._feasible, keys, -1.0).argmax(axis=3)
        return np.where(self._feasible.any(axis=3), choice, self._feasible.shape[3])

    def update(self, feedback: Feedback) -> None:
        """Learn nothing."""
