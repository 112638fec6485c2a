"""What is not allowed says so: what it was called, what was given, what would do; nothing changes.

Every row of a table is one mistake and the words that its error must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from pettingzoo import AECEnv

from distmllm_env import Scenario, draw_world
from distmllm_env.envs.central import CentralEnv
from distmllm_env.envs.parallel import ParallelMarketEnv
from distmllm_env.envs.provider import ProviderEnv
from distmllm_env.envs.sequential import SequentialMarketEnv

Make = Callable[..., Any]
MAKERS: dict[str, Make] = {
    "central": CentralEnv,
    "provider": partial(ProviderEnv, opponents="random"),
    "parallel": ParallelMarketEnv,
    "sequential": SequentialMarketEnv,
}
every_kind = pytest.mark.parametrize("kind", MAKERS)


def fails(call: Callable[[], object], kind: type[Exception], *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def rows(table: list[tuple[Any, ...]]) -> list[Any]:
    """The rows with the mistake as their name."""
    return [pytest.param(*row, id=" ".join(map(repr, row[:-1])).replace(" ", "")) for row in table]


OPTIONS = rows(
    [
        ({"scenario": "papr"}, ["unknown scenario 'papr'", "Did you mean 'paper'?", "testbed"]),
        ({"scenario": "no.toml"}, ["scenario file 'no.toml' does not exist"]),
        ({"providers": 0}, ["providers = 0", "at least 1"]),
        ({"workers": -1}, ["workers = -1", "at least 1"]),
        ({"slots": 2.0}, ["slots", "expected int", "2.0"]),
        ({"slots": True}, ["slots", "expected int", "True"]),
        ({"providers": "5"}, ["providers", "expected int", "'5'"]),
        ({"reward": "welfair"}, ["unknown reward", "'welfair'", "Did you mean 'welfare'?"]),
        ({"render_mode": "human"}, ["unknown render_mode 'human'", "ansi, rgb_array"]),
        ({"overrides": {"nose.std": 0.1}}, ["unknown scenario key 'nose'", "'noise'"]),
        ({"overrides": {"noise.sdt": 0.1}}, ["key in [noise] 'sdt'", "Did you mean 'std'?"]),
        ({"overrides": {"noise.std": float("nan")}}, ["noise.std", "finite", "nan"]),
        ({"overrides": {"noise.std": -0.1}}, ["noise.std = -0.1", "at least 0"]),
        ({"overrides": {"capacity": [1.0, 2.0]}}, ["capacity = [1.0, 2.0]", "one per worker", "5"]),
        ({"overrides": {"market.overload": "drop"}}, ["market.overload", "'drop'", "reject_all"]),
    ]
)


class TestMaking:
    @every_kind
    @pytest.mark.parametrize(("options", "words"), OPTIONS)
    def test_options_of_all(self, kind: str, options: dict[str, Any], words: list[str]) -> None:
        fails(lambda: MAKERS[kind](**options), ValueError, *words)

    @every_kind
    def test_an_option_that_does_not_exist(self, kind: str) -> None:
        fails(lambda: MAKERS[kind](scenaro="paper"), TypeError, "'scenaro'")

    @pytest.mark.parametrize("reward", ["profit", "profits"])
    def test_a_dispatcher_has_no_profit_of_its_own(self, reward: str) -> None:
        words = (f"unknown reward of a dispatcher '{reward}'", "proportional_fair, welfare.")
        fails(lambda: CentralEnv(reward=reward), ValueError, *words)

    def test_order(self) -> None:
        words = ("unknown order 'rotatte'", "Did you mean 'rotate'?", "index, random, rotate")
        fails(lambda: SequentialMarketEnv(order="rotatte"), ValueError, *words)

    @pytest.mark.parametrize("provider", [5, -1, 1.0, True, "0", None, float("nan")])
    def test_provider(self, provider: Any) -> None:
        words = (f"provider = {provider!r}", "0..4")
        fails(lambda: ProviderEnv(provider=provider), ValueError, *words)

    @pytest.mark.parametrize(
        ("opponents", "words"),
        rows(
            [
                ("uxb", ["unknown policy 'uxb'", "Did you mean 'ucb'?", "package.module:Class"]),
                ("no_such_package:Policy", ["cannot import 'no_such_package'"]),
                ("distmllm_agents.ucb:UCBB", ["'UCBB'", "Did you mean 'UCB'?"]),
            ]
        ),
    )
    def test_opponents(self, opponents: Any, words: list[str]) -> None:
        fails(lambda: ProviderEnv(opponents=opponents), ValueError, *words)

    def test_opponents_that_are_no_policy(self) -> None:
        words = ("[1, 2] is not a policy", "act(observation)")
        fails(lambda: ProviderEnv(opponents=[1, 2]).reset(seed=0), ValueError, *words)

    @every_kind
    def test_a_provider_that_fits_nowhere(self, kind: str) -> None:
        overrides = {"demand": [1.0, 1.0, 7.0, 1.0, 1.0], "capacity": 6.0}
        env = MAKERS[kind](overrides=overrides)
        fails(lambda: env.reset(seed=0), ValueError, "demand = 7 of provider_2", "6, 6, 6, 6, 6")

    @every_kind
    def test_a_world_that_cannot_be_drawn_leaves_the_run_as_it_is(self, kind: str) -> None:
        either = {"kind": "integers", "low": 1, "high": 2}
        options = {"providers": 1, "workers": 1, "overrides": {"demand": either}}
        options["overrides"]["capacity"] = either
        scenario = Scenario.load("paper", **options)

        def drawn(seed: int, episode: int = 0) -> bool:
            try:
                draw_world(scenario, [seed], episode)
            except ValueError:
                return False
            return True

        good = next(seed for seed in range(99) if drawn(seed) and drawn(seed, 1))
        bad = next(seed for seed in range(99) if not drawn(seed))
        same_after_a_failed_reset(kind, good, bad, ["demand = 2 of provider_0"], **options)

    def test_through_gymnasium(self) -> None:
        fails(lambda: gym.make("DistMLLM-v0", scenario="papr"), ValueError, "'paper'")


# N = 2, so 0 and 1 are workers and 2 is defer. Each mistake as a pair of choices.
RANGE, WHOLE = "a worker 0..1 or 2 (defer) is allowed", "integers are allowed"
CHOICES = rows(
    [
        ([0, 3], ["[1] = 3", RANGE]),
        ([-1, 0], ["[0] = -1", RANGE]),
        ([2**70, 0], [WHOLE, str(2**70)]),
        ([0.0, 1.0], ["dtype float64", WHOLE, "0.0, 1.0"]),
        ([float("nan"), 0], ["dtype float64", WHOLE, "nan"]),
        ([True, False], ["dtype bool", WHOLE, "True, False"]),
        (["0", "1"], ["dtype <U1", WHOLE, "'0', '1'"]),
        ([None, 0], ["dtype object", WHOLE, "None, 0"]),
        (None, ["dtype object", WHOLE, "None"]),
        ("defer", ["dtype <U5", WHOLE, "'defer'"]),
        ([], ["dtype float64", WHOLE]),
        ([0], ["shape (1,): (2,) is allowed"]),
        ([0, 1, 2], ["shape (3,): (2,) is allowed"]),
        ([[0, 1]], ["shape (1, 2): (2,) is allowed"]),
        (1, ["shape (): (2,) is allowed"]),
    ]
)
CHOICE = rows(
    [
        (3, ["action = 3", RANGE]),
        (-1, ["action = -1", RANGE]),
        (np.int8(-1), ["action = -1", RANGE]),
        (1.0, ["action has dtype float64", WHOLE, "1.0"]),
        (float("nan"), ["action has dtype float64", WHOLE, "nan"]),
        (True, ["action has dtype bool", WHOLE, "True"]),
        ("1", ["action has dtype <U1", WHOLE, "'1'"]),
        (None, ["action has dtype object", WHOLE, "None"]),
        ([1], ["action has shape (1,): () is allowed"]),
        (np.array([0, 1]), ["action has shape (2,): () is allowed"]),
    ]
)
AGENTS = rows(
    [
        ({"provider_0": [0, 1]}, ["actions lack provider_1", "every agent needs one"]),
        ({}, ["actions lack provider_0, provider_1"]),
        (
            {"provider_0": [0, 1], "provider_1": [1, 1], "provider_2": [0, 0]},
            ["unknown agent in actions 'provider_2'", "Did you mean", "provider_0, provider_1"],
        ),
        (
            {"provider_0": [0, 1], "provder_1": [1, 1]},
            ["'provder_1'", "Did you mean 'provider_1'?"],
        ),
        ({"provider_0": [0, 1], 1: [1, 1]}, ["unknown agent in actions 1"]),
        (None, ["actions = None", "a dictionary", "'provider_0', 'provider_1'"]),
        ([[0, 1], [1, 1]], ["actions = [[0, 1], [1, 1]]", "a dictionary", "'provider_1'"]),
    ]
)


class TestActing:
    """On the toy: two providers, two workers."""

    def refuse(self, kind: str, action: Any, words: list[str]) -> None:
        """The action is refused, in so many words, and the run goes on as if it had not been."""
        env, other = (MAKERS[kind](scenario="toy", slots=2) for _ in range(2))
        env.reset(seed=0)
        other.reset(seed=0)
        fails(lambda: env.step(action), ValueError, *words)
        good: Any = {
            "central": [0, 1, 2, 1],
            "provider": [0, 1],
            "parallel": {"provider_0": [0, 1], "provider_1": [2, 1]},
            "sequential": 1,
        }
        answers = [one.step(good[kind]) for one in (env, other)]
        if kind == "sequential":
            answers = [one.last() for one in (env, other)]
        np.testing.assert_equal(answers[0], answers[1])

    @pytest.mark.parametrize(("action", "words"), CHOICES)
    def test_provider(self, action: Any, words: list[str]) -> None:
        self.refuse("provider", action, ["action", *words])

    @pytest.mark.parametrize(("action", "words"), CHOICES)
    def test_parallel(self, action: Any, words: list[str]) -> None:
        actions = {"provider_0": [0, 1], "provider_1": action}
        self.refuse("parallel", actions, ["action of provider_1", *words])

    @pytest.mark.parametrize(("actions", "words"), AGENTS)
    def test_agents(self, actions: Any, words: list[str]) -> None:
        self.refuse("parallel", actions, words)

    @pytest.mark.parametrize(("action", "words"), CHOICE)
    def test_sequential(self, action: Any, words: list[str]) -> None:
        self.refuse("sequential", action, words)

    @pytest.mark.parametrize(
        ("action", "words"),
        rows(
            [
                ([0, 1, 2, 3], ["action[3] = 3", RANGE]),
                ([0, -1, 2, 1], ["action[1] = -1", RANGE]),
                ([0.0, 1.0, 2.0, 1.0], ["action has dtype float64", WHOLE]),
                ([True] * 4, ["action has dtype bool", WHOLE]),
                (["1"] * 4, ["action has dtype <U1", WHOLE]),
                ([float("nan")] * 4, ["action has dtype float64", WHOLE, "nan"]),
                (None, ["action has dtype object", WHOLE]),
                ([0, 1], ["action has shape (2,): (4,) is allowed"]),
                ([[0, 1], [2, 1]], ["action has shape (2, 2): (4,) is allowed"]),
            ]
        ),
    )
    def test_central(self, action: Any, words: list[str]) -> None:
        self.refuse("central", action, words)

    def test_every_integer_type_will_do(self) -> None:
        rewards = set()
        for dtype in "bBhHiIqQ":
            env = CentralEnv("toy")
            env.reset(seed=0)
            rewards.add(env.step(np.array([0, 1, 2, 1], dtype))[1])
        assert len(rewards) == 1


GOOD: dict[str, Callable[[Any], Any]] = {
    "central": lambda env: np.zeros(env.action_space.shape, int),
    "provider": lambda env: np.zeros(env.action_space.shape, int),
    "parallel": lambda env: dict.fromkeys(env.possible_agents, np.zeros(2, int)),
    "sequential": lambda env: 0,
}


def same_after_a_failed_reset(
    kind: str, good: int, bad: Any, words: list[str], **options: Any
) -> None:
    """A reset that fails starts nothing, ends nothing and does not count as an episode."""
    env, other = (MAKERS[kind](**options) for _ in range(2))
    fails(lambda: env.reset(seed=bad), ValueError, *words)
    fails(lambda: env.step(GOOD[kind](env)), ResetNeeded)
    env.reset(seed=good)
    other.reset(seed=good)
    fails(lambda: env.reset(seed=bad), ValueError, *words)
    answers = [one.step(GOOD[kind](one)) for one in (env, other)]
    answers += [one.reset() for one in (env, other)]
    np.testing.assert_equal(answers[::2], answers[1::2])
    if isinstance(env, AECEnv):
        np.testing.assert_equal(env.last(), other.last())


@every_kind
class TestOutOfTurn:
    def test_before_reset(self, kind: str) -> None:
        env = MAKERS[kind]()
        fails(lambda: env.step(GOOD[kind](env)), ResetNeeded, "reset()")
        for name in ("state", "action_masks"):
            if hasattr(env, name):
                fails(getattr(env, name), ResetNeeded, "reset()")
        if kind == "sequential":
            fails(lambda: env.observe("provider_0"), ResetNeeded, "reset()")
            fails(env.last, ResetNeeded, "reset()")

    def test_after_the_end(self, kind: str) -> None:
        env = MAKERS[kind](scenario="toy", slots=1)
        for _ in range(2):
            env.reset(seed=0)
            if isinstance(env, AECEnv):
                for _ in range(4):
                    env.step(0)
                fails(lambda: env.step(0), ValueError, "None")
                while env.agents:
                    env.step(None)
            else:
                env.step(GOOD[kind](env))
            fails(lambda: env.step(GOOD[kind](env)), ResetNeeded, "the episode is over", "reset()")
            if isinstance(env, AECEnv):
                fails(env.last, ResetNeeded, "the episode is over", "reset()")


def test_unknown_agent() -> None:
    env = SequentialMarketEnv("toy")
    env.reset(seed=0)
    words = ("unknown agent 'provider_7'", "provider_0, provider_1")
    fails(lambda: env.observe("provider_7"), ValueError, *words)


BAD_SEEDS = [-1, -(2**40), 1.0, True, "0", float("nan"), np.float64(3.0), [0]]


@every_kind
@pytest.mark.parametrize("seed", BAD_SEEDS, ids=repr)
def test_seed(kind: str, seed: Any) -> None:
    words = [f"seed = {seed!r} is not allowed", "a whole number, at least 0"]
    same_after_a_failed_reset(kind, 4, seed, words, scenario="crowd2")
