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

from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from distmllm_env.compiled import kernel
from distmllm_env.equations import Array
from distmllm_env.policy import Feedback, Problem
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
    """Builds observations of a batch of runs.

    What holds for the run is written into a template once; a slot copies it and fills in the rest.

    Args:
        known: The world that is played, or what a policy was told of it: the same views come out.
    """

    def __init__(self, known: World | Problem) -> None:
        about = known.scenario if isinstance(known, World) else known
        capacity = known.capacity[:, : about.workers]
        self._known = known
        self._sizes = (about.providers, about.workers)
        self._slots = about.slots
        self._value = about.value_scale
        self._scale = np.maximum(known.demand.max(axis=1), capacity.max(axis=1))[:, None]
        # A worker of capacity 0 never has a load: any divisor gives its 0.
        self._capacity = np.where(capacity > 0, capacity, 1.0)

    def central(self, slot: int | Array, allocation: Array, last: Outcome | Feedback) -> Array:
        """Return what the dispatcher sees, float32 (B, D).

        Args:
            slot: Slots played, by all rows or by each, (B,).
            allocation: Choices of the last slot, (B, M, S).
            last: What it gave.
        """
        at, template = self._central
        loops = kernel()
        if loops is not None:
            return self._fill(loops.central, at, template, slot, allocation, last)
        view, batch = template.copy(), len(template)
        view[:, 0] = slot / self._slots
        np.divide(last.load, last.load + self._capacity, out=view[:, at["last_load"]])
        tasks = allocation.reshape(batch, -1)
        np.divide(tasks, self._sizes[1], out=view[:, at["last_choice"]])
        profit = last.profit.reshape(batch, -1)
        np.divide(profit, np.abs(profit) + self._value, out=view[:, at["last_profit"]])
        view[:, at["last_admitted"]] = last.admitted.reshape(batch, -1)
        return view

    def providers(self, slot: int | Array, allocation: Array, last: Outcome | Feedback) -> Array:
        """Return what each provider sees, float32 (B, M, D); arguments as in :meth:`central`."""
        return self._each(self._provider, slot, allocation, last)

    def turns(self, slot: int | Array, allocation: Array, last: Outcome | Feedback) -> Array:
        """Return what each provider sees in turn, float32 (B, M, D).

        ``stage``, ``room`` and ``mask`` change from turn to turn and are 0 here.
        """
        return self._each(self._sequential, slot, allocation, last)

    @property
    def scale(self) -> float:
        """K of the first row, the largest demand or capacity of the run."""
        return float(self._scale[0, 0])

    def _each(
        self,
        kind: tuple[dict[str, slice], Array],
        slot: int | Array,
        allocation: Array,
        last: Outcome | Feedback,
    ) -> Array:
        at, template = kind
        loops = kernel()
        if loops is not None:
            return self._fill(loops.each, at, template, slot, allocation, last)
        view = template.copy()
        view[:, :, 0] = np.reshape(slot, (-1, 1)) / self._slots
        load = last.load / (last.load + self._capacity)
        view[:, :, at["last_load"]] = load[:, None]
        np.divide(allocation, self._sizes[1], out=view[:, :, at["last_choice"]])
        profit = last.profit
        np.divide(profit, np.abs(profit) + self._value, out=view[:, :, at["last_profit"]])
        view[:, :, at["last_admitted"]] = last.admitted
        return view

    def _fill(
        self,
        loop: Any,
        at: dict[str, slice],
        template: Array,
        slot: int | Array,
        allocation: Array,
        last: Outcome | Feedback,
    ) -> Array:
        view = np.empty_like(template)
        progress = slot if isinstance(slot, np.ndarray) else np.array([slot])
        begins = (
            at["last_load"].start,
            at["last_choice"].start,
            at["last_profit"].start,
            at["last_admitted"].start,
        )
        loop(
            view, template, progress, self._slots, allocation, last.load, last.profit,
            last.admitted, self._capacity, self._value, begins,
        )  # fmt: skip
        return view

    @cached_property
    def _central(self) -> tuple[dict[str, slice], Array]:
        at = fields("central", *self._sizes)
        template = np.zeros((self._known.batch, at["last_admitted"].stop), np.float32)
        for name, value in self._fixed().items():
            template[:, at[name]] = value
        return at, template

    @cached_property
    def _provider(self) -> tuple[dict[str, slice], Array]:
        at, template = self._template("provider")
        template[:, :, at["mask"]] = masks(self._known).reshape(*template.shape[:2], -1)
        return at, template

    @cached_property
    def _sequential(self) -> tuple[dict[str, slice], Array]:
        return self._template("sequential")

    def _template(self, kind: str) -> tuple[dict[str, slice], Array]:
        at = fields(kind, *self._sizes)
        batch, m = self._known.demand.shape
        template = np.zeros((batch, m, at["mask"].stop), np.float32)
        for name, value in self._fixed().items():
            own = name in ("demand", "data")
            template[:, :, at[name]] = value[:, :, None] if own else value[:, None]
        return at, template

    def _fixed(self) -> dict[str, Array]:
        known, n = self._known, self._sizes[1]
        price = known.price[:, :n]  # a world's tables have a column more
        top_price = price.max(axis=1, keepdims=True)
        return {
            "demand": known.demand / self._scale,
            "data": known.data_bytes / known.data_bytes.max(axis=1, keepdims=True),
            "capacity": known.capacity[:, :n] / self._scale,
            "price": price / np.where(top_price > 0, top_price, 1.0),
        }


def masks(known: World | Problem) -> Array:
    """Return which choices can ever be served, int8 (B, M, S, N + 1); defer always can."""
    feasible = known.feasible.transpose(0, 2, 1, 3)
    if isinstance(known, World):
        return np.ascontiguousarray(feasible).astype(np.int8)
    table = np.ones((*feasible.shape[:3], known.workers + 1), np.int8)
    table[..., :-1] = feasible
    return table


def nothing_yet(known: World | Problem) -> tuple[Array, Outcome]:
    """Return the allocation and outcome "before the first slot": all deferred, all 0."""
    about = known.scenario if isinstance(known, World) else known
    tasks = (known.batch, about.providers, 2)
    status = np.full(tasks, Status.DEFERRED, np.int8)
    profit, latency, energy = (np.zeros(tasks) for _ in range(3))
    load = np.zeros((known.batch, about.workers))
    outcome = Outcome(status, np.zeros(tasks, bool), profit, latency, energy, load)
    return np.full(tasks, about.workers), outcome
