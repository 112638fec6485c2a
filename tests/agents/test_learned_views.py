"""What a learner sees: every number by hand or by slow loops, and nothing that it must not know."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distmllm_env
from distmllm_agents.learned.views import (
    MARKET,
    PAIR,
    TASK,
    VIEWS,
    WORKER,
    LastSlot,
    Statistics,
    find_view,
)
from distmllm_env import Market, Scenario, Status, draw_world
from distmllm_env.envs.observation import masks
from distmllm_env.policy import Feedback, Problem, make_feedback, make_problem

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "paper": ("paper", {}),
    "testbed": ("testbed", {}),
    "crowd2": ("crowd2", {}),
    "scarce": ("scarce", {}),
    "wide": ("paper", {"providers": 2, "workers": 7}),
    "share": ("scarce", {"market.overload": "share", "market.transfer_cost_per_mb": 0.2}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
    "alone": ("toy", {"providers": 1, "workers": 1, "performance": 1.0, "demand": 1,
                      "capacity": 1, "reward.value_enc": 2.0, "reward.value_llm": 4.0}),
}  # fmt: skip
SEEDS = [5, 0, 9]
SEED = st.integers(0, 2**32)
every_case = pytest.mark.parametrize("case", CASES)
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


class Blocks(NamedTuple):
    """A dispatcher's view taken apart."""

    pair: np.ndarray
    task: np.ndarray
    worker: np.ndarray
    market: np.ndarray


def take_apart(view: np.ndarray, tasks: int, workers: int) -> Blocks:
    """Split (..., D) as the documentation of Statistics says."""
    assert view.dtype == np.float32
    ends = np.cumsum([tasks * workers * 8, tasks * 5, workers * 2, 2])
    assert view.shape[-1] == ends[-1]
    pair, task, worker, market = np.split(view, ends[:-1], axis=-1)
    lead = view.shape[:-1]
    return Blocks(
        pair.reshape(*lead, tasks // 2, 2, workers, 8),
        task.reshape(*lead, tasks // 2, 2, 5),
        worker.reshape(*lead, workers, 2),
        market,
    )


def places_by_sorting(demand: list[float], data: list[float]) -> dict[tuple[int, int], int]:
    """Falling demand, LLM before ENC, then falling data."""
    tasks = [(m, s) for m in range(len(demand)) for s in range(2)]
    tasks.sort(key=lambda task: (-demand[task[0]], -task[1], -data[task[0]]))
    return {task: place for place, task in enumerate(tasks)}


def pair_by_loops(
    problem: Problem, history: Sequence[Feedback], b: int, m: int, s: int, n: int
) -> list[float]:
    """The first seven numbers of a pair and its mean, from the whole history."""
    tries = [t for t, told in enumerate(history) if told.allocation[b, m, s] == n]
    served = [t for t in tries if history[t].admitted[b, m, s]]
    count = len(served)
    mean = sum(history[t].profit[b, m, s] for t in served) / count if count else 0.0
    age = len(history) - 1 - served[-1] if served else None
    chosen = bool(history) and history[-1].allocation[b, m, s] == n
    return [
        mean / problem.value_scale,
        count / (count + 1),
        count / (count + 16),
        1.0 if age is None else age / (age + 16),
        count / len(tries) if tries else 1.0,
        float(chosen),
        float(problem.feasible[b, s, m, n]),
        mean,
    ]


def by_loops(problem: Problem, history: Sequence[Feedback], b: int) -> list[float]:
    """All numbers of a dispatcher's view of row ``b`` in their order, one by one."""
    m, n = problem.providers, problem.workers
    demand, capacity, data, price, transfer = (
        getattr(problem, name)[b].tolist()
        for name in ("demand", "capacity", "data_bytes", "price", "transfer_cost")
    )
    top = max(demand + capacity)
    unit = problem.profit_std[b] if problem.profit_std[b] > 0 else problem.value_scale
    view: list[float] = []
    for i in range(m):
        for s in range(2):
            pairs = [pair_by_loops(problem, history, b, i, s, k) for k in range(n)]
            seen = [pair[7] for pair in pairs if pair[1] > 0]
            for pair in pairs:
                level = sum(seen) / len(seen) if seen else 0.0
                view += [*pair[:7], (pair[7] - level) / unit if pair[1] > 0 else 0.0]
    place = places_by_sorting(demand, data)
    for i in range(m):
        for s in range(2):
            view += [
                demand[i] / top,
                data[i] / (sum(data) / m),
                float(s),
                transfer[i] / problem.value_scale,
                place[i, s] / (2 * m),
            ]
    for k in range(n):
        mean_price = sum(price) / n
        view += [capacity[k] / top, price[k] / mean_price if mean_price > 0 else 0.0]
    slot = len(history)
    room = sum(capacity) * (2 if problem.per_stage else 1)
    view += [slot / (slot + 16), 2 * sum(demand) / room if room > 0 else 0.0]
    return view


def load(case: str, **keys: Any) -> Scenario:
    name, overrides = CASES[case]
    return Scenario.load(name, overrides, **keys)


def choices(scenario: Scenario, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Any choices, every other time with most tasks on one worker."""
    n = scenario.workers
    allocation = rng.integers(n + 1, size=(batch, scenario.providers, 2))
    if rng.random() < 0.5:
        allocation[rng.random(allocation.shape) < 0.8] = rng.integers(n)
    return allocation


def histories(scenario: Scenario, slots: int, seeds: Sequence[int]) -> tuple[Problem, list[Any]]:
    """What is known of some runs, and the feedback of their slots under random choices."""
    market, rng = Market(scenario, seeds), np.random.default_rng(2)
    told = []
    for _ in range(slots):
        allocation = choices(scenario, len(seeds), rng)
        told.append(make_feedback(market.step(allocation), allocation))
    return make_problem(market.world), told


def close(found: np.ndarray, expected: Any, where: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6, err_msg=where)


def same(found: Any, expected: Any) -> None:
    """Bit for bit."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def feed(view: Any, history: Sequence[Feedback]) -> Any:
    for told in history:
        view.update(told)
    return view


@pytest.fixture
def problem() -> Problem:
    """Two providers, two workers; the second one's encoder cannot run on the first worker."""
    feasible = np.ones((1, 2, 2, 2), bool)
    feasible[0, 0, 1, 0] = False
    return replace(
        make_problem(draw_world(Scenario.load("toy"), [0])),
        demand=np.array([[1.0, 2.0]]),
        capacity=np.array([[2.0, 8.0]]),
        data_bytes=np.array([[1e6, 3e6]]),
        tensor_bytes=np.array([[1e6, 2e6]]),
        price=np.array([[0.5, 1.5]]),
        transfer_cost=np.array([[0.25, 0.5]]),
        feasible=feasible,
        per_stage=False,
        soft_capacity=False,
        profit_range=np.array([7.0]),
        profit_std=np.array([0.5]),
        value_scale=4.0,
    )


def slot(allocation: Any, admitted: Any, profit: Any) -> Feedback:
    rows = np.array([allocation]), np.array([admitted], bool), np.array([profit], float)
    return Feedback(*rows, load=np.zeros((1, 2)))


# ENC 0 is served twice and rejected once, LLM 0 served by both workers, ENC 1 rejected, served at a
# loss and sent where it cannot run, LLM 1 deferred and then served.
HISTORY = [
    slot([[0, 1], [1, 2]], [[1, 1], [0, 0]], [[1.0, 2.0], [0.0, 0.0]]),
    slot([[0, 0], [1, 1]], [[1, 1], [1, 1]], [[2.0, 3.0], [-1.0, 0.5]]),
    slot([[1, 2], [0, 1]], [[0, 0], [0, 1]], [[0.0, 0.0], [0.0, 1.5]]),
]
UNSEEN = [0, 0, 0, 1, 1, 0, 1, 0]
UNABLE = [0, 0, 0, 1, 1, 0, 0, 0]
BY_HAND = {
    0: [[[UNSEEN, UNSEEN], [UNSEEN, UNSEEN]], [[UNABLE, UNSEEN], [UNSEEN, UNSEEN]]],
    1: [
        [
            [[0.25, 1 / 2, 1 / 17, 0, 1, 1, 1, 0], UNSEEN],
            [UNSEEN, [0.5, 1 / 2, 1 / 17, 0, 1, 1, 1, 0]],
        ],
        [
            [UNABLE, [0, 0, 0, 1, 0, 1, 1, 0]],  # rejected
            [UNSEEN, UNSEEN],  # deferred
        ],
    ],
    3: [
        [
            [
                [1.5 / 4, 2 / 3, 2 / 18, 1 / 17, 1, 0, 1, 0],
                [0, 0, 0, 1, 0, 1, 1, 0],  # rejected
            ],
            [  # means 3 and 2, each a standard deviation from 2.5
                [3 / 4, 1 / 2, 1 / 17, 1 / 17, 1, 0, 1, 1],
                [2 / 4, 1 / 2, 1 / 17, 2 / 18, 1, 0, 1, -1],
            ],
        ],
        [
            [
                [0, 0, 0, 1, 0, 1, 0, 0],  # infeasible
                [-1 / 4, 1 / 2, 1 / 17, 1 / 17, 1 / 2, 0, 1, 0],
            ],
            [UNSEEN, [1 / 4, 2 / 3, 2 / 18, 0, 1, 1, 1, 0]],
        ],
    ],
}


class TestStatisticsByHand:
    @pytest.mark.parametrize("slots", BY_HAND)
    def test_pairs(self, problem: Problem, slots: int) -> None:
        view = feed(Statistics(problem), HISTORY[:slots])
        expected = np.array(BY_HAND[slots], np.float32)
        found = take_apart(view.central(slots), 4, 2).pair[0]
        np.testing.assert_array_almost_equal_nulp(found, expected, 1)
        each = take_apart(view.providers(slots), 2, 2).pair[0, :, 0]
        np.testing.assert_array_almost_equal_nulp(each, expected, 1)

    @pytest.mark.parametrize("slots", BY_HAND)
    def test_tasks_workers_and_market(self, problem: Problem, slots: int) -> None:
        view = feed(Statistics(problem), HISTORY[:slots])
        tasks = [  # the second provider is placed first, LLM before ENC; then the first one
            [[1 / 8, 0.5, 0, 0.0625, 3 / 4], [1 / 8, 0.5, 1, 0.0625, 2 / 4]],
            [[2 / 8, 1.5, 0, 0.125, 1 / 4], [2 / 8, 1.5, 1, 0.125, 0]],
        ]
        workers = [[2 / 8, 0.5], [1, 1.5]]
        market = [{0: 0.0, 1: 1 / 17, 3: 3 / 19}[slots], 6 / 10]
        found = take_apart(view.central(slots), 4, 2)
        same(found.task[0], np.array(tasks, np.float32))
        same(found.worker[0], np.array(workers, np.float32))
        same(found.market[0], np.array(market, np.float32))
        each = take_apart(view.providers(slots), 2, 2)
        same(each.task[0, :, 0], np.array(tasks, np.float32))
        for i in range(2):
            same(each.worker[0, i], np.array(workers, np.float32))
            same(each.market[0, i], np.array(market, np.float32))

    def test_where_the_numbers_lie(self, problem: Problem) -> None:
        """The same view, number by number along the vector."""
        view = feed(Statistics(problem), HISTORY)
        pairs = np.array(BY_HAND[3], np.float32)
        flat = view.central(3)[0]
        same(flat[64:69], np.array([1 / 8, 0.5, 0, 0.0625, 3 / 4], np.float32))
        same(flat[84:86], np.array([2 / 8, 0.5], np.float32))
        same(flat[88:], np.array([3 / 19, 0.6], np.float32))
        own = view.providers(3)[0, 1]
        close(flat[:64], pairs.ravel())
        close(own[:32], pairs[1].ravel())
        same(own[32:], np.concatenate([flat[74:84], flat[84:]]))

    def test_per_stage_there_is_twice_the_room(self, problem: Problem) -> None:
        view = Statistics(replace(problem, per_stage=True))
        assert view.central(0)[0, -1] == np.float32(0.3)

    def test_without_noise_the_unit_of_distances_is_the_largest_value(
        self, problem: Problem
    ) -> None:
        view = feed(Statistics(replace(problem, profit_std=np.zeros(1))), HISTORY)
        pair = take_apart(view.central(3), 4, 2).pair[0]
        assert pair[0, 1, :, 7].tolist() == [0.125, -0.125]

    def test_order_of_placing_goes_by_stage_before_data(self, problem: Problem) -> None:
        three = replace(
            problem,
            providers=3,
            demand=np.ones((1, 3)),
            data_bytes=np.array([[1e6, 3e6, 2e6]]),
            transfer_cost=np.zeros((1, 3)),
            feasible=np.ones((1, 2, 3, 2), bool),
        )
        task = take_apart(Statistics(three).central(0), 6, 2).task[0]
        close(task[..., 4] * 6, [[5, 2], [3, 0], [4, 1]])

    def test_free_energy_and_workers_without_room(self, problem: Problem) -> None:
        poor = replace(problem, price=np.zeros((1, 2)), capacity=np.zeros((1, 2)))
        found = take_apart(Statistics(poor).central(0), 4, 2)
        assert found.worker[0].tolist() == [[0, 0], [0, 0]]
        assert found.market[0].tolist() == [0, 0]

    @pytest.mark.parametrize("slots", [0, 1, 3])
    def test_toy(self, slots: int) -> None:
        """Both encoders want the one place on worker 0, both LLMs are served by worker 1."""
        scenario = Scenario.load("toy", {"market.overload": "reject_all"})
        market = Market(scenario, [0])
        view = Statistics(make_problem(market.world))
        allocation = np.array([[[0, 1], [0, 1]]])
        for _ in range(slots):
            view.update(make_feedback(market.step(allocation), allocation))
        share, seen = slots / (slots + 1), slots > 0
        enc = [[0, 0, 0, 1, 0 if seen else 1, seen, 1, 0], UNSEEN]
        llm = [
            [profit / 4 * seen, share, slots / (slots + 16), 0 if seen else 1, 1, seen, 1, 0]
            for profit in (2.6, 1.6)
        ]
        found = take_apart(view.central(slots), 4, 2)
        close(found.pair[0], [[enc, [UNSEEN, llm[0]]], [enc, [UNSEEN, llm[1]]]])
        places = [[2 / 4, 0], [3 / 4, 1 / 4]]  # equal in all: as they are numbered
        close(found.task[0], [[[0.5, 1, s, 0, p] for s, p in enumerate(row)] for row in places])
        close(found.worker[0], [[0.5, 1], [1, 1]])
        close(found.market[0], [slots / (slots + 16), 4 / 3])


class TestStatisticsByLoops:
    @every_case
    def test_played_markets(self, case: str) -> None:
        scenario = load(case)
        problem, history = histories(scenario, 20, SEEDS)
        view, m = Statistics(problem), scenario.providers
        for slots in range(21):
            if slots in (0, 1, 3, 20):
                found = view.central(slots)
                for b in range(len(SEEDS)):
                    close(found[b], by_loops(problem, history[:slots], b), f"{b}, {slots}")
            if slots < 20:
                view.update(history[slots])
        assert found.shape == (len(SEEDS), 16 * m * scenario.workers + 10 * m
                               + 2 * scenario.workers + 2)  # fmt: skip

    def test_the_cases_meet_all_that_can_happen(self) -> None:
        seen = set()
        for case in CASES:
            scenario = load(case)
            market, rng = Market(scenario, SEEDS), np.random.default_rng(2)
            for _ in range(20):
                seen |= set(market.step(choices(scenario, 3, rng)).status.ravel().tolist())
        assert seen == set(Status)

    @given(m=st.integers(1, 3), n=st.integers(1, 4), slots=st.integers(0, 6), seed=SEED)
    @settings(max_examples=60, deadline=None)
    def test_any_feedback(self, m: int, n: int, slots: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        batch = 2
        known = replace(
            make_problem(draw_world(Scenario.load("toy"), [0, 1])),
            providers=m,
            workers=n,
            demand=rng.integers(1, 4, (batch, m)).astype(float),
            capacity=rng.integers(0, 6, (batch, n)).astype(float),
            data_bytes=rng.integers(1, 4, (batch, m)) * 1e6,
            tensor_bytes=rng.random((batch, m)),
            price=rng.integers(0, 3, (batch, n)).astype(float),
            transfer_cost=rng.random((batch, m)),
            feasible=rng.random((batch, 2, m, n)) < 0.7,
            per_stage=bool(rng.integers(2)),
            soft_capacity=bool(rng.integers(2)),
            profit_range=rng.random(batch),
            profit_std=rng.random(batch) * rng.integers(0, 2, batch),
            value_scale=float(rng.integers(1, 5)),
        )
        history = []
        for _ in range(slots):
            allocation = rng.integers(n + 1, size=(batch, m, 2))
            admitted = (rng.random(allocation.shape) < 0.7) & (allocation < n)
            profit = np.where(admitted, rng.normal(size=allocation.shape), 0.0)
            history.append(Feedback(allocation, admitted, profit, np.zeros((batch, n))))
        found = feed(Statistics(known), history).central(slots)
        for b in range(batch):
            expected = by_loops(known, history, b)
            # Distances are in units that may be tiny.
            np.testing.assert_allclose(found[b], expected, rtol=1e-5, atol=1e-5)


class TestBothViews:
    @every_view
    @every_case
    def test_fit_their_spaces(self, view: Any, case: str) -> None:
        scenario = load(case)
        m, n = scenario.providers, scenario.workers
        problem, history = histories(scenario, 4, SEEDS)
        seen = view(problem)
        for slots in range(5):
            one, each = seen.central(slots), seen.providers(slots)
            spaces = view.space(True, m, n), view.space(False, m, n)
            assert all(space.dtype == np.float32 for space in spaces)
            assert one.shape == (len(SEEDS), *spaces[0].shape)
            assert each.shape == (len(SEEDS), m, *spaces[1].shape)
            assert one.dtype == each.dtype == np.float32
            assert np.isfinite(one).all()
            assert np.isfinite(each).all()
            assert all(row in spaces[0] for row in one)
            assert all(row in spaces[1] for row in each.reshape(-1, each.shape[-1]))
            if slots < 4:
                seen.update(history[slots])

    def test_sizes(self) -> None:
        assert (PAIR, TASK, WORKER, MARKET) == (8, 5, 2, 2)
        for m, n in ((1, 1), (2, 2), (5, 5), (3, 8)):
            size = 2 * m * n * 8 + 2 * m * 5 + n * 2 + 2
            assert Statistics.space(True, m, n).shape == (size,)
            assert Statistics.space(False, m, n).shape == (2 * n * 8 + 2 * 5 + n * 2 + 2,)
            assert LastSlot.space(True, m, n).shape == (1 + 8 * m + 3 * n,)
            assert LastSlot.space(False, m, n).shape == (9 + 3 * n + 2 * (n + 1),)

    @every_case
    def test_a_provider_sees_its_own_rows_of_the_dispatcher_s_statistics(self, case: str) -> None:
        scenario = load(case)
        m, n = scenario.providers, scenario.workers
        problem, history = histories(scenario, 6, SEEDS)
        view = feed(Statistics(problem), history)
        whole = take_apart(view.central(6), 2 * m, n)
        own = take_apart(view.providers(6), 2, n)
        for i in range(m):
            same(own.pair[:, i, 0], whole.pair[:, i])
            same(own.task[:, i, 0], whole.task[:, i])
            same(own.worker[:, i], whole.worker)
            same(own.market[:, i], whole.market)

    @every_view
    def test_rows_may_be_at_different_slots(self, view: Any) -> None:
        problem, history = histories(load("paper"), 3, SEEDS)
        seen = feed(view(problem), history)
        slots = np.array([3, 0, 7])
        for name in ("central", "providers"):
            together = getattr(seen, name)(slots)
            for b, at in enumerate(slots.tolist()):
                same(together[b], getattr(seen, name)(at)[b])

    @every_view
    @every_case
    def test_rows_are_single_runs(self, view: Any, case: str) -> None:
        scenario = load(case)
        problem, history = histories(scenario, 5, SEEDS)
        together = feed(view(problem), history)
        for b, seed in enumerate(SEEDS):
            alone = view(make_problem(draw_world(scenario, [seed])))
            for told in history:
                row = {f.name: getattr(told, f.name) for f in fields(Feedback)}
                alone.update(Feedback(**{k: v[b : b + 1] for k, v in row.items() if v is not None}))
            same(alone.central(5)[0], together.central(5)[b])
            same(alone.providers(5)[0], together.providers(5)[b])

    @every_view
    def test_what_was_seen_stays_as_it_was(self, view: Any) -> None:
        problem, history = histories(load("paper"), 4, SEEDS)
        seen = view(problem)
        kept, copies = [], []
        for at, told in enumerate(history):
            kept += [seen.central(at), seen.providers(at)]
            copies += [table.copy() for table in kept[-2:]]
            seen.update(told)
        for table, was in zip(kept, copies, strict=True):
            same(table, was)

    @every_view
    @every_case
    def test_memory_is_all_there_is_to_remember(self, view: Any, case: str) -> None:
        problem, history = histories(load(case), 8, SEEDS)
        first = feed(view(problem), history[:5])
        memory = copy.deepcopy(first.memory())
        assert all(len(table) == len(SEEDS) for table in memory.values())
        second = feed(view(problem), history[6:])
        second.update(history[7])
        for name, table in second.memory().items():
            table[...] = memory[name]
        for at in range(5, 9):
            same(second.central(at), first.central(at))
            same(second.providers(at), first.providers(at))
            if at < 8:
                first.update(history[at])
                second.update(history[at])

    @every_view
    def test_rows_of_memory_can_be_put_into_another_view(self, view: Any) -> None:
        problem, history = histories(load("paper"), 5, SEEDS)
        first, second = feed(view(problem), history), view(problem)
        rows = np.array([True, False, True])
        for name, table in second.memory().items():
            table[rows] = first.memory()[name][rows]
        found, fresh = second.central(5), view(problem).central(5)
        same(found[rows], first.central(5)[rows])
        same(found[~rows], fresh[~rows])

    def test_names(self) -> None:
        assert find_view("last") is LastSlot
        assert find_view("statistics") is Statistics
        with pytest.raises(ValueError, match=r"unknown observation 'statistic'.*'statistics'"):
            find_view("statistic")


class TestRenaming:
    @every_case
    def test_providers_and_workers(self, case: str) -> None:
        """Data sizes are no whole numbers, so that no two providers come at the same place."""
        scenario = load(case)
        m, n = scenario.providers, scenario.workers
        problem, history = histories(scenario, 7, SEEDS)
        problem = replace(problem, data_bytes=np.random.default_rng(3).random((3, m)) + 0.5)
        rng = np.random.default_rng(4)
        providers, workers = rng.permutation(m), rng.permutation(n)
        renamed = self.rename(problem, providers, workers)
        name = np.append(np.argsort(workers), n)  # new number of each worker; defer stays
        told = [
            Feedback(
                name[one.allocation[:, providers]],
                one.admitted[:, providers],
                one.profit[:, providers],
                one.load[:, workers],
            )
            for one in history
        ]
        if case == "paper":
            assert (providers != np.arange(m)).any()
            assert (workers != np.arange(n)).any()
        before = take_apart(feed(Statistics(problem), history).central(7), 2 * m, n)
        after = take_apart(feed(Statistics(renamed), told).central(7), 2 * m, n)
        close(after.pair, before.pair[:, providers][:, :, :, workers])
        close(after.task, before.task[:, providers])
        close(after.worker, before.worker[:, workers])
        close(after.market, before.market)
        own = feed(Statistics(problem), history).providers(7)
        renamed_own = feed(Statistics(renamed), told).providers(7)
        for found, expected in zip(
            take_apart(renamed_own, 2, n), take_apart(own[:, providers], 2, n), strict=True
        ):
            by_worker = {(3, 1, 2, n, 8): 4, (3, m, 1, 2, n, 8): 4, (3, m, n, 2): 2}
            axis = by_worker.get(expected.shape)
            close(found, expected if axis is None else expected.take(workers, axis))

    @staticmethod
    def rename(problem: Problem, providers: np.ndarray, workers: np.ndarray) -> Problem:
        own = ("demand", "data_bytes", "tensor_bytes", "transfer_cost")
        changed = {name: getattr(problem, name)[:, providers] for name in own}
        changed |= {name: getattr(problem, name)[:, workers] for name in ("capacity", "price")}
        return replace(problem, feasible=problem.feasible[:, :, providers][..., workers], **changed)


class TestNothingIsSeenThatIsNotTold:
    @every_case
    def test_of_the_horizon_in_statistics(self, case: str) -> None:
        problem, history = histories(load(case), 5, SEEDS)
        other = replace(problem, slots=problem.slots * 3 + 1)
        views = [feed(Statistics(known), history) for known in (problem, other)]
        same(views[0].central(5), views[1].central(5))
        same(views[0].providers(5), views[1].providers(5))

    def test_of_the_horizon_but_the_time_in_the_last_slot(self) -> None:
        problem, history = histories(load("paper", slots=10), 5, SEEDS)
        views = [
            feed(LastSlot(known), history).central(5)
            for known in (problem, replace(problem, slots=20))
        ]
        assert (views[0][:, 0] == 0.5).all()
        assert (views[1][:, 0] == 0.25).all()
        same(views[0][:, 1:].copy(), views[1][:, 1:].copy())

    @every_view
    @pytest.mark.parametrize("case", ["paper", "share"])
    def test_of_the_world(self, view: Any, case: str) -> None:
        """Two worlds that differ in what is hidden alone, and what happened in one of them."""
        scenario = load(case)
        slower = Scenario.load(scenario, {"performance": 0.3, "latency.worker_factor": 1.7})
        worlds = [draw_world(one, SEEDS) for one in (scenario, slower)]
        assert (worlds[0].mean_profit != worlds[1].mean_profit).any()
        assert (worlds[0].performance != worlds[1].performance).all()
        first, second = (make_problem(world, "world") for world in worlds)
        told_of_profits = ("profit_range", "profit_std")
        for f in fields(Problem):
            if f.name not in ("world", "performance", *told_of_profits):
                assert np.array_equal(getattr(first, f.name), getattr(second, f.name)), f.name
        second = replace(second, **{name: getattr(first, name) for name in told_of_profits})
        third = make_problem(worlds[0])  # the world is not even there
        _, history = histories(scenario, 6, SEEDS)
        views = [view(known) for known in (first, second, third)]
        for at in range(7):
            for name in ("central", "providers"):
                expected = getattr(views[0], name)(at)
                for other in views[1:]:
                    same(getattr(other, name)(at), expected)
            if at < 6:
                feed_all(views, history[at])

    @every_view
    def test_of_measured_latency_and_energy(self, view: Any) -> None:
        problem, history = histories(load("paper"), 4, SEEDS)
        noise = np.random.default_rng(0)
        measured = [
            replace(told, latency_s=noise.random(told.profit.shape), energy_j=told.profit + 1)
            for told in history
        ]
        same(feed(view(problem), measured).central(4), feed(view(problem), history).central(4))

    @every_view
    def test_before_the_first_slot_profits_have_no_part_in_it(self, view: Any) -> None:
        problem, _ = histories(load("paper"), 0, SEEDS)
        other = replace(
            problem, profit_range=problem.profit_range * 3, profit_std=problem.profit_std * 5
        )
        same(view(other).central(0), view(problem).central(0))


def feed_all(views: Sequence[Any], told: Feedback) -> None:
    for view in views:
        view.update(copy.deepcopy(told))


@pytest.mark.parametrize("way", ["compiled", "numpy"])
@pytest.mark.parametrize("case", ["paper", "testbed", "toy", "per-stage"])
class TestLastSlotIsWhatEnvironmentsShow:
    SLOTS = 12

    @pytest.fixture(autouse=True)
    def loops(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if way == "compiled":
            pytest.importorskip("numba")
            return
        for place in ("market", "envs.observation"):
            monkeypatch.setattr(f"distmllm_env.{place}.kernel", lambda: None)

    def episode(self, case: str, look: Callable[[Any, int], None]) -> None:
        """Play markets of SEEDS and let ``look`` see the view and the choices that led to it."""
        scenario = load(case, slots=self.SLOTS)
        market, rng = Market(scenario, SEEDS), np.random.default_rng(1)
        view = LastSlot(make_problem(market.world))
        self.last: np.ndarray | None = None
        look(view, 0)
        for at in range(1, self.SLOTS + 1):
            self.last = choices(scenario, len(SEEDS), rng)
            view.update(make_feedback(market.step(self.last), self.last))
            look(view, at)

    def test_to_a_dispatcher(self, case: str) -> None:
        name, overrides = CASES[case]
        options = {"scenario": name, "overrides": overrides, "slots": self.SLOTS}
        envs = [gym.make("DistMLLM-v0", **options) for _ in SEEDS]

        def look(view: LastSlot, at: int) -> None:
            for b, env in enumerate(envs):
                if self.last is None:
                    seen, _ = env.reset(seed=SEEDS[b])
                else:
                    seen, _, _, over, _ = env.step(self.last[b].ravel())
                    assert over == (at == self.SLOTS)
                same(view.central(at)[b], seen)

        self.episode(case, look)

    def test_to_providers(self, case: str) -> None:
        name, overrides = CASES[case]
        options = {"scenario": name, "overrides": overrides, "slots": self.SLOTS}
        envs = [distmllm_env.parallel_env(**options) for _ in SEEDS]
        agents = envs[0].possible_agents

        def look(view: LastSlot, at: int) -> None:
            for b, env in enumerate(envs):
                if self.last is None:
                    seen, _ = env.reset(seed=SEEDS[b])
                else:
                    seen = env.step(dict(zip(agents, self.last[b], strict=True)))[0]
                for m, agent in enumerate(agents):
                    same(view.providers(at)[b, m], seen[agent])

        self.episode(case, look)

    def test_masks_are_those_of_what_is_known(self, case: str) -> None:
        world = draw_world(load(case), SEEDS)
        known = masks(make_problem(world))
        assert known.tolist() == masks(world).tolist()
        feasible = take_apart(
            Statistics(make_problem(world)).central(0), 2 * len(known[0]), known.shape[-1] - 1
        ).pair[..., 6]
        assert feasible.tolist() == known[..., :-1].tolist()
