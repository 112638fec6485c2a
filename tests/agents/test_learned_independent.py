"""Independent learners: M threads on one table play what one loop would, and end together."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from distmllm_agents.learned.independent import Round, Seat, StoppedError
from distmllm_agents.learned.randomness import get_random_state, set_random_state, untouched
from distmllm_agents.learned.table import Table
from distmllm_env import Scenario

MARKETS, SLOTS, SEED = 4, 6, 5
PATIENCE_S = 20.0


def make(
    case: str = "crowd2",
    view: str = "last",
    scale: float = 1.0,
    discrete: bool = False,
    seed: int = SEED,
    **options: Any,
) -> Round:
    """Learners of crowd2's three providers, or of others', at a table that has been started."""
    scenario = Scenario.load(case, slots=SLOTS)
    settings = {"reward": "profit", "stagger": True} | options
    table = Table(scenario, MARKETS, view, False, **settings)
    table.start(list(range(seed, seed + MARKETS)))
    return Round(table, view, scale, discrete)


def states(count: int, first: int = 0) -> list[Any]:
    """Random states of as many learners; the generators stay as they are."""
    made = []
    with untouched():
        for i in range(first, first + count):
            torch.manual_seed(i)
            np.random.seed(i)  # noqa: NPY002
            random.seed(i)
            made.append(get_random_state())
    return made


def run(round_: Round, learns: Sequence[Callable[[], object]], random: Any = None) -> None:
    """As Round.run, but a deadlock fails the test instead of stopping all tests."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            round_.run(learns, random or states(len(learns)))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    with untouched():
        thread.start()
        thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the learners wait for each other for ever"
    assert not alive()
    if failures:
        raise failures[0]


def alive() -> list[str]:
    """Names of learners' threads that are still there."""
    return [t.name for t in threading.enumerate() if t.name.startswith("provider_")]


def draws() -> tuple[Any, ...]:
    """Some random numbers of each kind; an odd number of normal ones, as they are made in pairs."""
    return (
        torch.rand(2).tolist(),
        torch.randn(3).tolist(),
        np.random.rand(),  # noqa: NPY002
        np.random.randn(),  # noqa: NPY002
        random.random(),
        random.gauss(0.0, 1.0),
    )


class Learner:
    """Plays random choices of its own and keeps all that it is told.

    Args:
        seat: Its environment.
        slots: How many to play.
        number: Seeds its choices.
    """

    def __init__(self, seat: Seat, slots: int, number: int) -> None:
        self.seat, self.slots, self.number = seat, slots, number
        self.told: list[Any] = []
        self.played: list[np.ndarray] = []

    def __call__(self) -> None:
        rng = np.random.default_rng([7, self.number])
        n = self.seat.scenario.workers
        self.told.append((self.seat.reset(), self.seat.action_masks()))
        for _ in range(self.slots):
            choices = rng.integers(n + 1, size=(MARKETS, 2))
            if rng.random() < 0.5:
                choices[rng.random(choices.shape) < 0.8] = 0
            self.played.append(choices)
            self.told.append((*self.seat.step(choices), self.seat.action_masks()))


def learners(round_: Round, slots: int = 2 * SLOTS + 3) -> list[Learner]:
    return [Learner(seat, slots, i) for i, seat in enumerate(round_.seats)]


def same(found: Any, expected: Any, where: str = "answer") -> None:
    """Bit for bit."""
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
    else:
        assert found == expected, where


CASES: dict[str, dict[str, Any]] = {
    "two": {"case": "toy"},
    "three": {"case": "crowd2"},
    "ten": {"case": "scarce"},
    "some-cannot-run": {"case": "testbed"},
    "statistics": {"case": "crowd2", "view": "statistics"},
    "welfare": {"case": "crowd2", "reward": "welfare"},
    "regret": {"case": "crowd2", "reward": "regret"},
    "scaled": {"case": "crowd2", "scale": 1 / 21},
    "one-world": {"case": "paper", "world_seed": 3, "stagger": False},
}


class TestARound:
    @pytest.mark.parametrize("options", CASES.values(), ids=CASES)
    def test_is_the_table_with_all_choices_at_once(self, options: dict[str, Any]) -> None:
        ours, table = make(**options), make(**options).table
        playing = learners(ours)
        run(ours, playing)
        scale, m = options.get("scale", 1.0), table.scenario.providers
        total, length = np.zeros((MARKETS, m)), np.zeros(MARKETS, int)
        for i, learner in enumerate(playing):
            own = table.action_masks[:, i].reshape(MARKETS, -1)
            same(learner.told[0], (table.view[:, i], own))
        ended = 0
        for t in range(2 * SLOTS + 3):
            turn = table.play(np.stack([learner.played[t] for learner in playing], axis=1))
            earned = (turn.reward * scale).astype(np.float32)
            total += earned
            length += 1
            for i, learner in enumerate(playing):
                view, reward, over, infos, own = learner.told[t + 1]
                same(view, turn.view[:, i])
                same(reward, earned[:, i])
                same(over, turn.over)
                same(own, table.action_masks[:, i].reshape(MARKETS, -1))
                assert len(infos) == MARKETS
                for b in range(MARKETS):
                    if not over[b]:
                        assert infos[b] == {}
                        continue
                    ended += 1
                    same(infos[b].pop("terminal_observation"), turn.last_view[b, i])
                    episode = {"r": total[b, i], "l": length[b]}
                    assert infos[b] == {"TimeLimit.truncated": True, "episode": episode}
            total[turn.over], length[turn.over] = 0.0, 0
        assert ended >= 2 * MARKETS * m
        same(ours.table.state(), table.state())
        assert ours.seconds > 0

    def test_seats_differ(self) -> None:
        """Views, rewards and masks are each provider's own."""
        round_ = make("testbed", world_seed=1)
        playing = learners(round_, 3)
        run(round_, playing)
        for at in (0, 3):
            assert len({learner.told[at][0].tobytes() for learner in playing}) == 6
        assert len({learner.told[3][1].tobytes() for learner in playing}) == 6
        assert len({learner.told[0][1].tobytes() for learner in playing}) > 1

    @pytest.mark.parametrize("view", ["last", "statistics"])
    def test_spaces_are_those_of_one_provider(self, view: str) -> None:
        round_ = make(view=view)
        run(round_, playing := learners(round_, 2))
        assert len(round_.seats) == 3
        for seat, learner in zip(round_.seats, playing, strict=True):
            assert seat.num_envs == MARKETS
            assert seat.action_space.nvec.tolist() == [4, 4]
            assert all(row in seat.observation_space for told in learner.told for row in told[0])
            assert seat.seed(3) == [None] * MARKETS  # seeds are the table's
            assert seat.env_method("action_masks", indices=[1])[0].tolist() == [True] * 8
        assert round_.table.state()["seeds"] == list(range(SEED, SEED + MARKETS))

    def test_discrete_actions(self) -> None:
        first, second = make(discrete=True), make()
        run(second, playing := learners(second))
        told: list[list[Any]] = [[] for _ in first.seats]

        def learn(i: int) -> None:
            seat = first.seats[i]
            assert seat.action_space.n == 16
            seat.reset()
            for choices in playing[i].played:
                told[i].append(seat.step(choices[:, 0] * 4 + choices[:, 1]))

        run(first, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
        for found, learner in zip(told, playing, strict=True):
            same(found, [one[:4] for one in learner.told[1:]])

    def test_of_one(self) -> None:
        scenario = Scenario.load("paper", slots=SLOTS, providers=1)
        tables = [Table(scenario, MARKETS, "last", False, "profit") for _ in range(2)]
        for table in tables:
            table.start([1, 2, 3, 4])
        round_ = Round(tables[0], "last", 1.0, False)
        (learner,) = learners(round_)
        run(round_, [learner])
        for t, choices in enumerate(learner.played):
            same(learner.told[t + 1][0], tables[1].play(choices[:, None]).view[:, 0])

    def test_goes_on_where_it_stopped(self) -> None:
        whole, parts = make(), make()
        run(whole, playing := learners(whole, 9))
        told: list[list[Any]] = [[] for _ in parts.seats]

        def learn(i: int, slots: range) -> None:
            for t in slots:
                told[i].append(parts.seats[i].step(playing[i].played[t]))

        for slots in (range(4), range(4, 4), range(4, 9)):
            run(parts, [lambda i=i, slots=slots: learn(i, slots) for i in range(3)])  # type: ignore[misc]
        for found, learner in zip(told, playing, strict=True):
            same(found, [one[:4] for one in learner.told[1:]])

    def test_one_learner_runs_at_a_time_in_the_order_of_providers(self) -> None:
        round_ = make("scarce")
        events: list[tuple[str, int]] = []

        def learn(i: int) -> None:
            seat = round_.seats[i]
            seat.reset()
            for _ in range(5):
                events.append(("begins", i))
                threading.Event().wait(0.0005)  # the others could do something now
                events.append(("ends", i))
                seat.step(np.zeros((MARKETS, 2), int))
            events.append(("leaves", i))

        run(round_, [lambda i=i: learn(i) for i in range(10)])  # type: ignore[misc]
        once = [(what, i) for i in range(10) for what in ("begins", "ends")]
        assert events == once * 5 + [("leaves", i) for i in range(10)]

    def test_a_slot_is_played_once_all_have_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        round_ = make()
        chosen: list[int] = []
        play = round_.table.play

        def checked(allocation: np.ndarray) -> Any:
            chosen.append(-1)
            return play(allocation)

        monkeypatch.setattr(round_.table, "play", checked)

        def learn(i: int) -> None:
            for _ in range(3):
                chosen.append(i)
                round_.seats[i].step(np.zeros((MARKETS, 2), int))

        run(round_, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
        assert chosen == [0, 1, 2, -1] * 3


class TestRandomNumbers:
    @staticmethod
    def drawing(round_: Round, slots: int = 8) -> tuple[list[Any], list[list[Any]]]:
        """Learners that draw before, between and after slots, some of them more than others."""
        drawn: list[list[Any]] = [[] for _ in round_.seats]

        def learn(i: int) -> None:
            seat = round_.seats[i]
            drawn[i].append(draws())
            seat.reset()
            for t in range(slots):
                drawn[i].extend(draws() for _ in range((i + t) % 3))
                choices = np.random.randint(  # noqa: NPY002
                    seat.scenario.workers + 1, size=(MARKETS, 2)
                )
                drawn[i].append(choices.tolist())
                seat.step(choices)
            drawn[i].append(draws())

        return [lambda i=i: learn(i) for i in range(len(round_.seats))], drawn  # type: ignore[misc]

    def test_each_draws_as_if_it_were_alone(self) -> None:
        round_ = make()
        learns, drawn = self.drawing(round_)
        run(round_, learns, states(3))
        for i, state in enumerate(states(3)):
            with untouched():
                set_random_state(state)
                expected: list[Any] = [draws()]
                for t in range(8):
                    expected.extend(draws() for _ in range((i + t) % 3))
                    choices = np.random.randint(4, size=(MARKETS, 2))  # noqa: NPY002
                    expected.append(choices.tolist())
                expected.append(draws())
            assert drawn[i] == expected

    def test_rounds_are_deterministic(self) -> None:
        answers = []
        for first in (0, 0, 3):
            round_ = make("scarce")
            learns, drawn = self.drawing(round_)
            draws()  # what was drawn before has no part in it
            run(round_, learns, states(10, first))
            answers.append((drawn, round_.table.state()))
        same(answers[0], answers[1])
        assert answers[0][0] != answers[2][0]

    def test_a_market_s_luck_is_no_learner_s(self) -> None:
        """However much learners draw, the slots are those of the seeds."""
        first, second = make(), make()
        run(first, one := learners(first), states(3))
        for learner in (two := learners(second)):
            learner.seat.step_async = self.noisy(learner.seat.step_async)  # type: ignore[method-assign]
        run(second, two, states(3, 8))
        for a, b in zip(one, two, strict=True):
            same(a.told, b.told)

    @staticmethod
    def noisy(call: Any) -> Any:
        def step_async(actions: np.ndarray) -> None:
            draws()
            call(actions)

        return step_async


class Trouble(Exception):
    """What a learner runs into."""


@pytest.mark.parametrize("kind", [Trouble, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("when", ["at once", "after a reset", "after slots", "at the end"])
class TestALearnerThatFails:
    def test_ends_the_round_and_says_why(
        self, kind: type[BaseException], who: int, when: str
    ) -> None:
        round_ = make()
        error = kind("out of luck")
        left: list[int] = []

        def learn(i: int) -> None:
            seat = round_.seats[i]
            try:
                fails = i == who
                if fails and when == "at once":
                    raise error
                seat.reset()
                if fails and when == "after a reset":
                    raise error
                for t in range(8):
                    seat.step(np.zeros((MARKETS, 2), int))
                    if fails and when == "after slots" and t == 3:
                        raise error
                if fails:
                    raise error
            finally:
                left.append(i)

        with pytest.raises(kind) as caught:
            run(round_, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
        assert caught.value is error
        assert not alive()
        if when == "at once":
            assert sorted(left) == list(range(who + 1))  # the others had not begun
        else:
            assert who in left
            assert len(left) == len(set(left))
            if when == "after slots":
                assert sorted(left) == [0, 1, 2]


def test_after_a_failure_a_round_can_be_run_again() -> None:
    round_ = make()

    def fail() -> None:
        raise Trouble

    with pytest.raises(Trouble):
        run(round_, [fail] * 3)
    run(round_, playing := learners(round_, 5))
    run(other := make(), expected := learners(other, 5))
    for found, learner in zip(playing, expected, strict=True):
        same(found.told, learner.told)


def test_the_first_failure_is_the_one_that_is_told() -> None:
    round_ = make()
    first = Trouble("first")

    def learn(i: int) -> None:
        try:
            for _ in range(4):
                round_.seats[i].step(np.zeros((MARKETS, 2), int))
                if i == 1:
                    raise first
        finally:
            if i != 1:  # while it leaves
                raise ValueError("second")

    with pytest.raises(Trouble) as caught:
        run(round_, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
    assert caught.value is first


def test_others_are_told_that_they_were_stopped() -> None:
    round_ = make()
    met: dict[int, BaseException] = {}

    def learn(i: int) -> None:
        try:
            for t in range(5):
                round_.seats[i].step(np.zeros((MARKETS, 2), int))
                if (i, t) == (1, 2):
                    raise Trouble
        except BaseException as error:
            met[i] = error
            raise

    with pytest.raises(Trouble):
        run(round_, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
    assert {i: type(error) for i, error in met.items()} == {
        0: StoppedError,
        1: Trouble,
        2: StoppedError,
    }


def test_an_interrupt_of_the_caller_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while the caller waits; the learners by themselves would go on for ever."""
    round_ = make()
    join, begun, left = threading.Thread.join, threading.Event(), []

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "provider_0":
            monkeypatch.undo()
            assert begun.wait(PATIENCE_S)
            raise KeyboardInterrupt
        join(thread, timeout)

    def learn(i: int) -> None:
        try:
            for t in range(10**9):
                round_.seats[i].step(np.zeros((MARKETS, 2), int))
                if t == 4:
                    begun.set()
        finally:
            left.append(i)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(round_, [lambda i=i: learn(i) for i in range(3)])  # type: ignore[misc]
    assert sorted(left) == [0, 1, 2]


class TestStates:
    def test_bring_back_what_is_drawn(self) -> None:
        with untouched():
            for warm in range(4):
                for _ in range(warm):
                    draws()
                state = get_random_state()
                expected = [draws() for _ in range(3)]
                set_random_state(state)
                assert [draws() for _ in range(3)] == expected
                set_random_state(state)
                assert [draws() for _ in range(3)] == expected  # nothing was written into it

    def test_pass_through_arrays_and_json(self) -> None:
        with untouched():
            draws()
            state = get_random_state()
            expected = draws()
            arrays = {k: v.copy() for k, v in state.items() if isinstance(v, np.ndarray)}
            assert all(table.dtype.kind == "u" for table in arrays.values())
            rest = {k: v for k, v in state.items() if k not in arrays}
            set_random_state(arrays | json.loads(json.dumps(rest)))
            assert draws() == expected

    def test_are_each_their_own(self) -> None:
        with untouched():
            state = get_random_state()
            kept = {k: np.array(v, copy=True) for k, v in state.items() if "rest" not in k}
            draws()
            for name, table in kept.items():
                same(state[name], table)

    @pytest.mark.parametrize("fails", [False, True])
    def test_untouched(self, fails: bool) -> None:
        draws()
        state = get_random_state()
        inside = draws()
        set_random_state(state)
        try:
            with untouched():
                assert draws() == inside
                draws()
                if fails:
                    raise Trouble
        except Trouble:
            assert fails
        same(get_random_state(), state)
        assert draws() == inside


@pytest.mark.parametrize("slots", [(2, 3, 3), (3, 2, 3), (3, 3, 2)])
def test_learners_that_do_not_play_equally_long_are_told(slots: tuple[int, ...]) -> None:
    scenario = Scenario.load("paper", providers=3, workers=3, slots=10)
    table = Table(scenario, 2, "last", False, "profit")
    table.start([0, 1])
    round_ = Round(table, "last", 1.0, False)

    def learn(seat: int) -> None:
        for _ in range(slots[seat]):
            round_.seats[seat].step(np.zeros((2, 2), int))

    learns = [partial(learn, seat) for seat in range(3)]
    with pytest.raises(RuntimeError, match="all must play alike"):
        round_.run(learns, [get_random_state() for _ in range(3)])
