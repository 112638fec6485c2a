"""DistMLLM: Algorithm 1 of the paper (explore in epochs, then commit to a multi-knapsack mapping).

``DistMLLM()`` is the algorithm as printed. Its options are the readings that the paper leaves open:
the estimator's divisor (B4), learning while exploiting (B5), the lengths of the phases (B3, B8) and
the solver behind "Algorithm 2" (C5). A central coordinator computes the mapping (B12).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from distmllm_agents.mapping import SOLVERS, Mapping, MappingBatch, solve_sequential_batch
from distmllm_agents.mapping.problem import (
    Array,
    MappingProblem,
    disaggregated,
    disaggregated_batch,
    monolithic,
    monolithic_batch,
    to_allocation,
)
from distmllm_agents.mapping.sequential import ORDERS
from distmllm_env.errors import unknown_name
from distmllm_env.policy import Feedback, Observation, Problem
from distmllm_env.schema import require


class DistMLLM:
    """Algorithm 1 with Algorithm 2.

    Args:
        estimator: ``paper``: u <- (u (tau - 1) + r) / tau with the epoch tau, as printed.
            ``count``: the sample mean.
        mapping: ``sequential``: Algorithm 2 as printed. ``exact``: the global optimum that Lemma 3
            and Theorem 1 speak of. ``branch-and-bound``: the same optimum, slowly.
        explore_slots: T_explore. None: one covering pass, N times the load rounded up (B3). Every
            pair is then tried once an epoch; where an overloaded worker drops the trial, the pair
            keeps its estimate, 0 at first, until a later one.
        exploit_base: Exploitation of epoch tau lasts ``exploit_base ** tau`` slots.
        worker_order: Order in which Algorithm 2 goes through the workers (C2): ``index``,
            ``reverse`` or ``capacity``.
        refill: Let Algorithm 2 place what it left out where there is room (C6).
        learn_always: Also learn from exploitation slots, as Section 2.2 says and Algorithm 1 does
            not.

    Raises:
        ValueError: An option is not allowed.
    """

    name = "distmllm"
    batched = True
    knows = "rewards"
    coordinates = True

    def __init__(
        self,
        estimator: Literal["paper", "count"] = "paper",
        mapping: str = "sequential",
        explore_slots: int | None = None,
        exploit_base: int = 2,
        learn_always: bool = False,
        worker_order: str = "index",
        refill: bool = False,
    ) -> None:
        if estimator not in ("paper", "count"):
            raise unknown_name("estimator", estimator, ("paper", "count"))
        if mapping not in SOLVERS:
            raise unknown_name("mapping", mapping, SOLVERS)
        if explore_slots is not None:
            _require_count("explore_slots", explore_slots)
        _require_count("exploit_base", exploit_base)
        self.estimator = estimator
        self.mapping = mapping
        self.explore_slots = explore_slots
        self.exploit_base = exploit_base
        self.learn_always = learn_always
        if worker_order not in ORDERS:
            raise unknown_name("worker_order", worker_order, ORDERS)
        if mapping != "sequential" and (worker_order != "index" or refill):
            raise ValueError(f"worker_order and refill have no effect with mapping = {mapping!r}.")
        self._solve = SOLVERS[mapping]
        self._solve_batch = partial(solve_sequential_batch, order=worker_order, refill=refill)

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Lines 1 and 2: all estimates start at 0, epoch 1 starts with exploration."""
        batch, m, n = problem.batch, problem.providers, problem.workers
        self._problem = problem
        self._runs = problem.feasible
        self.estimate = np.zeros((batch, 2, m, n))
        self.samples = np.zeros((batch, 2, m, n), int)
        rows = np.arange(batch * 2 * m).reshape(batch, 2, m).transpose(0, 2, 1)
        self._row = rows * n  # where each task's line begins in these tables
        self.epoch = np.ones(batch, int)
        self.exploring = np.ones(batch, bool)
        self._explore = self._explore_length(problem)
        self._left = self._explore.copy()
        self._walk = np.zeros(batch, int)  # round robin goes on across epochs (B6)
        self._plan = np.full((batch, m, 2), n)
        self._mapping: list[Mapping | None] = [None] * batch

    def act(self, observation: Observation) -> Array:
        """Lines 3 to 15: explore in a round robin (line 6) or dispatch by the mapping (13)."""
        over = self._left == 0
        commit, renew = over & self.exploring, over & ~self.exploring
        if commit.any():
            self._plan[commit] = self._map(np.flatnonzero(commit))  # line 11
        self.exploring = (self.exploring & ~commit) | renew
        self._left[commit] = self.exploit_base ** self.epoch[commit]  # line 12
        self.epoch[renew] += 1  # line 3
        self._left[renew] = self._explore[renew]  # line 4
        return np.where(self.exploring[:, None, None], self._round_robin(), self._plan)

    def update(self, feedback: Feedback) -> None:
        """Lines 7 and 8. A rejected task shows no reward, so it is no sample (A13)."""
        self._left -= 1
        learns = np.ones_like(self.exploring) if self.learn_always else self.exploring
        self._walk += self.exploring
        if not learns.any():
            return
        sampled = feedback.admitted & learns[:, None, None]
        pair = (self._row + feedback.allocation)[sampled]
        samples, estimate = self.samples.reshape(-1), self.estimate.reshape(-1)
        samples[pair] += 1
        if self.estimator == "paper":
            divisor = np.broadcast_to(self.epoch[:, None, None], sampled.shape)[sampled]
        else:
            divisor = samples[pair]
        estimate[pair] = (estimate[pair] * (divisor - 1) + feedback.profit[sampled]) / divisor

    def _explore_length(self, problem: Problem) -> Array:
        if self.explore_slots is not None:
            return np.full(problem.batch, self.explore_slots)
        pools = 2 if problem.per_stage else 1
        load = 2 * problem.demand.sum(axis=1) / (pools * problem.capacity.sum(axis=1))
        return problem.workers * np.maximum(1, np.ceil(load - 1e-9)).astype(int)

    def _round_robin(self) -> Array:
        """Provider m sends both tasks to worker (m + slot) mod N; a pair that cannot run waits."""
        n = self._problem.workers
        worker = (np.arange(self._problem.providers) + self._walk[:, None]) % n
        index = worker[:, None, :, None]  # (B, 1, M, 1) into (B, S, M, N)
        runs = np.take_along_axis(self._runs, index, axis=3)[..., 0]
        return np.where(runs, worker[:, None, :], n).transpose(0, 2, 1)

    def _map(self, rows: Array) -> Array:
        """Map the tasks of ``rows``, int (R,), by their estimates: allocations (R, M, S)."""
        if self.mapping == "sequential":
            choice = self._solve_batch(self._mapping_batch(rows)).reshape(len(rows), -1)
        else:
            choice = np.stack([self._map_again(b) for b in rows.tolist()])
        return to_allocation(choice, self._problem.providers, self._problem.workers)

    def _map_again(self, b: int) -> Array:
        # Utilities have moved a little since the last epoch: its solution is where to start.
        mapping = self._mapping[b] = self._solve(self._mapping_problem(b), self._mapping[b])
        return mapping.choice

    def _mapping_batch(self, rows: Array) -> MappingBatch:
        return disaggregated_batch(self._problem, self.estimate[rows], rows)

    def _mapping_problem(self, b: int) -> MappingProblem:
        return disaggregated(self._problem, self.estimate[b].copy(), b)


class DistMLLMFixed(DistMLLM):
    """The same epochs with what the text promises: sample means of all slots, exact mapping."""

    name = "distmllm-fixed"

    def __init__(self, explore_slots: int | None = None, exploit_base: int = 2) -> None:
        super().__init__("count", "exact", explore_slots, exploit_base, learn_always=True)


class MonolithicDistMLLM(DistMLLM):
    """Both stages of a provider on one worker: the ablation of Figure 7b."""

    name = "monolithic"

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """As for DistMLLM; but a worker that can run only one of the stages is no place to go."""
        super().reset(problem, rng)
        both = problem.feasible.all(axis=1, keepdims=True)
        self._runs = np.broadcast_to(both, problem.feasible.shape)

    def _mapping_batch(self, rows: Array) -> MappingBatch:
        return monolithic_batch(self._problem, self.estimate[rows], rows)

    def _mapping_problem(self, b: int) -> MappingProblem:
        return monolithic(self._problem, self.estimate[b], b)


def _require_count(key: str, value: object) -> None:
    whole = isinstance(value, (int, np.integer)) and value >= 1
    require(bool(whole), key, value, "a whole number, at least 1")
