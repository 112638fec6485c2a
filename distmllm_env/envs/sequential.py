"""PettingZoo sequential (AEC) environment: one task a turn, with exact capacity masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete
from pettingzoo import AECEnv

from distmllm_env.envs import observation
from distmllm_env.envs.parallel import agent_names
from distmllm_env.envs.provider import provider_infos
from distmllm_env.envs.session import RENDER_MODES, Session
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.layout import TOLERANCE
from distmllm_env.luck import stream
from distmllm_env.market import check_choices
from distmllm_env.scenario import Scenario
from distmllm_env.slot import Status

Order = Literal["index", "rotate", "random"]
ORDERS: tuple[Order, ...] = ("index", "rotate", "random")


class SequentialMarketEnv(AECEnv[str, Array, int]):
    """Providers choose in turn; each sees what is left.

    A turn places one task: in every slot each provider in order places its ENC, then its LLM task.
    The slot is played after the last turn, and every provider sees its reward at its next turn.

    **Action** ``Discrete(N + 1)``: a worker, or N to defer. ``info["action_mask"]`` and the last
    N + 1 entries of the observation say exactly which choices will be admitted, so that masked
    play never overloads a worker. A masked choice is refused: the task waits, earns 0, and its
    status says why (``REJECTED`` for lack of room, ``INFEASIBLE`` where it can never run). Where
    capacity is soft (``overload = "share"``) only infeasible pairs are masked.

    **Observation** flat float32, field by field in :mod:`distmllm_env.envs.observation`
    (``sequential``). Rewards and infos as in
    :class:`~distmllm_env.envs.parallel.ParallelMarketEnv`, with ``action_mask`` (N + 1,) for the
    task at hand and ``stage`` (0 ENC, 1 LLM).

    Args:
        scenario: As in :class:`~distmllm_env.envs.central.CentralEnv`.
        order: Order of providers in a slot: ``index``; ``rotate``, which starts with provider
            t mod M; ``random``, drawn anew for each slot from the run's seed.
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
        "is_parallelizable": False,
        "render_fps": 8,
    }

    def __init__(
        self,
        scenario: str | Path | Scenario = "paper",
        order: str = "index",
        providers: int | None = None,
        workers: int | None = None,
        slots: int | None = None,
        reward: str = "profit",
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        world_seed: int | None = None,
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise unknown_name("order", order, ORDERS)
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
        self._order_rule = order
        self.render_mode = render_mode
        m, n = self.scenario.providers, self.scenario.workers
        self.possible_agents = agent_names(m)
        self.agents: list[str] = []
        self.state_space = observation.space("central", m, n)
        self.observation_spaces = {
            agent: observation.space("sequential", m, n) for agent in self.possible_agents
        }
        self.action_spaces = {agent: Discrete(n + 1) for agent in self.possible_agents}
        self._index = {agent: i for i, agent in enumerate(self.possible_agents)}
        at = observation.fields("sequential", m, n)
        self._defer = n
        self._fields = (at["stage"].start, at["room"], at["mask"])

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self._session.scenario

    def observation_space(self, agent: str) -> Box:
        """Return the observation space of ``agent``, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """Return the action space of ``agent``, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start a run. ``options`` are not used."""
        session = self._session
        session.reset(seed)
        assert session.market is not None
        assert session.seed is not None
        self._order_rng = stream(session.seed, session.episode, "order")
        world = session.market.world
        # None where every choice can be served: nothing to leave out.
        self._ever = [
            [None if row.all() else row for row in rows] for rows in session.masks.astype(bool)
        ]
        self._demand = world.demand[0].tolist()
        self._pools = 2 if self.scenario.market.capacity == "per_stage" else 1
        self._hard = self.scenario.market.overload != "share"
        self._full = np.tile(world.capacity[0], (self._pools, 1))
        self._scale = session.observer.scale
        self._full_seen = (self._full[:, :-1] / self._scale).astype(np.float32)
        self._empty_room()
        masks = [self._mask(m, 0) for m in range(self.scenario.providers)]
        self._first_masks = np.array(masks, np.int8)  # of every slot: all workers are free
        self.agents = self.possible_agents[:]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self._paid = False
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._begin_slot()

    def step(self, action: int | None) -> None:
        """Place one task.

        Args:
            action: A worker 0..N-1, or N to defer; None for an agent that is done.

        Raises:
            ValueError: The action is no integer or out of range.
            ResetNeeded: The episode is over or never began.
        """
        if not self.agents:
            raise ResetNeeded("the episode is over or has not begun: call reset().")
        agent = self.agent_selection
        if self.truncations[agent]:
            self._was_dead_step(action)
            return
        if type(action) is int and 0 <= action <= self._defer:
            choice = action
        else:
            choice = int(check_choices("action", action, (), self._defer))
        self._place(*self._now, choice)
        self._cumulative_rewards[agent] = 0.0
        self._turn += 1
        if self._turn == len(self._turns):
            self._play_slot()
            self._accumulate_rewards()
            return
        if self._paid:
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._paid = False
        self._next_turn()

    def observe(self, agent: str) -> Array:
        """Return what ``agent`` sees for its next task of this slot, float32.

        Raises:
            ValueError: There is no such agent.
            ResetNeeded: There was no reset yet.
        """
        if agent not in self.possible_agents:
            raise unknown_name("agent", agent, self.possible_agents)
        if self._session.market is None:
            raise ResetNeeded("there is nothing to see before the first reset().")
        m = self._index[agent]
        if m == self._now[0]:
            stage, mask = self._now[1], self._mask_now
        else:  # not its turn: its next task is the first one
            stage, mask = 0, self._mask(m, 0)
        at_stage, at_room, at_mask = self._fields
        view = self._views[m].copy()
        view[at_stage] = stage
        view[at_room] = self._seen[stage % self._pools]
        view[at_mask] = mask
        return view

    def last(self, observe: bool = True) -> tuple[Array | None, float, bool, bool, dict[str, Any]]:
        """Return observation, reward, terminated, truncated and info of the agent whose turn it is.

        Raises:
            ResetNeeded: The episode is over or never began.
        """
        if not self.agents:
            raise ResetNeeded("the episode is over or has not begun: call reset().")
        agent = self.agent_selection
        return (
            self.observe(agent) if observe else None,
            self._cumulative_rewards[agent],
            self.terminations[agent],
            self.truncations[agent],
            self.infos[agent],
        )

    def state(self) -> Array:
        """Return the dispatcher's view of the last slot, float32, within ``state_space``."""
        return self._session.central_observation()

    def render(self) -> Any:
        """Return the slot being filled as text or as an image, by render mode."""
        return self._session.render(self._waiting() if self.agents else None)

    def close(self) -> None:
        """Nothing is held open."""

    def _begin_slot(self) -> None:
        m = self.scenario.providers
        order = list(range(m))
        if self._order_rule == "rotate":
            assert self._session.market is not None
            start = self._session.market.slot % m
            order = order[start:] + order[:start]
        elif self._order_rule == "random":
            order = self._order_rng.permutation(m).tolist()
        self._turns = [(provider, stage) for provider in order for stage in (0, 1)]
        self._turn = 0
        self._chosen = np.full((m, 2), self.scenario.workers)
        self._refused: list[tuple[int, int, Status]] = []
        self._look()
        self._next_turn()

    def _empty_room(self) -> None:
        """Free all workers. Room is kept as it is, with the tolerance, and as it is seen."""
        self._room = self._full.tolist()
        self._limit = list(self._full + TOLERANCE)
        self._seen = list(self._full_seen.copy())

    def _look(self) -> None:
        """Make what all providers see of the last slot, once for all turns of the next."""
        session = self._session
        assert session.market is not None
        last = (session.market.slot, session.allocation, session.outcome)
        self._views = session.observer.turns(*last)[0]
        # One info a turn: what was shown is the caller's, to keep or to change.
        first, second = provider_infos(session), provider_infos(session)
        for info, mask in zip(first, self._first_masks.copy(), strict=True):
            info["stage"], info["action_mask"] = 0, mask
        self.infos = dict(zip(self.possible_agents, first, strict=True))
        self._next_infos = (first, second)

    def _next_turn(self) -> None:
        self._now = m, stage = self._turns[self._turn]
        agent = self.agent_selection = self.possible_agents[m]
        self._mask_now = self._mask(m, stage)
        info = self.infos[agent] = self._next_infos[stage][m]
        info["stage"] = stage
        info["action_mask"] = self._mask_now.astype(np.int8)

    def _place(self, m: int, stage: int, choice: int) -> None:
        if self._mask_now[choice]:
            pool, demand = stage % self._pools, self._demand[m]
            self._chosen[m, stage] = choice
            if choice != self._defer:
                self._limit[pool][choice] -= demand
                room = self._room[pool]
                room[choice] -= demand
                self._seen[pool][choice] = max(room[choice], 0.0) / self._scale
        else:
            ever = self._ever[m][stage]
            never = ever is not None and not ever[choice]
            status = Status.INFEASIBLE if never else Status.REJECTED
            self._refused.append((m, stage, status))

    def _mask(self, m: int, stage: int) -> Array:
        """Which choices will be admitted, bool (N + 1,)."""
        ever = self._ever[m][stage]
        if not self._hard:
            return np.ones(self._defer + 1, bool) if ever is None else ever.copy()
        fits: Array = self._limit[stage % self._pools] >= self._demand[m]
        if ever is not None:
            fits &= ever
        return fits

    def _play_slot(self) -> None:
        session = self._session
        session.step(self._chosen)
        for m, stage, status in self._refused:
            session.outcome.status[0, m, stage] = status
        self.rewards = dict(zip(self.agents, session.rewards(), strict=True))
        self._paid = True
        self._empty_room()
        assert session.market is not None
        if session.market.done:
            self._look()
            self._now = (-1, 0)  # nobody's turn
            self.truncations = dict.fromkeys(self.agents, True)
            self.agent_selection = self.agents[0]
        else:
            self._begin_slot()

    def _waiting(self) -> Array:
        placed = np.full((self.scenario.providers, 2), -1)
        for m, stage in self._turns[: self._turn]:
            placed[m, stage] = self._chosen[m, stage]
        return placed
