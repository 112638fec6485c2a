"""Worker order and refill of Algorithm 2, on the counter-examples worked by hand, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_agents.distmllm import DistMLLM
from distmllm_agents.mapping import MappingProblem, solve_exact, solve_sequential
from distmllm_agents.mapping.problem import OUT


def problem(utility, weight, capacity) -> MappingProblem:
    utility = np.array(utility, float)
    return MappingProblem(
        utility,
        np.array(weight, float),
        np.array([capacity], float),
        np.zeros(len(utility), int),
        np.ones(utility.shape, bool),
    )


# One place each. Worker 0 takes item 0 (10 > 9); on worker 1 it would gain 10 - 10 = 0, so worker 1
# stays empty: 10. The other way round worker 1 takes item 0, worker 0 item 1: 10 + 9 = 19.
HALF = problem([[10, 10], [9, 0]], [1, 1], [1, 1])
# Worker 0 takes item 0 (5 > 4), worker 1 steals it (10 - 5 = 5 > 1): 10. Worker 0 is empty though
# item 1 would earn 4 there.
HOLE = problem([[5, 10], [4, 1]], [1, 1], [1, 1])


def test_order_by_hand() -> None:
    assert solve_sequential(HALF).value == 10
    assert solve_sequential(HALF, order="reverse").value == 19
    assert solve_sequential(HALF, order=[1, 0]).value == 19
    roomy = problem([[10, 10], [9, 0]], [1, 1], [1, 3])
    assert solve_sequential(roomy, order="capacity").value == 19  # worker 1 has more room


def test_refill_by_hand() -> None:
    plain, refilled = solve_sequential(HOLE), solve_sequential(HOLE, refill=True)
    assert plain.value == 10
    assert plain.choice.tolist() == [1, OUT]
    assert refilled.value == 14
    assert refilled.choice.tolist() == [1, 0]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), order=st.sampled_from(["index", "reverse", "capacity"]))
def test_every_order_is_feasible_and_refill_never_hurts(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    items, workers = rng.integers(1, 6), rng.integers(1, 4)
    any_ = problem(
        rng.uniform(-1, 5, (items, workers)), rng.integers(1, 4, items), rng.integers(0, 6, workers)
    )
    best = solve_exact(any_)
    plain = solve_sequential(any_, order=order)
    refilled = solve_sequential(any_, order=order, refill=True)
    for mapping in (plain, refilled):
        any_.check(mapping.choice)
        assert best.value / 2 - 1e-9 <= mapping.value <= best.value + 1e-8
        assert mapping.bound >= best.value - 1e-8
        assert mapping.gap == pytest.approx(mapping.bound - mapping.value)
    assert refilled.value >= plain.value - 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "capacty"}, "Did you mean 'capacity'"),
        ({"order": [0, 0]}, "every worker 0..1 once"),
        ({"order": [0]}, "every worker 0..1 once"),
    ],
)
def test_bad_order(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_sequential(HALF, **options)


def test_exactly_one_is_refused() -> None:
    must = MappingProblem(
        HALF.utility, HALF.weight, HALF.capacity, HALF.pool, HALF.allowed, exactly_one=True
    )
    with pytest.raises(ValueError, match="may leave items out"):
        solve_sequential(must)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"worker_order": "indx"}, "Did you mean 'index'"),
        ({"mapping": "exact", "refill": True}, "no effect with mapping = 'exact'"),
        ({"mapping": "exact", "worker_order": "reverse"}, "no effect with mapping = 'exact'"),
    ],
)
def test_bad_policy_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistMLLM(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"utility": np.array([[1, np.nan], [1, 1]])}, r"utility\[0, 1\] = nan"),
        ({"utility": np.ones(2)}, r"utility has shape \(2,\): \(K, N\) is allowed"),
        ({"weight": np.array([1.0, -2.0])}, r"weight\[1\] = -2.0 is not allowed: .*above 0"),
        ({"weight": np.ones(3)}, r"weight has shape \(3,\): \(2,\) or \(2, 2\) is allowed"),
        ({"capacity": np.array([[1.0, -1.0]])}, r"capacity\[0, 1\] = -1.0 .*at least 0"),
        ({"capacity": np.ones((1, 3))}, r"capacity has shape \(1, 3\): \(1, 2\) is allowed"),
        ({"pool": np.array([0, 1])}, r"pool\[1\] = 1 is not allowed: .*0\.\.0"),
        ({"allowed": np.ones((2, 3), bool)}, r"allowed has shape \(2, 3\)"),
        ({"transfer_cost": np.array([-1.0])}, r"transfer_cost\[0\] = -1.0"),
        ({"transfer_cost": np.ones(2)}, r"transfer_cost has shape \(2,\): \(1,\) is allowed"),
    ],
)
def test_bad_problems_say_what_and_where(change: dict, message: str) -> None:
    keys = {
        "utility": HALF.utility,
        "weight": HALF.weight,
        "capacity": HALF.capacity,
        "pool": HALF.pool,
        "allowed": HALF.allowed,
    }
    with pytest.raises(ValueError, match=message):
        MappingProblem(**(keys | change))


def exactly_one(weight, capacity) -> MappingProblem:
    utility = np.array([[3.0, 1.0], [2.0, -4.0]])
    return MappingProblem(
        utility, np.array(weight, float), np.array([capacity], float), np.zeros(2, int),
        np.ones((2, 2), bool), exactly_one=True,
    )  # fmt: skip


def test_exactly_one_by_hand() -> None:
    # One place each: 3 - 4 = -1 or 1 + 2 = 3; leaving the second out (3 or less) is not allowed.
    assert solve_exact(exactly_one([1, 1], [1, 1])).value == 3  # flow
    assert solve_exact(exactly_one([[1, 1], [1, 2]], [1, 2])).value == 3  # CP-SAT, weight by worker
    # Only worker 1 can hold the second item: 3 - 4.
    assert solve_exact(exactly_one([1, 2], [1, 2])).value == -1


@pytest.mark.parametrize(
    ("weight", "capacity"), [([1, 1], [1, 0]), ([1, 2], [1, 1]), ([2, 2], [1, 1])]
)
def test_infeasible_is_a_status(weight, capacity) -> None:
    mapping = solve_exact(exactly_one(weight, capacity))
    assert mapping.status == "infeasible"
    assert mapping.value == -np.inf
    assert (mapping.choice == OUT).all()


def test_a_deterministic_limit_keeps_bounds() -> None:
    rng = np.random.default_rng(0)
    hard = problem(rng.uniform(1, 2, (60, 12)), rng.uniform(1, 2, 60), rng.uniform(4, 6, 12))
    first, second = solve_exact(hard, limit=0.02), solve_exact(hard, limit=0.02)
    assert first.status == "feasible"
    hard.check(first.choice)
    assert first.gap > 0
    assert first.value == second.value
    longer = solve_exact(hard, limit=0.2)
    assert longer.value <= first.bound + 1e-9
    assert longer.bound >= first.value - 1e-9
