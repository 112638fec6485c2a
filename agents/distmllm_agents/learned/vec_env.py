"""Many markets as an environment of Stable-Baselines3, in three modes.

- ``central``: one dispatcher in each of B markets. Rows are markets: observations (B, D), actions
  ``MultiDiscrete([N + 1] * 2M)``.
- ``shared``: every provider is an agent, one network serves them all. Rows are agents, row
  b M + m provider m of market b: observations (B M, D), actions ``MultiDiscrete([N + 1] * 2)``.
- ``independent``: every provider learns with a network of its own; see
  :mod:`distmllm_agents.learned.independent`, which gives each an environment of B rows.

Gymnasium's own vector environments are not taken by Stable-Baselines3, and its ``DummyVecEnv``
steps markets one by one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from stable_baselines3.common.vec_env import VecEnv

from distmllm_agents.learned.table import Reward, Table, Turn
from distmllm_agents.learned.views import find_view
from distmllm_env import Scenario
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.schema import require

LARGEST_DISCRETE = 4096
"""As many actions a flat action space may have; a Q-network has an output for each."""


def action_space(providers: int, workers: int, discrete: bool) -> MultiDiscrete | Discrete:
    """Return the actions of one row that places the tasks of so many providers.

    Args:
        providers: Whose tasks.
        workers: N.
        discrete: Number all choices through, the first task's worker counting most: for learners
            such as DQN that know no other action.

    Raises:
        ValueError: There are more than :data:`LARGEST_DISCRETE` discrete actions.
    """
    choices, tasks = workers + 1, 2 * providers
    if not discrete:
        return MultiDiscrete([choices] * tasks)
    count = choices**tasks
    require(
        count <= LARGEST_DISCRETE,
        "number of discrete actions",
        count,
        f"at most {LARGEST_DISCRETE}, but there are {choices} choices for each of {tasks} tasks: "
        f"take another algorithm, or let each provider act (mode 'shared' or 'independent')",
    )
    return Discrete(count)


class RowsEnv(VecEnv):
    """What all modes share: spaces, infos, masks. Subclasses say how a step is taken.

    Args:
        scenario: What is played.
        rows: Number of rows.
        observation: ``last`` or ``statistics``.
        central: Whether a row is a dispatcher; else it is a provider.
        discrete: See :func:`action_space`.

    Attributes:
        earned: Reward of each row's episode so far, (R,).
        length: Its slots, (R,).

    Raises:
        ValueError: There are too many discrete actions.
    """

    def __init__(
        self, scenario: Scenario, rows: int, observation: str, central: bool, discrete: bool
    ) -> None:
        m, n = scenario.providers, scenario.workers
        self.scenario = scenario
        self._tasks = 2 * m if central else 2
        self._choices = n + 1
        self._discrete = discrete
        actions = action_space(m if central else 1, n, discrete)
        self.render_mode = None
        self.earned = np.zeros(rows)
        self.length = np.zeros(rows, np.int64)
        super().__init__(rows, find_view(observation).space(central, m, n), actions)

    def choices(self, actions: Array) -> Array:
        """Turn actions, (R,) if discrete or (R, tasks), into choices, int64 (R, tasks)."""
        actions = np.asarray(actions)
        require(actions.dtype.kind in "iu", "dtype of actions", str(actions.dtype), "integers")
        if not self._discrete:
            return actions.astype(np.int64)
        shape = (self._choices,) * self._tasks
        return np.stack(np.unravel_index(actions, shape), axis=1).astype(np.int64)

    def step_async(self, actions: Array) -> None:
        """Take the actions of the next :meth:`step_wait`."""
        self._actions = self.choices(actions)

    def action_masks(self) -> Array:
        """Return what can ever be served, flat bool (R, tasks (N + 1)), as MaskablePPO asks."""
        raise NotImplementedError

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of this object, once for each row."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows have no attributes of their own."""
        raise AttributeError(f"{attr_name}: the rows of a batch have no attributes of their own.")

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **options: Any
    ) -> list[Any]:
        """Call a method of this object and return each row's part of what it returns.

        Raises:
            AttributeError: Another method than ``action_masks``.
        """
        if method_name != "action_masks":
            raise AttributeError(f"{method_name}: the rows of a batch have action_masks() only.")
        masks = self.action_masks()
        return [masks[row] for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return False for each row."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """There is nothing to close."""

    def _infos(self, reward: Array, over: Array, last_view: Array) -> list[dict[str, Any]]:
        """Return what learners read at the end of an episode: horizons truncate, never terminate.

        ``episode`` has the return and the length, as Stable-Baselines3's ``Monitor`` gives them.
        """
        self.earned += reward
        self.length += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(over).tolist():
            infos[row] = {
                "terminal_observation": last_view[row],
                "TimeLimit.truncated": True,
                "episode": {"r": float(self.earned[row]), "l": int(self.length[row])},
            }
            self.earned[row] = self.length[row] = 0
        return infos


class MarketVecEnv(RowsEnv):
    """Modes ``central`` and ``shared``; see the top of the file.

    Row by row, observations (``last``), rewards, masks and episodes are those of
    ``gym.make_vec("DistMLLM-v0")`` or of ``parallel_vector_env`` with ``SameStep`` autoreset.

    Args:
        scenario: What to play.
        markets: B.
        mode: ``central`` or ``shared``.
        observation: ``last`` or ``statistics``, see :mod:`distmllm_agents.learned.views`.
        reward: ``profit``, ``welfare`` or ``regret``, see :class:`~.table.Table`.
        reward_scale: Rewards are multiplied by it.
        world_seed: All episodes play the world of this seed. None: each draws its own.
        stagger: Let first episodes end early, at different slots.
        discrete: See :class:`RowsEnv`.

    Attributes:
        seconds: Wall time spent in here.

    Raises:
        ValueError: A value is not allowed.
    """

    def __init__(
        self,
        scenario: Scenario,
        markets: int,
        mode: str = "central",
        observation: str = "last",
        reward: Reward = "profit",
        reward_scale: float = 1.0,
        world_seed: int | None = None,
        stagger: bool = False,
        discrete: bool = False,
    ) -> None:
        if mode not in ("central", "shared"):
            raise unknown_name("mode of one environment", mode, ("central", "shared"))
        central = mode == "central"
        self.table = Table(
            scenario, markets, observation, central, reward, world_seed, stagger=stagger
        )
        self._each = 1 if central else scenario.providers
        self._scale = reward_scale
        self.seconds = 0.0
        super().__init__(scenario, markets * self._each, observation, central, discrete)

    def reset(self) -> Array:
        """Begin: the seeds that :meth:`seed` gave, or the next episode of all; at first chance."""
        if self._next_seeds is None and not self.table.started:
            self.seed()
        seeds, self._next_seeds = self._next_seeds, None
        self.earned[:] = self.length[:] = 0
        return self.table.start(seeds).reshape(self.num_envs, -1)

    _next_seeds: list[int] | None = None

    def seed(self, seed: int | Sequence[int] | None = None) -> Sequence[int | None]:
        """Let the next :meth:`reset` play episode 0 of seed + b in market b.

        Args:
            seed: A number, or one for each market. None: one from the operating system.

        Returns:
            The seed of each row's market.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(seed, (int, np.integer)):
            seed = range(int(seed), int(seed) + self.table.markets)
        count, markets = len(seed), self.table.markets
        require(count == markets, "number of seeds", count, f"{markets}, one a market")
        self._next_seeds = [int(s) for s in seed]
        return [s for s in self._next_seeds for _ in range(self._each)]

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Play a slot in every market."""
        begun = time.perf_counter()
        allocation = self._actions.reshape(self.table.markets, self.scenario.providers, 2)
        turn: Turn = self.table.play(allocation)
        over = np.repeat(turn.over, self._each)
        reward = (turn.reward * self._scale).reshape(-1).astype(np.float32)
        view, last = (x.reshape(self.num_envs, -1) for x in (turn.view, turn.last_view))
        infos = self._infos(reward, over, last)
        self.seconds += time.perf_counter() - begun
        return view, reward, over, infos

    def action_masks(self) -> Array:
        """Return what can ever be served, flat bool (R, tasks (N + 1))."""
        return self.table.action_masks.reshape(self.num_envs, -1)
