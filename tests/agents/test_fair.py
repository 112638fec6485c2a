"""Proportional fairness against enumeration written here, and against cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_agents.mapping.fair import fairness_violation, solve_fair
from distmllm_agents.mapping.problem import OUT, MappingProblem, disaggregated
from distmllm_env import Scenario, draw_world
from distmllm_env.policy import make_problem

Profits = tuple[float, ...]

thorough = settings(max_examples=300, deadline=None, derandomize=True)


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


def feasible(problem: MappingProblem, providers: int) -> Iterator[tuple[tuple[int, ...], Profits]]:
    """Every feasible choice with what each provider earns, by trying every choice there is."""
    u, allowed = problem.utility.tolist(), problem.allowed.tolist()
    items, workers = problem.utility.shape
    weight = problem.weights.tolist()
    cost = problem.transfer_cost
    for choice in itertools.product(range(OUT, workers), repeat=items):
        room = problem.capacity.tolist()
        profit = [0.0] * providers
        fine = not (problem.exactly_one and OUT in choice)
        for k, n in enumerate(choice):
            if n != OUT:
                room[problem.pool[k]][n] -= weight[k][n]
                profit[k % providers] += u[k][n]
                fine = fine and allowed[k][n]
        if not fine or min(min(row) for row in room) < -1e-9:
            continue
        if cost is not None:
            for m in range(providers):
                enc, llm = choice[m], choice[providers + m]
                if OUT not in (enc, llm) and enc != llm:
                    profit[m] -= float(cost[m])
        yield choice, tuple(profit)


def left_side(of: Profits, at: Profits) -> float:
    """Left side of (5)."""
    return sum((r - r_star) / r_star for r, r_star in zip(of, at, strict=True))


def profits_of(problem: MappingProblem, choice: Any, providers: int) -> Profits:
    return dict(feasible(problem, providers))[tuple(choice.tolist())]


@st.composite
def cases(draw: st.DrawFn) -> tuple[MappingProblem, int]:
    """A small problem, of at most 256 choices, and its number of providers."""
    providers, stages, workers = draw(
        st.sampled_from([(1, 2, 3), (2, 2, 2), (2, 2, 3), (3, 2, 1), (2, 1, 2), (3, 1, 3)])
    )
    items = stages * providers
    pools = draw(st.integers(1, stages))
    # Whole profits keep sums of logarithms that differ far apart; thirds fill a worker exactly.
    step = draw(st.sampled_from([1.0, 1 / 3]))
    shape = draw(st.sampled_from([(items,), (items, workers)]))

    def numbers(low: int, high: int, *size: int) -> Any:
        count = math.prod(size)
        drawn = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
        return np.array(drawn, float).reshape(size)

    charged = stages == 2 and draw(st.booleans())
    problem = MappingProblem(
        utility=numbers(-1, 9, items, workers),
        weight=numbers(1, 3, *shape) * step,
        capacity=numbers(0, 6, pools, workers) * step,
        pool=np.arange(items) // providers % pools,
        allowed=numbers(0, 4, items, workers) > 0,
        transfer_cost=numbers(0, 4, providers) if charged else None,
        exactly_one=draw(st.sampled_from([False, False, False, True])),
    )
    return problem, providers


@thorough
@given(cases())
def test_maximum_and_violation_are_those_of_enumeration(case: tuple[MappingProblem, int]) -> None:
    problem, providers = case
    everything = {profits for _, profits in feasible(problem, providers)}
    candidates = [profits for profits in everything if min(profits) > 0]
    best = max((sum(map(math.log, p)) for p in candidates), default=-math.inf)
    found = solve_fair(problem, providers)
    assert found.value == pytest.approx(best, abs=1e-7)
    assert found.bound == found.value
    assert found.status == ("optimal" if candidates else "infeasible")
    if not candidates:
        assert (found.choice == OUT).all()
        return

    mine = profits_of(problem, found.choice, providers)  # a KeyError if it is not feasible
    assert sum(map(math.log, mine)) == pytest.approx(best, abs=1e-7)
    worst = {at: max(left_side(of, at) for of in everything) for at in candidates}
    violation = fairness_violation(problem, found.choice, providers)
    assert violation == pytest.approx(worst[mine], abs=1e-7)

    fair = [at for at in candidates if worst[at] < 1e-9]
    for at in fair:
        assert sum(map(math.log, at)) == pytest.approx(found.value, abs=1e-7)
        assert mine == pytest.approx(at, abs=1e-7)
    assert bool(fair) == (violation < 1e-6)


@thorough
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_providers_does_not_matter(case: tuple[MappingProblem, int], luck: Any) -> None:
    problem, providers = case
    order = list(range(providers))
    luck.shuffle(order)
    items = np.arange(len(problem.utility)).reshape(-1, providers)[:, order].ravel()
    cost = problem.transfer_cost
    shuffled = replace(
        problem,
        utility=problem.utility[items],
        weight=problem.weight[items],
        pool=problem.pool[items],
        allowed=problem.allowed[items],
        transfer_cost=None if cost is None else cost[order],
    )
    value = solve_fair(problem, providers).value
    assert solve_fair(shuffled, providers).value == pytest.approx(value, abs=1e-7)


def test_same_answer_every_time() -> None:
    problem = plain([[5, 5, 5]] * 6, [1] * 6, [2, 2, 2])
    first = solve_fair(problem, 3)
    assert (solve_fair(problem, 3).choice == first.choice).all()
    assert first.seconds > 0


# Provider 0 earns 10 on worker 0 and 8 on worker 1, provider 1 earns 2 and 1; each worker has one
# place. With both in, profits are (10, 1) or (8, 2): sums 11 and 10, products 10 and 16.
FAIR_EXISTS = plain([[10, 8], [2, 1]], [1, 1], [1, 1])


def test_a_fair_mapping_that_is_not_the_most_profitable() -> None:
    found = solve_fair(FAIR_EXISTS, 2)
    assert found.choice.tolist() == [1, 0]
    assert found.value == pytest.approx(math.log(16))
    # From (8, 2), (10, 1) counts 2/8 - 1/2 = -1/4, and anyone left out -1: nothing is above 0.
    assert fairness_violation(FAIR_EXISTS, found.choice, 2) == 0
    # From (10, 1), (8, 2) counts -2/10 + 1/1 = 4/5.
    assert fairness_violation(FAIR_EXISTS, np.array([0, 1]), 2) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("problem", "maximisers"),
    [
        # Two workers with one place each: (2, 1) or (1, 2).
        (plain([[2, 1], [2, 1]], [1, 1], [1, 1]), ([0, 1], [1, 0])),
        # Two stages, one worker with three places: again (2, 1) or (1, 2).
        (plain([[1], [1], [1], [1]], [1] * 4, [3]), ([0, 0, 0, OUT], [0, 0, OUT, 0])),
    ],
)
def test_there_may_be_no_fair_mapping(problem: MappingProblem, maximisers: list[list[int]]) -> None:
    found = solve_fair(problem, 2)
    assert found.value == pytest.approx(math.log(2))
    # (1 - 2)/2 + (2 - 1)/1 = 1/2 from either side.
    for choice in (found.choice, *map(np.array, maximisers)):
        assert fairness_violation(problem, choice, 2) == pytest.approx(0.5)
    positive = [choice for choice, profits in feasible(problem, 2) if min(profits) > 0]
    assert min(fairness_violation(problem, np.array(c), 2) for c in positive) == pytest.approx(0.5)


def test_transfer_cost_decides_where_the_stages_go() -> None:
    # One provider: apart it earns 3 + 4 - charge, together on worker 0 or 1 it earns 5.
    def value(charge: float) -> float:
        problem = plain([[3, 1], [2, 4]], [1, 1], [2, 2], [charge])
        return solve_fair(problem, 1).value

    assert value(0.5) == pytest.approx(math.log(6.5))
    assert value(2.5) == pytest.approx(math.log(5))
    # With one place per worker and a charge above 3, one stage alone is the best: 4.
    alone = solve_fair(plain([[3, 1], [2, 4]], [1, 1], [1, 1], [3.5]), 1)
    assert alone.value == pytest.approx(math.log(4))
    assert alone.choice.tolist() == [OUT, 1]


def test_infeasible_if_somebody_cannot_earn() -> None:
    for problem in (
        plain([[1], [1]], [1, 1], [1]),  # one place for two
        plain([[1], [0]], [1, 1], [2]),  # nothing to earn
        plain([[1], [1]], [1, 3], [2]),  # too heavy
    ):
        found = solve_fair(problem, 2)
        assert (found.status, found.value, found.bound) == ("infeasible", -math.inf, -math.inf)
        assert found.choice.tolist() == [OUT, OUT]


def test_profits_of_very_different_size() -> None:
    tiny = plain([[1e-12, 1e-12], [1e6, 1]], [1, 1], [1, 1])
    found = solve_fair(tiny, 2)
    assert found.choice.tolist() == [1, 0]
    assert fairness_violation(tiny, found.choice, 2) == 0
    # From (1e-12, 1), (1e-12, 1e6) counts 1e6 - 1; ratios of 1e18 take a coarser scale.
    assert fairness_violation(tiny, np.array([0, 1]), 2) == pytest.approx(1e6 - 1)
    huge = plain([[1e-12, 1e6], [1, 1]], [1, 1], [1, 1])
    assert fairness_violation(huge, np.array([0, 1]), 2) == pytest.approx(1e18)


def test_weights_of_pairs_out_of_reach_do_not_matter() -> None:
    weight = np.array([[1, 1e30], [0.4, 0.6]])
    problem = replace(plain([[10, 8], [2, 1]], [1, 1], [1, 1]), weight=weight)
    found = solve_fair(problem, 2)
    assert found.choice.tolist() == [0, 1]
    assert fairness_violation(problem, found.choice, 2) == 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="2 items, 3 providers"):
        solve_fair(FAIR_EXISTS, 3)
    with pytest.raises(ValueError, match="2 items, 0 providers"):
        solve_fair(FAIR_EXISTS, 0)
    with pytest.raises(ValueError, match="transfer_cost is given"):
        solve_fair(replace(FAIR_EXISTS, transfer_cost=np.array([1.0])), 2)
    for choice, message in (
        ([0], "shape"),
        ([0, 2], "does not exist"),
        ([0, -2], "does not exist"),
        ([0, 0], "worker 0 holds"),
        ([0, OUT], r"providers earn \[10\. +0\.\]"),
    ):
        with pytest.raises(ValueError, match=message):
            fairness_violation(FAIR_EXISTS, np.array(choice), 2)


def test_worlds_of_the_paper_without_a_fair_mapping() -> None:
    world = draw_world(Scenario.load("paper"), range(20))
    known = make_problem(world)
    unfair = []
    for b in range(20):
        problem = disaggregated(known, world.mean_profit[b, ..., :-1], b)
        # Exact to 5 providers x 1e-9. Trying all mappings says the same: 1.75e-4, 6.9e-7, 4.3e-5.
        if fairness_violation(problem, solve_fair(problem, 5).choice, 5) > 1e-8:
            unfair.append(b)
    assert unfair == [2, 9, 18]
