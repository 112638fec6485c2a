"""The policy contract: what a policy may know, how it is found, lifted to a batch and checked."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np
import pytest

import distmllm_env
from distmllm_agents.ucb import UCB
from distmllm_env import Market, Policy, Scenario, World, draw_world, load_policy, play
from distmllm_env.envs.provider import ProviderEnv
from distmllm_env.policy import Feedback, Knows, Observation, Problem, make_feedback, make_problem
from distmllm_env.registry import policy_names
from distmllm_env.runs import Player
from distmllm_env.slot import Outcome, play_slot

HERE = __name__


class Plain:
    """What a user writes: one run, no base class. Greedy on what it earned, sometimes random."""

    def __init__(self, luck: float = 0.3) -> None:
        self.luck = luck
        self.seen: list[Feedback] = []

    def reset(self, problem: Problem, rng: np.random.Generator) -> None:
        assert problem.batch == 1
        self.problem, self.rng = problem, rng
        self.seen = []
        self.total = np.zeros((problem.providers, 2, problem.workers + 1))

    def act(self, observation: Observation) -> np.ndarray:
        assert observation.slot == len(self.seen)
        choice = self.total.argmax(axis=2)
        lucky = self.rng.random(choice.shape) < self.luck
        return np.where(lucky, self.rng.integers(0, self.problem.workers, choice.shape), choice)[
            None
        ]

    def update(self, feedback: Feedback) -> None:
        self.seen.append(feedback)
        for m, s in np.ndindex(*self.total.shape[:2]):
            self.total[m, s, feedback.allocation[0, m, s]] += feedback.profit[0, m, s] - 0.5


class Scripted:
    """Always gives the same answer, whatever it is."""

    def __init__(self, answer: Any, batched: bool = True) -> None:
        self.answer, self.batched = answer, batched

    def reset(self, problem: Problem, rng: Any) -> None:
        pass

    def act(self, observation: Observation) -> Any:
        return self.answer

    def update(self, feedback: Feedback) -> None:
        pass


class Needy:
    """Needs a parameter and takes any other."""

    def __init__(self, need: int, **options: int) -> None:
        self.need, self.options = need, options

    def reset(self, problem: Problem, rng: Any) -> None: ...

    def act(self, observation: Observation) -> None: ...

    def update(self, feedback: Feedback) -> None: ...


class Spy:
    """Keeps what it was told."""

    batched = True

    def __init__(self, knows: str | None = None) -> None:
        if knows is not None:
            self.knows = knows

    def reset(self, problem: Problem, rng: Any) -> None:
        self.problem = problem

    def act(self, observation: Observation) -> np.ndarray:
        return np.ones((self.problem.batch, self.problem.providers, 2), int)

    def update(self, feedback: Feedback) -> None:
        self.feedback = feedback


class Vandal(Spy):
    """Plays worker 1 like Spy, but writes into every array it can reach."""

    def __init__(self, knows: str, batched: bool) -> None:
        super().__init__(knows)
        self.batched = batched
        self.returned: list[np.ndarray] = []

    def reset(self, problem: Problem, rng: Any) -> None:
        super().reset(problem, rng)
        if problem.world is not None:
            _ = problem.world.mean_profit, problem.world.profit_std, problem.world.transfer_cost
            for table in arrays_in(problem.world.layout):
                spoil(table)
        for array in arrays_in(problem):
            spoil(array)

    def act(self, observation: Observation) -> np.ndarray:
        answer = super().act(observation)
        self.returned.append(answer)
        return answer

    def update(self, feedback: Feedback) -> None:
        for array in [*arrays_in(feedback), *self.returned]:
            spoil(array)


def spoil(array: np.ndarray) -> None:
    """Change every entry, where that is allowed."""
    if array.flags.writeable:
        array[...] = array == 0


def things_in(thing: Any) -> list[Any]:
    """Everything that can be reached from a record, through dataclasses, cached values too."""
    found = [thing]
    if is_dataclass(thing):
        values = [getattr(thing, f.name) for f in fields(thing)]
        for value in [*values, *vars(thing).values()]:
            found += things_in(value)
    elif isinstance(thing, (list, tuple)):
        for value in thing:
            found += things_in(value)
    return found


def arrays_in(thing: Any) -> list[np.ndarray]:
    """Each array once."""
    found = [value for value in things_in(thing) if isinstance(value, np.ndarray)]
    return list({id(array): array for array in found}.values())


def slot_of(world: World) -> tuple[Outcome, np.ndarray]:
    """Play everything on worker 1, without luck."""
    allocation = np.ones((world.batch, world.scenario.providers, 2), int)
    by_index = np.arange(allocation.size, dtype=np.uint64)  # who comes first is dropped first
    return play_slot(world, allocation, None, by_index.take), allocation


@pytest.fixture
def paper() -> Scenario:
    return Scenario.load("paper", slots=12)


class TestKnowledge:
    @pytest.mark.parametrize("knows", get_args(Knows))
    def test_problem(self, paper: Scenario, knows: Knows) -> None:
        world = draw_world(paper, [0, 1])
        problem = make_problem(world, knows)
        within = things_in(problem)
        assert any(isinstance(thing, (World, Scenario)) for thing in within) == (knows == "world")
        assert (problem.world is None) == (knows != "world")
        assert (problem.performance is None) == (knows not in ("performance", "world"))
        hidden = [world.mean_profit, world.latency_s, world.energy_j, world.value]
        if knows not in ("performance", "world"):
            hidden.append(world.performance)
        if knows != "world":
            for array in arrays_in(problem):
                for table in hidden:
                    assert array.shape != table.shape or (array != table).any()

    @pytest.mark.parametrize("knows", get_args(Knows))
    def test_feedback(self, paper: Scenario, knows: Knows) -> None:
        outcome, allocation = slot_of(draw_world(paper, [0, 1]))
        feedback = make_feedback(outcome, allocation, knows)
        measured = knows in ("latency_energy", "world")
        assert (feedback.latency_s is not None) == measured
        assert (feedback.energy_j is not None) == measured
        if measured:
            np.testing.assert_array_equal(feedback.latency_s, outcome.latency_s)
            np.testing.assert_array_equal(feedback.energy_j, outcome.energy_j)
        for name in ("admitted", "profit", "load"):
            np.testing.assert_array_equal(getattr(feedback, name), getattr(outcome, name))
        np.testing.assert_array_equal(feedback.allocation, allocation)
        assert 0 < feedback.admitted.sum() < feedback.admitted.size
        assert (feedback.profit[~feedback.admitted] == 0).all()

    @pytest.mark.parametrize(
        ("knows", "performance", "latency", "world"),
        [
            (None, False, False, False),  # "rewards" is the default
            ("rewards", False, False, False),
            ("latency_energy", False, True, False),
            ("performance", True, False, False),
            ("world", True, True, True),
        ],
    )
    def test_a_player_tells_what_was_declared(
        self, paper: Scenario, knows: str | None, performance: bool, latency: bool, world: bool
    ) -> None:
        spy = Spy(knows)
        play(paper, spy, [0, 1])
        assert (spy.problem.performance is not None) == performance
        assert (spy.feedback.latency_s is not None) == latency
        assert (spy.feedback.energy_j is not None) == latency
        assert (spy.problem.world is not None) == world

    @pytest.mark.parametrize("knows", ["reward", "everything", "", None])
    def test_unknown_word(self, paper: Scenario, knows: Any) -> None:
        spy = Spy()
        spy.knows = knows
        with pytest.raises(ValueError, match="unknown value of knows") as caught:
            play(paper, spy, [0])
        assert repr(knows) in str(caught.value)
        if knows == "reward":
            assert "Did you mean 'rewards'?" in str(caught.value)

    def test_problem_by_hand(self) -> None:
        keys = {"demand": [1, 2], "capacity": [1, 3], "price": [0.5, 1.0],
                "market.transfer_cost_per_mb": 0.25, "tensor_bytes": [1e6, 2e6]}  # fmt: skip
        scenario = Scenario.load("toy", keys)
        problem = make_problem(draw_world(scenario, [0, 4]))
        assert (problem.providers, problem.workers, problem.slots, problem.batch) == (2, 2, 20, 2)
        for name, row in {
            "demand": [1, 2],
            "capacity": [1, 3],
            "price": [0.5, 1.0],
            "data_bytes": [1e6, 1e6],
            "tensor_bytes": [1e6, 2e6],
            "transfer_cost": [0.25, 0.5],
        }.items():
            assert getattr(problem, name).tolist() == [row, row]
        # Demand 2 does not fit worker 0.
        assert problem.feasible.tolist() == [[[[True, True], [False, True]]] * 2] * 2
        # LLM of provider 0 on worker 1: 4 - 1 - 0.4; nothing loses money, so the interval is
        # [0, 2.6]. There is no noise.
        np.testing.assert_allclose(problem.profit_range, [2.6, 2.6])
        assert problem.profit_std.tolist() == [0, 0]
        assert not problem.per_stage
        assert not problem.soft_capacity
        other = Scenario.load("toy", {"market.capacity": "per_stage", "market.overload": "share"})
        problem = make_problem(draw_world(other, [0]))
        assert problem.per_stage
        assert problem.soft_capacity


class TestNothingToBreak:
    """A policy owns what it is given: writing into it changes neither record nor world."""

    @pytest.mark.parametrize("batched", [True, False])
    @pytest.mark.parametrize("knows", get_args(Knows))
    def test_run(self, paper: Scenario, knows: Knows, batched: bool) -> None:
        paper = Scenario.load(paper, {"market.transfer_cost_per_mb": 0.5})
        honest = play(paper, Spy(), [3, 4])
        spoiled = play(paper, Vandal(knows, batched), [3, 4])
        assert (honest.allocation == 1).all()
        for f in fields(honest):
            if f.name not in ("world", "exploring"):
                left, right = getattr(honest, f.name), getattr(spoiled, f.name)
                np.testing.assert_array_equal(left, right, err_msg=f.name)
        fresh = draw_world(paper, [3, 4])
        for f in fields(World):
            if isinstance(getattr(fresh, f.name), np.ndarray):
                np.testing.assert_array_equal(
                    getattr(spoiled.world, f.name), getattr(fresh, f.name), err_msg=f.name
                )
        for mine, other in zip(spoiled.world.pace, fresh.pace, strict=True):
            np.testing.assert_array_equal(mine, other)
        cached = ("latency_s", "energy_j", "feasible", "mean_profit", "profit_std", "transfer_cost")
        for name in cached:
            np.testing.assert_array_equal(getattr(spoiled.world, name), getattr(fresh, name))

    @pytest.mark.parametrize("knows", get_args(Knows))
    def test_feedback(self, paper: Scenario, knows: Knows) -> None:
        world = draw_world(paper, [0, 1])
        (outcome, allocation), (fresh, _) = slot_of(world), slot_of(world)
        for array in arrays_in(make_feedback(outcome, allocation, knows)):
            spoil(array)
        assert (allocation == 1).all()
        for f in fields(outcome):
            np.testing.assert_array_equal(getattr(outcome, f.name), getattr(fresh, f.name))

    def test_rewards_of_the_provider_beside_it(self, paper: Scenario) -> None:
        rewards = []
        for opponents in (Spy(), Vandal("latency_energy", batched=True)):
            env = ProviderEnv(scenario=paper, opponents=opponents)
            env.reset(seed=5)
            rewards.append([env.step(np.array([0, 1]))[1] for _ in range(12)])
        assert rewards[0] == rewards[1]
        assert any(rewards[0])


class TestLifting:
    def test_a_single_run_policy_plays_a_batch(self) -> None:
        scenario = Scenario.load("scarce", slots=40)
        seeds = [5, 0, 9]
        policy = Plain()
        together = play(scenario, policy, seeds)
        assert together.allocation.shape == (3, 40, 10, 2)
        assert (together.allocation[0] != together.allocation[1]).any()
        for b, seed in enumerate(seeds):
            alone = play(scenario, Plain(), [seed])
            for name in ("allocation", "status", "profit", "latency_s", "load"):
                np.testing.assert_array_equal(
                    getattr(together, name)[b], getattr(alone, name)[0], err_msg=name
                )
        assert policy.seen == []  # rows are copies

    def test_batched_policies_equal_their_single_runs_too(self) -> None:
        scenario = Scenario.load("paper", slots=30)
        for name in policy_names():
            together = play(scenario, load_policy(name), [2, 7])
            for b, seed in enumerate([2, 7]):
                alone = play(scenario, load_policy(name), [seed])
                np.testing.assert_array_equal(together.profit[b], alone.profit[0], err_msg=name)

    def test_phases_are_recorded_where_told(self, paper: Scenario) -> None:
        assert play(paper, Plain(), [0]).exploring is None
        told = play(paper, load_policy("distmllm"), [0, 1]).exploring
        assert told is not None
        assert told.shape == (2, 12)
        assert told.dtype == bool

    def test_phases_of_lifted_rows(self, paper: Scenario) -> None:
        class Half(Plain):
            @property
            def exploring(self) -> bool:
                return len(self.seen) < 6

        told = play(paper, Half(), [0, 1]).exploring
        assert told is not None
        assert told.tolist() == [[True] * 6 + [False] * 6] * 2


class Incomplete:
    def reset(self, problem: Problem, rng: Any) -> None: ...

    def act(self, observation: Observation) -> None: ...


class TestContract:
    @pytest.mark.parametrize("thing", [None, 42, "ucb", Incomplete(), Incomplete])
    def test_not_a_policy(self, paper: Scenario, thing: Any) -> None:
        with pytest.raises(ValueError, match="is not a policy: an object with reset"):
            play(paper, thing, [0])

    @pytest.mark.parametrize("thing", [UCB, Plain])
    def test_a_class_without_its_brackets(self, paper: Scenario, thing: type) -> None:
        message = rf"is a class, not a policy: {thing.__name__}\(\) makes one"
        with pytest.raises(ValueError, match=message):
            play(paper, thing, [0])  # type: ignore[arg-type]

    @pytest.mark.parametrize("batched", [True, False])
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (np.zeros((5, 2), int), "has shape (5, 2): (1, 5, 2) is allowed"),
            (np.zeros((2, 5, 2), int), "has shape (2, 5, 2): (1, 5, 2) is allowed"),
            (np.zeros((1, 2, 5), int), "has shape (1, 2, 5)"),
            (3, "has shape ()"),
            (np.zeros((1, 5, 2)), "has dtype float64: integers are allowed"),
            (np.full((1, 5, 2), np.nan), "has dtype float64"),
            (np.zeros((1, 5, 2), bool), "has dtype bool"),
            (None, "has dtype object"),
            (np.full((1, 5, 2), 6), "allocation[0, 0, 0] = 6: a worker 0..4 or 5 (defer)"),
            (np.full((1, 5, 2), -1), "allocation[0, 0, 0] = -1"),
            (np.eye(5, 2, dtype=int)[None] * 9, "allocation[0, 0, 0] = 9"),
            (
                np.full((1, 5, 2), 2**64 - 1, np.uint64),
                "allocation[0, 0, 0] = 18446744073709551615",
            ),
        ],
    )
    def test_wrong_answers(self, paper: Scenario, answer: Any, message: str, batched: bool) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            play(paper, Scripted(answer, batched), [0])

    def test_a_batched_policy_answers_for_all_rows(self, paper: Scenario) -> None:
        one_row = np.zeros((1, 5, 2), int)
        with pytest.raises(ValueError, match=re.escape("has shape (1, 5, 2): (2, 5, 2)")):
            play(paper, Scripted(one_row), [0, 1])
        assert play(paper, Scripted(one_row, batched=False), [0, 1]).allocation.shape[0] == 2

    @pytest.mark.parametrize("batched", [True, False])
    @pytest.mark.parametrize(
        "answer",
        [
            [[[0, 1]] * 5],
            np.array([[[0, 1]] * 5], np.int8),
            np.array([[[0, 1]] * 5], np.uint8),
            np.array([[[0, 1]] * 5], np.uint64),
        ],
        ids=["list", "int8", "uint8", "uint64"],
    )
    @pytest.mark.parametrize("kappa", [0.0, 0.5])
    def test_any_integers_will_do(self, answer: Any, batched: bool, kappa: float) -> None:
        scenario = Scenario.load("paper", {"market.transfer_cost_per_mb": kappa}, slots=2)
        usual = np.array([[[0, 1]] * 5])
        expected = play(scenario, Scripted(usual), [0])
        found = play(scenario, Scripted(answer, batched), [0])
        np.testing.assert_array_equal(found.allocation, expected.allocation)
        np.testing.assert_array_equal(found.profit, expected.profit)


class TestLoading:
    def test_by_name(self) -> None:
        for name, target in policy_names().items():
            policy: Any = load_policy(name)
            module, _, cls = target.partition(":")
            assert type(policy).__name__ == cls
            assert type(policy).__module__ == module
            assert isinstance(policy, Policy)
            assert policy.knows in get_args(Knows)
            assert isinstance(policy.coordinates, bool)

    def test_names(self) -> None:
        names = policy_names()
        shipped = {"distmllm", "distmllm-fixed", "monolithic", "heu", "oracle", "random", "ucb"}
        assert shipped | {"ucb-sigma"} <= set(names)
        assert list(names) == sorted(names)
        for name in shipped:
            assert getattr(load_policy(name), "name", None) == name

    def test_by_path(self) -> None:
        assert type(load_policy("distmllm_agents.ucb:UCB")) is UCB
        assert type(load_policy(f"{HERE}:Plain")).__name__ == "Plain"

    def test_by_class_and_instance(self) -> None:
        assert isinstance(load_policy(Plain), Plain)
        mine = Plain()
        assert load_policy(mine) is mine

    @pytest.mark.parametrize("spec", ["ucb", "distmllm_agents.ucb:UCB", UCB])
    def test_parameters(self, spec: Any) -> None:
        assert load_policy(spec, scale="sigma").scale == "sigma"  # type: ignore[attr-defined]

    def test_any_parameter_where_a_class_takes_any(self) -> None:
        policy: Any = load_policy(Needy, need=1, other=2)
        assert (policy.need, policy.options) == (1, {"other": 2})

    @pytest.mark.parametrize(
        ("spec", "parameters", "message"),
        [
            ("ubc", {}, "unknown policy 'ubc'. Did you mean 'ucb'? Allowed: FILE.npz, distmllm,"),
            ("", {}, "unknown policy ''"),
            ("no.such.thing:X", {}, "cannot import 'no.such.thing' (No module named 'no')"),
            (":X", {}, "policy ':X': package.module:Class is allowed"),
            (".ucb:UCB", {}, "policy '.ucb:UCB': package.module:Class is allowed"),
            ("distmllm_agents.ucb:UBC", {}, "'UBC'. Did you mean 'UCB'?"),
            ("distmllm_agents.ucb:", {}, "unknown class in distmllm_agents.ucb ''"),
            ("math:pi", {}, "policy 'math:pi': pi is 3.14"),
            ("ucb", {"scal": "sigma"}, "'scal'. Did you mean 'scale'? Allowed: scale."),
            ("oracle", {"scale": 1}, "unknown parameter of policy 'oracle' 'scale'. Allowed: (no"),
            ("heu", {"rank_noise": -1.0}, "rank_noise = -1.0 is not allowed: at least 0"),
            (f"{HERE}:Plain", {"lucky": 1}, "'lucky'. Did you mean 'luck'?"),
            (f"{HERE}:Needy", {}, "missing a required argument: 'need'"),
            (42, {}, "42 is not a policy: an object with reset"),
            ("mine.py", {}, "for a class in that file write mine:ClassName, in its folder"),
            (f"{HERE}:Incomplete", {}, "is not a policy: an object with reset"),
            (Plain(), {"luck": 1}, "parameters ['luck'] need a policy class"),
            ("ucb", {"scale": "sigm"}, "unknown scale 'sigm'. Did you mean 'sigma'?"),
        ],
    )
    def test_wrong_specs(self, spec: Any, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            load_policy(spec, **parameters)

    def test_a_player_says_what_it_plays(self, paper: Scenario) -> None:
        player = Player(load_policy("heu"), Market(paper, [0]))
        assert player.knows == "performance"
        assert player.exploring is None
        assert distmllm_env.load_policy is load_policy
