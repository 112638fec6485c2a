"""One world for all episodes: ``world_seed`` fixes the world, seed and episode fix the luck in it.

Besides: an observer told only what a policy knows shows what one of the world shows.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from pettingzoo import AECEnv, ParallelEnv
from test_determinism import MAKERS, bits, episode, moves, of, take
from test_vector import DISABLED, MARKETS, NEXT_STEP, Pair, fails, same, wander
from test_vector import make as make_vector
from test_vector import moves as any_actions

import distmllm_env
from distmllm_env import (
    Market,
    Outcome,
    Run,
    Scenario,
    Status,
    World,
    draw_world,
    load_policy,
    play,
)
from distmllm_env.envs.observation import Observer, masks, nothing_yet
from distmllm_env.luck import Luck
from distmllm_env.policy import make_feedback, make_problem
from distmllm_env.slot import play_slot

WORLD, SEED, SLOTS = 3, 5, 4
TABLES = ["performance", "demand", "data_bytes", "tensor_bytes", "capacity", "price", "value"]
TABLES += ["feasible", "latency_s", "energy_j", "transfer_cost", "mean_profit", "profit_std"]
MEASURED = ("profit", "status", "latency_s", "energy_j")
SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    "testbed": ("testbed", {}),
    "share": ("scarce", {"market.overload": "share", "noise.distribution": "lognormal"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
}
every_kind = pytest.mark.parametrize("kind", MAKERS)
every_mode = pytest.mark.parametrize("mode", AutoresetMode, ids=[m.value for m in AutoresetMode])
every_batch = pytest.mark.parametrize("kind", ["central", "parallel"])
every_scenario = pytest.mark.parametrize("name", SCENARIOS)


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play slots and make observations by either of the two ways."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        return
    for place in ("market", "envs.observation"):
        monkeypatch.setattr(f"distmllm_env.{place}.kernel", lambda: None)


def load(name: str, slots: int = SLOTS) -> Scenario:
    scenario, overrides = SCENARIOS[name]
    return Scenario.load(scenario, overrides, slots=slots)


def make(kind: str, **options: Any) -> Any:
    return MAKERS[kind](**{"scenario": "paper", "slots": SLOTS, "world_seed": WORLD} | options)


def worlds_of(env: Any) -> list[World]:
    """The world of every market behind an environment, as worlds of one row."""
    if hasattr(env, "envs"):
        return [world for each in env.envs for world in worlds_of(each)]
    market = env.unwrapped._market if isinstance(env, VectorEnv) else env.unwrapped._session.market
    return [market.world.row(b) for b in range(market.world.batch)]


def tables(world: World) -> dict[str, Any]:
    return {name: bits(getattr(world, name)) for name in TABLES} | {"pace": bits(world.pace)}


def drawn(seed: int, number: int = 0, **options: Any) -> dict[str, Any]:
    return tables(draw_world(Scenario.load("paper", **options), [seed], number))


def unplayable() -> tuple[dict[str, Any], int, int]:
    """A scenario, a seed whose world can be played, and one whose world cannot."""
    overrides = {"demand": 2, "capacity": {"kind": "integers", "low": 1, "high": 2}}
    scenario = Scenario.load("toy", overrides)
    bad, good = None, None
    for seed in range(99):
        try:
            draw_world(scenario, [seed])
            good = seed
        except ValueError:
            bad = seed
    assert good is not None
    assert bad is not None
    return {"scenario": "toy", "overrides": overrides}, good, bad


def rewards(env: Any, seed: int | None) -> Any:
    """All rewards of an episode under actions that are the same in every episode."""
    rng, told = np.random.default_rng(0), []
    env.reset(seed=seed)
    n, over = env.scenario.workers, False
    while not over:
        if isinstance(env, AECEnv):
            env.step(int(rng.integers(n + 1)))
            told.append(list(env.rewards.values()))
            over = all(env.truncations.values())
        elif isinstance(env, ParallelEnv):
            answer = env.step({agent: rng.integers(n + 1, size=2) for agent in env.agents})
            told.append(list(answer[1].values()))
            over = not env.agents
        else:
            answer = env.step(rng.integers(n + 1, size=env.action_space.shape))
            told.append(answer[1])
            over = answer[3]
    return bits(told)


@every_kind
class TestEpisodes:
    def test_share_a_world_and_nothing_else(self, kind: str) -> None:
        env, told = make(kind), []
        for seed in (SEED, None, None, 0, WORLD):
            told.append(rewards(env, seed))
            assert [tables(world) for world in worlds_of(env)] == [drawn(WORLD, slots=SLOTS)]
        assert len(set(told)) == len(told)

    def test_depend_on_seed_and_episode_alone(self, kind: str) -> None:
        env, other = make(kind), make(kind)
        take(episode(env, 9, choices=1), 3)  # left in the middle of a slot or of an episode
        expected = [*episode(other, SEED), *episode(other), *episode(other)]
        assert [*episode(env, SEED), *episode(env), *episode(env)] == expected
        take(episode(env, SEED), 2)
        take(episode(env), 3)
        again = [*episode(env)]
        assert again == expected[-len(again) :]

    def test_under_the_seed_of_the_world_the_first_is_the_usual_one(self, kind: str) -> None:
        usual = list(episode(make(kind, world_seed=None), WORLD))
        env = make(kind)
        list(episode(env, SEED))
        assert list(episode(env, WORLD)) == usual

    @pytest.mark.parametrize("seed", [0, np.int64(3), np.uint8(3), 2**70])
    def test_any_whole_number_fixes_a_world(self, kind: str, seed: Any) -> None:
        env = make(kind, world_seed=seed)
        seen = list(episode(env, SEED))
        assert [tables(world) for world in worlds_of(env)] == [drawn(int(seed), slots=SLOTS)]
        assert seen == list(episode(make(kind, world_seed=int(seed)), SEED))

    def test_a_copy_goes_on_alike_and_alone(self, kind: str) -> None:
        env = make(kind)
        take(episode(env, SEED), 3)
        copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
        first = [*moves(env, np.random.default_rng(5)), *episode(env)]
        for other in copies:
            assert [*moves(other, np.random.default_rng(5)), *episode(other)] == first

    def test_a_refused_seed_changes_nothing(self, kind: str) -> None:
        env, other = make(kind), make(kind)
        first, second = episode(env, SEED), episode(other, SEED)
        assert take(first, 3) == take(second, 3)
        for seed in (-1, 1.5, True):
            fails(lambda seed=seed: env.reset(seed=seed), ValueError, f"seed = {seed!r}")
        assert [*first, *episode(env)] == [*second, *episode(other)]

    def test_a_world_that_cannot_be_played_is_refused_by_every_reset(self, kind: str) -> None:
        options, good, bad = unplayable()
        env = make(kind, world_seed=bad, **options)
        for seed in (good, None):
            fails(lambda seed=seed: env.reset(seed=seed), ValueError, "demand = 2 of provider_0")
        make(kind, world_seed=good, **options).reset(seed=bad)  # of luck, any seed will do

    def test_without_a_world_seed_every_episode_draws_its_own(self, kind: str) -> None:
        env, other = make(kind, world_seed=None), MAKERS[kind]("paper", slots=SLOTS)
        for seed, s, k in ((SEED, SEED, 0), (None, SEED, 1), (None, SEED, 2), (0, 0, 0)):
            assert list(episode(env, seed)) == list(episode(other, seed))
            (world,) = worlds_of(env)
            assert tables(world) == drawn(s, k, slots=SLOTS)
            env.reset(seed=s)
            for _ in range(k):
                env.reset()
            session = env.unwrapped._session
            same(session.masks, masks(world)[0])
            seen = Observer(world).central(0, *nothing_yet(world))[0]
            same(session.central_observation(), seen)


@pytest.mark.usefixtures("way")
@every_scenario
@pytest.mark.parametrize("kind", ["central", "parallel"])
def test_an_episode_is_what_its_world_and_its_luck_say(kind: str, name: str) -> None:
    scenario = load(name)
    env, rng = MAKERS[kind](scenario, world_seed=WORLD), np.random.default_rng(0)
    world = draw_world(scenario, [WORLD])
    for seed, s, k in ((SEED, SEED, 0), (None, SEED, 1), (2**64 + 1, 2**64 + 1, 0)):
        env.reset(seed=seed)
        luck = Luck(scenario, [s], [k])
        for _ in range(SLOTS - (k == 1)):  # one is left before its end
            allocation = rng.integers(scenario.workers + 1, size=(1, scenario.providers, 2))
            expected = play_slot(world, allocation, luck.shock(), luck.priority)
            luck.next_slot()
            if kind == "central":
                info = env.step(allocation.ravel())[4]
                found = {key: info[key] for key in MEASURED}
            else:
                infos = env.step(dict(zip(env.agents, allocation[0], strict=True)))[4]
                found = {key: np.array([infos[a][key] for a in infos]) for key in MEASURED}
            for key, table in found.items():
                assert bits(table) == bits(getattr(expected, key)[0]), key


@pytest.mark.parametrize("entry", ["central", "parallel", "sequential", "parallel_vector_env"])
def test_the_world_is_drawn_once(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any) -> World:
        calls.append(args)
        return draw_world(*args)

    monkeypatch.setattr("distmllm_env.market.draw_world", counted)
    env = ENTRIES[entry](world_seed=0)
    for seed in (SEED, None, 0):
        env.reset(seed=seed)
    assert len(calls) == 1


def test_the_order_of_turns_is_luck() -> None:
    env, orders = make("sequential-random", slots=12), []
    for seed in (SEED, None, 0):
        env.reset(seed=seed)
        order = []
        while not env.truncations[env.agent_selection]:
            order.append(env.agent_selection)
            env.step(0)
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def test_infos_tell_the_seed_of_the_luck() -> None:
    for kind in ("central", "provider-ucb"):
        env = make(kind)
        infos = [env.reset(seed=seed)[1] for seed in (4, None, 0, None)]
        told = [(info["seed"], info["episode_index"]) for info in infos]
        assert told == [(4, 0), (4, 1), (0, 0), (0, 1)]
    envs = make_vector("central", markets=3, world_seed=WORLD)
    envs.reset(seed=4)
    _, infos = envs.reset()
    assert infos["seed"].tolist() == [4, 5, 6]
    assert infos["episode_index"].tolist() == [1, 1, 1]


class TestBatches:
    @every_scenario
    @every_mode
    @every_batch
    def test_rows_are_single_environments(self, kind: str, mode: AutoresetMode, name: str) -> None:
        scenario, overrides = SCENARIOS[name]
        options = {"scenario": scenario, "overrides": overrides, "world_seed": WORLD}
        pair, rng = Pair(kind, mode, **options), np.random.default_rng(1)
        pair.reset(SEED)
        ended = 0
        for _ in range(9):
            over = pair.step(any_actions(pair.ours, rng))[3].all()
            ended += over
            if over and mode == DISABLED:
                pair.reset(mask=np.ones(MARKETS, bool))
        assert ended >= 2
        wander(pair, 10, 18)
        assert "some rows ended" in pair.met
        expected = tables(draw_world(pair.ours.scenario, [WORLD]))
        assert [tables(world) for world in worlds_of(pair.ours)] == [expected] * MARKETS

    @every_batch
    def test_rows_without_compiled_loops(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for place in ("market", "envs.observation"):
            monkeypatch.setattr(f"distmllm_env.{place}.kernel", lambda: None)
        pair = Pair(kind, NEXT_STEP, world_seed=WORLD)
        pair.reset(SEED)
        wander(pair, 10, 18)

    @every_batch
    def test_rows_share_a_world_and_differ_in_luck(self, kind: str) -> None:
        envs = make_vector(kind, scenario="paper", world_seed=WORLD)
        view, _ = envs.reset(seed=SEED)
        seen, told = view.reshape(MARKETS, -1), []
        assert (seen == seen[0]).all()
        one = any_actions(envs, np.random.default_rng(0)).reshape(MARKETS, -1)[0]
        actions = np.tile(one, MARKETS).reshape(envs.action_space.shape)
        for _ in range(3):
            told.extend(envs.step(actions)[1].reshape(MARKETS, -1))
            envs.reset()
        assert len({bits(row) for row in told}) == 3 * MARKETS

    @every_batch
    def test_under_the_seed_of_the_world_a_row_is_the_usual_one(self, kind: str) -> None:
        envs, usual = (make_vector(kind, world_seed=seed) for seed in (WORLD, None))
        first, second = (each.reset(seed=WORLD - 1)[0] for each in (envs, usual))
        rng = np.random.default_rng(0)
        while True:
            a, b = (view.reshape(MARKETS, -1) for view in (first, second))
            assert bits(a[1]) == bits(b[1])  # row 1 has seed WORLD
            assert bits(a[0]) != bits(b[0])
            actions = any_actions(envs, rng)
            (first, _, _, over, _), (second, *_) = (each.step(actions) for each in (envs, usual))
            if over.all():
                break

    @every_batch
    def test_without_a_world_seed_every_row_draws_its_own(self, kind: str) -> None:
        envs, other = (make_vector(kind, **extra) for extra in ({"world_seed": None}, {}))
        for number in range(3):
            seed = SEED if number == 0 else None
            same(envs.reset(seed=seed), other.reset(seed=seed))
            worlds = [draw_world(envs.scenario, [SEED + b], number) for b in range(MARKETS)]
            assert [tables(w) for w in worlds_of(envs)] == [tables(w) for w in worlds]

    @every_batch
    def test_a_world_that_cannot_be_played_is_refused_by_every_reset(self, kind: str) -> None:
        options, good, bad = unplayable()
        envs = make_vector(kind, world_seed=bad, **options)
        for seed in (good, None):
            fails(lambda seed=seed: envs.reset(seed=seed), ValueError, "demand = 2 of provider_0")
        make_vector(kind, world_seed=good, **options).reset(seed=bad)


ENTRIES: dict[str, Callable[..., Any]] = {
    **MAKERS,
    "DistMLLM-v0": partial(gym.make, "DistMLLM-v0"),
    "DistMLLM-Provider-v0": partial(gym.make, "DistMLLM-Provider-v0"),
    "make_vec": partial(gym.make_vec, "DistMLLM-v0", num_envs=2),
    "make_vec-sync": partial(gym.make_vec, "DistMLLM-v0", num_envs=2, vectorization_mode="sync"),
    "make_vec-provider": partial(gym.make_vec, "DistMLLM-Provider-v0", num_envs=2),
    "parallel_env": distmllm_env.parallel_env,
    "env": distmllm_env.env,
    "raw_env": distmllm_env.raw_env,
    "parallel_vector_env": partial(distmllm_env.parallel_vector_env, markets=2),
}


@pytest.mark.parametrize("entry", ENTRIES)
class TestEveryWayIn:
    @pytest.mark.parametrize("seed", [WORLD, np.int32(WORLD)], ids=repr)
    def test_leads_to_that_world(self, entry: str, seed: Any) -> None:
        env = ENTRIES[entry](world_seed=seed)
        env.reset(seed=SEED)
        worlds = worlds_of(env)
        assert len(worlds) == (2 if "vec" in entry else 1)
        assert [tables(world) for world in worlds] == [drawn(WORLD)] * len(worlds)

    @pytest.mark.parametrize(
        "seed",
        [-1, np.int64(-1), 1.0, np.float64(3), float("nan"), True, np.True_, "3", b"3", [3]],
        ids=repr,
    )
    def test_refuses_what_is_no_seed_at_once(self, entry: str, seed: Any) -> None:
        words = [f"world_seed = {seed!r} is not allowed", "a whole number, at least 0", "None"]
        fails(lambda: ENTRIES[entry](world_seed=seed), ValueError, *words)


class TestTitles:
    def test_of_single_environments(self) -> None:
        for kind in ("central", "provider-ucb", "parallel", "sequential"):
            env = make(kind, render_mode="ansi")
            for number in range(2):
                env.reset(seed=SEED if number == 0 else None)
                title = f"paper, seed {SEED}, episode {number}, world {WORLD}, slot 0/{SLOTS}"
                assert env.render().startswith(title)
            usual = make(kind, render_mode="ansi", world_seed=None)
            usual.reset(seed=SEED)
            assert usual.render().startswith(f"paper, seed {SEED}, episode 0, slot 0/{SLOTS}")

    @every_batch
    def test_of_batches(self, kind: str) -> None:
        options = {"scenario": "testbed", "render_mode": "ansi", "world_seed": 0}
        pair = Pair(kind, NEXT_STEP, **options)
        pair.reset(SEED)
        pair.reset(mask=np.arange(MARKETS) == 1)
        texts = pair.ours.render()
        assert texts[0].startswith(f"testbed, seed {SEED}, episode 0, world 0, slot 0/")
        assert texts[1].startswith(f"testbed, seed {SEED + 1}, episode 1, world 0, slot 0/")
        for call in range(9):
            wander(pair, call, 1)
            same(pair.ours.render(), pair.theirs.render())


def outcomes(outcome: Outcome, b: int = 0) -> dict[str, Any]:
    return {f.name: bits(getattr(outcome, f.name)[b]) for f in fields(Outcome)}


class Beside:
    """A market of one world, and for each row its world and luck, put together by hand."""

    def __init__(
        self, scenario: Scenario, seeds: Sequence[int], episodes: Sequence[int], world: int
    ) -> None:
        self.market = Market(scenario, seeds, episodes, world)
        self.world = draw_world(scenario, [world])
        self.luck = [Luck(scenario, [s], [k]) for s, k in zip(seeds, episodes, strict=True)]
        self.rng = np.random.default_rng(len(seeds))

    def restart(self, rows: np.ndarray, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        self.market.restart(rows, seeds, episodes)
        for b, s, k in zip(np.flatnonzero(rows), seeds, episodes, strict=True):
            self.luck[b] = Luck(self.market.scenario, [s], [k])

    def step(self) -> None:
        scenario = self.market.scenario
        shape = (1, scenario.providers, 2)
        allocations = [self.rng.integers(scenario.workers + 1, size=shape) for _ in self.luck]
        found = self.market.step(np.concatenate(allocations))
        for b, (luck, allocation) in enumerate(zip(self.luck, allocations, strict=True)):
            expected = play_slot(self.world, allocation, luck.shock(), luck.priority)
            luck.next_slot()
            assert outcomes(found, b) == outcomes(expected)


@pytest.mark.usefixtures("way")
@every_scenario
class TestMarket:
    def test_rows_begin_anew_in_the_same_world(self, name: str) -> None:
        scenario = load(name, slots=12)
        beside = Beside(scenario, [4, 5, 2**64 + 1, 5], [0, 0, 1, 2], WORLD)
        market, world = beside.market, tables(beside.world)
        restarts: dict[int, tuple[list[bool], list[int], list[int]]] = {
            2: ([False, True, False, True], [2**70, 4], [0, 3]),
            4: ([False, True, False, False], [4], [0]),
            7: ([True] * 4, [9, 9, 4, WORLD], [0, 1, 0, 0]),
        }
        played = market.world
        for slot in range(14):
            if slot in restarts:
                rows, seeds, episodes = restarts[slot]
                others = [run for run, row in zip(runs(market), rows, strict=True) if not row]
                before = market.slots
                beside.restart(np.array(rows), seeds, episodes)
                now = runs(market)
                begun = [run for run, row in zip(now, rows, strict=True) if row]
                assert begun == list(zip(seeds, episodes, strict=True))
                assert [run for run, row in zip(now, rows, strict=True) if not row] == others
                assert market.slots.tolist() == np.where(rows, 0, before).tolist()
                assert market.even == all(rows)
            beside.step()
        assert market.world is played
        assert [tables(played.row(b)) for b in range(4)] == [world] * 4
        assert (played.seeds, played.episodes) == ((WORLD,) * 4, (0,) * 4)

    def test_rows_begun_anew_are_those_of_a_fresh_market(self, name: str) -> None:
        scenario = load(name)
        market, rng = Market(scenario, [4, 5, 6], world_seed=WORLD), np.random.default_rng(0)
        rows, shape = np.array([True, False, True]), (3, scenario.providers, 2)
        market.step(rng.integers(scenario.workers + 1, size=shape))
        market.restart(rows, [5, 8], [1, 0])
        fresh = Market(scenario, [5, 8], [1, 0], world_seed=WORLD)
        while not market.done:
            allocation = rng.integers(scenario.workers + 1, size=shape)
            found, expected = market.step(allocation), fresh.step(allocation[rows])
            for b, row in enumerate(np.flatnonzero(rows)):
                assert outcomes(found, row) == outcomes(expected, b)

    def test_a_refused_restart_changes_nothing(self, name: str) -> None:
        beside = Beside(load(name), [4, 5], [0, 1], WORLD)
        beside.step()
        for seeds, episodes in (([-1], [0]), ([1.5], [0]), ([3], [-1]), ([3, 4], [0, 0])):
            with pytest.raises(ValueError, match=r"seed|episode"):
                beside.market.restart(np.array([False, True]), seeds, episodes)  # type: ignore[arg-type]
        assert runs(beside.market) == [(4, 0), (5, 1)]
        assert beside.market.even
        for _ in range(SLOTS - 1):
            beside.step()


def runs(market: Market) -> list[tuple[int, int]]:
    return list(zip(market.seeds, market.episodes, strict=True))


@pytest.mark.parametrize("scenario", ["paper", "testbed"])
@pytest.mark.parametrize("policy", ["distmllm", "oracle", "random", "ucb"])
class TestPolicies:
    SEEDS = (4, 0, 7)

    def run(self, scenario: str, policy: str, seeds: Sequence[int], world: int | None) -> Run:
        loaded = Scenario.load(scenario, slots=24)
        return play(loaded, load_policy(policy), seeds, world_seed=world)

    def test_rows_meet_one_world_and_are_single_runs(self, scenario: str, policy: str) -> None:
        batch = self.run(scenario, policy, self.SEEDS, WORLD)
        expected = tables(draw_world(batch.world.scenario, [WORLD]))
        for b, seed in enumerate(self.SEEDS):
            single = self.run(scenario, policy, [seed], WORLD)
            assert tables(batch.world.row(b)) == tables(single.world) == expected
            assert of(single) == of(batch, b)
        assert len({bits(row) for row in batch.profit}) == len(self.SEEDS)
        if policy == "random":
            assert len({bits(row) for row in batch.allocation}) == len(self.SEEDS)

    def test_under_the_seed_of_the_world_a_run_is_the_usual_one(
        self, scenario: str, policy: str
    ) -> None:
        batch = self.run(scenario, policy, [SEED, WORLD], WORLD)
        assert of(batch, 1) == of(self.run(scenario, policy, [WORLD], None))
        assert of(batch, 0) != of(self.run(scenario, policy, [SEED], None))


OBSERVED: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    **SCENARIOS,
    "free": ("paper", {"price": 0.0}),
    "some too large": (
        "paper",
        {"demand": {"kind": "integers", "low": 1, "high": 3}, "capacity": [4, 2, 3, 1, 2]},
    ),
    "no room": ("paper", {"market.overload": "share", "capacity": [4, 2, 3, 0, 2]}),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", OBSERVED)
class TestWhatAPolicyKnows:
    """An observer of a Problem and Feedback shows what one of a World and Outcome shows."""

    def test_gives_the_views_of_the_world(self, name: str) -> None:
        preset, overrides = OBSERVED[name]
        scenario = Scenario.load(preset, overrides, slots=SLOTS)
        market, rng = Market(scenario, [4, 5, 6]), np.random.default_rng(0)
        problem = make_problem(market.world)
        ours, theirs = Observer(problem), Observer(market.world)
        same(ours.scale, theirs.scale)
        same(masks(problem), masks(market.world))
        (allocation, last), (deferred, nothing) = nothing_yet(problem), nothing_yet(market.world)
        same(allocation, deferred)
        same(vars(last), vars(nothing))
        seen: list[Any] = []
        while True:
            known = make_feedback(last, allocation)
            for slot in (market.slot, market.slots):
                for kind in ("central", "providers", "turns"):
                    view = getattr(theirs, kind)(slot, allocation, last)
                    same(getattr(ours, kind)(slot, allocation, known), view, kind)
            seen.append(bits(view))
            if market.done:
                break
            allocation = rng.integers(scenario.workers + 1, size=allocation.shape)
            last = market.step(allocation)
        assert len(set(seen)) == SLOTS + 1

    def test_marks_where_a_task_can_never_run(self, name: str) -> None:
        preset, overrides = OBSERVED[name]
        scenario = Scenario.load(preset, overrides)
        world = draw_world(scenario, [4, 5, 6])
        mask = masks(make_problem(world))
        never = np.argwhere(mask == 0)
        assert (len(never) > 0) == (name in ("testbed", "some too large", "no room"))
        assert (mask[..., -1] == 1).all()
        for b, m, s, n in never[:3]:
            allocation = np.full((3, scenario.providers, 2), scenario.workers)
            allocation[b, m, s] = n
            outcome = Market(scenario, [4, 5, 6]).step(allocation)
            assert outcome.status[b, m, s] == Status.INFEASIBLE
