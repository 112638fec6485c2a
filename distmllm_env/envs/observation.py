"""What an agent sees: flat float32 vectors, each field within a known range.

Field tables (M providers, N workers; ``last`` means the slot before, and before the first slot:
deferred, nothing earned)::

    central        slot 1 | demand M | data M | capacity N | price N | last_load N |
                   last_choice 2M | last_profit 2M | last_admitted 2M
    provider       slot 1 | demand 1 | data 1 | capacity N | price N | last_load N |
                   last_choice 2 | last_profit 2 | last_admitted 2 | mask 2(N + 1)
    sequential     as provider with one mask, N + 1, for the task at hand, and before it
                   stage 1 | room N

    slot           t / T
    demand         c_m / K with K the largest demand or capacity of the run
    data           d_m / the largest d_m of the run
    capacity       C_n / K
    price          omega_n / the largest omega_n of the run
    last_load      admitted demand L_n as L_n / (L_n + C_n): 0.5 is a full worker
    last_choice    n / N; 1 means deferred
    last_profit    r / (abs(r) + V) with V the scenario's largest intrinsic value
    last_admitted  1 if admitted
    stage          0 for ENC, 1 for LLM
    room           capacity that is left for this task in this slot / K; 0 where it is overdrawn
    mask           1 where the task may be placed; the last entry is defer

Fields of two per provider run (m0 ENC, m0 LLM, m1 ENC, ...). Nothing here reveals the world's true
means. Info dictionaries carry the same quantities unscaled.
"""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from distmllm_env.equations import Array
from distmllm_env.scenario import Scenario
from distmllm_env.slot import Outcome, Status
from distmllm_env.world import World


def fields(kind: str, providers: int, workers: int) -> dict[str, slice]:
    """Return where each field of an observation lies.

    Args:
        kind: ``central``, ``provider`` or ``sequential``.
        providers: M.
        workers: N.

    Returns:
        Field name -> slice into the flat vector, in order.
    """
    each = providers if kind == "central" else 1
    sizes = {
        "slot": 1,
        "demand": each,
        "data": each,
        "capacity": workers,
        "price": workers,
        "last_load": workers,
        "last_choice": 2 * each,
        "last_profit": 2 * each,
        "last_admitted": 2 * each,
    }
    if kind == "provider":
        sizes["mask"] = 2 * (workers + 1)
    elif kind == "sequential":
        sizes |= {"stage": 1, "room": workers, "mask": workers + 1}
    ends = np.cumsum(list(sizes.values())).tolist()
    return {
        name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)
    }


def space(kind: str, providers: int, workers: int) -> Box:
    """Return the Box of an observation: [-1, 1] for ``last_profit``, [0, 1] for all else."""
    at = fields(kind, providers, workers)
    low = np.zeros(at[next(reversed(at))].stop, np.float32)
    low[at["last_profit"]] = -1.0
    return Box(low, np.ones_like(low))


class Observer:
    """Builds observations of a batch of runs; what holds for the run is scaled once.

    Args:
        world: The world that is played.
    """

    def __init__(self, world: World) -> None:
        scenario, capacity = world.scenario, world.capacity[:, :-1]
        self._scenario = scenario
        self._capacity = capacity
        self._scale = np.maximum(world.demand.max(axis=1), capacity.max(axis=1))[:, None]
        price = world.price[:, :-1]
        top_price = price.max(axis=1, keepdims=True)
        self._demand = world.demand / self._scale
        self._data = world.data_bytes / world.data_bytes.max(axis=1, keepdims=True)
        workers = [capacity / self._scale, price / np.where(top_price > 0, top_price, 1.0)]
        self._workers = np.concatenate(workers, axis=1)
        self._masks = masks(world).reshape(world.batch, scenario.providers, -1)
        self._value = value_scale(scenario)

    def central(self, slot: int, allocation: Array, last: Outcome) -> Array:
        """Return what the dispatcher sees, float32 (B, D)."""
        batch = allocation.shape[0]
        parts = [
            np.full((batch, 1), slot / self._scenario.slots),
            self._demand,
            self._data,
            self._workers,
            self._load(last),
            *(part.reshape(batch, -1) for part in self._last(allocation, last)),
        ]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def providers(self, slot: int, allocation: Array, last: Outcome) -> Array:
        """Return what each provider sees, float32 (B, M, D)."""
        return np.concatenate(
            [self._common(slot, allocation, last), self._masks], axis=2, dtype=np.float32
        )

    def turn(self, slot: int, allocation: Array, last: Outcome, room: Array, stage: int) -> Array:
        """Return what each provider would see at its turn, without the mask, float32 (B, M, D)."""
        batch, m = self._demand.shape
        left = np.maximum(room, 0.0) / self._scale
        extra = np.concatenate([np.full((batch, 1), float(stage)), left], axis=1)
        wide = np.broadcast_to(extra[:, None], (batch, m, extra.shape[1]))
        return np.concatenate(
            [self._common(slot, allocation, last), wide], axis=2, dtype=np.float32
        )

    def _common(self, slot: int, allocation: Array, last: Outcome) -> Array:
        batch, m = self._demand.shape
        shared = np.concatenate([self._workers, self._load(last)], axis=1)
        parts = [
            np.full((batch, m, 1), slot / self._scenario.slots),
            self._demand[:, :, None],
            self._data[:, :, None],
            np.broadcast_to(shared[:, None], (batch, m, shared.shape[1])),
            *self._last(allocation, last),
        ]
        return np.concatenate(parts, axis=2)

    def _load(self, last: Outcome) -> Array:
        total = last.load + self._capacity
        return last.load / np.where(total > 0, total, 1.0)

    def _last(self, allocation: Array, last: Outcome) -> tuple[Array, Array, Array]:
        profit = last.profit / (np.abs(last.profit) + self._value)
        return allocation / self._scenario.workers, profit, last.admitted.astype(float)


def masks(world: World) -> Array:
    """Return which choices can ever be served, int8 (B, M, S, N + 1); defer always can."""
    return np.ascontiguousarray(world.feasible.transpose(0, 2, 1, 3)).astype(np.int8)


def value_scale(scenario: Scenario) -> float:
    """Return V, the largest intrinsic value of a task in a scenario (1 if none is above 0)."""
    if scenario.testbed is not None:
        values = [v for app in scenario.testbed.apps for v in (app.value_enc, app.value_llm)]
    else:
        values = [scenario.reward.value_enc.high, scenario.reward.value_llm.high]
    return max(values) if max(values) > 0 else 1.0


def nothing_yet(world: World) -> tuple[Array, Outcome]:
    """Return the allocation and outcome "before the first slot": all deferred, all 0."""
    scenario = world.scenario
    tasks = (world.batch, scenario.providers, 2)
    zeros = np.zeros(tasks)
    status = np.full(tasks, Status.DEFERRED, np.int8)
    load = np.zeros((world.batch, scenario.workers))
    outcome = Outcome(status, np.zeros(tasks, bool), zeros, zeros, zeros, zeros, load)
    return np.full(tasks, scenario.workers), outcome
