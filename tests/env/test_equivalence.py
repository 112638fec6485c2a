"""The interfaces differ only in how an allocation reaches the market: bit for bit the same play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distmllm_env import ENC, LLM, Run, Scenario, Status, load_policy, play
from distmllm_env.envs import observation
from distmllm_env.envs.central import CentralEnv
from distmllm_env.envs.parallel import ParallelMarketEnv
from distmllm_env.envs.provider import ProviderEnv
from distmllm_env.envs.sequential import ORDERS, SequentialMarketEnv
from distmllm_env.policy import Feedback, Observation, Problem

SEED, SLOTS = 5, 6
LOGNORMAL = {"noise.distribution": "lognormal"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "paper": ("paper", {}),
    "crowd2": ("crowd2", {}),
    "testbed": ("testbed", {}),
    "scarce": ("scarce", {}),
    "reject-all": ("scarce", {"market.overload": "reject_all"}),
    "share": ("scarce", {"market.overload": "share"} | LOGNORMAL),
    "testbed-share": ("testbed", {"market.overload": "share"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
}
TABLES = ("profit", "status", "latency_s", "energy_j")
every_case = pytest.mark.parametrize("case", CASES)


class Anything:
    """Any choice for any task: infeasible ones, crowded ones, deferring."""

    def reset(self, problem: Problem, rng: np.random.Generator) -> None:
        self._rng, self._workers = rng, problem.workers
        self._shape = (1, problem.providers, 2)

    def act(self, observation: Observation) -> np.ndarray:
        return self._rng.integers(self._workers + 1, size=self._shape)

    def update(self, feedback: Feedback) -> None:
        pass


def options(case: str) -> dict[str, Any]:
    scenario, overrides = CASES[case]
    return {"scenario": scenario, "overrides": overrides, "slots": SLOTS}


def recorded(case: str, policy: Any) -> Run:
    scenario, overrides = CASES[case]
    return play(Scenario.load(scenario, overrides, slots=SLOTS), policy, [SEED])


def same(a: Any, b: Any) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes(), f"{a} is not bit for bit {b}"


def actions(env: ParallelMarketEnv, allocation: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(env.possible_agents, allocation, strict=True))


def test_cases_cover_every_status() -> None:
    runs = [recorded(case, Anything()) for case in CASES]
    assert {int(s) for run in runs for s in np.unique(run.status)} == set(Status)
    assert any((run.load[0] > run.world.capacity[0, :-1]).any() for run in runs)


@every_case
class TestRecordedRun:
    """Driven with the allocations of a recorded run, an environment gives that run."""

    def test_central(self, case: str) -> None:
        run = recorded(case, Anything())
        env = CentralEnv(**options(case))
        env.reset(seed=SEED)
        for t in range(SLOTS):
            _, reward, _, truncated, info = env.step(run.allocation[0, t].ravel())
            for table in (*TABLES, "load"):
                same(info[table], getattr(run, table)[0, t])
            assert reward == info["welfare"] == run.profit[0, t].sum(axis=1).sum()
            assert truncated == (t == SLOTS - 1)

    def test_parallel(self, case: str) -> None:
        run = recorded(case, Anything())
        env = ParallelMarketEnv(**options(case))
        env.reset(seed=SEED)
        for t in range(SLOTS):
            _, rewards, _, _, infos = env.step(actions(env, run.allocation[0, t]))
            for m, agent in enumerate(env.possible_agents):
                for table in TABLES:
                    same(infos[agent][table], getattr(run, table)[0, t, m])
                assert rewards[agent] == run.profit[0, t, m].sum()
        assert env.agents == []

    @pytest.mark.parametrize("policy", ["random", "ucb", "distmllm", "oracle"])
    def test_provider_that_plays_as_its_opponents_do(self, case: str, policy: str) -> None:
        run = recorded(case, load_policy(policy))
        for m in (0, run.world.scenario.providers - 1):
            env = ProviderEnv(provider=m, opponents=policy, **options(case))
            env.reset(seed=SEED)
            for t in range(SLOTS):
                _, reward, _, _, info = env.step(run.allocation[0, t, m])
                for table in TABLES:
                    same(info[table], getattr(run, table)[0, t, m])
                same(info["load"], run.load[0, t])
                assert reward == run.profit[0, t, m].sum()
                assert info["welfare"] == run.profit[0, t].sum(axis=1).sum()

    def test_what_the_interfaces_show(self, case: str) -> None:
        run = recorded(case, load_policy("random"))
        central, parallel = CentralEnv(**options(case)), ParallelMarketEnv(**options(case))
        provider = ProviderEnv(provider=1, opponents="random", **options(case))
        whole, (views, _) = central.reset(seed=SEED)[0], parallel.reset(seed=SEED)
        own = provider.reset(seed=SEED)[0]
        for allocation in run.allocation[0]:
            same(whole, parallel.state())
            same(own, views["provider_1"])
            whole = central.step(allocation.ravel())[0]
            views = parallel.step(actions(parallel, allocation))[0]
            own = provider.step(allocation[1])[0]


@every_case
@pytest.mark.parametrize("reward", ["welfare", "proportional_fair"])
def test_central_reward_is_each_provider_s_shared_reward(case: str, reward: str) -> None:
    run = recorded(case, Anything())
    central = CentralEnv(reward=reward, **options(case))
    parallel = ParallelMarketEnv(reward=reward, **options(case))
    central.reset(seed=SEED)
    parallel.reset(seed=SEED)
    for allocation in run.allocation[0]:
        whole = central.step(allocation.ravel())[1]
        rewards = parallel.step(actions(parallel, allocation))[1]
        assert set(rewards.values()) == {whole}


def play_one_slot(env: SequentialMarketEnv, rng: np.random.Generator) -> np.ndarray:
    """Place every task of a slot at random within its mask; the allocation, (M, S)."""
    allocation = np.full((len(env.agents), 2), -1)
    for _ in range(allocation.size):
        info = env.infos[env.agent_selection]
        choice = int(rng.choice(np.flatnonzero(info["action_mask"])))
        allocation[env.agents.index(env.agent_selection), info["stage"]] = choice
        env.step(choice)
    assert allocation.min() >= 0
    return allocation


@every_case
@pytest.mark.parametrize("order", ORDERS)
class TestSequential:
    @pytest.mark.parametrize("reward", ["profit", "welfare", "proportional_fair"])
    def test_is_parallel_play_of_the_same_allocation(
        self, case: str, order: str, reward: str
    ) -> None:
        turns = SequentialMarketEnv(order=order, reward=reward, **options(case))
        parallel = ParallelMarketEnv(reward=reward, **options(case))
        turns.reset(seed=SEED)
        parallel.reset(seed=SEED)
        rng = np.random.default_rng(1)
        for _ in range(SLOTS):
            allocation = play_one_slot(turns, rng)
            _, rewards, _, truncations, infos = parallel.step(actions(parallel, allocation))
            assert turns.rewards == rewards
            assert turns.truncations == truncations
            same(turns.state(), parallel.state())
            for agent, info in infos.items():
                for table in TABLES:
                    same(turns.infos[agent][table], info[table])
                assert turns.infos[agent]["slot"] == info["slot"]
                placed = np.array(allocation[parallel.possible_agents.index(agent)])
                expected = np.where(
                    placed == turns.scenario.workers, Status.DEFERRED, Status.ADMITTED
                )
                np.testing.assert_array_equal(info["status"], expected)

    def test_a_reward_comes_at_the_next_turn_once(self, case: str, order: str) -> None:
        turns = SequentialMarketEnv(order=order, **options(case))
        parallel = ParallelMarketEnv(**options(case))
        turns.reset(seed=SEED)
        parallel.reset(seed=SEED)
        rng = np.random.default_rng(1)
        n = turns.scenario.workers
        due = dict.fromkeys(turns.agents, 0.0)
        for _ in range(SLOTS):
            allocation = np.full((len(turns.agents), 2), n)
            for turn in range(allocation.size):
                agent = turns.agent_selection
                _, reward, _, truncated, info = turns.last()
                assert info["stage"] == (ENC, LLM)[turn % 2]
                assert reward == (due[agent] if info["stage"] == ENC else 0.0)
                assert not truncated
                choice = int(rng.choice(np.flatnonzero(info["action_mask"])))
                allocation[turns.agents.index(agent), info["stage"]] = choice
                turns.step(choice)
            due = parallel.step(actions(parallel, allocation))[1]
        while turns.agents:
            agent = turns.agent_selection
            _, reward, terminated, truncated, _ = turns.last()
            assert (reward, terminated, truncated) == (due[agent], False, True)
            turns.step(None)

    def test_views_agree_at_the_start_of_a_slot(self, case: str, order: str) -> None:
        turns = SequentialMarketEnv(order=order, **options(case))
        parallel = ParallelMarketEnv(**options(case))
        turns.reset(seed=SEED)
        views, _ = parallel.reset(seed=SEED)
        m, n = turns.scenario.providers, turns.scenario.workers
        ours = observation.fields("sequential", m, n)
        theirs = observation.fields("provider", m, n)
        shared = [name for name in ours if name in theirs and name != "mask"]
        assert len(shared) == 9
        rng = np.random.default_rng(1)
        for _ in range(SLOTS):
            for agent, view in views.items():
                seen = turns.observe(agent)
                for name in shared:
                    same(seen[ours[name]], view[theirs[name]])
            views = parallel.step(actions(parallel, play_one_slot(turns, rng)))[0]
