"""How a world's tables lie in memory, so that a slot reads as little of it as it can."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.scenario import Scenario

TOLERANCE = 1e-9
"""A load may exceed a capacity by this much: sums of real demands carry rounding."""


class Separable(NamedTuple):
    """Latency and energy as products of what the task and what the worker brings: (1) and (2).

    Attributes:
        work_s: psi_s(d_m), seconds, (B, S, M).
        slowness: beta(p_n) times the worker's factor, (B, S, N).
        work_j: (gamma_s + mu) d_m, joules, (B, S, M).
        power: alpha(p_n)^2, (B, S, N).
    """

    work_s: Array
    slowness: Array
    work_j: Array
    power: Array


class Measured(NamedTuple):
    """Latency and energy of every pair, (B, S, M, N); infinite where a device cannot do it."""

    latency_s: Array
    energy_j: Array


class Layout(NamedTuple):
    """A world's tables as the slot reads them, and where each task's row begins in them.

    Adding an allocation (B, M, S) to a base gives flat indices: ``choice`` into ``pace``,
    ``worker`` into ``price``, ``cell`` into capacity pools, ``pair`` into ``runs``. Latency and
    energy lie side by side, so that a choice costs one access to memory. Deferring is a worker
    like any other, of no latency, energy, price and limit, so that it needs no branch; the slot
    takes its profit away.

    Attributes:
        choice: int (B, M, S).
        pace: Latency and energy, (?, 2); one row per stage and worker where they are products, to
            be multiplied with what the task brings, else one per pair, 0 where it cannot run.
        work: What the task brings to its latency and energy, (B, M, S, 2); None where ``pace`` is
            by pair.
        worker: int (B, M, S).
        price: Flat.
        cell: int (B, M, S).
        pair: int (B, M, S).
        runs: Whether the task can run there, bool, flat; False for defer. None if all tasks can
            run everywhere.
        limit: Capacity of each pool and the tolerance, flat.
        capacity: Capacity of each pool, flat.
        demand: (B, M, S).
        value: (B, M, S).
        weight_per_s: Latency weight of each task, (B, M, S).
    """

    choice: Array
    pace: Array
    work: Array | None
    worker: Array
    price: Array
    cell: Array
    pair: Array
    runs: Array | None
    limit: Array
    capacity: Array
    demand: Array
    value: Array
    weight_per_s: Array


def make_layout(
    scenario: Scenario,
    pace: Separable | Measured,
    capacity: Array,
    price: Array,
    demand: Array,
    value: Array,
    feasible: Array | None,
) -> Layout:
    """Lay the tables of a world out for the slot.

    Args:
        scenario: What it was drawn from.
        pace: Mean latency and energy.
        capacity: (B, N + 1).
        price: (B, N + 1).
        demand: (B, M).
        value: (B, S, M).
        feasible: bool (B, S, M, N + 1); None if all tasks can run everywhere.
    """
    batch, m = demand.shape
    n = scenario.workers
    tasks = (batch, m, 2)
    pair = (np.arange(batch * m * 2) * (n + 1)).reshape(tasks)
    stage = np.broadcast_to(np.arange(batch * 2).reshape(batch, 1, 2), tasks) * (n + 1)
    worker = np.repeat(np.arange(batch) * (n + 1), m * 2).reshape(tasks)
    runs = None
    if feasible is not None:
        runs = feasible.transpose(0, 2, 1, 3).copy()
        runs[..., -1] = False
    work = None
    if isinstance(pace, Separable):
        table = np.zeros((batch, 2, n + 1, 2))
        table[..., :-1, 0], table[..., :-1, 1] = pace.slowness, pace.power
        work = np.stack([_by_task(pace.work_s), _by_task(pace.work_j)], axis=-1)
    else:
        table = np.zeros((*tasks, n + 1, 2))
        where = True if runs is None else runs[..., :-1]
        for column, full in enumerate(pace):
            np.copyto(table[..., :-1, column], full.transpose(0, 2, 1, 3), where=where)
    if scenario.market.capacity == "per_stage":
        cell, pools = stage, np.repeat(capacity[:, None], 2, axis=1).ravel()
    else:
        cell, pools = worker, capacity.ravel()
    return Layout(
        choice=pair if work is None else stage,
        pace=table.reshape(-1, 2),
        work=work,
        worker=worker,
        price=price.ravel(),
        cell=cell,
        pair=pair,
        runs=None if runs is None else runs.ravel(),
        limit=pools + TOLERANCE,
        capacity=pools,
        demand=np.repeat(demand, 2).reshape(tasks),
        value=_by_task(value),
        weight_per_s=np.tile(scenario.stage_weights_per_s, batch * m).reshape(tasks),
    )


def _by_task(table: Array) -> Array:
    """(B, S, M) to (B, M, S)."""
    return np.ascontiguousarray(table.transpose(0, 2, 1))
