"""HEU, the paper's heuristic baseline: ENC to weaker workers, LLM to stronger ones, by rank."""

from __future__ import annotations

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.layout import TOLERANCE
from distmllm_env.policy import Feedback, Observation, Problem
from distmllm_env.scenario import ENC, LLM
from distmllm_env.schema import require


class HEU:
    """A fixed two-tier allocation from true performance ranks (D3, D4).

    The floor(N / 2) weakest workers form the ENC tier (weakest first), the others the LLM tier
    (strongest first). Provider m starts at position m of the tier of each stage, going round, and
    takes the first worker with room. What finds no room in its tier spills, after all others, to
    any worker with room, and waits if there is none.

    Args:
        rank_noise: Standard deviation of an error, drawn once per worker, in the performance that
            the ranks are made from; 0: it knows p_n exactly.

    Raises:
        ValueError: A negative error.
    """

    name = "heu"
    batched = True
    knows = "performance"
    coordinates = True

    def __init__(self, rank_noise: float = 0.0) -> None:
        require(rank_noise >= 0, "rank_noise", rank_noise, "at least 0")
        self.rank_noise = rank_noise

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        """Fix the allocation of the whole run."""
        assert problem.performance is not None
        seen = problem.performance
        if self.rank_noise > 0:
            seen = seen + self.rank_noise * np.stack([r.normal(size=seen.shape[1]) for r in rng])
        self._plan = np.stack([_plan(problem, b, seen[b]) for b in range(problem.batch)])

    def act(self, observation: Observation) -> Array:
        """Return the fixed allocation."""
        return self._plan.copy()

    def update(self, feedback: Feedback) -> None:
        """Learn nothing."""


def _plan(problem: Problem, b: int, p: Array) -> Array:
    half = problem.workers // 2
    weakest_first = np.argsort(p, kind="stable").tolist()
    strongest_first = sorted(weakest_first[half:], key=lambda n: (-p[n], n))
    tiers = {ENC: weakest_first[:half], LLM: strongest_first}
    room = np.tile(problem.capacity[b], (2 if problem.per_stage else 1, 1))
    plan = np.full((problem.providers, 2), problem.workers)

    def place(m: int, stage: int, order: list[int]) -> None:
        pool, demand = stage if problem.per_stage else 0, problem.demand[b, m]
        for n in order:
            fits = problem.soft_capacity or room[pool, n] + TOLERANCE >= demand
            if problem.feasible[b, stage, m, n] and fits:
                plan[m, stage] = n
                room[pool, n] -= demand
                return

    tasks = [(m, stage) for m in range(problem.providers) for stage in (ENC, LLM)]
    for m, stage in tasks:
        tier = tiers[stage]
        start = m % len(tier) if tier else 0
        place(m, stage, tier[start:] + tier[:start])
    for m, stage in tasks:
        if plan[m, stage] == problem.workers:
            place(m, stage, tiers[1 - stage])
    return plan
