"""What all environments share: the scenario, the episode counter, the market, the last outcome."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.error import ResetNeeded

from distmllm_env.envs import rendering
from distmllm_env.envs.frame import make_frame
from distmllm_env.envs.observation import Observer, masks, nothing_yet
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.market import Market
from distmllm_env.scenario import Scenario
from distmllm_env.world import checked_seed

RENDER_MODES = ("ansi", "rgb_array")

RewardKind = Literal["profit", "welfare", "proportional_fair"]
REWARDS: tuple[RewardKind, ...] = ("profit", "welfare", "proportional_fair")


class Session:
    """One run at a time, with what an environment needs around it.

    Args:
        scenario: Name, path or :class:`~distmllm_env.scenario.Scenario`.
        reward: ``profit``: each provider's own. ``welfare``: the sum over providers.
            ``proportional_fair``: see :func:`shared_reward`.
        render_mode: ``ansi``, ``rgb_array`` or None.
        overrides: Dotted scenario keys, e.g. ``{"noise.std": 0.2}``.
        world_seed: All episodes play the world of this seed; noise, drop order and the like still
            hang on seed and episode. None: each episode draws its own world.
        **keys: Top-level scenario keys such as ``providers``, ``workers``, ``slots``.

    Raises:
        ValueError: A name, key or value is not allowed.
    """

    def __init__(
        self,
        scenario: str | Path | Scenario,
        reward: str,
        render_mode: str | None,
        overrides: Mapping[str, Any] | None,
        world_seed: int | None,
        **keys: Any,
    ) -> None:
        if reward not in REWARDS:
            raise unknown_name("reward", reward, REWARDS)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise unknown_name("render_mode", render_mode, RENDER_MODES)
        self.scenario = Scenario.load(scenario, overrides, **keys)
        self.render_mode = render_mode
        self._world_seed = checked_seed("world_seed", world_seed)
        self._reward = reward
        self.seed: int | None = None
        self.episode = 0
        self.market: Market | None = None

    def reset(self, seed: int | None) -> None:
        """Start the next run: episode 0 of ``seed``, or without one the next episode.

        A first reset without a seed takes one from the operating system. Seed 0 is a seed.

        Raises:
            ValueError: The seed is negative or no integer, or the world that it draws has a
                provider whose demand fits no worker. The session is then what it was before.
        """
        seed, episode = checked_seed("seed", seed), 0
        if seed is None and self.seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is None:
            assert self.seed is not None
            seed, episode = self.seed, self.episode + 1
        if self.market is None or self._world_seed is None:
            self.market = Market(self.scenario, [seed], episode, self._world_seed)
            self.observer = Observer(self.market.world)
            self.masks = masks(self.market.world)[0]  # (M, S, N + 1)
            self.masks.setflags(write=False)  # holds for the run and is handed out as it is
            self.mask_of = list(self.masks)
        else:  # the world stays, and what hangs on it alone
            self.market.restart(np.ones(1, bool), [seed], [episode])
        self.seed, self.episode = seed, episode
        self.allocation, self.outcome = nothing_yet(self.market.world)
        self.own, self.welfare = earnings(self.outcome.profit)
        self._history: list[float] = []

    def step(self, allocation: Array) -> None:
        """Play one slot with ``allocation``, int64 (M, S), checked, and the session's from now on.

        Sets ``own``, each provider's profit, (1, M), and ``welfare``, (1,).
        """
        assert self.market is not None
        self.allocation = allocation[None]
        self.outcome = self.market.play(self.allocation)
        self.own, self.welfare = earnings(self.outcome.profit)
        if self.render_mode is not None:
            self._history.append(float(self.welfare[0]))

    def rewards(self) -> list[float]:
        """Return each provider's reward for the last slot."""
        if self._reward == "profit":
            return self.own[0].tolist()
        shared = float(shared_reward(self._reward, self.own, self.welfare)[0])
        return [shared] * self.scenario.providers

    def central_observation(self) -> Array:
        """Return the dispatcher's view, also the global state, float32 (D,).

        Raises:
            ResetNeeded: There was no reset yet.
        """
        if self.market is None:
            raise ResetNeeded("there is nothing to see before the first reset().")
        return self.observer.central(self.market.slot, self.allocation, self.outcome)[0]

    def render(self, waiting: Array | None = None) -> str | Array | None:
        """Draw the last slot in the render mode; None without a mode.

        Raises:
            ResetNeeded: There was no reset yet.
        """
        if self.render_mode is None:
            return None
        if self.market is None:
            raise ResetNeeded("nothing to render yet: call reset() first.")
        frame = make_frame(
            self.market, 0, self.allocation, self.outcome, np.array(self._history), waiting
        )
        return rendering.ansi(frame) if self.render_mode == "ansi" else rendering.rgb_array(frame)


def earnings(profit: Array) -> tuple[Array, Array]:
    """Return each provider's profit, (B, M), and the welfare, (B,), of ``profit`` (B, M, S)."""
    own = profit[..., 0] + profit[..., 1]
    return own, np.add.reduce(own, axis=1)


def shared_reward(kind: str, own: Array, welfare: Array) -> Array:
    """Return the reward that all providers share.

    ``proportional_fair`` is the sum over providers of f(profit), f(x) = ln(1 + x) for x >= 0 and x
    below: concave and increasing, so that the poor count more. Equation (5) is the first-order
    condition for the maximum of a sum of logarithms; a slot's profit may be 0 or less, where ln is
    not defined, hence the 1 and the straight continuation of slope 1.

    Args:
        kind: ``welfare`` or ``proportional_fair``.
        own: Each provider's profit, (B, M).
        welfare: Their sum, (B,).

    Returns:
        (B,).
    """
    if kind == "welfare":
        return welfare
    return np.where(own >= 0, np.log1p(np.maximum(own, 0.0)), own).sum(axis=1)
