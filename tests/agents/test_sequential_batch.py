"""Algorithm 2 on many rows at once against the same rows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_agents.distmllm import DistMLLM, MonolithicDistMLLM
from distmllm_agents.mapping import MappingBatch, sequential_batch, solve_sequential
from distmllm_agents.mapping.problem import (
    OUT,
    disaggregated,
    disaggregated_batch,
    monolithic,
    monolithic_batch,
    to_allocation,
)
from distmllm_agents.mapping.sequential import ORDERS
from distmllm_agents.mapping.sequential_batch import solve_sequential_batch
from distmllm_env import Scenario, draw_world, play
from distmllm_env.policy import Problem, make_problem


@pytest.fixture(autouse=True)
def no_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows go through the tables, too."""
    monkeypatch.setattr(sequential_batch, "FEW", 0)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The items of every problem that is solved by itself."""
    items: list[int] = []

    def counting(problem: Any, *args: Any, **options: Any) -> Any:
        items.append(len(problem.utility))
        return solve_sequential(problem, *args, **options)

    monkeypatch.setattr(sequential_batch, "solve_sequential", counting)
    return items


def one_by_one(batch: MappingBatch, **options: Any) -> np.ndarray:
    return np.array(
        [solve_sequential(batch.row(r), **options).choice for r in range(len(batch.weight))]
    ).reshape(batch.weight.shape)


def batch_of(utility: Any, weight: Any, capacity: Any) -> MappingBatch:
    """The same weights and capacities in all rows, every pair allowed."""
    utility = np.array(utility, float)
    rows = len(utility)
    return MappingBatch(
        utility,
        np.tile(np.array(weight, float), (rows, 1)),
        np.tile(np.array(capacity, float), (rows, 1)),
        np.ones(utility.shape, bool),
    )


WEIGHTS = {
    "equal": lambda rng, shape: np.full(shape, rng.integers(1, 4)),
    "whole": lambda rng, shape: rng.integers(1, 6, shape),
    "real": lambda rng, shape: rng.integers(1, 15, shape) / 3,
    "some real": lambda rng, shape: (
        rng.integers(1, 9, shape) / rng.choice([1, 1, 2], (shape[0], 1))
    ),
    "one giant": lambda rng, shape: np.where(rng.random(shape) < 0.1, 10**7, 2),
}
CAPACITIES = {
    "whole": lambda rng, shape: rng.integers(0, 12, shape),
    "dust": lambda rng, shape: rng.integers(1, 9, shape) - rng.choice([0, 1e-12, 0.1], shape),
    "huge": lambda rng, shape: rng.choice([3, 1000, 10**6], shape),
}


@st.composite
def batches(draw: Any) -> MappingBatch:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, items = draw(st.integers(1, 7)), draw(st.sampled_from([1, 2, 3, 4, 6, 8, 20]))
    workers = draw(st.integers(1, 5))
    shape = rows, items, workers
    # Few steps of utility give many ties, of items and of workers, and residuals of exactly 0.
    values = draw(st.sampled_from(["ties", "tenths", "real"]))
    utility = {
        "ties": rng.integers(-1, 4, shape).astype(float),
        "tenths": rng.integers(-20, 60, shape) / 10,
        "real": rng.normal(1, 1, shape),
    }[values]
    return MappingBatch(
        utility,
        WEIGHTS[draw(st.sampled_from(sorted(WEIGHTS)))](rng, (rows, items)).astype(float),
        CAPACITIES[draw(st.sampled_from(sorted(CAPACITIES)))](rng, (rows, workers)).astype(float),
        rng.random(shape) < draw(st.sampled_from([0.5, 0.9, 1.1])),
    )


class TestRowByRow:
    @pytest.mark.parametrize("cells", [1, 200, sequential_batch._CELLS])
    def test_random_batches(self, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sequential_batch, "_CELLS", cells)  # rows of one pass

        @settings(max_examples=300, deadline=None, derandomize=True)
        @given(batch=batches(), order=st.sampled_from(ORDERS), refill=st.booleans())
        def check(batch: MappingBatch, order: str, refill: bool) -> None:
            found = solve_sequential_batch(batch, order=order, refill=refill)
            np.testing.assert_array_equal(found, one_by_one(batch, order=order, refill=refill))

        check()

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(batch=batches(), data=st.data())
    def test_any_order_of_workers(self, batch: MappingBatch, data: st.DataObject) -> None:
        order = data.draw(st.permutations(range(batch.capacity.shape[1])))
        found = solve_sequential_batch(batch, order=order)
        np.testing.assert_array_equal(found, one_by_one(batch, order=order))

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(batch=batches(), refill=st.booleans())
    def test_a_row_does_not_see_the_others(self, batch: MappingBatch, refill: bool) -> None:
        together = solve_sequential_batch(batch, refill=refill)
        for r in range(len(together)):
            only = MappingBatch(
                *(x[r : r + 1] for x in (batch.utility, batch.weight, batch.capacity)),
                batch.allowed[r : r + 1],
            )
            found = solve_sequential_batch(only, refill=refill)
            np.testing.assert_array_equal(found, together[r : r + 1])

    @pytest.mark.parametrize(("rows", "by_itself"), [(1, True), (2, True), (3, False)])
    def test_a_few_rows_are_solved_by_themselves(
        self, rows: int, by_itself: bool, alone: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sequential_batch, "FEW", 2)
        batch = batch_of(np.ones((rows, 2, 2)), [1, 1], [1, 1])
        assert solve_sequential_batch(batch).tolist() == [[0, 1]] * rows
        assert len(alone) == (rows if by_itself else 0)


class TestByHand:
    def test_ties_go_to_the_lowest_index(self, alone: list[int]) -> None:
        # Row 0: two of three equal items on worker 0, the third on worker 1; no item moves for a
        # gain of 0. Row 1: item 0 fills the worker as well as items 1 and 2 would.
        batch = MappingBatch(
            np.array([[[1, 1], [1, 1], [1, 1]], [[2, 0], [1, 0], [1, 0]]], float),
            np.array([[1, 1, 1], [2, 1, 1]], float),
            np.array([[2, 2], [2, 2]], float),
            np.ones((2, 3, 2), bool),
        )
        assert solve_sequential_batch(batch).tolist() == [[0, 0, 1], [0, OUT, OUT]]
        assert alone == []

    def test_counter_examples(self, alone: list[int]) -> None:
        # Both from test_sequential_options.py: 10 of 19, and 10 of 14 with a hole.
        batch = batch_of([[[10, 10], [9, 0]], [[5, 10], [4, 1]]], [1, 1], [1, 1])
        assert solve_sequential_batch(batch).tolist() == [[0, OUT], [1, OUT]]
        assert solve_sequential_batch(batch, order="reverse").tolist() == [[1, 0], [1, 0]]
        assert solve_sequential_batch(batch, refill=True).tolist() == [[0, OUT], [1, 0]]
        assert alone == []

    def test_each_row_has_its_own_order_by_capacity(self) -> None:
        half = [[10, 10], [9, 0]]
        batch = MappingBatch(
            np.array([half, half], float),
            np.ones((2, 2)),
            np.array([[1, 3], [1, 1]], float),
            np.ones((2, 2, 2), bool),
        )
        assert solve_sequential_batch(batch, order="capacity").tolist() == [[1, 0], [0, OUT]]

    def test_full_to_the_brim(self, alone: list[int]) -> None:
        batch = batch_of(np.ones((2, 3, 1)), [1, 1, 1], [2 - 1e-12])
        assert solve_sequential_batch(batch).tolist() == [[0, 0, OUT]] * 2
        assert alone == []

    def test_refill_takes_the_first_of_equals_and_fills_to_the_brim(self, alone: list[int]) -> None:
        # Worker 1 steals item 0 and leaves three places; twenty items are worth the same there.
        utility = [[50, 100]] + [[4, 1]] * 20
        batch = batch_of([utility] * 2, [3] + [1] * 20, [3 - 1e-12, 3])
        found = solve_sequential_batch(batch, refill=True)
        assert found.tolist() == [[1, 0, 0, 0] + [OUT] * 17] * 2
        assert alone == []

    @pytest.mark.parametrize(
        ("utility", "weight", "capacity"),
        [
            pytest.param(np.ones((3, 2, 2)), [1, 1], [0, 0], id="no room"),
            pytest.param(np.ones((3, 2, 2)), [2, 3], [1, 1.5], id="too heavy"),
            pytest.param(-np.ones((3, 2, 2)), [1, 1], [2, 2], id="nothing to gain"),
            pytest.param(np.zeros((3, 0, 2)), [], [2, 2], id="no items"),
            pytest.param(np.zeros((0, 2, 2)), [1, 1], [2, 2], id="no rows"),
        ],
    )
    @pytest.mark.parametrize("refill", [False, True])
    def test_nothing_to_map(self, utility: Any, weight: Any, capacity: Any, refill: bool) -> None:
        found = solve_sequential_batch(batch_of(utility, weight, capacity), refill=refill)
        assert found.shape == utility.shape[:2]
        assert (found == OUT).all()


class TestFallback:
    @pytest.mark.parametrize("refill", [False, True])
    def test_only_rows_that_need_it(self, refill: bool, alone: list[int]) -> None:
        rng = np.random.default_rng(0)
        batch = batch_of(rng.uniform(0, 2, (5, 4, 2)), [1, 2, 1, 2], [3, 2])
        batch.weight[1, 2] = 0.5
        batch.capacity[3, 0] = 10**6  # times four items: more than a table may have
        found = solve_sequential_batch(batch, refill=refill)
        assert len(alone) == 2
        np.testing.assert_array_equal(found, one_by_one(batch, refill=refill))

    @pytest.mark.parametrize(
        ("table", "value", "message"),
        [
            ("utility", np.nan, r"utility\[1, 0\] = nan"),
            ("utility", np.inf, r"utility\[1, 0\] = inf"),
            ("weight", 0.0, r"weight\[1\] = 0.0"),
            ("weight", np.inf, r"weight\[1\] = inf"),
            ("capacity", -1.0, r"capacity\[0, 1\] = -1.0"),
            ("capacity", np.inf, r"capacity\[0, 1\] = inf"),
        ],
    )
    def test_a_bad_row_is_named_as_alone(self, table: str, value: float, message: str) -> None:
        batch = batch_of(np.ones((3, 2, 2)), [1, 1], [1, 1])
        getattr(batch, table)[2, 1] = value
        if table == "utility":
            batch.utility[2, 1] = [value, 1]
        with pytest.raises(ValueError, match=message):
            solve_sequential_batch(batch)

    def test_a_bad_order_is_named(self) -> None:
        batch = batch_of(np.ones((3, 2, 2)), [1, 1], [1, 1])
        with pytest.raises(ValueError, match="Did you mean 'capacity'"):
            solve_sequential_batch(batch, order="capacty")
        with pytest.raises(ValueError, match=r"every worker 0\.\.1 once"):
            solve_sequential_batch(batch, order=[0, 0])


MARKETS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    "testbed": ("testbed", {}),
    "scarce": ("scarce", {}),
    "per_stage": ("scarce", {"market.capacity": "per_stage"}),
    "share": ("scarce", {"market.overload": "share"}),
    "real": ("paper", {"demand": {"kind": "uniform", "low": 0.5, "high": 2.5}}),
    "loads": ("scarce", {"demand": {"kind": "integers", "low": 1, "high": 3}, "providers": 6}),
}


def known(market: str, rows: int) -> tuple[Problem, np.ndarray]:
    source, keys = MARKETS[market]
    world = draw_world(Scenario.load(source, keys), range(rows))
    noise = np.random.default_rng(0).normal(0, 0.3, world.mean_profit[..., :-1].shape)
    return make_problem(world), world.mean_profit[..., :-1] + noise


class TestItems:
    @pytest.mark.parametrize("market", MARKETS)
    @pytest.mark.parametrize("refill", [False, True])
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize(
        ("items_of_rows", "items_of_row"),
        [(disaggregated_batch, disaggregated), (monolithic_batch, monolithic)],
    )
    def test_rows_of_a_market(
        self, market: str, order: str, refill: bool, items_of_rows: Any, items_of_row: Any
    ) -> None:
        problem, utility = known(market, 6)
        rows = np.array([4, 1, 5])  # some, and not in order
        batch = items_of_rows(problem, utility[rows], rows)
        choice = solve_sequential_batch(batch, order=order, refill=refill)
        found = to_allocation(choice.reshape(3, -1), problem.providers, problem.workers)
        for b, allocation in zip(rows.tolist(), found, strict=True):
            row = items_of_row(problem, utility[b], b)
            expected = solve_sequential(row, order=order, refill=refill).choice
            np.testing.assert_array_equal(
                allocation, to_allocation(expected, problem.providers, problem.workers)
            )

    def test_a_pool_per_stage_makes_two_rows(self) -> None:
        problem, utility = known("per_stage", 3)
        batch = disaggregated_batch(problem, utility[1:], np.array([1, 2]))
        assert batch.utility.shape == (4, 10, 5)
        for i, (b, s) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1)]):
            np.testing.assert_array_equal(batch.utility[i], utility[b, s])
            np.testing.assert_array_equal(batch.weight[i], problem.demand[b])
            np.testing.assert_array_equal(batch.capacity[i], problem.capacity[b])
            np.testing.assert_array_equal(batch.allowed[i], problem.feasible[b, s])

    @pytest.mark.parametrize("market", [m for m in MARKETS if m != "per_stage"])
    @pytest.mark.parametrize("which", ["disaggregated", "monolithic"])
    def test_a_row_of_the_batch_is_the_problem_of_that_row(self, market: str, which: str) -> None:
        problem, utility = known(market, 3)
        of_rows, of_row = {
            "disaggregated": (disaggregated_batch, disaggregated),
            "monolithic": (monolithic_batch, monolithic),
        }[which]
        batch = of_rows(problem, utility, np.arange(3))
        for b in range(3):
            row = of_row(problem, utility[b], b)
            for name in ("utility", "weight", "capacity", "pool", "allowed", "useful"):
                np.testing.assert_array_equal(getattr(batch.row(b), name), getattr(row, name))
            np.testing.assert_array_equal(batch.useful[b], row.useful)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"worker_order": "capacity", "refill": True},
        {"estimator": "count", "learn_always": True, "worker_order": "reverse"},
    ],
    ids=["as printed", "capacity, refill", "count, reverse"],
)
@pytest.mark.parametrize("policy", [DistMLLM, MonolithicDistMLLM])
@pytest.mark.parametrize("market", MARKETS)
def test_whole_runs(market: str, policy: type[DistMLLM], options: dict[str, Any]) -> None:
    """Runs with and without the batch, to the bit."""

    class RowByRow(policy):  # type: ignore[misc, valid-type]
        def _map(self, rows: np.ndarray) -> np.ndarray:
            m, n = self._problem.providers, self._problem.workers
            order, refill = options.get("worker_order", "index"), options.get("refill", False)
            return np.stack(
                [
                    to_allocation(
                        solve_sequential(
                            self._mapping_problem(b), order=order, refill=refill
                        ).choice,
                        m,
                        n,
                    )
                    for b in rows.tolist()
                ]
            )

    source, keys = MARKETS[market]
    scenario = Scenario.load(source, keys, slots=80)
    found = play(scenario, policy(**options), range(6))
    expected = play(scenario, RowByRow(**options), range(6))
    assert found.exploring is not None
    assert not found.exploring.all()
    for name in ("allocation", "exploring", "status", "profit"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for seed in (0, 4):  # and each row as in a run of its own
        alone = play(scenario, policy(**options), [seed])
        np.testing.assert_array_equal(alone.allocation[0], found.allocation[seed])
