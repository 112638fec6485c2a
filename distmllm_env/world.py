"""A world: what every provider would earn on every worker, drawn from a scenario with seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from distmllm_env import equations
from distmllm_env.layout import Layout, Measured, Separable, make_layout
from distmllm_env.luck import row_keys, uniforms
from distmllm_env.scenario import ENC, LLM, Scenario
from distmllm_env.schema import require
from distmllm_env.testbed import testbed_tables

Array = equations.Array


@dataclass(frozen=True, eq=False)
class World:
    """True tables of a batch of B runs. Policies never see it; only the oracle may.

    Tables over workers carry a last column N for "defer": value 0, capacity without limit. The
    large ones are computed when they are first asked for, so that drawing a world costs little.

    Attributes:
        scenario: Where it was drawn from.
        seeds: One per row, length B.
        episodes: Episode of each row under its seed, length B.
        performance: p_n, (B, N). On a testbed: speed relative to the fastest worker.
        demand: c_m, (B, M), units of capacity.
        data_bytes: d_m, (B, M), bytes that the encoder takes in.
        tensor_bytes: Encoder output, (B, M), bytes.
        capacity: C_n, (B, N + 1), last column infinite.
        price: omega_n, (B, N + 1), money per joule.
        value: V_s(m), (B, S, M).
        pace: Mean latency and energy before anything is said about who may run where.
    """

    scenario: Scenario
    seeds: tuple[int, ...]
    episodes: tuple[int, ...]
    performance: Array
    demand: Array
    data_bytes: Array
    tensor_bytes: Array
    capacity: Array
    price: Array
    value: Array
    pace: Separable | Measured

    @property
    def batch(self) -> int:
        """B, the number of runs."""
        return len(self.seeds)

    @cached_property
    def feasible_everywhere(self) -> bool:
        """Whether every task can run on every worker, in all rows."""
        capacity = self.capacity[:, :-1]
        if self.scenario.market.overload == "share":
            fits = capacity > 0
        else:
            fits = self.demand.max(axis=1, keepdims=True) <= capacity
        runs = isinstance(self.pace, Separable) or bool(np.isfinite(self.pace.latency_s).all())
        return bool(fits.all()) and runs

    @cached_property
    def feasible(self) -> Array:
        """Whether the task can ever run there, bool (B, S, M, N + 1); the last column is True."""
        batch, m = self.demand.shape
        feasible = np.ones((batch, 2, m, self.scenario.workers + 1), bool)
        if self.feasible_everywhere:
            return feasible
        runs, room = feasible[..., :-1], self.capacity[:, None, None, :-1]
        if isinstance(self.pace, Measured):
            np.isfinite(self.pace.latency_s, out=runs)
        if self.scenario.market.overload == "share":
            runs &= room > 0
        else:  # under a hard limit, a task larger than a worker never fits there
            runs &= self.demand[:, None, :, None] <= room
        return feasible

    @cached_property
    def latency_s(self) -> Array:
        """Mean l, (B, S, M, N + 1), seconds; infinite where infeasible, 0 for defer."""
        pace = self.pace
        if isinstance(pace, Measured):
            return self._with_defer(pace.latency_s)
        return self._with_defer(pace.work_s[..., None] * pace.slowness[:, :, None])

    @cached_property
    def energy_j(self) -> Array:
        """Mean e, (B, S, M, N + 1), joules; infinite where infeasible, 0 for defer."""
        pace = self.pace
        if isinstance(pace, Measured):
            return self._with_defer(pace.energy_j)
        return self._with_defer(pace.work_j[..., None] * pace.power[:, :, None])

    def _with_defer(self, table: Array) -> Array:
        full = np.zeros((*table.shape[:3], table.shape[3] + 1))
        full[..., :-1] = table
        if not self.feasible_everywhere:
            full[~self.feasible] = np.inf
        return full

    @cached_property
    def transfer_cost(self) -> Array:
        """Charge when both stages are admitted on different workers, (B, M), money (A16)."""
        return self.scenario.market.transfer_cost_per_mb * self.tensor_bytes / equations.MEGABYTE

    @cached_property
    def mean_profit(self) -> Array:
        """Mean of equation (3) under the noise, (B, S, M, N + 1); 0 for defer and infeasible."""
        weight = self.scenario.stage_weights_per_s[:, None, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            served = (
                self.value[..., None]
                + equations.mean_latency_reward(
                    self.scenario.reward, weight, self.latency_s, self.scenario.noise
                )
                - self.price[:, None, None, :] * self.energy_j
            )
        served[..., -1] = 0.0
        return np.where(self.feasible, served, 0.0)

    @cached_property
    def profit_std(self) -> Array:
        """Standard deviation of a served task's profit, (B, S, M, N + 1), to first order in std."""
        noise, reward = self.scenario.noise, self.scenario.reward
        if noise.on != "latency_energy":
            std = noise.std if noise.on == "reward" else 0.0
            out = np.full(self.latency_s.shape, std)
        else:
            slope = self.scenario.stage_weights_per_s[:, None, None] * np.ones_like(self.latency_s)
            with np.errstate(invalid="ignore"):
                if reward.shape == "quadratic":
                    slope = slope + 2 * reward.curvature_per_s2 * self.latency_s
                elif reward.shape == "deadline":
                    slope = np.where(self.latency_s > reward.deadline_s, slope, 0.0)
                spread = np.hypot(
                    slope * self.latency_s, self.price[:, None, None, :] * self.energy_j
                )
                out = noise.std * spread
        out[..., -1] = 0.0
        return np.where(self.feasible, out, 0.0)

    @cached_property
    def layout(self) -> Layout:
        """The tables as the slot reads them."""
        feasible = None if self.feasible_everywhere else self.feasible
        tables = (self.capacity, self.price, self.demand, self.value)
        return make_layout(self.scenario, self.pace, *tables, feasible)

    def row(self, b: int) -> World:
        """Return row ``b`` as a world of its own, batch 1."""
        tables = {name: getattr(self, name)[b : b + 1] for name in _TABLES}
        pace = type(self.pace)(*(table[b : b + 1] for table in self.pace))
        return World(self.scenario, (self.seeds[b],), (self.episodes[b],), **tables, pace=pace)

    def overwrite(self, rows: Array, other: World) -> None:
        """Put the rows of ``other`` in place of ``rows``: new runs in some rows of a batch.

        Args:
            rows: bool (B,), True for as many rows as ``other`` has.
            other: Drawn from the same scenario.
        """
        seeds, episodes = list(self.seeds), list(self.episodes)
        for i, b in enumerate(np.flatnonzero(rows).tolist()):
            seeds[b], episodes[b] = other.seeds[i], other.episodes[i]
        for name in _TABLES:
            getattr(self, name)[rows] = getattr(other, name)
        for mine, theirs in zip(self.pace, other.pace, strict=True):
            mine[rows] = theirs
        for name in [name for name in self.__dict__ if name not in _FIELDS]:
            del self.__dict__[name]  # computed anew when asked for
        self.__dict__.update(seeds=tuple(seeds), episodes=tuple(episodes))


_TABLES = ("performance", "demand", "data_bytes", "tensor_bytes", "capacity", "price", "value")
_FIELDS = tuple(field.name for field in fields(World))


def draw_world(
    scenario: Scenario, seeds: Sequence[int], episodes: int | Sequence[int] = 0
) -> World:
    """Draw the worlds of a batch of runs.

    Args:
        scenario: What to draw from.
        seeds: One seed per row, each at least 0.
        episodes: Episode of each row, or one for all; the same (seed, episode) always gives the
            same world.

    Returns:
        The world, batch size ``len(seeds)``.

    Raises:
        ValueError: No seeds, a negative seed or episode, a wrong number of episodes, or a provider
            whose demand fits no worker.
    """
    seeds, each = runs_of(seeds, episodes)
    draw = _drawn(scenario, seeds, each)
    pace: Separable | Measured
    if scenario.testbed is None:
        pace, performance = _from_equations(scenario, draw), draw["performance"]
    else:
        *tables, performance = testbed_tables(scenario, draw)
        pace = Measured(*tables)
    world = World(
        scenario=scenario,
        seeds=seeds,
        episodes=each,
        performance=performance,
        demand=draw["demand"],
        data_bytes=draw["data_bytes"],
        tensor_bytes=draw["tensor_bytes"],
        capacity=np.concatenate([draw["capacity"], np.full((len(seeds), 1), np.inf)], axis=1),
        price=np.concatenate([draw["price"], np.zeros((len(seeds), 1))], axis=1),
        value=draw["value"],
        pace=pace,
    )
    if not world.feasible_everywhere:
        _require_some_worker(world)
    return world


def runs_of(
    seeds: Sequence[int], episodes: int | Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check seeds and episodes and return one of each per row.

    Raises:
        ValueError: No seeds, a negative seed or episode, or a wrong number of episodes.
    """
    seeds = tuple(seeds)
    require(len(seeds) > 0, "seeds", seeds, "at least one seed")
    for seed in seeds:
        whole = isinstance(seed, (int, np.integer)) and seed >= 0
        require(whole, "seed", seed, "a whole number, at least 0")
    seeds = tuple(int(seed) for seed in seeds)
    each = [episodes] * len(seeds) if isinstance(episodes, (int, np.integer)) else episodes
    require(len(each) == len(seeds), "episodes", episodes, f"one, or {len(seeds)}, one per seed")
    for episode in each:
        require(episode >= 0, "episode", episode, "at least 0")
    each = tuple(int(episode) for episode in each)
    return seeds, each


def checked_seed(name: str, seed: Any) -> int | None:
    """Return ``seed`` as an int, or None for None.

    Raises:
        ValueError: It is negative or no integer; the error calls it ``name``.
    """
    if seed is None:
        return None
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    require(whole and seed >= 0, name, seed, "a whole number, at least 0, or None")
    return int(seed)


def _drawn(scenario: Scenario, seeds: Sequence[int], episodes: Sequence[int]) -> dict[str, Array]:
    """Draw every quantity, (B, count) each, from a stream of its own.

    So a change of one quantity or size leaves the others as they are: with more workers under the
    same seed, the first ones stay the same, and a sweep over N compares like with like.
    """
    m, n, bed = scenario.providers, scenario.workers, scenario.testbed
    wanted = {
        "performance": (scenario.performance, n),
        "price": (scenario.price, n),
    }
    if bed is None:
        wanted |= {
            "worker_factor": (scenario.latency.worker_factor, 2 * n),
            "data_bytes": (scenario.data_bytes, m),
            "demand": (scenario.demand, m),
            "capacity": (scenario.capacity, n),
            "tensor_bytes": (scenario.tensor_bytes, m),
            "value_enc": (scenario.reward.value_enc, m),
            "value_llm": (scenario.reward.value_llm, m),
        }
    else:
        wanted |= {"data_scale": (bed.data_scale, m), "output_scale": (bed.output_scale, m)}
    drawn = {}
    for name, (quantity, count) in wanted.items():
        draw = partial(_uniforms, seeds, episodes, _QUANTITIES.index(name))
        values = quantity.draw(draw, count)
        drawn[name] = np.broadcast_to(values, (len(seeds), count)).copy()
    if bed is None:
        drawn["worker_factor"] = drawn["worker_factor"].reshape(-1, n, 2).transpose(0, 2, 1)
        enc, llm = drawn.pop("value_enc"), drawn.pop("value_llm")
        drawn["value"] = np.stack([enc, llm], axis=1)
    return drawn


def _uniforms(seeds: Sequence[int], episodes: Sequence[int], part: int, count: int) -> Array:
    return uniforms(row_keys(seeds, episodes, "world", part), count)


# Positions are part of the keys: add at the end only.
_QUANTITIES = (
    "performance", "price", "worker_factor", "data_bytes", "demand", "capacity", "tensor_bytes",
    "value_enc", "value_llm", "data_scale", "output_scale",
)  # fmt: skip


def _from_equations(scenario: Scenario, draw: dict[str, Array]) -> Separable:
    """Equations (1) and (2), task by task and worker by worker."""
    data, p = draw["data_bytes"][:, None], draw["performance"][:, None]
    scale = np.array([scenario.latency.enc_scale_s, scenario.latency.llm_scale_s])[:, None]
    gamma = np.array([scenario.energy.enc_j_per_mb, scenario.energy.llm_j_per_mb])[:, None]
    return Separable(
        work_s=equations.psi(scale, data, scenario.latency.exponent),
        slowness=equations.beta(p) * draw["worker_factor"],
        work_j=equations.work_j(gamma + scenario.energy.mu_j_per_mb, data),
        power=np.repeat(equations.alpha(p) ** 2, 2, axis=1),
    )


def _require_some_worker(world: World) -> None:
    runs = world.feasible[..., :-1]
    for s, stage in ((ENC, "ENC"), (LLM, "LLM")):
        nowhere = ~runs[:, s].any(axis=2)
        if nowhere.any():
            b, m = np.argwhere(nowhere)[0]
            raise ValueError(
                f"demand = {world.demand[b, m]:g} of provider_{m}: its {stage} task runs on none "
                f"of the {world.scenario.workers} workers (capacities "
                f"{', '.join(f'{c:g}' for c in world.capacity[b, :-1])}). Allowed: at most the "
                f"capacity of some worker that can run its model."
            )
