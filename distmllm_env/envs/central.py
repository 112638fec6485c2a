"""``DistMLLM-v0``: one dispatcher places the tasks of all providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.error import ResetNeeded
from gymnasium.spaces import MultiDiscrete

from distmllm_env.envs import observation
from distmllm_env.envs.session import RENDER_MODES, Session
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.market import check_choices
from distmllm_env.scenario import Scenario

SHARED_REWARDS = ("welfare", "proportional_fair")


class CentralEnv(gymnasium.Env[Array, Array]):
    """The whole market as one agent's problem.

    **Action** ``MultiDiscrete([N + 1] * 2M)``: worker of (m0 ENC, m0 LLM, m1 ENC, ...); N means
    defer. Overload is settled by the scenario's rule, so any action is legal.

    **Observation** flat float32, field by field in :mod:`distmllm_env.envs.observation`
    (``central``).

    **Reward** ``welfare`` (default): the sum of all profits of the slot, equation (3) less transfer
    cost. ``proportional_fair``: see :func:`~distmllm_env.envs.session.shared_reward`.

    **Episode** T slots, then truncated; there is no termination. Episode k under seed s is a
    function of (s, k): ``reset(seed=s)`` plays (s, 0), each further ``reset()`` the next k. Noise
    is drawn anew in every episode, and so is the world unless ``world_seed`` fixes it.

    **Info**, the same keys after reset and step: ``slot`` (slots played), ``seed``,
    ``episode_index`` (k; the key ``episode`` belongs to the statistics that wrappers of Gymnasium
    and Stable-Baselines3 add), ``action_mask`` int8 (2M, N + 1), ``profit`` (M, 2), ``status``
    int8 (M, 2) of :class:`~distmllm_env.slot.Status`, ``latency_s`` (M, 2), ``energy_j`` (M, 2),
    ``load`` (N,), ``welfare`` (sum of profits). ``action_space.sample(mask=tuple(mask))`` of the
    ``action_mask`` draws a feasible action; the mask says what a worker can ever run, not who else
    will go there.

    Args:
        scenario: Name, path to a TOML file, or :class:`~distmllm_env.scenario.Scenario`.
        providers: M, if other than the scenario's.
        workers: N, likewise.
        slots: T, likewise.
        reward: ``welfare`` or ``proportional_fair``.
        overrides: Dotted scenario keys, e.g. ``{"market.overload": "share"}``.
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
        providers: int | None = None,
        workers: int | None = None,
        slots: int | None = None,
        reward: str = "welfare",
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        world_seed: int | None = None,
    ) -> None:
        if reward not in SHARED_REWARDS:
            raise unknown_name("reward of a dispatcher", reward, SHARED_REWARDS)
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
        self.render_mode = render_mode
        m, n = self.scenario.providers, self.scenario.workers
        self.observation_space = observation.space("central", m, n)
        self.action_space = MultiDiscrete([n + 1] * (2 * m))

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self._session.scenario

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start a run; see the class for seeds and episodes. ``options`` are not used."""
        self._session.reset(seed)
        super().reset(seed=None if seed is None else int(seed))
        return self._session.central_observation(), self._info()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Play one slot.

        Raises:
            ValueError: The action has a wrong shape, dtype or range.
            ResetNeeded: The episode is over or never began.
        """
        market = self._session.market
        if market is None or market.done:
            raise ResetNeeded("the episode is over or has not begun: call reset().")
        m, n = self.scenario.providers, self.scenario.workers
        choices = check_choices("action", action, (2 * m,), n).reshape(m, 2)
        self._session.step(choices.copy())  # the caller may write into its own again
        reward = self._session.rewards()[0]  # all providers share it
        return self._session.central_observation(), reward, False, market.done, self._info()

    def action_masks(self) -> Array:
        """Return the flat bool mask that sb3-contrib's MaskablePPO asks for, (2M (N + 1),)."""
        if self._session.market is None:
            raise ResetNeeded("there is no mask before the first reset().")
        return self._session.masks.astype(bool).ravel()

    def render(self) -> Any:
        """Return the last slot as text or as an image, by render mode."""
        return self._session.render()

    def _info(self) -> dict[str, Any]:
        session, market = self._session, self._session.market
        assert market is not None
        last = session.outcome
        return {
            "slot": market.slot,
            "seed": session.seed,
            "episode_index": session.episode,
            "action_mask": session.masks.reshape(-1, session.masks.shape[-1]).copy(),
            "profit": last.profit[0].copy(),
            "status": last.status[0].copy(),
            "latency_s": last.latency_s[0].copy(),
            "energy_j": last.energy_j[0].copy(),
            "load": last.load[0].copy(),
            "welfare": float(session.welfare[0]),
        }
