"""``DistMLLM-Provider-v0``: one provider learns, the others follow a policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import MultiDiscrete

from distmllm_env.envs import observation
from distmllm_env.envs.session import RENDER_MODES, Session
from distmllm_env.equations import Array
from distmllm_env.market import check_choices
from distmllm_env.policy import Observation, Policy
from distmllm_env.registry import load_policy
from distmllm_env.runs import Player
from distmllm_env.scenario import Scenario
from distmllm_env.schema import require


class ProviderEnv(gymnasium.Env[Array, Array]):
    """The market through the eyes of one provider.

    **Action** ``MultiDiscrete([N + 1, N + 1])``: worker for ENC and for LLM; N means defer.

    **Observation** flat float32, field by field in :mod:`distmllm_env.envs.observation`
    (``provider``); it ends with the mask of both stages.

    **Reward** ``profit`` (default): the provider's own. ``welfare`` and ``proportional_fair``: of
    the whole market.

    **Episode** as in :class:`~distmllm_env.envs.central.CentralEnv`; the opponents start anew.

    **Info**: ``slot``, ``seed``, ``episode_index``, ``action_mask`` int8 (2, N + 1), ``profit``
    (2,), ``status`` int8 (2,), ``latency_s`` (2,), ``energy_j`` (2,), ``load`` (N,), ``welfare``.

    Args:
        scenario: As in :class:`~distmllm_env.envs.central.CentralEnv`.
        provider: Index m of the provider that learns.
        opponents: What the others follow: a policy, a name from the entry-point group
            ``distmllm_env.policies``, or ``package.module:Class``. It plays for all providers and
            sees all feedback; only the learner's own row of its answer is replaced.
        providers: M, if other than the scenario's.
        workers: N, likewise.
        slots: T, likewise.
        reward: ``profit``, ``welfare`` or ``proportional_fair``.
        overrides: Dotted scenario keys.
        render_mode: ``ansi``, ``rgb_array`` or None.
        world_seed: All episodes play the world of this seed; noise, drop order and the like still
            hang on seed and episode. None: each episode draws its own world.

    Raises:
        ValueError: A name, key or value is not allowed.

    Version history: v0, first release.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        scenario: str | Path | Scenario = "paper",
        provider: int = 0,
        opponents: str | Policy = "ucb",
        providers: int | None = None,
        workers: int | None = None,
        slots: int | None = None,
        reward: str = "profit",
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        world_seed: int | None = None,
    ) -> None:
        self._session = Session(
            scenario,
            reward,
            render_mode,
            overrides,
            world_seed,
            providers=providers,
            workers=workers,
            slots=slots,
        )
        m, n = self.scenario.providers, self.scenario.workers
        whole = isinstance(provider, (int, np.integer)) and not isinstance(provider, bool)
        require(whole and 0 <= provider < m, "provider", provider, f"0..{m - 1}")
        self.provider = int(provider)
        self.render_mode = render_mode
        self._opponents = copy.deepcopy(load_policy(opponents))  # no other environment plays it
        self.observation_space = observation.space("provider", m, n)
        self.action_space = MultiDiscrete([n + 1, n + 1])

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self._session.scenario

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start a run. ``options`` are not used."""
        self._session.reset(seed)
        super().reset(seed=None if seed is None else int(seed))
        assert self._session.market is not None
        self._player = Player(self._opponents, self._session.market)
        return self._observation(), self._info()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Play one slot.

        Raises:
            ValueError: The action has a wrong shape, dtype or range.
            ResetNeeded: The episode is over or never began.
        """
        market = self._session.market
        if market is None or market.done:
            raise ResetNeeded("the episode is over or has not begun: call reset().")
        own = check_choices("action", action, (2,), self.scenario.workers)
        allocation = self._player.act(Observation(market.slot)).copy()
        allocation[0, self.provider] = own
        self._session.step(allocation[0])
        self._player.update(self._session.outcome, allocation)
        reward = self._session.rewards()[self.provider]
        return self._observation(), reward, False, market.done, self._info()

    def action_masks(self) -> Array:
        """Return the flat bool mask that sb3-contrib's MaskablePPO asks for, (2 (N + 1),)."""
        if self._session.market is None:
            raise ResetNeeded("there is no mask before the first reset().")
        return self._session.masks[self.provider].astype(bool).ravel()

    def render(self) -> Any:
        """Return the last slot as text or as an image, by render mode."""
        return self._session.render()

    def _observation(self) -> Array:
        session = self._session
        assert session.market is not None
        view = session.observer.providers(session.market.slot, session.allocation, session.outcome)
        return view[0, self.provider]

    def _info(self) -> dict[str, Any]:
        session, market = self._session, self._session.market
        assert market is not None
        info = provider_info(session, self.provider)
        info |= {"seed": session.seed, "episode_index": session.episode}
        info["load"] = session.outcome.load[0].copy()
        info["welfare"] = float(session.welfare[0])
        return info


def provider_info(session: Session, m: int) -> dict[str, Any]:
    """Return the info of provider ``m``: fresh arrays, so that a caller may keep or change them."""
    market, last = session.market, session.outcome
    assert market is not None
    return {
        "slot": market.slot,
        "action_mask": session.mask_of[m].copy(),
        "profit": last.profit[0, m].copy(),
        "status": last.status[0, m].copy(),
        "latency_s": last.latency_s[0, m].copy(),
        "energy_j": last.energy_j[0, m].copy(),
    }


def provider_infos(session: Session) -> list[dict[str, Any]]:
    """Return :func:`provider_info` of every provider; masks, which never change, are read-only."""
    market, last = session.market, session.outcome
    assert market is not None
    slot = market.slot
    tables = (last.profit[0], last.status[0], last.latency_s[0], last.energy_j[0])
    return [
        {
            "slot": slot,
            "action_mask": mask,
            "profit": profit,
            "status": status,
            "latency_s": latency,
            "energy_j": energy,
        }
        for mask, profit, status, latency, energy in zip(
            session.mask_of, *(t.copy() for t in tables), strict=True
        )
    ]
