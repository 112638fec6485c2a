"""Branch and bound against enumeration written here, and its promise when it is stopped early."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_agents.mapping import SOLVERS, MappingProblem, solve_branch_and_bound, solve_exact
from distmllm_agents.mapping.problem import OUT

SLOT_TOLERANCE = 1e-9  # by which a load may exceed a capacity
CLOSE = 1e-8  # rounding, and the margin below which a better value is none

thorough = settings(max_examples=150, deadline=None, derandomize=True)
stopping = settings(max_examples=20, deadline=None, derandomize=True)


def best_value(problem: MappingProblem) -> float:
    """The best value of all feasible choices by trying every one; minus infinity without any."""
    items, workers = problem.utility.shape
    u, allowed, pool = problem.utility.tolist(), problem.allowed.tolist(), problem.pool.tolist()
    weight = np.broadcast_to(problem.weight.T, (workers, items)).T.tolist()
    room = problem.capacity.tolist()
    cost = [] if problem.transfer_cost is None else problem.transfer_cost.tolist()

    def charge(where: list[int | None]) -> float:
        pairs = [(where[m], where[len(cost) + m]) for m in range(len(cost))]
        apart = [None not in pair and pair[0] != pair[1] for pair in pairs]
        return sum(c for c, due in zip(cost, apart, strict=True) if due)

    def best(k: int, where: list[int | None]) -> float:
        if k == items:
            return -charge(where)
        values = [-math.inf if problem.exactly_one else best(k + 1, [*where, None])]
        for n in range(workers):
            if allowed[k][n] and weight[k][n] <= room[pool[k]][n] + SLOT_TOLERANCE:
                room[pool[k]][n] -= weight[k][n]
                values.append(u[k][n] + best(k + 1, [*where, n]))
                room[pool[k]][n] += weight[k][n]
        return max(values)

    return best(0, [])


@st.composite
def problems(draw: Any) -> MappingProblem:
    transfer, whole = draw(st.booleans()), draw(st.booleans())
    items = 2 * draw(st.integers(1, 2)) if transfer else draw(st.integers(1, 5))
    workers, pools = draw(st.integers(1, 3)), draw(st.integers(1, 2))

    def table(values: st.SearchStrategy[Any], *shape: int) -> np.ndarray:
        count = math.prod(shape)
        return np.array(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)

    # Thirds fill a worker exactly without being decimal fractions.
    sizes = st.integers(1, 4).map(float) if whole else st.integers(1, 12).map(lambda i: i / 3)
    shape = draw(st.sampled_from([(items,), (items, workers)]))
    scale = 1 if whole else 10
    return MappingProblem(
        utility=table(st.integers(-20, 60), items, workers) / scale,
        weight=table(sizes, *shape),
        capacity=table(st.integers(0, 24).map(lambda i: i / 3), pools, workers),
        pool=table(st.integers(0, pools - 1), items),
        allowed=table(st.sampled_from([True, True, True, False]), items, workers),
        transfer_cost=table(st.integers(0, 30), items // 2) / scale if transfer else None,
        exactly_one=draw(st.booleans()),
    )


def tight(seed: int, exactly_one: bool, items: int = 10, transfer: bool = False) -> MappingProblem:
    """A problem that takes far more than 20 nodes: near-equal utilities, scarce capacity."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(5, 26, (items, 4)).astype(float)
    return MappingProblem(
        utility=rng.integers(150, 260, (items, 4)) / 10,
        weight=weight,
        capacity=np.full((1, 4), 0.8 * weight.mean() * items / 4),
        pool=np.zeros(items, int),
        allowed=np.ones((items, 4), bool),
        transfer_cost=rng.integers(1, 50, items // 2) / 10 if transfer else None,
        exactly_one=exactly_one,
    )


@thorough
@given(problem=problems())
def test_equals_enumeration(problem: MappingProblem) -> None:
    best = best_value(problem)
    found = solve_branch_and_bound(problem)
    if best == -math.inf:
        assert found.status == "infeasible"
        assert found.value == found.bound == -math.inf
        assert (found.choice == OUT).all()
    else:
        problem.check(found.choice)
        assert found.status == "optimal"
        assert found.bound == found.value == problem.value(found.choice)
        assert found.value == pytest.approx(best, abs=CLOSE)


def check_every_limit(problem: MappingProblem, best: float) -> list[str]:
    """Lemma 3, for 0 to 20 nodes; returns the statuses."""
    statuses, last = [], None
    for limit in range(21):
        found = solve_branch_and_bound(problem, node_limit=limit)
        statuses.append(found.status)
        assert found.nodes <= limit
        assert found.value - CLOSE <= best <= found.bound + CLOSE
        if found.status in ("infeasible", "unknown"):
            assert found.value == -math.inf
            assert (found.choice == OUT).all()
            assert problem.exactly_one
        else:
            problem.check(found.choice)
            assert found.value == problem.value(found.choice)
        if found.status in ("infeasible", "optimal"):
            assert found.bound == found.value
        else:
            assert found.nodes == limit
            assert found.bound > found.value
        if last is not None:
            assert found.value >= last.value - 1e-12
            assert found.bound <= last.bound + 1e-12
            assert found.gap <= last.gap + 1e-12
        last = found
    return statuses


@stopping
@given(problem=problems())
def test_stopped_it_brackets_the_optimum(problem: MappingProblem) -> None:
    check_every_limit(problem, best_value(problem))


@pytest.mark.parametrize("exactly_one", [False, True])
@pytest.mark.parametrize("transfer", [False, True])
def test_stopped_in_a_large_tree(exactly_one: bool, transfer: bool) -> None:
    statuses = set()
    for seed in range(2):
        problem = tight(seed, exactly_one, transfer=transfer)
        best = solve_exact(problem)
        assert best.status == "optimal"
        statuses |= set(check_every_limit(problem, best.value))
    assert "feasible" in statuses


@pytest.mark.parametrize("exactly_one", [False, True])
@pytest.mark.parametrize("scale", [1, 10])  # 10: whole utilities, for which bounds are cut
def test_large_trees_to_the_end(exactly_one: bool, scale: int) -> None:
    nodes = 0
    for seed in range(12):
        problem = tight(seed, exactly_one)
        problem = replace(problem, utility=np.round(problem.utility * scale, 1))
        found = solve_branch_and_bound(problem)
        assert found.value == pytest.approx(solve_exact(problem).value, abs=CLOSE)
        nodes += found.nodes
    assert nodes > 200


def test_the_largest_bound_comes_first() -> None:
    problem = tight(3, False, items=14)
    bounds = [
        solve_branch_and_bound(problem, node_limit=limit).bound for limit in (1, 30, 100, 200)
    ]
    assert bounds == sorted(set(bounds), reverse=True)


def test_the_first_solution_is_a_good_one() -> None:
    shares = []
    for seed in range(12):
        problem = tight(seed, False)
        first = solve_branch_and_bound(problem, node_limit=0)
        shares.append(first.value / solve_exact(problem).value)
    assert np.mean(shares) > 0.95


def test_cutting_to_whole_numbers_never_cuts_the_optimum() -> None:
    # A worker holds one item: good prices give a bound that is the optimum, or just above it, and
    # with utilities of 1 to 5 there are ties that the first solution gets wrong now and then.
    below = 0
    for size, seed in itertools.product((6, 8), range(12)):
        problem = by_hand(
            utility=np.random.default_rng(seed).integers(1, 6, (size, size)).astype(float),
            weight=np.ones(size), capacity=np.ones((1, size)), pool=np.zeros(size, int),
            allowed=np.ones((size, size), bool),
        )  # fmt: skip
        best = solve_exact(problem).value
        first = solve_branch_and_bound(problem, node_limit=0)
        assert first.bound >= best
        below += first.value < best
    assert below > 0


def test_is_deterministic() -> None:
    problem = tight(1, True)
    one, two = (solve_branch_and_bound(problem, node_limit=15) for _ in range(2))
    assert np.array_equal(one.choice, two.choice)
    assert (one.value, one.bound, one.status, one.nodes) == (
        two.value, two.bound, two.status, two.nodes,
    )  # fmt: skip
    assert np.array_equal(one.multipliers, two.multipliers)


def by_hand(**changes: Any) -> MappingProblem:
    """Two items and two workers that hold one each: 5 + 6, or 9 + 1."""
    problem = MappingProblem(
        utility=np.array([[9.0, 5.0], [6.0, 1.0]]),
        weight=np.array([1.0, 1.0]),
        capacity=np.array([[1.0, 1.0]]),
        pool=np.zeros(2, int),
        allowed=np.ones((2, 2), bool),
    )
    return replace(problem, **changes)


@pytest.mark.parametrize(
    ("changes", "value", "choice"),
    [
        ({}, 11, [1, 0]),
        ({"utility": np.array([[9.0, -5.0], [6.0, -1.0]])}, 9, [0, OUT]),
        ({"utility": np.array([[9.0, -5.0], [6.0, -1.0]]), "exactly_one": True}, 8, [0, 1]),
        ({"weight": np.array([[1.0, 2.0], [1.0, 2.0]])}, 9, [0, OUT]),
        ({"allowed": np.array([[True, False], [True, True]])}, 10, [0, 1]),
        ({"pool": np.array([0, 1]), "capacity": np.ones((2, 2))}, 15, [0, 0]),
        ({"transfer_cost": np.array([1.5])}, 9.5, [1, 0]),
        ({"transfer_cost": np.array([3.0])}, 9, [0, OUT]),
        ({"transfer_cost": np.array([3.0]), "exactly_one": True}, 8, [1, 0]),
        ({"transfer_cost": np.array([3.0]), "capacity": np.array([[2.0, 1.0]])}, 15, [0, 0]),
    ],
)
def test_by_hand(changes: dict[str, Any], value: float, choice: list[int]) -> None:
    found = solve_branch_and_bound(by_hand(**changes))
    assert (found.status, found.value) == ("optimal", value)
    assert found.choice.tolist() == choice


def test_pricing_alone_would_not_do() -> None:
    # Three items worth 3 each, of which the worker holds one, or one and a half if they could be
    # cut: no price gives a bound below 4.5, or 4 in whole numbers. Only branching proves the 3.
    problem = by_hand(
        utility=np.full((3, 1), 3.0), weight=np.full(3, 2.0), capacity=np.array([[3.0]]),
        pool=np.zeros(3, int), allowed=np.ones((3, 1), bool),
    )  # fmt: skip
    stopped = solve_branch_and_bound(problem, node_limit=0)
    assert (stopped.status, stopped.value, stopped.nodes) == ("feasible", 3, 0)
    assert 4 <= stopped.bound <= 5  # a good price comes near that
    finished = solve_branch_and_bound(problem)
    assert (finished.status, finished.value, finished.gap) == ("optimal", 3, 0)
    assert finished.nodes >= 1


def test_tenths_fill_a_worker() -> None:
    # 0.3 - 0.1 - 0.1 is less than 0.1 in floating point.
    problem = by_hand(
        utility=np.ones((3, 1)), weight=np.full(3, 0.1), capacity=np.array([[0.3]]),
        pool=np.zeros(3, int), allowed=np.ones((3, 1), bool),
    )  # fmt: skip
    assert solve_branch_and_bound(problem).value == 3


def test_without_a_solution() -> None:
    nowhere = by_hand(allowed=np.array([[True, True], [False, False]]), exactly_one=True)
    assert solve_branch_and_bound(nowhere, node_limit=0).status == "infeasible"
    # Three jobs for two places: each alone fits, so that it takes nodes to see that not all do.
    crowded = by_hand(
        utility=np.ones((3, 2)), weight=np.ones(3), pool=np.zeros(3, int),
        allowed=np.ones((3, 2), bool), exactly_one=True,
    )  # fmt: skip
    stopped = solve_branch_and_bound(crowded, node_limit=0)
    assert (stopped.status, stopped.value, stopped.gap) == ("unknown", -math.inf, math.inf)
    assert (stopped.choice == OUT).all()
    finished = solve_branch_and_bound(crowded)
    assert (finished.status, finished.value, finished.gap) == ("infeasible", -math.inf, 0)


def test_without_an_item() -> None:
    empty = by_hand(
        utility=np.ones((0, 2)), weight=np.ones(0), pool=np.zeros(0, int),
        allowed=np.ones((0, 2), bool),
    )  # fmt: skip
    found = solve_branch_and_bound(empty)
    assert (found.status, found.value, found.choice.size) == ("optimal", 0, 0)


def test_prices_have_a_place_per_pool_and_worker() -> None:
    found = solve_branch_and_bound(tight(0, False), node_limit=0)
    assert found.multipliers is not None
    assert found.multipliers.shape == (1, 4)
    assert (found.multipliers > 0).all()  # capacity is scarce on all four


def test_negative_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="node_limit = -1 is not allowed"):
        solve_branch_and_bound(by_hand(), node_limit=-1)


def test_is_registered() -> None:
    assert SOLVERS["branch-and-bound"] is solve_branch_and_bound
