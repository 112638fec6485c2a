"""One slot of the market: admission, transfer, noise, outcome. Pure, batched, no RL types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from distmllm_env import equations
from distmllm_env.equations import Array
from distmllm_env.scenario import ENC, LLM
from distmllm_env.world import World

TOLERANCE = 1e-9
"""A load may exceed a capacity by this much: sums of real demands carry rounding."""


class Status(IntEnum):
    """What became of a task in a slot."""

    DEFERRED = 0
    """The provider placed it on no worker."""
    ADMITTED = 1
    REJECTED = 2
    """The worker was overloaded and dropped it."""
    INFEASIBLE = 3
    """The worker can never run it: its device cannot, or the demand exceeds its capacity."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a slot gave. Tasks that were not admitted have 0 in every table but ``status``.

    Attributes:
        status: :class:`Status` of each task, int8 (B, M, S).
        admitted: ``status == ADMITTED``, bool (B, M, S).
        profit: Equation (3) with this slot's noise, less the transfer cost, (B, M, S). The
            transfer cost is charged to the LLM task, which receives the tensor.
        expected_profit: The same with the noise averaged out, given who was admitted, (B, M, S).
            Pseudo-regret is counted with it; policies never see it.
        latency_s: Seconds, (B, M, S).
        energy_j: Joules, (B, M, S).
        load: Admitted demand of both stages, (B, N).
    """

    status: Array
    admitted: Array
    profit: Array
    expected_profit: Array
    latency_s: Array
    energy_j: Array
    load: Array


def play_slot(world: World, allocation: Array, z: Array, priority: Array) -> Outcome:
    """Play one slot.

    Args:
        world: The true tables.
        allocation: Chosen worker of each task, int (B, M, S); N means defer.
        z: Standardised noise of latency and energy, (B, M, S, 2).
        priority: Drop order under overload, (B, M, S): the lowest is dropped first.

    Returns:
        The outcome. Sections 2.1 of the paper for the rewards; ASSUMPTIONS A11 to A16 for the rest.
    """
    scenario, at = world.scenario, world.layout
    market, noise = scenario.market, scenario.noise
    pair, cell = at.pair + allocation, at.cell + allocation

    placed = allocation < scenario.workers
    feasible = at.feasible.take(pair)
    runs = feasible & placed
    load = np.bincount(cell.ravel(), (at.demand * runs).ravel(), minlength=at.capacity.size)
    over = load > at.capacity + TOLERANCE
    stretch = None
    admitted = runs
    if over.any():
        if market.overload == "share":
            # Only where it is over: 0 / 0 elsewhere, and loads that are a rounding error too high.
            stretch = np.divide(load, at.capacity, out=np.ones_like(load), where=over).take(cell)
        elif market.overload == "reject_all":
            admitted = runs & ~over.take(cell)
        else:
            contested = runs & over.take(cell)
            admitted = runs & ~_dropped(contested, cell, at.demand, at.capacity, priority)

    status = np.where(admitted, np.int8(Status.ADMITTED), np.int8(Status.REJECTED))
    status[~feasible] = Status.INFEASIBLE
    status[~placed] = Status.DEFERRED

    latency = np.where(admitted, at.latency_s.take(pair), 0.0)
    energy = np.where(admitted, at.energy_j.take(pair), 0.0)
    price = at.price.take(at.worker + allocation)
    weight = at.weight_per_s
    if stretch is None:
        expected = at.mean_profit.take(pair)
    else:
        latency = latency * stretch
        gain = equations.mean_latency_reward(scenario.reward, weight, latency, noise)
        expected = at.value + gain - price * energy

    if noise.on == "latency_energy" and noise.std > 0:
        factor = equations.noise_factor(noise.distribution, noise.std, z)
        latency = latency * factor[..., 0]
        energy = energy * factor[..., 1]
    profit = equations.profit(scenario.reward, weight, at.value, latency, price, energy)
    if noise.on == "reward":
        profit = profit + noise.std * z[..., 0]
    profit = np.where(admitted, profit, 0.0)
    expected = np.where(admitted, expected, 0.0)
    if market.transfer_cost_per_mb > 0:
        apart = admitted.all(axis=2) & (allocation[:, :, ENC] != allocation[:, :, LLM])
        profit[:, :, LLM] -= world.transfer_cost * apart
        expected[:, :, LLM] -= world.transfer_cost * apart

    served = np.bincount(
        (at.worker + allocation).ravel(), (at.demand * admitted).ravel(), minlength=at.price.size
    ).reshape(world.batch, -1)[:, :-1]
    return Outcome(status, admitted, profit, expected, latency, energy, served)


def _dropped(contested: Array, cell: Array, demand: Array, capacity: Array, key: Array) -> Array:
    """Which tasks fall when each overloaded worker drops random tasks until its load fits.

    Tasks are dropped by rising ``key``, so those that stay are a prefix by falling ``key``: as many
    as fit before the first that does not. Sums run per worker, never across rows, so that a row of
    a batch gives the same bits as a single run.

    Args:
        contested: Tasks on overloaded workers, bool (B, M, S).
        cell: Flat index of the worker's capacity pool, (B, M, S).
        demand: (B, M, S).
        capacity: Flat, indexed by ``cell``.
        key: Uniform random numbers, (B, M, S).
    """
    task = np.flatnonzero(contested)
    where = cell.ravel()[task]
    order = np.lexsort((-key.ravel()[task], where))
    task, where = task[order], where[order]
    _, start, group, count = np.unique(
        where, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.arange(task.size) - start[group]
    table = np.zeros((count.size, count.max()))
    table[group, rank] = demand.ravel()[task]
    filled = table.cumsum(axis=1)[group, rank]
    dropped = np.zeros(contested.size, bool)
    dropped[task] = filled > capacity[where] + TOLERANCE
    return dropped.reshape(contested.shape)
