"""Greedy with the exact mapping: what exploration and phases are measured against."""

from __future__ import annotations

import numpy as np

from distmllm_agents.distmllm import DistMLLM
from distmllm_agents.mapping.problem import Array
from distmllm_env.policy import Feedback, Observation


class GreedyExact(DistMLLM):
    """One covering pass, then in every slot the exact mapping of the sample means of all slots."""

    name = "greedy"

    def __init__(self) -> None:
        super().__init__("count", "exact", learn_always=True)

    def act(self, observation: Observation) -> Array:
        """Explore in a round robin, then map anew in every slot."""
        self.exploring = self._left > 0
        rows = np.flatnonzero(~self.exploring)
        if rows.size:
            self._plan[rows] = self._map(rows)
        return np.where(self.exploring[:, None, None], self._round_robin(), self._plan)

    def update(self, feedback: Feedback) -> None:
        """Learn from every slot."""
        super().update(feedback)
        self._left = np.maximum(self._left, 0)
