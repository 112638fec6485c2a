"""The mapping layer against enumeration written here, and against cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distmllm_agents.mapping import SOLVERS, MappingProblem, solve_exact, solve_sequential
from distmllm_agents.mapping.exact import _cp_sat, _flow
from distmllm_agents.mapping.knapsack import _branch_and_bound, knapsack, whole_weights
from distmllm_agents.mapping.problem import OUT, disaggregated, monolithic, to_allocation
from distmllm_env import Scenario, draw_world
from distmllm_env.policy import make_problem

ROUNDING = 1e-8  # of utilities to integers, far below the steps of 0.1 that are drawn here
TOLERANCE = 1e-9  # by which a slot lets a load exceed a capacity

thorough = settings(max_examples=100, deadline=None, derandomize=True)


def plain(
    utility: Sequence[Sequence[float]],
    weight: Sequence[float],
    capacity: Sequence[float],
    transfer_cost: Sequence[float] | None = None,
) -> MappingProblem:
    """One pool, every pair allowed."""
    return MappingProblem(
        utility=np.array(utility, float),
        weight=np.array(weight, float),
        capacity=np.array([capacity], float),
        pool=np.zeros(len(weight), int),
        allowed=np.ones((len(weight), len(capacity)), bool),
        transfer_cost=None if transfer_cost is None else np.array(transfer_cost, float),
    )


def best_value(problem: MappingProblem) -> float:
    """The best value of all feasible choices, by trying every one of them."""
    u, allowed = problem.utility.tolist(), problem.allowed.tolist()
    weight, pool = problem.weight.tolist(), problem.pool.tolist()
    room = problem.capacity.tolist()
    cost = [] if problem.transfer_cost is None else problem.transfer_cost.tolist()

    def charge(where: list[int | None]) -> float:
        pairs = [(where[m], where[len(cost) + m]) for m in range(len(cost))]
        apart = [None not in (enc, llm) and enc != llm for enc, llm in pairs]
        return sum(c for c, due in zip(cost, apart, strict=True) if due)

    def best(k: int, where: list[int | None]) -> float:
        if k == len(weight):
            return -charge(where)
        values = [best(k + 1, [*where, None])]
        for n in range(len(room[0])):
            if allowed[k][n] and weight[k] <= room[pool[k]][n] + TOLERANCE:
                room[pool[k]][n] -= weight[k]
                values.append(u[k][n] + best(k + 1, [*where, n]))
                room[pool[k]][n] += weight[k]
        return max(values)

    return best(0, [])


tenths = st.integers(1, 40).map(lambda i: i / 10)
# Thirds and sevenths fill a worker exactly without being decimal fractions.
fractions = st.tuples(st.integers(1, 20), st.sampled_from([3, 7, 10])).map(lambda f: f[0] / f[1])
WEIGHTS: dict[str, Callable[[int], st.SearchStrategy[list[float]]]] = {
    "equal whole": lambda k: st.integers(1, 3).map(lambda w: [float(w)] * k),
    "equal real": lambda k: st.sampled_from([0.1, 0.7, 1 / 3, 1.5]).map(lambda w: [w] * k),
    "whole": lambda k: st.lists(st.integers(1, 4).map(float), min_size=k, max_size=k),
    "real": lambda k: st.lists(fractions, min_size=k, max_size=k),
}


@st.composite
def problems(draw: Any, kind: str, transfer: bool = False) -> MappingProblem:
    items = 2 * draw(st.integers(1, 3)) if transfer else draw(st.integers(1, 6))
    workers, pools = draw(st.integers(1, 4)), draw(st.integers(1, 2))

    def table(values: st.SearchStrategy[Any], *shape: int) -> np.ndarray:
        count = math.prod(shape)
        return np.array(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)

    weight = np.array(draw(WEIGHTS[kind](items)))
    # Capacities that some of the items fill exactly, and others.
    full = st.sets(st.integers(0, items - 1)).map(lambda chosen: sum(weight[list(chosen)]))
    return MappingProblem(
        utility=table(st.integers(-20, 60), items, workers) / 10,
        weight=weight,
        capacity=table(st.one_of(full, tenths), pools, workers).astype(float),
        pool=table(st.integers(0, pools - 1), items),
        allowed=table(st.sampled_from([True, True, True, False]), items, workers),
        transfer_cost=table(st.integers(0, 30), items // 2) / 10 if transfer else None,
    )


class TestExact:
    @pytest.mark.parametrize("transfer", [False, True])
    @pytest.mark.parametrize("kind", WEIGHTS)
    def test_equals_enumeration(self, kind: str, transfer: bool) -> None:
        @thorough
        @given(problem=problems(kind, transfer))
        def check(problem: MappingProblem) -> None:
            found = solve_exact(problem)
            problem.check(found.choice)
            assert found.status == "optimal"
            assert found.value == pytest.approx(problem.value(found.choice), abs=1e-12)
            assert found.value == pytest.approx(best_value(problem), abs=ROUNDING)

        check()

    @pytest.mark.parametrize("kind", ["equal whole", "equal real"])
    def test_flow_and_cp_sat_agree(self, kind: str) -> None:
        @thorough
        @given(problem=problems(kind))
        def check(problem: MappingProblem) -> None:
            useful = problem.useful
            assume(useful.any())
            flow, cp_sat = _flow(problem, useful).choice, _cp_sat(problem, useful).choice
            problem.check(flow)
            problem.check(cp_sat)
            assert problem.value(flow) == pytest.approx(problem.value(cp_sat), abs=ROUNDING)

        check()

    @pytest.mark.parametrize(
        ("cost", "choice", "value"),
        [
            (0.0, [0, 1], 10.0),
            (3.0, [0, 1], 7.0),  # apart 5 + 5 - 3, together 5 + 1
            (4.5, None, 6.0),  # now together, on either worker
            (100.0, None, 6.0),
        ],
    )
    def test_transfer_cost_by_hand(
        self, cost: float, choice: list[int] | None, value: float
    ) -> None:
        problem = plain([[5, 1], [1, 5]], [1, 1], [2, 2], transfer_cost=[cost])
        found = solve_exact(problem)
        assert found.value == pytest.approx(value)
        if choice is None:
            assert found.choice[0] == found.choice[1]
        else:
            assert found.choice.tolist() == choice

    @pytest.mark.parametrize(
        ("weight", "capacity", "fit"),
        [
            ([0.1] * 3, 0.3, 3),  # in floats 0.3 / 0.1 is below 3
            ([1 / 3] * 3, 1.0, 3),
            ([1 / 3, 2 / 3], 1.0, 2),
            ([0.1, 0.2], 0.3, 2),  # in floats 0.1 + 0.2 exceeds 0.3
            ([0.5, 0.5 + 3e-9], 1.0, 1),
            ([1000.0] * 2, 2000.0 - 5e-7, 1),  # relative to the load a tiny excess, yet one
            ([1000.0, 1000.5], 2000.5 - 5e-7, 1),
            ([1.5e10, 0.5], 1.5e10 + 0.5, 2),
        ],
    )
    def test_full_to_the_brim(self, weight: list[float], capacity: float, fit: int) -> None:
        problem = plain([[1.0]] * len(weight), weight, [capacity])
        for solve in SOLVERS.values():
            found = solve(problem)
            problem.check(found.choice)
            assert (found.choice != OUT).sum() == fit


class TestSequential:
    @pytest.mark.parametrize("kind", WEIGHTS)
    def test_feasible_and_at_least_half_of_the_optimum(self, kind: str) -> None:
        @thorough
        @given(problem=problems(kind))
        def check(problem: MappingProblem) -> None:
            found = solve_sequential(problem)
            problem.check(found.choice)
            assert found.status == "feasible"
            assert found.value == pytest.approx(problem.value(found.choice), abs=1e-12)
            optimum = best_value(problem)
            assert optimum / 2 - ROUNDING <= found.value <= optimum + ROUNDING

        check()

    def test_ignores_the_transfer_cost_but_reports_it(self) -> None:
        found = solve_sequential(plain([[5, 1], [1, 5]], [1, 1], [2, 2], transfer_cost=[9]))
        assert found.choice.tolist() == [0, 1]
        assert found.value == pytest.approx(1.0)


E3 = ([[9, 10], [7, 9], [1, 9]], [1, 3, 2], [3, 4])


@pytest.mark.parametrize(
    ("utility", "weight", "capacity", "sequential", "value", "optimum"),
    [
        # Tight half: worker 0 takes item 0, worth 10 on either; both residuals of worker 1 are
        # then 0. The optimum swaps them: 9 + 10.
        pytest.param([[10, 10], [9, 0]], [1, 1], [1, 1], [0, OUT], 10, 19, id="half"),
        # The other order of workers: worker 0 takes item 0 (10 > 0), worker 1 item 1.
        pytest.param([[10, 10], [0, 9]], [1, 1], [1, 1], [0, 1], 19, 19, id="half, other order"),
        # A hole: worker 0 takes item 0 (5 > 4), worker 1 steals it (residual 5 > 1), and nobody
        # goes back to place item 1 on worker 0.
        pytest.param([[5, 10], [4, 1]], [1, 1], [1, 1], [1, OUT], 10, 14, id="hole"),
        # Worker 0 takes items 0 and 2 (9 + 1 beats 7). Worker 1 sees residuals 1, 9, 8 with
        # weights 1, 3, 2 in 4 and takes items 0 and 1: 10 + 9 + 1.
        pytest.param(*E3, [1, 1, 0], 20, 26, id="every order"),
        # Worker 1 first: 10 + 9 twice, a tie that goes to the lowest index, items 0 and 1. Worker
        # 0 then sees residuals -1, -2, 1 and takes item 2.
        pytest.param(
            [row[::-1] for row in E3[0]],
            E3[1],
            E3[2][::-1],
            [0, 0, 1],
            20,
            26,
            id="every order, other order",
        ),
    ],
)
def test_counter_examples(
    utility: list[list[float]],
    weight: list[float],
    capacity: list[float],
    sequential: list[int],
    value: float,
    optimum: float,
) -> None:
    problem = plain(utility, weight, capacity)
    found = solve_sequential(problem)
    assert found.choice.tolist() == sequential
    assert found.value == value
    assert solve_exact(problem).value == pytest.approx(optimum, abs=ROUNDING)
    assert best_value(problem) == optimum


class TestKnapsack:
    @pytest.mark.parametrize("kind", ["whole", "real"])
    def test_equals_enumeration(self, kind: str) -> None:
        @thorough
        @given(data=st.data(), items=st.integers(1, 8))
        def check(data: st.DataObject, items: int) -> None:
            weight = np.array(data.draw(WEIGHTS[kind](items)))
            profit = np.array(data.draw(st.lists(tenths, min_size=items, max_size=items)))
            filled = data.draw(st.lists(st.booleans(), min_size=items, max_size=items))
            capacity = data.draw(st.one_of(st.just(float(weight[filled].sum())), tenths))
            subsets = [np.array(s) for s in itertools.product([False, True], repeat=items)]
            fitting = [s for s in subsets if weight[s].sum() <= capacity + TOLERANCE]
            best = max(profit[s].sum() for s in fitting)
            for solve in (knapsack, _branch_and_bound):
                taken = solve(profit, weight, capacity)
                assert weight[taken].sum() <= capacity + TOLERANCE
                assert profit[taken].sum() == pytest.approx(best, abs=ROUNDING)

        check()

    @pytest.mark.parametrize(
        ("profit", "weight", "capacity", "taken"),
        [
            ([1, 1, 1], [1, 1, 1], 2, [True, True, False]),
            ([2, 1, 1], [2, 1, 1], 2, [True, False, False]),
            ([1, 1, 2], [1, 1, 2], 2, [True, True, False]),
            ([10, 9, 9], [1, 3, 2], 4, [True, True, False]),
            ([5, 4], [2, 1], 1.9999999999, [True, False]),  # dust of sums
            ([5, 4], [2, 1], 1.99, [False, True]),
            ([5], [1], 0, [False]),
            ([], [], 3, []),
        ],
    )
    def test_ties_and_edges(
        self, profit: list[float], weight: list[float], capacity: float, taken: list[bool]
    ) -> None:
        found = knapsack(np.array(profit, float), np.array(weight, float), capacity)
        assert found.dtype == bool
        assert found.tolist() == taken

    def test_whole_weights_too_large_for_a_table(self) -> None:
        weight = np.array([3e9, 5e9, 4e9])
        assert knapsack(np.array([3.0, 6, 4]), weight, 8e9).tolist() == [True, True, False]


class TestWholeWeights:
    @thorough
    @given(
        weight=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6),
        chosen=st.sets(st.integers(0, 5)),
        off=st.sampled_from([0.0, 2e-9, -2e-9, 1e-6, -1e-6, 0.5, -0.5]),
        unit=st.sampled_from([1.0, 1.0, 1e-3, 1e9]),
    )
    def test_admit_what_a_slot_admits(
        self, weight: list[float], chosen: set[int], off: float, unit: float
    ) -> None:
        real = np.array(weight) * unit
        capacity = max(0.0, math.fsum(real[k] for k in chosen if k < len(real)) + off)
        whole, room = whole_weights(real, np.array([capacity]))
        assert whole.dtype == room.dtype == np.int64
        for size in range(1, len(real) + 1):
            for subset in itertools.combinations(range(len(real)), size):
                load = math.fsum(real[list(subset)])
                fits = sum(int(whole[k]) for k in subset) <= int(room[0])
                if load > capacity + TOLERANCE:
                    assert not fits
                if load <= capacity and unit <= 1:
                    assert fits

    def test_a_coarse_unit_admits_no_more(self) -> None:
        # At 1e10 the unit is 7e-9: the two quarters are 6e-9 too heavy together.
        weight, capacity = np.array([1e10, 0.25 + 3e-9, 0.25 + 3e-9]), 1e10 + 0.5
        whole, room = whole_weights(weight, np.array([capacity]))
        assert whole.sum() > room[0]
        assert whole[:2].sum() <= room[0]

    def test_whole_numbers_stay(self) -> None:
        whole, room = whole_weights(np.array([1.0, 3.0]), np.array([2.9, 3 - 1e-12, 4.0]))
        assert whole.tolist() == [1, 3]
        assert room.tolist() == [2, 3, 4]


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
class TestNothingToMap:
    @pytest.mark.parametrize(
        ("utility", "weight", "capacity"),
        [
            pytest.param(np.zeros((0, 2)), [], [1, 1], id="no items"),
            pytest.param([[1, 2], [3, 4]], [1, 1], [0, 0], id="no capacity"),
            pytest.param([[1, 2], [3, 4]], [2, 3], [1, 1.5], id="too heavy"),
            pytest.param([[0, -1], [-2, 0]], [1, 1], [2, 2], id="nothing to gain"),
        ],
    )
    def test_all_stay_out(self, solve: Any, utility: Any, weight: Any, capacity: Any) -> None:
        found = solve(plain(utility, weight, capacity))
        assert found.choice.tolist() == [OUT] * len(weight)
        assert found.value == 0.0

    def test_all_forbidden(self, solve: Any) -> None:
        problem = plain([[1, 2], [3, 4]], [1, 1], [9, 9])
        found = solve(replace(problem, allowed=np.zeros((2, 2), bool)))
        assert found.choice.tolist() == [OUT, OUT]


class TestProblem:
    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ([0, 0], "worker 0 holds 3"),
            ([1, OUT], "item 0 is not allowed on worker 1"),
        ],
    )
    def test_check_finds(self, choice: list[int], message: str) -> None:
        problem = MappingProblem(
            utility=np.ones((2, 2)),
            weight=np.array([1.0, 2.0]),
            capacity=np.array([[2.0, 2.0]]),
            pool=np.zeros(2, int),
            allowed=np.array([[True, False], [True, True]]),
        )
        problem.check(np.array([0, 1]))
        with pytest.raises(ValueError, match=message):
            problem.check(np.array(choice))

    def test_check_counts_pools_apart(self) -> None:
        both = np.array([0, 0])
        problem = plain([[1.0], [1.0]], [1, 1], [1])
        with pytest.raises(ValueError, match="holds 2"):
            problem.check(both)
        replace(problem, capacity=np.ones((2, 1)), pool=np.array([0, 1])).check(both)

    def test_useful_pairs(self) -> None:
        problem = replace(
            plain([[1, 0, 2], [-1, 3, 4]], [1, 2], [1, 2, 2]),
            allowed=np.array([[True, True, True], [True, True, False]]),
        )
        assert problem.useful.tolist() == [[True, False, True], [False, True, False]]

    @pytest.mark.parametrize(
        ("choice", "providers", "allocation"),
        [
            ([0, 1, 2, 0], 2, [[0, 2], [1, 0]]),
            ([OUT, 1, 2, OUT], 2, [[3, 2], [1, 3]]),
            ([2, OUT], 1, [[2, 3]]),
            ([1, OUT], 2, [[1, 1], [3, 3]]),  # one item per provider: both stages
        ],
    )
    def test_to_allocation(
        self, choice: list[int], providers: int, allocation: list[list[int]]
    ) -> None:
        assert to_allocation(np.array(choice), providers, workers=3).tolist() == allocation

    @pytest.mark.parametrize(
        ("capacity", "pools", "weight_of_both"), [("shared", 1, 2), ("per_stage", 2, 1)]
    )
    def test_items_of_a_market(self, capacity: str, pools: int, weight_of_both: int) -> None:
        keys = {"demand": [1, 2], "market.capacity": capacity, "capacity": [1, 4]}
        known = make_problem(draw_world(Scenario.load("toy", keys), [0]))
        estimate = np.arange(8.0).reshape(2, 2, 2)  # (S, M, N)
        items = disaggregated(known, estimate, 0)
        assert items.utility.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert items.weight.tolist() == [1, 2, 1, 2]
        assert items.capacity.tolist() == [[1, 4]] * pools
        assert items.pool.tolist() == [0, 0, pools - 1, pools - 1]
        assert items.allowed.tolist() == [[True, True], [False, True]] * 2
        assert items.transfer_cost is None
        whole = monolithic(known, estimate, 0)
        assert whole.utility.tolist() == [[4, 6], [8, 10]]
        assert whole.weight.tolist() == [1 * weight_of_both, 2 * weight_of_both]
        assert whole.capacity.tolist() == [[1, 4]]
        assert whole.pool.tolist() == [0, 0]
        assert whole.allowed.tolist() == [[True, True], [False, True]]

    def test_a_stage_that_cannot_run_keeps_the_whole_away(self) -> None:
        known = make_problem(draw_world(Scenario.load("toy", {"capacity": [2, 2]}), [0]))
        feasible = known.feasible.copy()
        feasible[0, 1, 0, 1] = False  # LLM of provider 0 on worker 1
        known = replace(known, feasible=feasible)
        whole = monolithic(known, np.ones((2, 2, 2)), 0)
        assert whole.allowed.tolist() == [[True, False], [True, True]]
        items = disaggregated(known, np.ones((2, 2, 2)), 0)
        assert items.allowed.tolist() == [[True, True], [True, True], [True, False], [True, True]]

    def test_transfer_cost_of_a_market(self) -> None:
        keys = {"market.transfer_cost_per_mb": 0.5, "tensor_bytes": [1e6, 3e6]}
        known = make_problem(draw_world(Scenario.load("toy", keys), [0]))
        cost = disaggregated(known, np.ones((2, 2, 2)), 0).transfer_cost
        assert cost is not None
        assert cost.tolist() == [0.5, 1.5]
        assert monolithic(known, np.ones((2, 2, 2)), 0).transfer_cost is None
