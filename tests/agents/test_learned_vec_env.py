"""Markets as an environment of Stable-Baselines3: the same runs as everywhere else, bit for bit."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import distmllm_env
from distmllm_agents.learned.table import COHORTS, REWARDS, Table, Turn
from distmllm_agents.learned.vec_env import LARGEST_DISCRETE, MarketVecEnv, action_space
from distmllm_agents.learned.views import find_view
from distmllm_agents.oracle import optimum
from distmllm_bench.metrics import Scores
from distmllm_env import Market, Scenario, draw_world, play
from distmllm_env.envs.observation import masks
from distmllm_env.luck import Luck
from distmllm_env.policy import Observation, Problem, make_feedback, make_problem
from distmllm_env.slot import expected_profit

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "paper": ("paper", {}),
    "testbed": ("testbed", {}),
    "crowd2": ("crowd2", {}),
    "share": ("scarce", {"market.overload": "share", "noise.distribution": "lognormal"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
    # Demand is 1 or 2: which workers can run a task differs from run to run, and so do the masks.
    "picky": ("scarce", {"capacity": [1, 2, 1, 4, 3]}),
}
MARKETS, SLOTS, SEED, WORLD = 3, 4, 5, 7
MODES, VIEWS = ("central", "shared"), ("last", "statistics")
every_case = pytest.mark.parametrize("case", CASES)
every_mode = pytest.mark.parametrize("mode", MODES)
every_view = pytest.mark.parametrize("view", VIEWS)
every_world = pytest.mark.parametrize("world_seed", [None, WORLD])


def load(case: str, slots: int = SLOTS) -> Scenario:
    name, overrides = CASES[case]
    return Scenario.load(name, overrides, slots=slots)


def make(case: str = "crowd2", markets: int = MARKETS, slots: int = SLOTS, **options: Any) -> Any:
    return MarketVecEnv(load(case, slots), markets, **options)


def moves(env: Any, rng: np.random.Generator) -> np.ndarray:
    """Any choices, every other time with most tasks on one worker."""
    shape, n = (env.num_envs, *env.action_space.shape), env.scenario.workers
    actions = rng.integers(n + 1, size=shape)
    if rng.random() < 0.5:
        actions[rng.random(shape) < 0.8] = rng.integers(n)
    return actions


def same(found: Any, expected: Any, where: str = "answer") -> None:
    """Bit for bit: containers, keys, dtypes, shapes and bytes."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key in expected:
            same(found[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected), where
        for i, (x, y) in enumerate(zip(found, expected, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert found.tobytes() == expected.tobytes(), where
    elif isinstance(expected, Turn):
        same(vars(found), vars(expected), where)
    else:
        assert found == expected, where


def fails(call: Any, kind: type[Exception], *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def transcript(env: Any, steps: int, rng: np.random.Generator) -> list[Any]:
    """All that an environment says from a reset on."""
    told: list[Any] = [env.reset()]
    for _ in range(steps):
        told += [env.step(moves(env, rng)), env.action_masks()]
    return told


class Gone(NamedTuple):
    """What a slot of one market gave, batch axis left out."""

    view: np.ndarray
    reward: np.ndarray
    over: bool
    last_view: np.ndarray


class Alone:
    """One market at a time: a new one, and a new view of it, for every episode."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        first: int,
        mode: str,
        view: str,
        reward: str = "profit",
        world_seed: int | None = None,
    ) -> None:
        self.scenario, self.seed, self.mode, self.reward = scenario, seed, mode, reward
        self.make_view, self.world_seed = find_view(view), world_seed
        self.begin(0, first)

    def begin(self, episode: int, length: int) -> None:
        self.episode, self.length = episode, length
        self.market = Market(self.scenario, [self.seed], [episode], self.world_seed)
        self.view = self.make_view(make_problem(self.market.world))
        if self.reward == "regret":
            self.best = optimum(self.market.world).value[0]

    def look(self) -> np.ndarray:
        at = self.market.slot
        return (self.view.central(at) if self.mode == "central" else self.view.providers(at))[0]

    def play(self, allocation: np.ndarray) -> Gone:
        outcome = self.market.step(allocation[None])
        self.view.update(make_feedback(outcome, allocation[None]))
        own = outcome.profit[0, :, 0] + outcome.profit[0, :, 1]
        if self.reward == "regret":
            world = self.market.world
            mean = expected_profit(world, allocation[None], outcome.admitted).sum()
            total = mean / self.best - 1.0
        else:
            total = np.add.reduce(own)
        each = own if self.reward == "profit" else np.full(len(own), total)
        earned = np.asarray(total) if self.mode == "central" else each
        last = self.look()
        over = self.market.slot >= self.length
        if over:
            self.begin(self.episode + 1, self.scenario.slots)
        return Gone(self.look(), earned, over, last)

    def masks(self) -> np.ndarray:
        return masks(self.market.world)[0].astype(bool)


class TestEqualsTheVectorEnvironments:
    @every_mode
    @every_case
    @every_world
    def test_two_and_a_half_episodes(self, mode: str, case: str, world_seed: int | None) -> None:
        scenario = load(case)
        ours = MarketVecEnv(scenario, MARKETS, mode, "last", world_seed=world_seed)
        options = {"scenario": scenario, "autoreset_mode": "SameStep", "world_seed": world_seed}
        theirs: Any
        if mode == "central":
            theirs = gym.make_vec("DistMLLM-v0", num_envs=MARKETS, **options)
        else:
            theirs = distmllm_env.parallel_vector_env(markets=MARKETS, reward="profit", **options)
        assert ours.num_envs == theirs.num_envs
        assert ours.observation_space == theirs.single_observation_space
        assert ours.action_space == theirs.single_action_space
        ours.seed(SEED)
        seen, infos = theirs.reset(seed=SEED)
        same(ours.reset(), seen)
        rng, ended = np.random.default_rng(1), 0
        for call in range(1, 2 * SLOTS + SLOTS // 2 + 1):
            known = infos["action_mask"].reshape(ours.num_envs, -1)
            same(ours.action_masks(), known.astype(bool))
            actions = moves(ours, rng)
            view, rewards, dones, told = ours.step(actions)
            seen, earned, terminated, truncated, infos = theirs.step(actions)
            assert not terminated.any()
            same((view, rewards, dones), (seen, earned.astype(np.float32), truncated))
            assert truncated.all() == (call % SLOTS == 0)
            for row, over in enumerate(truncated):
                assert ("terminal_observation" in told[row]) == over
                if over:
                    same(told[row]["terminal_observation"], infos["final_obs"][row])
                    ended += 1
        assert ended == 2 * ours.num_envs

    @every_mode
    def test_without_compiled_loops(self, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = []
        for compiled in (True, False):
            if not compiled:
                for place in ("market", "envs.observation"):
                    monkeypatch.setattr(f"distmllm_env.{place}.kernel", lambda: None)
            env = make("per-stage", mode=mode, stagger=True)
            env.seed(SEED)
            answers.append(transcript(env, 3 * SLOTS, np.random.default_rng(0)))
        same(*answers)

    @pytest.mark.parametrize("reward", ["profit", "welfare"])
    def test_welfare(self, reward: Any) -> None:
        """Of a dispatcher both are the sum over providers, of a provider its own or the sum."""
        theirs = distmllm_env.parallel_vector_env(
            markets=MARKETS, scenario=load("crowd2"), reward=reward, autoreset_mode="SameStep"
        )
        theirs.reset(seed=SEED)
        shared, central = (make(mode=mode, reward=reward) for mode in ("shared", "central"))
        for env in (shared, central):
            env.seed(SEED)
            env.reset()
        rng = np.random.default_rng(0)
        for _ in range(2 * SLOTS):
            actions = moves(shared, rng)
            earned = theirs.step(actions)[1]
            same(shared.step(actions)[1], earned.astype(np.float32))
            each = earned.reshape(MARKETS, -1)
            total = each[:, 0] if reward == "welfare" else each.sum(axis=1)
            found = central.step(actions.reshape(MARKETS, -1))[1]
            np.testing.assert_allclose(found, total, rtol=1e-6)


class TestSeeds:
    @staticmethod
    def runs(env: Any) -> list[tuple[int, int, int]]:
        state = env.table.state()
        return list(zip(state["seeds"], state["episodes"], state["slots"].tolist(), strict=True))

    @every_mode
    @pytest.mark.parametrize("seed", [0, SEED, np.int64(9), 2**70], ids=repr)
    def test_a_number_counts_up_over_markets(self, mode: str, seed: Any) -> None:
        env = make(mode=mode)
        each = env.num_envs // MARKETS
        assert list(env.seed(seed)) == [int(seed) + b for b in range(MARKETS) for _ in range(each)]
        env.reset()
        assert self.runs(env) == [(int(seed) + b, 0, 0) for b in range(MARKETS)]

    @every_mode
    @pytest.mark.parametrize("kind", [list, tuple, np.array], ids=["list", "tuple", "array"])
    def test_a_sequence_has_one_for_each_market(self, mode: str, kind: Any) -> None:
        env = make(mode=mode)
        each = env.num_envs // MARKETS
        seeds = [8, 0, 8]
        assert list(env.seed(kind(seeds))) == [s for s in seeds for _ in range(each)]
        view = env.reset().reshape(MARKETS, -1)
        assert self.runs(env) == [(s, 0, 0) for s in seeds]
        same(view[0], view[2])
        assert (view[0] != view[1]).any()

    @pytest.mark.parametrize("seeds", [[1, 2], [1, 2, 3, 4], []])
    def test_a_wrong_number_of_seeds(self, seeds: list[int]) -> None:
        env = make()
        words = [f"number of seeds = {len(seeds)}", f"{MARKETS}, one a market"]
        fails(lambda: env.seed(seeds), ValueError, *words)

    def test_a_negative_one_is_refused_by_reset(self) -> None:
        env = make()
        env.seed(-1)
        fails(env.reset, ValueError, "seed = -1", "at least 0")

    @every_world
    def test_a_reset_without_a_seed_goes_on_to_the_next_episode(
        self, world_seed: int | None
    ) -> None:
        env = make(world_seed=world_seed)
        env.seed(SEED)
        for episode in range(3):
            view = env.reset()
            assert self.runs(env) == [(SEED + b, episode, 0) for b in range(MARKETS)]
            for b in range(MARKETS):
                world = (SEED + b, episode) if world_seed is None else (world_seed, 0)
                problem = make_problem(draw_world(env.scenario, [world[0]], world[1]))
                same(view[b], find_view("last")(problem).central(0)[0])
            env.step(np.zeros((MARKETS, 6), int))  # it is left in the middle
        for _ in range(SLOTS):
            env.step(np.zeros((MARKETS, 6), int))
        assert self.runs(env) == [(SEED + b, 3, 1) for b in range(MARKETS)]
        env.seed(0)  # holds from the next reset on
        env.step(np.zeros((MARKETS, 6), int))
        assert self.runs(env) == [(SEED + b, 3, 2) for b in range(MARKETS)]
        env.reset()
        assert self.runs(env) == [(b, 0, 0) for b in range(MARKETS)]
        env.reset()
        assert self.runs(env) == [(b, 1, 0) for b in range(MARKETS)]

    def test_without_any_seed_one_comes_from_the_operating_system(self) -> None:
        first, second = make(), make()
        first.reset()
        assert second.seed() != self.runs(first)
        second.reset()
        seeds = [self.runs(env)[0][0] for env in (first, second)]
        assert seeds[0] != seeds[1]
        for env, seed in zip((first, second), seeds, strict=True):
            assert self.runs(env) == [(seed + b, 0, 0) for b in range(MARKETS)]
        first.reset()
        assert self.runs(first) == [(seeds[0] + b, 1, 0) for b in range(MARKETS)]

    @every_mode
    @every_view
    @every_world
    def test_equal_seeds_and_actions_give_equal_episodes(
        self, mode: str, view: str, world_seed: int | None
    ) -> None:
        answers = []
        for seed in (SEED, SEED, SEED + 1):
            env = make(
                "per-stage", mode=mode, observation=view, world_seed=world_seed, stagger=True
            )
            env.seed(seed)
            answers.append(transcript(env, 3 * SLOTS, np.random.default_rng(0)))
        same(answers[0], answers[1])
        rewards = [np.array([answer[1] for answer in told[1::2]]) for told in answers[1:]]
        assert (rewards[0] != rewards[1]).any()

    def test_as_a_seeded_environment_goes_on_or_begins_anew(self) -> None:
        env, other = make(), make()
        for each in (env, other):
            each.seed(SEED)
        other.reset()
        other.step(np.zeros((MARKETS, 6), int))
        other.seed(SEED)
        first, second = (transcript(each, 9, np.random.default_rng(0)) for each in (env, other))
        same(first, second)


FIRST = {
    (5, 16): [16, 3, 6, 9, 12],
    (11, 8): [8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2],
    (6, 3): [3, 1, 2, 3, 1, 2],
    (1, 5): [5],
    (4, 1): [1, 1, 1, 1],
}


class TestStagger:
    @every_mode
    @pytest.mark.parametrize(("markets", "slots"), FIRST, ids=str)
    def test_first_episodes_alone_are_short(self, mode: str, markets: int, slots: int) -> None:
        env = make("toy", markets, slots, mode=mode, stagger=True)
        each = env.num_envs // markets
        env.seed(SEED)
        assert COHORTS == 8
        for _ in range(2):
            env.reset()
            lengths: list[list[int]] = [[] for _ in range(env.num_envs)]
            idle = np.zeros((env.num_envs, *env.action_space.shape), int)
            for call in range(1, 3 * slots + 1):
                _, _, dones, infos = env.step(idle)
                for row in np.flatnonzero(dones):
                    lengths[row].append(infos[row]["episode"]["l"])
                    assert sum(lengths[row]) == call
            for row, first in enumerate(np.repeat(FIRST[markets, slots], each)):
                later = (3 * slots - first) // slots
                assert lengths[row] == [first] + [slots] * later

    def test_without_it_all_end_together(self) -> None:
        env = make("toy", 5, 6)
        env.seed(SEED)
        env.reset()
        ends = [env.step(np.zeros((5, 4), int))[2].tolist() for _ in range(12)]
        assert ends == ([[False] * 5] * 5 + [[True] * 5]) * 2


class TestRowsAreMarketsAlone:
    """Every row against markets made anew for each episode, its views fed by nobody else."""

    @given(
        case=st.sampled_from(sorted(CASES)),
        markets=st.integers(1, 5),
        slots=st.integers(1, 7),
        mode=st.sampled_from(MODES),
        view=st.sampled_from(VIEWS),
        reward=st.sampled_from(REWARDS),
        world_seed=st.sampled_from([None, WORLD]),
        stagger=st.booleans(),
        luck=st.integers(0, 2**32),
    )
    @settings(max_examples=40, deadline=None)
    def test_row_by_row(
        self,
        case: str,
        markets: int,
        slots: int,
        mode: str,
        view: str,
        reward: Any,
        world_seed: int | None,
        stagger: bool,
        luck: int,
    ) -> None:
        scenario = load(case, slots)
        central = mode == "central"
        table = Table(scenario, markets, view, central, reward, world_seed, stagger)
        rng = np.random.default_rng(luck)
        seeds = rng.integers(0, 99, markets).tolist()
        cohorts = min(8, markets, slots)
        first = [slots * (b % cohorts) // cohorts or slots for b in range(markets)]
        rows = [
            Alone(scenario, seed, first[b] if stagger else slots, mode, view, reward, world_seed)
            for b, seed in enumerate(seeds)
        ]
        same(table.start(seeds), np.stack([row.look() for row in rows]))
        for _ in range(2 * slots + slots // 2):
            allocation = rng.integers(scenario.workers + 1, size=(markets, scenario.providers, 2))
            turn = table.play(allocation)
            gone = [row.play(allocation[b]) for b, row in enumerate(rows)]
            for name in ("view", "over", "last_view"):
                same(getattr(turn, name), np.stack([getattr(one, name) for one in gone]), name)
            expected = np.stack([one.reward for one in gone])
            if reward == "regret":
                np.testing.assert_allclose(turn.reward, expected, rtol=1e-12, atol=1e-12)
            else:
                same(turn.reward, expected)
            same(table.view, turn.view)
            same(table.action_masks, np.stack([row.masks() for row in rows]))

    def test_the_last_view_tells_of_the_end_of_the_episode(self) -> None:
        scenario = load("crowd2")
        table = Table(scenario, 2, "statistics", True, "profit", stagger=True)
        table.start([3, 4])
        clock = [(1, 0), (2, 0), (3, 0), (4, 4)], [(1, 0), (2, 2), (1, 0), (2, 0)]
        for call in range(4):
            turn = table.play(np.zeros((2, 3, 2), np.int64))
            assert turn.over.tolist() == [call == 3, call == 1]
            for b, over in enumerate(turn.over.tolist()):
                slot, last = clock[b][call]
                assert turn.last_view[b, -2] == np.float32(slot / (slot + 16))
                assert over == (last > 0)
                if over:
                    assert turn.view[b, -2] == 0.0
                    assert not turn.view[b, : 6 * 3 * 8].reshape(-1, 8)[:, :3].any()
                    assert turn.last_view[b, : 6 * 3 * 8].reshape(-1, 8)[:, :3].any()
                else:
                    same(turn.view[b], turn.last_view[b])


class Scripted:
    """Plays what it is given, slot by slot."""

    batched = True

    def __init__(self, script: np.ndarray) -> None:
        self.script = script

    def reset(self, problem: Problem, rng: Any) -> None:
        pass

    def act(self, observation: Observation) -> np.ndarray:
        return self.script[observation.slot]

    def update(self, feedback: Any) -> None:
        pass


class TestRewards:
    @pytest.mark.parametrize("case", ["paper", "testbed", "per-stage", "share"])
    @every_world
    def test_regret_is_that_of_the_metrics(self, case: str, world_seed: int | None) -> None:
        scenario, rng = load(case), np.random.default_rng(0)
        shape = (SLOTS, MARKETS, scenario.providers, 2)
        script = rng.integers(scenario.workers + 1, size=shape)
        seeds = range(SEED, SEED + MARKETS)
        run = play(scenario, Scripted(script), seeds, world_seed=world_seed)
        best = optimum(run.world)
        curve = Scores(run, best).regret_curve
        lost = np.diff(curve, axis=1, prepend=0.0) / best.value[:, None]
        for mode in MODES:
            env = make(case, mode=mode, reward="regret", world_seed=world_seed)
            env.seed(SEED)
            env.reset()
            for t in range(SLOTS):
                rewards = env.step(script[t].reshape(env.num_envs, -1))[1]
                each = rewards.reshape(MARKETS, -1)
                assert rewards.dtype == np.float32
                assert (each == each[:, :1]).all()
                np.testing.assert_allclose(each[:, 0], -lost[:, t], rtol=1e-5, atol=1e-6)

    @every_case
    @every_world
    def test_nothing_is_lost_by_the_optimum(self, case: str, world_seed: int | None) -> None:
        """Over three episodes, the world of each being drawn anew or not."""
        env = make(case, reward="regret", world_seed=world_seed, stagger=True)
        env.seed(SEED)
        env.reset()
        met = set()
        for _ in range(2 * SLOTS + 2):
            told = env.table.state()
            runs = list(zip(told["seeds"], told["episodes"], strict=True))
            met |= set(runs)
            plans = []
            for seed, episode in runs:
                which = (seed, episode) if world_seed is None else (world_seed, 0)
                plans.append(optimum(draw_world(env.scenario, [which[0]], which[1])).allocation)
            best = np.concatenate(plans)
            rewards = env.step(best.reshape(MARKETS, -1))[1]
            np.testing.assert_allclose(rewards, 0.0, atol=1e-6)
        assert len(met) > 2 * MARKETS
        nothing = np.full((MARKETS, best[0].size), env.scenario.workers)
        assert env.step(nothing)[1].tolist() == [-1.0] * MARKETS

    @every_mode
    @pytest.mark.parametrize("reward", REWARDS)
    def test_scale(self, mode: str, reward: Any) -> None:
        scaled, plain = (make(mode=mode, reward=reward, reward_scale=x) for x in (0.125, 1.0))
        for env in (scaled, plain):
            env.seed(SEED)
            env.reset()
        rng, total = np.random.default_rng(0), np.zeros(plain.num_envs)
        for _ in range(SLOTS):
            actions = moves(plain, rng)
            (_, found, _, infos), (_, expected, *_) = (x.step(actions) for x in (scaled, plain))
            same(found, expected * np.float32(0.125))  # a power of two: no bit is lost
            total += found
        assert total.any()
        assert [info["episode"]["r"] for info in infos] == total.tolist()

    def test_by_a_number_that_no_single_precision_has(self) -> None:
        env, scale = make(reward_scale=1 / 21), 1 / 21
        table = Table(load("crowd2"), MARKETS, "last", True, "profit")
        env.seed(SEED)
        env.reset()
        table.start([SEED, SEED + 1, SEED + 2])
        rng = np.random.default_rng(0)
        for _ in range(SLOTS):
            actions = moves(env, rng)
            expected = table.play(actions.reshape(MARKETS, 3, 2)).reward * scale
            same(env.step(actions)[1], expected.astype(np.float32))


class TestDiscreteActions:
    @pytest.mark.parametrize(("mode", "tasks"), [("central", 4), ("shared", 2)])
    def test_every_combination_has_one_number(self, mode: str, tasks: int) -> None:
        env = make("toy", mode=mode, discrete=True)
        assert env.action_space == Discrete(3**tasks)
        found = env.choices(np.arange(3**tasks))
        assert found.dtype == np.int64
        assert found.tolist() == [list(x) for x in itertools.product(range(3), repeat=tasks)]

    def test_without_numbers_choices_are_the_actions(self) -> None:
        env = make("toy")
        assert env.action_space == MultiDiscrete([3] * 4)
        actions = np.array([[0, 1, 2, 1], [2, 2, 0, 0]], np.int32)
        found = env.choices(actions)
        assert found.dtype == np.int64
        assert found.tolist() == actions.tolist()

    @every_mode
    def test_play_the_same_markets(self, mode: str) -> None:
        env, other = (make("toy", mode=mode, discrete=discrete) for discrete in (True, False))
        for each in (env, other):
            each.seed(SEED)
        same(env.reset(), other.reset())
        rng = np.random.default_rng(0)
        for _ in range(3 * SLOTS):
            actions = rng.integers(env.action_space.n, size=env.num_envs)
            same(env.step(actions), other.step(env.choices(actions)))

    def test_as_many_as_a_network_may_have_outputs(self) -> None:
        assert LARGEST_DISCRETE == 4096
        assert action_space(2, 7, discrete=True) == Discrete(4096)
        advice = ["at most 4096", "take another algorithm", "'shared' or 'independent'"]
        words = ["number of discrete actions = 6561 is not allowed", "9 choices", "each of 4 tasks"]
        fails(lambda: action_space(2, 8, discrete=True), ValueError, *words, *advice)
        words = ["number of discrete actions = 60466176 is", "6 choices", "each of 10 tasks"]
        fails(lambda: make("paper", discrete=True), ValueError, *words, *advice)
        assert make("paper", mode="shared", discrete=True).action_space == Discrete(36)


class TestInfos:
    @every_mode
    @every_view
    def test_at_the_end_of_episodes_alone(self, mode: str, view: str) -> None:
        env = make(mode=mode, observation=view, stagger=True)
        env.seed(SEED)
        env.reset()
        rng = np.random.default_rng(0)
        total, length = np.zeros(env.num_envs), np.zeros(env.num_envs, int)
        ended = 0
        for _ in range(3 * SLOTS):
            seen, rewards, dones, infos = env.step(moves(env, rng))
            total += rewards
            length += 1
            assert isinstance(infos, list)
            assert len({id(info) for info in infos}) == len(infos) == env.num_envs
            for row, over in enumerate(dones):
                if not over:
                    assert infos[row] == {}
                    continue
                ended += 1
                info = infos[row]
                assert set(info) == {"terminal_observation", "TimeLimit.truncated", "episode"}
                assert info["TimeLimit.truncated"] is True
                assert info["episode"] == {"r": total[row], "l": length[row]}
                assert json.loads(json.dumps(info["episode"])) == info["episode"]
                last = info["terminal_observation"]
                assert last.shape == env.observation_space.shape
                assert (last != seen[row]).any()
                total[row] = length[row] = 0
            same(env.length, length)
        assert ended >= 2 * env.num_envs

    def test_a_reset_forgets_what_was_earned(self) -> None:
        env = make()
        env.seed(SEED)
        env.reset()
        for _ in range(SLOTS - 1):
            env.step(np.zeros((MARKETS, 6), int))
        env.reset()
        total = np.zeros(MARKETS)
        for _ in range(SLOTS):
            _, rewards, _, infos = env.step(np.zeros((MARKETS, 6), int))
            total += rewards
        assert [info["episode"] for info in infos] == [{"r": r, "l": SLOTS} for r in total]

    def test_what_was_handed_out_stays_as_it_was(self) -> None:
        env = make(stagger=True)
        env.seed(SEED)
        told: list[Any] = [env.reset()]
        rng = np.random.default_rng(0)
        copies = copy.deepcopy(told)
        for _ in range(3 * SLOTS):
            answer = (*env.step(moves(env, rng)), env.action_masks())
            told.append(answer)
            copies.append(copy.deepcopy(answer))
        same(told, copies)


class TestAsStableBaselinesAsks:
    @every_mode
    def test_masks(self, mode: str) -> None:
        env = make("picky", mode=mode, stagger=True)
        env.seed(SEED)
        env.reset()
        assert is_masking_supported(env)
        rng, seen = np.random.default_rng(0), []
        for _ in range(2 * SLOTS):
            expected = env.action_masks()
            assert expected.dtype == bool
            assert expected.shape == (env.num_envs, env.action_space.nvec.sum())
            same(get_action_masks(env), expected)
            for indices in (0, [2, 1], range(env.num_envs)):
                rows = [indices] if isinstance(indices, int) else list(indices)
                found = env.env_method("action_masks", indices=indices)
                same(found, [expected[row] for row in rows])
            seen.append(expected.tobytes())
            env.step(moves(env, rng))
        assert len(set(seen)) > 2  # they are those of the episode at hand
        by_task = expected.reshape(env.num_envs, -1, env.scenario.workers + 1)
        assert by_task[..., -1].all()
        assert not by_task.all()

    def test_attributes(self) -> None:
        env = make(mode="shared")
        assert env.has_attr("action_masks")
        assert env.has_attr("render_mode")
        assert not env.has_attr("metadata_of_nobody")
        assert env.get_attr("render_mode") == [None] * env.num_envs
        assert env.get_attr("scenario", [1, 2]) == [env.scenario] * 2
        assert env.render_mode is None
        assert env.env_is_wrapped(Monitor) == [False] * env.num_envs
        assert env.env_is_wrapped(Monitor, [3]) == [False]
        fails(lambda: env.set_attr("slots", 3), AttributeError, "slots: the rows of a batch")
        fails(lambda: env.set_attr("slots", 3, [0]), AttributeError, "no attributes of their own")
        words = ["reset: the rows of a batch", "action_masks() only"]
        fails(lambda: env.env_method("reset"), AttributeError, *words)
        fails(lambda: env.env_method("seed", 3, indices=[0]), AttributeError, "seed: the rows")
        env.close()

    @pytest.mark.parametrize("order", ["monitor", "normalise", "both"])
    @every_mode
    def test_wrappers(self, order: str, mode: str) -> None:
        plain, inner = (make(mode=mode, stagger=True) for _ in range(2))
        env: Any = inner
        if order != "normalise":
            env = VecMonitor(env)
        if order != "monitor":
            env = VecNormalize(env, gamma=0.9)
        plain.seed(SEED)
        env.seed(SEED)
        views = [plain.reset(), env.reset()]
        rng, ended = np.random.default_rng(0), 0
        for _ in range(3 * SLOTS):
            actions = moves(plain, rng)
            (views[0], earned, dones, infos), (views[1], found, over, told) = (
                each.step(actions.copy()) for each in (plain, env)
            )
            same(over, dones)
            assert is_masking_supported(env)
            same(get_action_masks(env), plain.action_masks())
            if order == "monitor":
                same((views[1], found), (views[0], earned))
            else:
                same(env.get_original_obs(), views[0])
                same(env.get_original_reward(), earned)
                assert np.isfinite(views[1]).all()
            for row in np.flatnonzero(dones):
                ended += 1
                assert told[row]["TimeLimit.truncated"]
                assert told[row]["episode"]["l"] == infos[row]["episode"]["l"]
                assert told[row]["episode"]["r"] == pytest.approx(infos[row]["episode"]["r"])
                last = infos[row]["terminal_observation"]
                if order != "monitor":
                    last = env.normalize_obs(last)
                np.testing.assert_allclose(told[row]["terminal_observation"], last, rtol=1e-6)
        assert ended >= 2 * plain.num_envs


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"mode": "independent"}, ["unknown mode of one environment 'independent'", "shared"]),
            ({"mode": "centrl"}, ["Did you mean 'central'?"]),
            ({"observation": "lats"}, ["unknown observation 'lats'", "Did you mean 'last'?"]),
            ({"reward": "profits"}, ["unknown reward 'profits'", "Did you mean 'profit'?"]),
            ({"markets": 0}, ["markets = 0 is not allowed", "at least 1"]),
        ],
        ids=str,
    )
    def test_a_value_that_is_not_allowed(self, options: dict[str, Any], words: list[str]) -> None:
        fails(lambda: make(**options), ValueError, *words)

    def test_a_step_before_the_first_reset(self) -> None:
        env = make()
        words = ["nothing to play before the first reset()"]
        fails(lambda: env.step(np.zeros((MARKETS, 6), int)), RuntimeError, *words)
        table = Table(load("crowd2"), 1, "last", True, "profit")
        assert not table.started
        fails(lambda: table.start(None), RuntimeError, *words)
        table.start([0])
        assert table.started

    @pytest.mark.parametrize("action", [-1, 4])
    def test_an_action_out_of_range_plays_no_slot(self, action: int) -> None:
        env, other = make(), make()
        for each in (env, other):
            each.seed(SEED)
            each.reset()
        bad = np.zeros((MARKETS, 6), int)
        bad[1, 3] = action
        fails(lambda: env.step(bad), ValueError, f"allocation[1, 1, 1] = {action}")
        good = np.ones((MARKETS, 6), int)
        same(env.step(good), other.step(good))


class TestStateOfATable:
    @given(
        case=st.sampled_from(sorted(CASES)),
        markets=st.integers(1, 4),
        slots=st.integers(1, 6),
        central=st.booleans(),
        view=st.sampled_from(VIEWS),
        reward=st.sampled_from(REWARDS),
        world_seed=st.sampled_from([None, WORLD]),
        stagger=st.booleans(),
        before=st.integers(0, 9),
        luck=st.integers(0, 2**32),
    )
    @settings(max_examples=40, deadline=None)
    def test_a_copy_goes_on_alike(
        self,
        case: str,
        markets: int,
        slots: int,
        central: bool,
        view: str,
        reward: Any,
        world_seed: int | None,
        stagger: bool,
        before: int,
        luck: int,
    ) -> None:
        scenario, rng = load(case, slots), np.random.default_rng(luck)
        options = (scenario, markets, view, central, reward, world_seed, stagger)
        table, other = Table(*options), Table(*options)
        table.start(rng.integers(0, 99, markets).tolist())
        for _ in range(before):
            table.play(rng.integers(scenario.workers + 1, size=(markets, scenario.providers, 2)))
        if luck % 2:  # the copy has played something else
            other.start([1] * markets)
            other.play(np.zeros((markets, scenario.providers, 2), np.int64))
        state = table.state()
        kept = copy.deepcopy(state)
        expected = self.future(table, copy.deepcopy(rng))
        same(state, kept)  # what was saved is no part of the table
        other.go_on(state)
        same(other.state(), kept)
        same(self.future(other, copy.deepcopy(rng)), expected)
        same(state, kept)
        same(other.state(), table.state())

    @staticmethod
    def future(table: Table, rng: np.random.Generator) -> list[Any]:
        scenario = table.scenario
        told: list[Any] = [table.view, table.action_masks]
        for _ in range(2 * scenario.slots + 1):
            shape = (table.markets, scenario.providers, 2)
            told += [table.play(rng.integers(scenario.workers + 1, size=shape)), table.view]
            told += [table.action_masks, table.problem.demand]
        return told

    def test_rows_at_different_slots(self) -> None:
        """Plain numbers and arrays that an archive can hold."""
        table = Table(load("share", 8), 4, "statistics", True, "profit", stagger=True)
        table.start([3, 1, 4, 1])
        for _ in range(5):
            table.play(np.zeros((4, 10, 2), np.int64))
        state = table.state()
        kept = copy.deepcopy(state)
        for _ in range(8):
            table.play(np.zeros((4, 10, 2), np.int64))
        same(state, kept)
        assert (state["seeds"], state["episodes"]) == ([3, 1, 4, 1], [0, 1, 1, 0])
        assert state["slots"].tolist() == [5, 3, 1, 5]
        assert state["length"].tolist() == [8, 8, 8, 6]
        assert json.loads(json.dumps([state["seeds"], state["episodes"]]))
        assert {name for name in state if name.startswith("view/")} == {
            f"view/{name}" for name in ("total", "count", "tries", "age", "chosen")
        }
        assert all(isinstance(state[name], np.ndarray) for name in state if "/" in name)

    def test_there_is_none_before_the_first_start(self) -> None:
        table = Table(load("toy"), 1, "last", True, "profit")
        fails(table.state, RuntimeError, "before the first reset()")


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "compiled":
        pytest.importorskip("numba")
        return
    monkeypatch.setattr("distmllm_env.market.kernel", lambda: None)


def outcome_bits(outcome: Any, b: int) -> list[bytes]:
    return [table[b].tobytes() for table in vars(outcome).values()]


@pytest.mark.usefixtures("way")
class TestSeek:
    SLOTS = 9

    @pytest.mark.parametrize("case", ["paper", "crowd2", "share", "per-stage", "testbed"])
    @pytest.mark.parametrize("slots", [[0, 0, 0], [4, 4, 4], [7, 0, 3], [8, 8, 2]], ids=str)
    def test_is_as_if_the_slots_had_been_played(self, case: str, slots: Sequence[int]) -> None:
        scenario, rng = load(case, self.SLOTS), np.random.default_rng(0)
        seeds, episodes = [5, 0, 9], [0, 2, 1]
        crowd = np.zeros((3, scenario.providers, 2), np.int64)  # many are dropped
        market = Market(scenario, seeds, episodes)
        if slots[0] % 2:  # it has been elsewhere before
            market.step(crowd)
        market.seek(np.array(slots))
        assert market.slots.tolist() == list(slots)
        assert market.even == (len(set(slots)) == 1)
        assert not market.done
        rows = [Market(scenario, [s], [k]) for s, k in zip(seeds, episodes, strict=True)]
        for row, count in zip(rows, slots, strict=True):
            for _ in range(count):
                row.step(crowd[:1])
        for _ in range(self.SLOTS - max(slots)):
            allocation = rng.integers(scenario.workers + 1, size=crowd.shape)
            allocation[rng.random(crowd.shape) < 0.5] = 1
            outcome = market.step(allocation)
            for b, row in enumerate(rows):
                expected = row.step(allocation[b : b + 1])
                assert outcome_bits(outcome, b) == outcome_bits(expected, 0)
        assert market.done
        with pytest.raises(RuntimeError, match="the run is over"):
            market.step(crowd)

    def test_backwards(self) -> None:
        market = Market(load("share", self.SLOTS), [3, 4])
        crowd = np.zeros((2, 10, 2), np.int64)
        first = [market.step(crowd) for _ in range(self.SLOTS)]
        assert market.done
        for at in (6, 2, 0):
            market.seek(np.array([at, at]))
            assert (market.slot, market.even, market.done) == (at, True, False)
            for expected in first[at : at + 2]:
                found = market.step(crowd)
                for b in range(2):
                    assert outcome_bits(found, b) == outcome_bits(expected, b)

    def test_to_the_end(self) -> None:
        market = Market(load("toy", self.SLOTS), [3, 4])
        market.seek(np.array([self.SLOTS, 0]))
        assert market.done
        market.seek(np.array([self.SLOTS, self.SLOTS]))
        assert market.done
        assert market.slot == self.SLOTS
        with pytest.raises(RuntimeError, match="the run is over"):
            market.step(np.zeros((2, 2, 2), int))

    @pytest.mark.parametrize(
        ("slots", "words"),
        [
            ([0], ["shape of slots = (1,)", "(2,)"]),
            ([0, 1, 2], ["shape of slots = (3,)"]),
            ([[0, 1]], ["shape of slots = (1, 2)"]),
            (3, ["shape of slots = ()"]),
            ([0, -1], ["slots = [0, -1] is not allowed", "0..9"]),
            ([10, 0], ["slots = [10, 0] is not allowed", "0..9"]),
        ],
        ids=str,
    )
    def test_a_refused_one_changes_nothing(self, slots: Any, words: list[str]) -> None:
        market, other = (Market(load("share", self.SLOTS), [3, 4]) for _ in range(2))
        crowd = np.zeros((2, 10, 2), np.int64)
        for each in (market, other):
            each.step(crowd)
        fails(lambda: market.seek(np.array(slots)), ValueError, *words)
        assert (market.slot, market.even) == (1, True)
        found, expected = market.step(crowd), other.step(crowd)
        for b in range(2):
            assert outcome_bits(found, b) == outcome_bits(expected, b)


@pytest.mark.parametrize("slots", [[0, 0], [3, 3], [6, 1]], ids=str)
def test_luck_of_a_slot_hangs_on_its_number(slots: list[int]) -> None:
    scenario = load("crowd2")
    luck, task = Luck(scenario, [5, 8], [0, 3]), np.arange(12)
    luck.shock()  # a block of noise has been drawn
    luck.next_slot()
    luck.seek(np.array(slots))
    for ahead in range(3):
        noise, order = luck.shock(), luck.priority(task)
        assert noise is not None
        for b, run in enumerate([(5, 0), (8, 3)]):
            alone = Luck(scenario, [run[0]], [run[1]])
            for _ in range(slots[b] + ahead):
                alone.shock()
                alone.next_slot()
            expected = alone.shock()
            assert expected is not None
            same(noise[b], expected[0])
            same(order[6 * b : 6 * b + 6], alone.priority(np.arange(6)))
        luck.next_slot()


def test_regret_where_nothing_can_be_earned_is_a_share_of_v() -> None:
    changes = {"reward.value_enc": 0.0, "reward.value_llm": 0.0}
    scenario = Scenario.load("toy", changes)
    env = MarketVecEnv(scenario, 1, reward="regret")
    env.seed(0)
    env.reset()
    idle = env.step(np.full((1, 4), 2))[1]
    assert idle == pytest.approx([0.0])
    loses = env.step(np.ones((1, 4), int))[1]
    assert np.isfinite(loses).all()
    assert loses[0] < 0


def test_masks_before_the_first_reset_say_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="before the first reset"):
        MarketVecEnv(Scenario.load("toy"), 1).action_masks()


def test_actions_that_are_no_integers_are_refused() -> None:
    env = MarketVecEnv(Scenario.load("toy"), 1)
    env.seed(0)
    env.reset()
    with pytest.raises(ValueError, match="dtype of actions = 'float64'"):
        env.step(np.zeros((1, 4)))
