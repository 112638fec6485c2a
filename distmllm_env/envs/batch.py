"""What batched environments share: seeds, episodes, resets of some rows, autoreset."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from distmllm_env.envs import rendering
from distmllm_env.envs.frame import make_frame
from distmllm_env.envs.observation import Observer, masks, nothing_yet
from distmllm_env.envs.session import RENDER_MODES, earnings
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.market import Market
from distmllm_env.scenario import Scenario
from distmllm_env.schema import require
from distmllm_env.world import checked_seed

Step = tuple[Array, Array, Array, Array, dict[str, Any]]


class MarketVectorEnv(VectorEnv[Array, Array, Array]):
    """A batch of markets; what an agent is, sees and earns is left to subclasses."""

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 8,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        markets: int,
        scenario: str | Path | Scenario,
        allowed_rewards: Sequence[str],
        reward: str,
        overrides: Mapping[str, Any] | None,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
        world_seed: int | None,
        **keys: Any,
    ) -> None:
        if reward not in allowed_rewards:
            raise unknown_name("reward", reward, allowed_rewards)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise unknown_name("render_mode", render_mode, RENDER_MODES)
        modes = [mode.value for mode in AutoresetMode]
        if not isinstance(autoreset_mode, AutoresetMode) and autoreset_mode not in modes:
            raise unknown_name("autoreset_mode", autoreset_mode, modes)
        whole = isinstance(markets, (int, np.integer)) and not isinstance(markets, bool)
        require(whole and markets >= 1, "number of markets", markets, "a whole number, at least 1")
        self.scenario = Scenario.load(scenario, overrides, **keys)
        self.render_mode = render_mode
        self._world_seed = checked_seed("world_seed", world_seed)
        self._markets = int(markets)
        self._reward = reward
        self._mode = AutoresetMode(autoreset_mode)
        self.metadata = type(self).metadata | {"autoreset_mode": self._mode}
        self._market: Market | None = None
        self._over = np.zeros(self._markets, bool)
        self._some_over = False

    def _set_spaces(self, rows: int, single_observation: Box, single_action: MultiDiscrete) -> None:
        self.num_envs = rows
        self.single_observation_space = single_observation
        self.single_action_space = single_action
        self.observation_space = batch_space(single_observation, rows)
        self.action_space = batch_space(single_action, rows)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Start runs.

        Args:
            seed: A number s: market b plays episode 0 of seed s + b. A sequence: one seed per
                market, None for its next episode. None: the next episode of all, or at first
                seeds from the operating system.
            options: ``reset_mask``, bool (markets,), or one per agent, alike within a market: only
                these start anew, the others go on.

        Returns:
            Observations and infos. With a mask, infos of the others are 0 and marked so.

        Raises:
            ValueError: A seed is not allowed, the number of seeds or the mask is wrong, or the
                world that a seed draws cannot be played. Nothing has then changed.
            TypeError: The mask is no bool array.
            ResetNeeded: A mask leaves markets out that never began.
        """
        rows = self._mask(options)
        seeds = self._seed_list(seed)
        if self._market is None and not rows.all():
            raise ResetNeeded("all markets need a first reset() before a mask may leave some out.")
        self._begin(rows, seeds)
        super().reset(seed=int(seed) if isinstance(seed, (int, np.integer)) else None)
        return self._observe(), _only(self._info(), self._repeat(rows))

    def step(self, actions: Array) -> Step:
        """Play one slot in every market.

        A market plays its T slots; the last one truncates it. What follows goes by the autoreset
        mode: ``NextStep``, the next step starts its next episode and disregards its action;
        ``SameStep``, this step does, and ``final_obs`` and ``final_info`` hold what was seen last;
        ``Disabled``, the caller resets it with a ``reset_mask``.

        Raises:
            ValueError: Actions have a wrong shape, dtype or range.
            ResetNeeded: There was no reset yet, or a market is over and autoreset is disabled.
        """
        market = self._market
        if market is None:
            raise ResetNeeded("there is nothing to play before the first reset().")
        allocation = self._check(actions)
        if not self._some_over:
            self._play(allocation, None)
        elif self._mode == AutoresetMode.DISABLED:
            over = np.flatnonzero(self._over).tolist()
            raise ResetNeeded(
                f"markets {over if len(over) < 10 else [*over[:9], '...']} are over: call "
                f"reset(options={{'reset_mask': mask}})."
            )
        else:
            rows = self._over
            self._begin(rows, [None] * self._markets)
            if not rows.all():
                allocation[rows] = self.scenario.workers
                self._play(allocation, ~rows)
        rewards = self._rewards()
        truncated = self._over
        view, info = self._observe(), self._info()
        if self._some_over and self._mode == AutoresetMode.SAME_STEP:
            ended = self._repeat(truncated)
            final = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(ended):
                final[row] = view[row].copy()
            last: dict[str, Any] = {"final_obs": final, "_final_obs": ended}
            last["final_info"] = _only(copy.deepcopy(info), ended)
            last["_final_info"] = ended.copy()
            self._begin(truncated, [None] * self._markets)
            view, info = self._observe(), self._info() | last
        flags = self._repeat(truncated)
        return view, rewards, np.zeros(self.num_envs, bool), flags.copy(), info

    def state(self) -> Array:
        """Return the dispatcher's view of every market, float32 (markets, D), for critics.

        Raises:
            ResetNeeded: There was no reset yet.
        """
        market = self._market
        if market is None:
            raise ResetNeeded("there is nothing to see before the first reset().")
        return self._observer.central(self._slot, self._allocation, self._outcome)

    def render(self) -> tuple[Any, ...] | None:
        """Return the last slot of every market as text or as an image, by render mode.

        Raises:
            ResetNeeded: There was no reset yet.
        """
        if self.render_mode is None:
            return None
        market = self._market
        if market is None:
            raise ResetNeeded("nothing to render yet: call reset() first.")
        draw = rendering.ansi if self.render_mode == "ansi" else rendering.rgb_array
        pictures = []
        for b, slot in enumerate(market.slots.tolist()):
            history = self._history[b, :slot]
            pictures.append(draw(make_frame(market, b, self._allocation, self._outcome, history)))
        return tuple(pictures)

    @abstractmethod
    def _check(self, actions: Array) -> Array:
        """Check actions and return an allocation of the environment's own, (B, M, S)."""

    @abstractmethod
    def _observe(self) -> Array:
        """Return what is seen now."""

    @abstractmethod
    def _rewards(self) -> Array:
        """Return the rewards of the last slot."""

    @abstractmethod
    def _info(self) -> dict[str, Any]:
        """Return infos, each with its mask: arrays of the caller's own."""

    @abstractmethod
    def _repeat(self, per_market: Array) -> Array:
        """Turn (markets,) into (num_envs,)."""

    @property
    def _slot(self) -> int | Array:
        market = self._market
        assert market is not None
        return market.slot if market.even else market.slots

    def _play(self, allocation: Array, playing: Array | None) -> None:
        market = self._market
        assert market is not None
        self._outcome = market.play(allocation, playing)
        self._allocation = allocation
        self._shown = self._outcome
        self._own, self._welfare = earnings(self._outcome.profit)
        if self.render_mode is not None:
            rows = np.arange(self._markets) if playing is None else np.flatnonzero(playing)
            self._history[rows, market.slots[rows] - 1] = self._welfare[rows]
            # Infos hand the outcome out; what is drawn later must stay as it was.
            self._outcome = copy.deepcopy(self._outcome)
        slot, slots = self._slot, self.scenario.slots
        if isinstance(slot, int):
            self._some_over = slot >= slots
            self._over = np.full(self._markets, self._some_over)
        else:
            self._over = slot >= slots
            self._some_over = bool(self._over.any())

    def _begin(self, rows: Array, seeds: Sequence[int | None]) -> None:
        """Start the next run in ``rows``; nothing changes if that raises."""
        market, chosen, episodes = self._market, [], []
        for b in np.flatnonzero(rows).tolist():
            seed, episode = seeds[b], 0
            if seed is None and market is not None:
                seed, episode = market.seeds[b], market.episodes[b] + 1
            elif seed is None:
                seed = int(np.random.SeedSequence().generate_state(1)[0])
            chosen.append(int(seed))
            episodes.append(episode)
        if market is None:
            market = self._market = Market(self.scenario, chosen, episodes, self._world_seed)
        else:
            market.restart(rows, chosen, episodes)
        world = market.world
        self._observer = Observer(world)
        self._seeds = np.array(market.seeds, np.int64 if max(market.seeds) < 2**63 else object)
        self._episodes = np.array(market.episodes)
        self._masks = masks(world)
        self._masks.setflags(write=False)  # handed out as it is: a copy a step would be dear
        allocation, outcome = nothing_yet(world)
        if rows.all():
            self._allocation, self._outcome = allocation, outcome
            slots = self.scenario.slots if self.render_mode is not None else 0
            self._history = np.zeros((self._markets, slots))
        else:
            self._outcome = copy.deepcopy(self._outcome)  # infos may have handed the old one out
            self._allocation[rows] = allocation[rows]
            for name, table in vars(outcome).items():
                getattr(self._outcome, name)[rows] = table[rows]
            self._history[rows] = 0.0
        self._shown = copy.deepcopy(self._outcome)
        self._own, self._welfare = earnings(self._outcome.profit)
        self._over = self._over & ~rows
        self._some_over = bool(self._over.any())

    def _mask(self, options: dict[str, Any] | None) -> Array:
        table = options is None or isinstance(options, Mapping)
        require(table, "options", options, "None, or a dictionary that may hold a reset_mask")
        if options is None or "reset_mask" not in options:
            return np.ones(self._markets, bool)
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"reset_mask = {mask!r}: a NumPy array of bool is allowed.")
        if mask.shape == (self.num_envs,) != (self._markets,):  # one per agent, as wrappers have it
            each = mask.reshape(self._markets, -1)
            alike = bool((each == each[:, :1]).all())
            require(alike, "reset_mask", mask, "the same for all agents of a market")
            mask = each[:, 0]
        shape = (self._markets,)
        require(mask.shape == shape, "shape of reset_mask", mask.shape, f"{shape}")
        require(bool(mask.any()), "reset_mask", mask, "at least one True")
        return mask.copy()

    def _seed_list(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self._markets
        given: Any = seed
        if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
            given = [int(seed) + b for b in range(self._markets)]
        array = isinstance(given, np.ndarray) and given.ndim > 0
        listed = array or (isinstance(given, Sequence) and not isinstance(given, (str, bytes)))
        require(listed, "seed", seed, "a whole number, or a sequence with one per market")
        seeds = list(given)
        count = len(seeds)
        require(count == self._markets, "number of seeds", count, f"{self._markets}, one a market")
        return [checked_seed("seed", s) for s in seeds]


def marked(info: dict[str, Any]) -> dict[str, Any]:
    """Add to every key the mask that says which rows have it: here all."""
    everybody = np.ones((len(info), len(info["slot"])), bool)
    return info | {f"_{key}": mask for key, mask in zip(info, everybody, strict=True)}


def _only(info: dict[str, Any], rows: Array) -> dict[str, Any]:
    """Blank the rows of a marked info that are not in ``rows``."""
    if rows.all():
        return info
    for key, table in info.items():
        if key.startswith("_"):
            info[key] = rows.copy()
        else:
            info[key] = table.copy()
            info[key][~rows] = 0
    return info
