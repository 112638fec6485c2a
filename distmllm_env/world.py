"""A world: what every provider would earn on every worker, drawn from a scenario with seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from distmllm_env import equations
from distmllm_env.luck import stream
from distmllm_env.scenario import ENC, LLM, Scenario
from distmllm_env.schema import require
from distmllm_env.testbed import testbed_tables

Array = equations.Array


class Layout(NamedTuple):
    """Flat views of a world's tables, and where each task's row begins in them.

    Adding an allocation (B, M, S) to a base gives flat indices: ``pair`` into (B, S, M, N + 1)
    tables, ``cell`` into capacity pools, ``worker`` into (B, N + 1) tables.
    """

    pair: Array
    cell: Array
    worker: Array
    capacity: Array
    demand: Array
    value: Array
    weight_per_s: Array
    price: Array
    feasible: Array
    latency_s: Array
    energy_j: Array
    mean_profit: Array


@dataclass(frozen=True, eq=False)
class World:
    """True tables of a batch of B runs. Policies never see it; only the oracle may.

    Tables over workers carry a last column N for "defer": value 0, capacity without limit.

    Attributes:
        scenario: Where it was drawn from.
        seeds: One per row, length B.
        episode: Episode number under those seeds.
        performance: p_n, (B, N). On a testbed: speed relative to the fastest worker.
        demand: c_m, (B, M), units of capacity.
        data_bytes: d_m, (B, M), bytes that the encoder takes in.
        tensor_bytes: Encoder output, (B, M), bytes.
        capacity: C_n, (B, N + 1), last column infinite.
        price: omega_n, (B, N + 1), money per joule.
        value: V_s(m), (B, S, M).
        latency_s: Mean l, (B, S, M, N + 1), seconds; infinite where infeasible.
        energy_j: Mean e, (B, S, M, N + 1), joules; infinite where infeasible.
        feasible: (B, S, M, N + 1), whether the task can ever run there; the last column is True.
    """

    scenario: Scenario
    seeds: tuple[int, ...]
    episode: int
    performance: Array
    demand: Array
    data_bytes: Array
    tensor_bytes: Array
    capacity: Array
    price: Array
    value: Array
    latency_s: Array
    energy_j: Array
    feasible: Array

    @property
    def batch(self) -> int:
        """B, the number of runs."""
        return len(self.seeds)

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
        """Flat tables and index bases that hold for the whole run, for :mod:`.slot`."""
        batch, _, m, columns = self.latency_s.shape
        rows = np.arange(batch)[:, None, None]
        providers, stages = np.arange(m)[None, :, None], np.arange(2)[None, None, :]
        worker = np.broadcast_to(rows * columns, (batch, m, 2))
        if self.scenario.market.capacity == "per_stage":
            cell = np.broadcast_to((rows * 2 + stages) * columns, (batch, m, 2))
            capacity = np.repeat(self.capacity[:, None], 2, axis=1)
        else:
            cell, capacity = worker, self.capacity
        return Layout(
            pair=((rows * 2 + stages) * m + providers) * columns,
            cell=cell,
            worker=worker,
            capacity=capacity.ravel(),
            demand=np.ascontiguousarray(np.broadcast_to(self.demand[:, :, None], (batch, m, 2))),
            value=np.ascontiguousarray(self.value.transpose(0, 2, 1)),
            weight_per_s=self.scenario.stage_weights_per_s,
            price=self.price.ravel(),
            feasible=self.feasible.ravel(),
            latency_s=self.latency_s.ravel(),
            energy_j=self.energy_j.ravel(),
            mean_profit=self.mean_profit.ravel(),
        )

    def row(self, b: int) -> World:
        """Return row ``b`` as a world of its own, batch 1."""
        names = ("performance", "demand", "data_bytes", "tensor_bytes", "capacity", "price",
                 "value", "latency_s", "energy_j", "feasible")  # fmt: skip
        tables = {name: getattr(self, name)[b : b + 1] for name in names}
        return World(self.scenario, (self.seeds[b],), self.episode, **tables)


def draw_world(scenario: Scenario, seeds: Sequence[int], episode: int = 0) -> World:
    """Draw the worlds of a batch of runs.

    Args:
        scenario: What to draw from.
        seeds: One seed per row, each at least 0.
        episode: Episode number; the same (seed, episode) always gives the same world.

    Returns:
        The world, batch size ``len(seeds)``.

    Raises:
        ValueError: No seeds, a negative seed or episode, or a provider whose demand fits no worker.
    """
    seeds = tuple(seeds)
    require(len(seeds) > 0, "seeds", seeds, "at least one seed")
    for seed in seeds:
        whole = isinstance(seed, (int, np.integer)) and seed >= 0
        require(whole, "seed", seed, "a whole number, at least 0")
    seeds = tuple(int(seed) for seed in seeds)
    require(episode >= 0, "episode", episode, "at least 0")
    draw = _drawn(scenario, seeds, episode)
    if scenario.testbed is None:
        latency, energy = _from_equations(scenario, draw)
        performance = draw["performance"]
    else:
        latency, energy, performance = testbed_tables(scenario, draw)
    capacity = np.concatenate([draw["capacity"], np.full((len(seeds), 1), np.inf)], axis=1)
    price = np.concatenate([draw["price"], np.zeros((len(seeds), 1))], axis=1)
    runs = np.isfinite(latency)
    room = draw["capacity"][:, None, :]
    if scenario.market.overload == "share":
        runs &= (room > 0)[:, None]
    else:  # under a hard limit, a task larger than a worker never fits there
        runs &= (draw["demand"][:, :, None] <= room)[:, None]
    _require_some_worker(scenario, draw, runs)
    feasible = np.concatenate([runs, np.ones((*runs.shape[:3], 1), bool)], axis=3)
    pad = np.zeros((*runs.shape[:3], 1))
    return World(
        scenario=scenario,
        seeds=seeds,
        episode=episode,
        performance=performance,
        demand=draw["demand"],
        data_bytes=draw["data_bytes"],
        tensor_bytes=draw["tensor_bytes"],
        capacity=capacity,
        price=price,
        value=draw["value"],
        latency_s=np.concatenate([np.where(runs, latency, np.inf), pad], axis=3),
        energy_j=np.concatenate([np.where(runs, energy, np.inf), pad], axis=3),
        feasible=feasible,
    )


def _drawn(scenario: Scenario, seeds: Sequence[int], episode: int) -> dict[str, Array]:
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
    for key, (quantity, count) in wanted.items():
        part = _QUANTITIES.index(key)
        rngs = (partial(stream, seed, episode, "world", part) for seed in seeds)
        drawn[key] = np.stack([quantity.draw(rng, count) for rng in rngs])
    if bed is None:
        drawn["worker_factor"] = drawn["worker_factor"].reshape(-1, n, 2).transpose(0, 2, 1)
        enc, llm = drawn.pop("value_enc"), drawn.pop("value_llm")
        drawn["value"] = np.stack([enc, llm], axis=1)
    return drawn


# Positions are spawn keys: add at the end only.
_QUANTITIES = (
    "performance", "price", "worker_factor", "data_bytes", "demand", "capacity", "tensor_bytes",
    "value_enc", "value_llm", "data_scale", "output_scale",
)  # fmt: skip


def _from_equations(scenario: Scenario, draw: dict[str, Array]) -> tuple[Array, Array]:
    """Equations (1) and (2) for all pairs: latency and energy, each (B, S, M, N)."""
    stage = (slice(None), None, None)
    data = draw["data_bytes"][:, None, :, None]
    p = draw["performance"][:, None, None, :]
    scale = np.array([scenario.latency.enc_scale_s, scenario.latency.llm_scale_s])[stage]
    latency = equations.latency_s(scale, data, scenario.latency.exponent, p)
    latency = latency * draw["worker_factor"][:, :, None, :]
    gamma = np.array([scenario.energy.enc_j_per_mb, scenario.energy.llm_j_per_mb])[stage]
    return latency, equations.energy_j(gamma + scenario.energy.mu_j_per_mb, data, p)


def _require_some_worker(scenario: Scenario, draw: dict[str, Array], runs: Array) -> None:
    for s, stage in ((ENC, "ENC"), (LLM, "LLM")):
        nowhere = ~runs[:, s].any(axis=2)
        if nowhere.any():
            b, m = np.argwhere(nowhere)[0]
            raise ValueError(
                f"demand = {draw['demand'][b, m]:g} of provider_{m}: its {stage} task runs on none "
                f"of the {scenario.workers} workers (capacities "
                f"{', '.join(f'{c:g}' for c in draw['capacity'][b])}). Allowed: at most the "
                f"capacity of some worker that can run its model."
            )
