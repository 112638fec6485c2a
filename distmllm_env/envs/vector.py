"""Many markets side by side as one environment: every array leads with a batch axis.

Row by row, bit for bit, the same as single environments in
:class:`gymnasium.vector.SyncVectorEnv`, observations, rewards, infos and autoreset included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import AutoresetMode

from distmllm_env.envs import observation
from distmllm_env.envs.batch import MarketVectorEnv, marked
from distmllm_env.envs.central import SHARED_REWARDS
from distmllm_env.envs.session import REWARDS, shared_reward
from distmllm_env.equations import Array
from distmllm_env.market import check_choices
from distmllm_env.scenario import Scenario


class CentralVectorEnv(MarketVectorEnv):
    """``gym.make_vec("DistMLLM-v0")``: one dispatcher in each of B markets.

    Spaces, rewards and infos are those of :class:`~distmllm_env.envs.central.CentralEnv` with a
    batch axis in front: actions int (B, 2M), observations float32 (B, D), rewards (B,). Every key
    of the infos has its mask ``_key``, bool (B,), as Gymnasium's vector environments have it.
    ``action_mask`` holds for the episode and is read-only; all else is the caller's.

    Args:
        num_envs: B, the number of markets.
        scenario: As in :class:`~distmllm_env.envs.central.CentralEnv`.
        providers: M, if other than the scenario's.
        workers: N, likewise.
        slots: T, likewise.
        reward: ``welfare`` or ``proportional_fair``.
        overrides: Dotted scenario keys.
        autoreset_mode: ``NextStep``, ``SameStep`` or ``Disabled``, see :meth:`step`.
        render_mode: ``ansi``, ``rgb_array`` or None.
        world_seed: All episodes play the world of this seed; noise, drop order and the like still
            hang on seed and episode. None: each episode draws its own world.

    Raises:
        ValueError: A name, key or value is not allowed.
    """

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Path | Scenario = "paper",
        providers: int | None = None,
        workers: int | None = None,
        slots: int | None = None,
        reward: str = "welfare",
        overrides: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        world_seed: int | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            scenario,
            SHARED_REWARDS,
            reward,
            overrides,
            autoreset_mode,
            render_mode,
            world_seed,
            providers=providers,
            workers=workers,
            slots=slots,
        )
        m, n = self.scenario.providers, self.scenario.workers
        self._set_spaces(
            self._markets, observation.space("central", m, n), MultiDiscrete([n + 1] * (2 * m))
        )

    def _check(self, actions: Array) -> Array:
        m, n = self.scenario.providers, self.scenario.workers
        choices = check_choices("actions", actions, (self._markets, 2 * m), n)
        return choices.reshape(self._markets, m, 2).copy()

    def _observe(self) -> Array:
        return self._observer.central(self._slot, self._allocation, self._outcome)

    def _rewards(self) -> Array:
        return shared_reward(self._reward, self._own, self._welfare).copy()

    def _info(self) -> dict[str, Any]:
        last = self._shown
        return marked(
            {
                "slot": np.full(self._markets, self._slot),
                "seed": self._seeds.copy(),
                "episode_index": self._episodes.copy(),
                "action_mask": self._masks.reshape(self._markets, -1, self._masks.shape[-1]),
                "profit": last.profit.copy(),
                "status": last.status,
                "latency_s": last.latency_s,
                "energy_j": last.energy_j,
                "load": last.load.copy(),
                "welfare": self._welfare.copy(),
            }
        )

    def _repeat(self, per_market: Array) -> Array:
        return per_market


class ParallelMarketVectorEnv(MarketVectorEnv):
    """B markets of M providers as one batch of B M agents: multi-agent training in one array.

    Agent b M + m is provider m of market b. Spaces, rewards and infos are those of
    :class:`~distmllm_env.envs.parallel.ParallelMarketEnv` for one provider, with a batch axis in
    front: actions int (B M, 2), observations float32 (B M, D), rewards (B M,). So any learner for
    vector environments trains one network for all providers; ``reshape(B, M, -1)`` gives the
    markets back, and :meth:`state` the global view of each.

    Args:
        markets: B.
        scenario: As in :class:`~distmllm_env.envs.central.CentralEnv`.
        providers: M, if other than the scenario's.
        workers: N, likewise.
        slots: T, likewise.
        reward: ``profit``, ``welfare`` or ``proportional_fair``.
        overrides: Dotted scenario keys.
        autoreset_mode: ``NextStep``, ``SameStep`` or ``Disabled``, see :meth:`step`. Seeds and
            ``reset_mask`` are per market.
        render_mode: ``ansi``, ``rgb_array`` or None; one picture per market.
        world_seed: All episodes play the world of this seed; noise, drop order and the like still
            hang on seed and episode. None: each episode draws its own world.

    Raises:
        ValueError: A name, key or value is not allowed.
    """

    def __init__(
        self,
        markets: int = 1,
        scenario: str | Path | Scenario = "paper",
        providers: int | None = None,
        workers: int | None = None,
        slots: int | None = None,
        reward: str = "profit",
        overrides: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        world_seed: int | None = None,
    ) -> None:
        super().__init__(
            markets,
            scenario,
            REWARDS,
            reward,
            overrides,
            autoreset_mode,
            render_mode,
            world_seed,
            providers=providers,
            workers=workers,
            slots=slots,
        )
        m, n = self.scenario.providers, self.scenario.workers
        self._set_spaces(
            self._markets * m, observation.space("provider", m, n), MultiDiscrete([n + 1] * 2)
        )

    def _check(self, actions: Array) -> Array:
        m, n = self.scenario.providers, self.scenario.workers
        choices = check_choices("actions", actions, (self.num_envs, 2), n)
        return choices.reshape(self._markets, m, 2).copy()

    def _observe(self) -> Array:
        view = self._observer.providers(self._slot, self._allocation, self._outcome)
        return view.reshape(self.num_envs, -1)

    def _rewards(self) -> Array:
        if self._reward == "profit":
            return self._own.reshape(-1)
        return self._repeat(shared_reward(self._reward, self._own, self._welfare))

    def _info(self) -> dict[str, Any]:
        last, rows = self._shown, self.num_envs
        return marked(
            {
                "slot": self._repeat(np.full(self._markets, self._slot)),
                "action_mask": self._masks.reshape(rows, 2, -1),
                "profit": last.profit.reshape(rows, 2).copy(),
                "status": last.status.reshape(rows, 2),
                "latency_s": last.latency_s.reshape(rows, 2),
                "energy_j": last.energy_j.reshape(rows, 2),
            }
        )

    def _repeat(self, per_market: Array) -> Array:
        return np.repeat(per_market, self.scenario.providers)
