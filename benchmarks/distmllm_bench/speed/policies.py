"""The policies inside play, and the main experiment batched and run by run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import distmllm_env
from distmllm_bench.speed.setting import Setting
from distmllm_bench.speed.timing import order, timed
from distmllm_env import Scenario, load_policy, play
from distmllm_env.equations import Array
from distmllm_env.policy import Feedback, Observation, Problem
from distmllm_env.runs import Player

EXPERIMENT_POLICIES = ("distmllm", "ucb", "heu", "oracle")
POLICIES = ("random", *EXPERIMENT_POLICIES)


@dataclass(frozen=True)
class PolicyTiming:
    """What a policy took in :func:`distmllm_env.play`, play by play.

    Attributes:
        decisions: Providers' decisions of a play, B M T.
        play_s: Seconds of the whole play: world, market, record, policy.
        reset_s: Seconds of the policy's reset.
        decide_s: Seconds of all its ``act`` and ``update``.
    """

    policy: str
    runs: int
    slots: int
    decisions: int
    play_s: tuple[float, ...]
    reset_s: tuple[float, ...]
    decide_s: tuple[float, ...]


@dataclass(frozen=True)
class ExperimentTiming:
    """What the main experiment took for one policy, both ways, round by round.

    Attributes:
        batched_s: Seconds of one :func:`distmllm_env.play` of all runs.
        single_s: Seconds through the PettingZoo parallel environment, run after run.
        profit: Total profit of all runs, the same both ways.
    """

    policy: str
    batched_s: tuple[float, ...]
    single_s: tuple[float, ...]
    profit: float


class _Watched:
    """A policy that plays for all rows at once, with a watch on it."""

    batched = True

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.knows = getattr(policy, "knows", "rewards")
        self.reset_s = self.decide_s = 0.0

    def reset(self, problem: Problem, rng: Any) -> None:
        start = time.perf_counter()
        self._policy.reset(problem, rng)
        self.reset_s = time.perf_counter() - start
        self.decide_s = 0.0

    def act(self, observation: Observation) -> Array:
        start = time.perf_counter()
        answer: Array = self._policy.act(observation)
        self.decide_s += time.perf_counter() - start
        return answer

    def update(self, feedback: Feedback) -> None:
        start = time.perf_counter()
        self._policy.update(feedback)
        self.decide_s += time.perf_counter() - start


def policy_group(setting: Setting, runs: int, slots: int) -> list[PolicyTiming]:
    """Time the policies inside :func:`distmllm_env.play`."""
    scenario = Scenario.load(
        "paper", providers=setting.providers, workers=setting.workers, slots=slots
    )
    names = [n for n in POLICIES if n != "oracle" or runs <= setting.oracle_runs]
    took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for name in names:
        play(scenario, load_policy(name), [0])  # loads and compiles
    for turn in range(setting.policy_rounds):
        for i in order(len(names), turn):
            watched = _Watched(load_policy(names[i]))
            seconds = timed(partial(play, scenario, watched, range(runs)))
            took[names[i]].append((seconds, watched.reset_s, watched.decide_s))
    return [
        PolicyTiming(
            name, runs, slots, runs * setting.providers * slots, *zip(*took[name], strict=True)
        )
        for name in names
    ]


def play_parallel(scenario: Scenario, policy: Any, seed: int) -> Array:
    """Play a policy through the PettingZoo parallel environment, as one would a single run.

    The policy gets its feedback from the environment's last outcome as it is: putting it together
    again from infos would only make this slower.

    Args:
        scenario: What to play.
        policy: A policy of its own.
        seed: Seed of the run.

    Returns:
        Profit of every task, (T, M, S).
    """
    env = distmllm_env.parallel_env(scenario=scenario)
    env.reset(seed=seed)
    session = env.unwrapped._session
    player = Player(policy, session.market)
    profit = np.empty((scenario.slots, scenario.providers, 2))
    for slot in range(scenario.slots):
        allocation = player.act(Observation(slot))
        env.step(dict(zip(env.agents, allocation[0], strict=True)))
        profit[slot] = session.outcome.profit[0]
        player.update(session.outcome, allocation)
    return profit


def experiment_group(setting: Setting) -> list[ExperimentTiming]:
    """Time the main experiment, batched and run by run.

    Raises:
        RuntimeError: The profits of the two ways differ.
    """
    scenario = Scenario.load("paper", slots=setting.experiment_slots)
    seeds = range(setting.experiment_runs)
    out = []
    for name in EXPERIMENT_POLICIES:
        batched_s, single_s, total = [], [], 0.0
        play(scenario, load_policy(name), seeds)  # loads and compiles
        for turn in range(setting.experiment_rounds):
            profit: dict[str, Array] = {}

            def batched(name: str = name, profit: dict[str, Array] = profit) -> None:
                profit["batched"] = play(scenario, load_policy(name), seeds).profit

            def single(name: str = name, profit: dict[str, Array] = profit) -> None:
                runs = [play_parallel(scenario, load_policy(name), seed) for seed in seeds]
                profit["single"] = np.stack(runs)

            if turn % 2:
                single_s.append(timed(single))
                batched_s.append(timed(batched))
            else:
                batched_s.append(timed(batched))
                single_s.append(timed(single))
            require_equal(name, profit["batched"], profit["single"])
            total = float(profit["single"].sum())
        out.append(ExperimentTiming(name, tuple(batched_s), tuple(single_s), total))
    return out


def require_equal(policy: str, batched: Array, single: Array) -> None:
    """Raise ``RuntimeError`` unless profits of both ways are the same, bit for bit."""
    if not np.array_equal(batched, single):
        worst = float(np.abs(batched - single).max())
        raise RuntimeError(
            f"{policy}: batched and single runs give other profits, by up to {worst:g}."
        )
