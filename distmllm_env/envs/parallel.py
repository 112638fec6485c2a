"""PettingZoo parallel environment: all providers choose at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, MultiDiscrete
from pettingzoo import ParallelEnv

from distmllm_env.envs import observation
from distmllm_env.envs.provider import provider_infos
from distmllm_env.envs.session import RENDER_MODES, Session
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.market import check_choices
from distmllm_env.scenario import Scenario
from distmllm_env.schema import require


class ParallelMarketEnv(ParallelEnv[str, Array, Array]):
    """The market with one agent ``provider_m`` per provider.

    **Actions** ``MultiDiscrete([N + 1, N + 1])``: worker for ENC and for LLM; N means defer. Two
    providers may choose the same worker; the scenario's overload rule settles it, since no mask
    over simultaneous choices could.

    **Observations** flat float32, field by field in :mod:`distmllm_env.envs.observation`
    (``provider``). ``state()`` is the dispatcher's view (``central``), for centralised critics.

    **Rewards** ``profit`` (default): each provider's own. ``welfare`` and ``proportional_fair``: of
    the whole market, the same for all.

    **Infos** per agent: ``slot``, ``action_mask`` int8 (2, N + 1), ``profit`` (2,), ``status`` int8
    (2,), ``latency_s`` (2,), ``energy_j`` (2,). ``action_mask`` holds for the run and is
    read-only; all else is the caller's.

    **Episode** T slots, then all agents are truncated; seeds as in
    :class:`~distmllm_env.envs.central.CentralEnv`.

    Args:
        scenario: As in :class:`~distmllm_env.envs.central.CentralEnv`.
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
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "name": "distmllm_v0",
        "render_fps": 8,
    }

    def __init__(
        self,
        scenario: str | Path | Scenario = "paper",
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
        self.render_mode = render_mode
        m, n = self.scenario.providers, self.scenario.workers
        self.possible_agents = agent_names(m)
        self.agents: list[str] = []
        self.state_space = observation.space("central", m, n)
        self.observation_spaces = {
            agent: observation.space("provider", m, n) for agent in self.possible_agents
        }
        self.action_spaces = {agent: MultiDiscrete([n + 1] * 2) for agent in self.possible_agents}
        self._names = set(self.possible_agents)
        self._usual = [(np.dtype(np.int64), (2,))] * m  # what actions are, if samples of the space

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self._session.scenario

    def observation_space(self, agent: str) -> Box:
        """Return the observation space of ``agent``, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> MultiDiscrete:
        """Return the action space of ``agent``, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """Start a run. ``options`` are not used."""
        self._session.reset(seed)
        self.agents = self.possible_agents[:]
        return self._observations(), self._infos()

    def step(
        self, actions: Mapping[str, Array]
    ) -> tuple[
        dict[str, Array],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one slot.

        Args:
            actions: One action per agent.

        Raises:
            ValueError: An agent is missing or unknown, or an action has a wrong shape, dtype or
                range.
            ResetNeeded: The episode is over or never began.
        """
        if not self.agents:
            raise ResetNeeded("the episode is over or has not begun: call reset().")
        agents = self.agents
        self._session.step(self._allocation(actions))
        rewards = dict(zip(agents, self._session.rewards(), strict=True))
        assert self._session.market is not None
        done = self._session.market.done
        observations, infos = self._observations(), self._infos()
        if done:
            self.agents = []
        return (
            observations,
            rewards,
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, done),
            infos,
        )

    def state(self) -> Array:
        """Return the global state, float32, within ``state_space``."""
        return self._session.central_observation()

    def render(self) -> Any:
        """Return the last slot as text or as an image, by render mode."""
        return self._session.render()

    def close(self) -> None:
        """Nothing is held open."""

    def _observations(self) -> dict[str, Array]:
        session = self._session
        assert session.market is not None
        view = session.observer.providers(session.market.slot, session.allocation, session.outcome)
        return dict(zip(self.possible_agents, view[0], strict=True))

    def _infos(self) -> dict[str, dict[str, Any]]:
        return dict(zip(self.possible_agents, provider_infos(self._session), strict=True))

    def _allocation(self, actions: Any) -> Array:
        """Check the actions and join them, int64 (M, S)."""
        agents, n = self.agents, self.scenario.workers
        if not isinstance(actions, Mapping):
            require(False, "actions", actions, f"a dictionary with a key for each of {agents}")
        if actions.keys() != self._names:
            for agent in actions:
                if agent not in agents:
                    raise unknown_name("agent in actions", agent, agents)
            missing = [agent for agent in agents if agent not in actions]
            raise ValueError(f"actions lack {', '.join(missing)}: every agent needs one.")
        chosen = [actions[agent] for agent in agents]
        forms = [(c.dtype, c.shape) if type(c) is np.ndarray else None for c in chosen]
        if forms == self._usual:  # checked at once
            joined = np.concatenate(chosen)
            if not np.count_nonzero(joined.view(np.uint64) > n):
                return joined.reshape(-1, 2)
        names = (f"action of {agent}" for agent in agents)
        each = [check_choices(k, c, (2,), n) for k, c in zip(names, chosen, strict=True)]
        return np.stack(each)


def agent_names(providers: int) -> list[str]:
    """Return ``provider_0`` .. ``provider_{M-1}``."""
    return [f"provider_{m}" for m in range(providers)]
