"""One slot of the market: admission, transfer, noise, outcome. Pure, batched, no RL types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from distmllm_env import equations
from distmllm_env.equations import Array
from distmllm_env.layout import Layout
from distmllm_env.scenario import ENC, LLM
from distmllm_env.world import World


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
        latency_s: Seconds, (B, M, S).
        energy_j: Joules, (B, M, S).
        load: Admitted demand of both stages, (B, N).
    """

    status: Array
    admitted: Array
    profit: Array
    latency_s: Array
    energy_j: Array
    load: Array


def play_slot(
    world: World,
    allocation: Array,
    shock: Array | None,
    priority: Callable[[Array], Array],
) -> Outcome:
    """Play one slot.

    Args:
        world: The true tables.
        allocation: Chosen worker of each task, int64 (B, M, S); N means defer.
        shock: What noise does to each task, see :func:`.equations.noise_effect`, (B, M, S, 2):
            factors of latency and energy, or a term in [..., 0] that is added to the profit.
            None: no noise.
        priority: Drop order under overload: gives flat indices of tasks their priorities, uint64;
            the lowest is dropped first. Only asked about tasks on overloaded workers.

    Returns:
        The outcome. Section 2.1 of the paper for the rewards; ASSUMPTIONS A11 to A16 for the rest.
    """
    scenario, at = world.scenario, world.layout
    market, noise = scenario.market, scenario.noise
    workers = scenario.workers
    cell = at.cell + allocation
    if at.runs is None:
        admitted = allocation < workers
        load = np.bincount(cell.ravel(), at.demand.ravel(), at.limit.size)
        status = admitted.astype(np.int8)  # ADMITTED is 1, DEFERRED is 0
    else:
        admitted = at.runs.take(at.pair + allocation)
        load = np.bincount(cell.ravel(), (at.demand * admitted).ravel(), at.limit.size)
        status = admitted.astype(np.int8)
        status[(allocation < workers) > admitted] = Status.INFEASIBLE

    stretch = None
    over = load > at.limit
    if np.count_nonzero(over):
        if market.overload == "share":
            # Only where it is over: 0 / 0 elsewhere, and loads that are a rounding error too high.
            stretch = np.divide(load, at.capacity, out=np.ones_like(load), where=over).take(cell)
        else:
            contested = np.flatnonzero(over.take(cell) & admitted)
            if market.overload == "reject_all":
                dropped, load[over] = contested, 0.0
            else:
                dropped = _drop(contested, cell, at, priority, load)
            admitted.reshape(-1)[dropped] = False
            status.reshape(-1)[dropped] = Status.REJECTED

    used = at.pace.take(at.choice + allocation, axis=0)  # latency and energy, side by side
    if at.work is not None:
        used *= at.work
    if shock is not None and noise.on == "latency_energy":
        used *= shock
    idle = ~admitted
    np.copyto(used.view(np.complex128)[..., 0], 0.0, where=idle)  # both numbers of a task at once
    latency, energy = used[..., 0], used[..., 1]
    if stretch is not None:
        latency *= stretch
    price = at.price.take(cell if at.cell is at.worker else at.worker + allocation)
    profit = equations.profit(scenario.reward, at.weight_per_s, at.value, latency, price, energy)
    if shock is not None and noise.on == "reward":
        profit += shock[..., 0]
    np.copyto(profit, 0.0, where=idle)
    if market.transfer_cost_per_mb > 0:
        profit[:, :, LLM] -= _transfer(world, allocation, admitted)

    pools = load.reshape(world.batch, -1, scenario.workers + 1)[:, :, :-1]
    total = pools[:, 0] if pools.shape[1] == 1 else pools[:, 0] + pools[:, 1]
    return Outcome(status, admitted, profit, latency, energy, total)


def expected_profit(world: World, allocation: Array, admitted: Array) -> Array:
    """Return the profit of slots with their noise averaged out, given who was admitted.

    Pseudo-regret is counted with it; policies never see it.

    Args:
        world: The true tables.
        allocation: Chosen worker of each task, int (..., B, M, S); N means defer.
        admitted: Whose tasks ran, bool (..., B, M, S).

    Returns:
        (..., B, M, S); 0 for tasks that were not admitted.
    """
    scenario = world.scenario
    batch, m, columns = world.batch, scenario.providers, scenario.workers + 1
    rows = np.arange(batch * 2 * m).reshape(batch, 2, m).transpose(0, 2, 1) * columns
    pair = rows + allocation  # into tables (B, S, M, N + 1)
    expected = np.where(admitted, world.mean_profit.take(pair), 0.0)
    if scenario.market.overload == "share":
        for at in np.ndindex(allocation.shape[:-3]):
            _stretch(world, allocation[at], admitted[at], pair[at], expected[at])
    if scenario.market.transfer_cost_per_mb > 0:
        expected[..., LLM] -= _transfer(world, allocation, admitted)
    return expected


def _stretch(
    world: World, allocation: Array, admitted: Array, pair: Array, expected: Array
) -> None:
    """Put the mean profit at the stretched latency where a worker is overloaded, in one slot."""
    scenario, at = world.scenario, world.layout
    cell = at.cell + allocation
    load = np.bincount(cell.ravel(), (at.demand * admitted).ravel(), at.limit.size)
    slow = (load > at.limit).take(cell) & admitted
    latency = world.latency_s.take(pair[slow]) * (load.take(cell[slow]) / at.capacity[cell[slow]])
    gain = equations.mean_latency_reward(
        scenario.reward, at.weight_per_s[slow], latency, scenario.noise
    )
    paid = at.price.take((at.worker + allocation)[slow]) * world.energy_j.take(pair[slow])
    expected[slow] = at.value[slow] + gain - paid


def _transfer(world: World, allocation: Array, admitted: Array) -> Array:
    """Transfer cost of each provider, (..., B, M)."""
    apart = allocation[..., ENC] != allocation[..., LLM]
    return world.transfer_cost * (admitted[..., ENC] & admitted[..., LLM] & apart)


def _drop(
    task: Array, cell: Array, at: Layout, priority: Callable[[Array], Array], load: Array
) -> Array:
    """Which tasks fall when each overloaded worker drops random tasks until its load fits.

    Tasks are dropped by rising priority, so those that stay are a prefix by falling priority: as
    many as fit before the first that does not. Sums run per worker, never across rows, so that a
    row of a batch gives the same bits as a single run.

    Args:
        task: Flat indices of the tasks on overloaded workers.
        cell: Flat index of each task's capacity pool, (B, M, S).
        at: Layout of the world.
        priority: As in :func:`play_slot`.
        load: Load of each pool, flat; brought down to what stays.

    Returns:
        Flat indices of the tasks that fall.
    """
    where = cell.reshape(-1).take(task)
    bits = load.size.bit_length()
    falling = ~priority(task) >> np.uint64(bits)
    order = (where.astype(np.uint64) << np.uint64(64 - bits) | falling).argsort()
    task, where = task.take(order), where.take(order)
    begins = np.ones(where.size, bool)
    np.not_equal(where[1:], where[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    group = begins.cumsum()
    group -= 1
    rank = np.arange(where.size)
    rank -= first.take(group)
    # One column per worker: its demands by falling priority, summed up.
    height = int(rank.max()) + 1
    filled = np.zeros((height, first.size))
    place = rank * first.size + group
    filled.reshape(-1)[place] = at.demand.reshape(-1).take(task)
    for r in range(1, height):
        filled[r] += filled[r - 1]
    pool = where.take(first)
    stays = filled <= at.limit.take(pool)
    load[pool] = (filled * stays).max(axis=0)
    return task[~stays.reshape(-1).take(place)]
