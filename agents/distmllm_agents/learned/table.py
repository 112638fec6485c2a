"""B markets at work for a learner: views in, allocations out, next episode when one is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from distmllm_agents.learned.views import View, find_view
from distmllm_agents.oracle import optimum
from distmllm_env import Market, Scenario
from distmllm_env.envs.observation import masks
from distmllm_env.envs.session import earnings
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.policy import make_feedback, make_problem
from distmllm_env.schema import require
from distmllm_env.slot import expected_profit

Reward = Literal["profit", "welfare", "regret"]
REWARDS: tuple[Reward, ...] = ("profit", "welfare", "regret")

COHORTS = 8
"""Groups of markets that start their first episode at different slots of it."""


@dataclass(frozen=True)
class Turn:
    """What a slot gave a learner.

    Attributes:
        view: What is seen now, (B, D) or (B, M, D).
        reward: (B,), or (B, M) of each provider.
        over: Markets whose episode has ended with this slot and whose next one has begun, (B,).
        last_view: What was seen at the end of the slot, before new episodes began.
    """

    view: Array
    reward: Array
    over: Array
    last_view: Array


class Table:
    """B markets side by side, each with its own seed, episode after episode.

    Args:
        scenario: What to play.
        markets: B.
        observation: ``last`` or ``statistics``, see :mod:`distmllm_agents.learned.views`.
        central: One view of everything, or one for each provider.
        reward: ``profit``: each provider's own; summed up for a dispatcher. ``welfare``: the sum
            for everybody. ``regret``: minus the share of the optimum that the slot lost, noise
            averaged out (of V, where the optimum is 0). It needs the true world, which the
            learner's reward may come from and its view may not; it compares worlds of different
            wealth.
        world_seed: All episodes play the world of this seed. None: each draws its own.
        stagger: Let first episodes end early, at :data:`COHORTS` different slots, so that a batch
            of transitions holds early and late slots alike.

    Attributes:
        problem: What may be known of the runs at hand.
    """

    def __init__(
        self,
        scenario: Scenario,
        markets: int,
        observation: str,
        central: bool,
        reward: Reward,
        world_seed: int | None = None,
        stagger: bool = False,
    ) -> None:
        require(markets >= 1, "markets", markets, "at least 1")
        if reward not in REWARDS:
            raise unknown_name("reward", reward, REWARDS)
        self.scenario = scenario
        self.markets = markets
        self._make_view = find_view(observation)
        self._central = central
        self._reward = reward
        self._world_seed = world_seed
        self._market: Market | None = None
        self._view: View
        self._best = np.ones(markets)
        # Cohort 0 plays its first episode to the end, the others an eighth of it, two eighths, ...
        cohorts = min(COHORTS, markets, scenario.slots) if stagger else 1
        cohort = np.arange(markets) % cohorts
        self._first = np.where(cohort > 0, scenario.slots * cohort // cohorts, scenario.slots)

    def start(self, seeds: list[int] | None) -> Array:
        """Begin episode 0 of ``seeds``, one per market; None: the next episode of all.

        Returns:
            What is seen.
        """
        if seeds is not None:
            self._market = Market(self.scenario, seeds, world_seed=self._world_seed)
        else:
            self._next(np.ones(self.markets, bool))
        self._length = self._first.copy()
        self._open(None)
        return self._look()

    def play(self, allocation: Array) -> Turn:
        """Play a slot with ``allocation``, int64 (B, M, S), within range."""
        market = self._playing
        outcome = market.step(allocation)
        self._view.update(make_feedback(outcome, allocation))
        own, welfare = earnings(outcome.profit)
        if self._reward == "regret":
            each = expected_profit(market.world, allocation, outcome.admitted)
            lost = self._best - each.sum(axis=(1, 2))
            reward = -lost / np.where(self._best > 0, self._best, self.scenario.value_scale)
        elif self._reward == "welfare" or self._central:
            reward = welfare
        else:
            reward = own
        if not self._central and reward.ndim == 1:
            reward = np.repeat(reward[:, None], own.shape[1], axis=1)
        over = market.slots >= self._length
        view = last_view = self._look()
        if over.any():
            self._next(over)
            self._length[over] = self.scenario.slots
            self._open(~over)
            view = self._look()
        return Turn(view, reward, over, last_view)

    @property
    def view(self) -> Array:
        """What is seen now."""
        return self._look()

    @property
    def started(self) -> bool:
        """Whether there was a first start."""
        return self._market is not None

    @property
    def action_masks(self) -> Array:
        """Which choices can ever be served, bool (B, M, S, N + 1)."""
        assert self._playing
        return self._masks

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on from here: arrays, and lists of whole numbers."""
        market = self._playing
        return {
            "seeds": list(market.seeds),
            "episodes": list(market.episodes),
            "slots": market.slots,
            "length": self._length.copy(),
            **{f"view/{name}": table.copy() for name, table in self._view.memory().items()},
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Be where :meth:`state` was taken."""
        seeds, episodes = ([int(x) for x in state[name]] for name in ("seeds", "episodes"))
        market = Market(self.scenario, seeds, episodes, self._world_seed)
        market.seek(np.asarray(state["slots"]))
        self._market = market
        self._length = np.asarray(state["length"]).copy()
        self._open(None)
        for name, table in self._view.memory().items():
            table[...] = state[f"view/{name}"]

    @property
    def _playing(self) -> Market:
        if self._market is None:
            raise RuntimeError("there is nothing to play before the first reset().")
        return self._market

    def _next(self, rows: Array) -> None:
        market = self._playing
        which = np.flatnonzero(rows).tolist()
        market.restart(
            rows, [market.seeds[b] for b in which], [market.episodes[b] + 1 for b in which]
        )

    def _open(self, kept: Array | None) -> None:
        """Look at the worlds anew after some markets began an episode; ``kept`` did not."""
        market = self._playing
        old = None if kept is None else self._view
        self.problem = make_problem(market.world)
        self._view = self._make_view(self.problem)
        if kept is not None and old is not None:
            for name, table in self._view.memory().items():
                table[kept] = old.memory()[name][kept]
        self._masks = masks(market.world).astype(bool)
        if self._reward == "regret" and (kept is None or self._world_seed is None):
            for b in range(self.markets) if kept is None else np.flatnonzero(~kept).tolist():
                self._best[b] = optimum(market.world.row(b)).value[0]

    def _look(self) -> Array:
        market = self._playing
        slot = market.slot if market.even else market.slots
        return self._view.central(slot) if self._central else self._view.providers(slot)
