"""Environments that do nothing: what is left of ours beside them is what ours do."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

from distmllm_env.equations import Array


class EmptyEnv(gymnasium.Env[Array, Array]):
    """An environment that does nothing: what the interface and its wrappers cost alone.

    Args:
        like: Has the spaces.
    """

    def __init__(self, like: Any) -> None:
        self.observation_space, self.action_space = like.observation_space, like.action_space
        views = np.zeros((3, *like.observation_space.shape), np.float32)
        # Not always the same arrays: gym.make's checks, which ours pass too, would warn of that.
        self._first = views[2].copy()
        answers = [(view.copy(), 0.0, False, False, dict[str, Any]()) for view in views[:2]]
        self._answers = cycle(answers)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Return always the same."""
        return self._first, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Return one of two answers."""
        return next(self._answers)


class EmptyParallelEnv(ParallelEnv[str, Array, Array]):
    """A parallel environment that hands out the same dictionaries for ever.

    Args:
        like: Has the agents and their spaces.
    """

    metadata: dict[str, Any] = {"render_modes": [], "name": "empty_v0"}  # noqa: RUF012

    def __init__(self, like: Any) -> None:
        self.render_mode = None
        self.possible_agents = like.possible_agents[:]
        self.agents = self.possible_agents[:]
        self._like = like
        shape = like.observation_space(self.agents[0]).shape
        self._views = {agent: np.zeros(shape, np.float32) for agent in self.agents}
        self._infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._rewards = dict.fromkeys(self.agents, 0.0)
        self._flags = dict.fromkeys(self.agents, False)

    def observation_space(self, agent: str) -> Any:
        """Return the space of the environment it is a twin of."""
        return self._like.observation_space(agent)

    def action_space(self, agent: str) -> Any:
        """Return the space of the environment it is a twin of."""
        return self._like.action_space(agent)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """Return always the same."""
        return self._views, self._infos

    def step(
        self, actions: dict[str, Array]
    ) -> tuple[
        dict[str, Array],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Return always the same."""
        return self._views, self._rewards, self._flags, self._flags, self._infos
