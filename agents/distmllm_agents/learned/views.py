"""What a network sees of a batch of runs: the last slot, or running statistics of every pair.

A view is built from what a policy may know and fed with the feedback that a policy gets. Training
and evaluation use the same class, so a trained policy meets nothing that it did not meet before,
and nothing that the policy contract forbids.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from gymnasium.spaces import Box

from distmllm_env.envs import observation
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.policy import Feedback, Problem

PAIR, TASK, WORKER, MARKET = 8, 5, 2, 2
"""Numbers that :class:`Statistics` gives per pair, task, worker and market."""


class View(Protocol):
    """One slot's observation of B runs, for a dispatcher or for each provider."""

    def __init__(self, problem: Problem) -> None: ...

    def central(self, slot: int | Array) -> Array:
        """Return the dispatcher's view, float32 (B, D)."""

    def providers(self, slot: int | Array) -> Array:
        """Return each provider's view, float32 (B, M, D)."""

    def update(self, feedback: Feedback) -> None:
        """Take in what a slot gave."""

    def memory(self) -> dict[str, Array]:
        """Return the arrays, (B, ...), that hold what the view remembers; the view's own."""


class LastSlot:
    """What the environments show: :mod:`distmllm_env.envs.observation`, ``central``, ``provider``.

    It says nothing of slots before the last, so a policy on it can learn a world, but not how to
    explore one.
    """

    def __init__(self, problem: Problem) -> None:
        self._observer = observation.Observer(problem)
        allocation, last = observation.nothing_yet(problem)
        self._last = Feedback(allocation, last.admitted, last.profit, last.load)

    @staticmethod
    def space(central: bool, providers: int, workers: int) -> Box:
        """Return the Box of :meth:`central` or of one provider in :meth:`providers`."""
        return observation.space("central" if central else "provider", providers, workers)

    def central(self, slot: int | Array) -> Array:
        """Return the dispatcher's view, float32 (B, D)."""
        return self._observer.central(slot, self._last.allocation, self._last)

    def providers(self, slot: int | Array) -> Array:
        """Return each provider's view, float32 (B, M, D)."""
        return self._observer.providers(slot, self._last.allocation, self._last)

    def update(self, feedback: Feedback) -> None:
        """Remember the slot."""
        self._last = feedback

    def memory(self) -> dict[str, Array]:
        """Return the last slot: what was chosen, and what came of it."""
        names = ("allocation", "admitted", "profit", "load")
        return {name: getattr(self._last, name) for name in names}


class Statistics:
    """Running statistics of every pair of task and worker: what a policy needs to explore.

    Numbers per pair (m, s, n), per task (m, s), per worker n and per market, in this order in the
    flat vector, each block in the order of its indices::

        pair    mean profit / V | n / (n + 1) | n / (n + 16) | age / (age + 16) |
                share of tries admitted | chosen in the last slot | feasible |
                mean profit less the mean of the task's means over the workers that have served it,
                in units of the largest noise (of V if there is none); 0 if it never served it
        task    c_m / K | d_m / mean d | stage | transfer cost / V | place in the order of placing
        worker  C_n / K | omega_n / mean omega
        market  t / (t + 16) | demand of all tasks / capacity of all workers

    n counts admitted tries, age the slots since the last one (1 if there was none), V, K as in
    :mod:`distmllm_env.envs.observation`. Nothing hangs on the horizon, and no block's meaning hangs
    on M or N. The order of placing is by falling demand, LLM before ENC, then by falling d_m.
    A provider sees its own pairs and tasks and all workers.

    Args:
        problem: What a policy may know.
    """

    def __init__(self, problem: Problem) -> None:
        batch, m, n = problem.batch, problem.providers, problem.workers
        self._value = problem.value_scale
        self._std = np.where(problem.profit_std > 0, problem.profit_std, self._value)
        self._std = self._std[:, None, None, None]
        self._row = np.arange(batch * m * 2).reshape(batch, m, 2) * n
        self._workers = n
        shape = (batch, m, 2, n)
        self.total = np.zeros(shape)
        self.count = np.zeros(shape)
        self.tries = np.zeros(shape)
        self.age = np.full(shape, np.inf)
        self.chosen = np.zeros(shape, bool)
        self._feasible = problem.feasible.transpose(0, 2, 1, 3).astype(np.float32)
        scale = np.maximum(problem.demand.max(axis=1), problem.capacity.max(axis=1))[:, None]
        self._task = np.zeros((batch, m, 2, TASK), np.float32)
        self._task[..., 0] = (problem.demand / scale)[..., None]
        self._task[..., 1] = _relative(problem.data_bytes)[..., None]
        self._task[..., 2] = (0.0, 1.0)
        self._task[..., 3] = (problem.transfer_cost / self._value)[..., None]
        self._task[..., 4] = _places(problem) / (2 * m)
        self._worker = np.zeros((batch, n, WORKER), np.float32)
        self._worker[..., 0] = problem.capacity / scale
        self._worker[..., 1] = _relative(problem.price)
        pools = 2 if problem.per_stage else 1
        room = pools * problem.capacity.sum(axis=1)
        need = 2 * problem.demand.sum(axis=1)
        self._load = np.divide(need, room, out=np.zeros(batch), where=room > 0)

    @staticmethod
    def space(central: bool, providers: int, workers: int) -> Box:
        """Return the Box of :meth:`central` or of one provider in :meth:`providers`."""
        tasks = 2 * providers if central else 2
        size = tasks * workers * PAIR + tasks * TASK + workers * WORKER + MARKET
        return Box(-np.inf, np.inf, (size,), np.float32)

    def central(self, slot: int | Array) -> Array:
        """Return the dispatcher's view, float32 (B, D)."""
        batch = len(self._load)
        parts = (self._pairs(), self._task, self._worker, self._market(slot))
        return np.concatenate([part.reshape(batch, -1) for part in parts], axis=1)

    def providers(self, slot: int | Array) -> Array:
        """Return each provider's view, float32 (B, M, D)."""
        batch, m = self._task.shape[:2]
        workers = np.broadcast_to(self._worker[:, None], (batch, m, self._workers, WORKER))
        market = np.broadcast_to(self._market(slot)[:, None], (batch, m, MARKET))
        parts = (self._pairs(), self._task, workers, market)
        return np.concatenate([part.reshape(batch, m, -1) for part in parts], axis=2)

    def update(self, feedback: Feedback) -> None:
        """Take in what a slot gave; a rejected task is a try, but no sample (A13)."""
        placed = feedback.allocation < self._workers
        pair = self._row + feedback.allocation
        self.age += 1.0
        self.chosen[:] = False
        tried, served = pair[placed], pair[feedback.admitted]
        self.chosen.reshape(-1)[tried] = True
        self.tries.reshape(-1)[tried] += 1.0
        self.count.reshape(-1)[served] += 1.0
        self.total.reshape(-1)[served] += feedback.profit[feedback.admitted]
        self.age.reshape(-1)[served] = 0.0

    def memory(self) -> dict[str, Array]:
        """Return the sums and counts, (B, M, S, N) each."""
        names = ("total", "count", "tries", "age", "chosen")
        return {name: getattr(self, name) for name in names}

    def _pairs(self) -> Array:
        count = self.count
        view = np.empty((*count.shape, PAIR), np.float32)
        mean = self.total / np.maximum(count, 1.0)
        seen = count > 0
        level = mean.sum(axis=3, keepdims=True) / np.maximum(seen.sum(axis=3, keepdims=True), 1)
        np.divide(mean, self._value, out=view[..., 0])
        np.multiply(mean - level, seen, out=view[..., 7])
        view[..., 7] /= self._std
        view[..., 1] = count / (count + 1.0)
        view[..., 2] = count / (count + 16.0)
        view[..., 3] = 1.0 - 16.0 / (self.age + 16.0)
        view[..., 4] = np.divide(count, self.tries, out=np.ones_like(count), where=self.tries > 0)
        view[..., 5] = self.chosen
        view[..., 6] = self._feasible
        return view

    def _market(self, slot: int | Array) -> Array:
        view = np.empty((len(self._load), MARKET), np.float32)
        view[:, 0] = slot / (np.asarray(slot) + 16.0)
        view[:, 1] = self._load
        return view


VIEWS: dict[str, type[LastSlot] | type[Statistics]] = {"last": LastSlot, "statistics": Statistics}


def find_view(name: str) -> type[LastSlot] | type[Statistics]:
    """Return the view of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in VIEWS:
        raise unknown_name("observation", name, VIEWS)
    return VIEWS[name]


def _relative(table: Array) -> Array:
    """Divide each row by its mean; a row of zeros stays so."""
    mean = table.mean(axis=1, keepdims=True)
    return np.divide(table, mean, out=np.zeros_like(table), where=mean > 0)


def _places(problem: Problem) -> Array:
    """Return each task's place in the order of placing, (B, M, S)."""
    tasks = (problem.batch, problem.providers, 2)
    stage = np.broadcast_to(np.arange(2), tasks)
    demand, data = (
        np.repeat(table, 2, axis=1).reshape(tasks) for table in (problem.demand, problem.data_bytes)
    )
    keys = [-key.reshape(problem.batch, -1) for key in (data, stage, demand)]
    order = np.lexsort(keys, axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None], axis=1)
    return places.reshape(tasks)
