"""The compiled search against enumeration, CP-SAT and itself without a warm start."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from distmllm_agents.mapping import Mapping, MappingProblem, exact, search, solve_exact
from distmllm_agents.mapping.exact import _cp_sat
from distmllm_agents.mapping.problem import OUT, disaggregated
from distmllm_agents.mapping.search import solve_search, worth_trying
from distmllm_env import Scenario, draw_world
from distmllm_env.policy import make_problem

CLOSE = 1e-8
thorough = settings(deadline=None, derandomize=True, max_examples=1000)


def enumerate_best(problem: MappingProblem) -> float:
    items, workers = problem.utility.shape
    best = 0.0
    for choice in itertools.product(range(-1, workers), repeat=items):
        load = np.zeros(problem.capacity.shape)
        total = 0.0
        for k, n in enumerate(choice):
            if n >= 0:
                if not problem.allowed[k, n]:
                    break
                load[problem.pool[k], n] += problem.weights[k, n]
                total += problem.utility[k, n]
        else:
            if (load <= problem.capacity + 1e-9).all():
                best = max(best, total)
    return best


@st.composite
def problems(draw: st.DrawFn, per_worker: bool = False) -> MappingProblem:
    items, workers = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    pools = draw(st.integers(1, 2))
    shape = (items, workers)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # A coarse grid makes ties and zero gaps, a fine one the general case.
    grid = draw(st.sampled_from([1.0, 0.5, 1e-6]))
    utility = np.round(rng.uniform(-0.5, 3.0, shape) / grid) * grid
    return MappingProblem(
        utility=utility,
        weight=rng.integers(1, 4, shape if per_worker else items).astype(float),
        capacity=rng.integers(0, 7, (pools, workers)) + rng.choice([0.0, 0.5]),
        pool=rng.integers(0, pools, items),
        allowed=rng.random(shape) < 0.85,
    )


def solved(problem: MappingProblem, previous: Mapping | None = None) -> Mapping:
    mapping = solve_search(problem, previous)
    assert mapping is not None
    assert mapping.status == "optimal"
    problem.check(mapping.choice)
    assert mapping.value == pytest.approx(problem.value(mapping.choice), abs=1e-12)
    assert mapping.bound == mapping.value
    return mapping


@pytest.mark.parametrize("per_worker", [False, True])
def test_equals_enumeration(per_worker: bool) -> None:
    @thorough
    @given(problem=problems(per_worker))
    def check(problem: MappingProblem) -> None:
        assert solved(problem).value == pytest.approx(enumerate_best(problem), abs=CLOSE)

    check()


@thorough
@given(problem=problems(), other=problems())
def test_any_start_gives_the_same_value(problem: MappingProblem, other: MappingProblem) -> None:
    start = solved(other)
    assert solved(problem, start).value == pytest.approx(solved(problem).value, abs=CLOSE)


def instance(providers: int, workers: int, seed: int) -> MappingProblem:
    scenario = Scenario.load("paper", providers=providers, workers=workers)
    world = draw_world(scenario, [seed])
    return disaggregated(make_problem(world), world.mean_profit[0, ..., :-1], 0)


def moved(problem: MappingProblem, seed: int) -> MappingProblem:
    noise = np.random.default_rng(seed).normal(0, 0.02, problem.utility.shape)
    return MappingProblem(
        problem.utility + noise, problem.weight, problem.capacity, problem.pool, problem.allowed
    )


@pytest.mark.parametrize(("providers", "workers"), [(5, 5), (10, 5), (10, 30)])
def test_equals_cp_sat_on_market_instances(providers: int, workers: int) -> None:
    for seed in range(5):
        problem = instance(providers, workers, seed)
        previous = solve_exact(problem)
        again = moved(problem, seed)
        expected = _cp_sat(again, again.useful).value
        assert solve_exact(again, previous).value == pytest.approx(expected, abs=CLOSE)
        assert solve_exact(again).value == pytest.approx(expected, abs=CLOSE)


def test_stopped_by_its_limit_it_keeps_valid_bounds_and_cp_sat_finishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(6):
        problem = instance(10, 5, seed)
        optimum = _cp_sat(problem, problem.useful).value
        monkeypatch.setattr(search, "LABEL_LIMIT", 40)
        found = solve_search(problem)
        assert found is not None
        problem.check(found.choice)
        assert found.value <= optimum + CLOSE <= found.bound + 2 * CLOSE
        # Nothing better than what was found is ruled out.
        better = _cp_sat(problem, problem.useful & worth_trying(problem, found)).value
        assert better == pytest.approx(optimum, abs=CLOSE)
        finished = solve_exact(problem)
        assert finished.status == "optimal"
        assert finished.value == pytest.approx(optimum, abs=CLOSE)
        monkeypatch.undo()


def test_what_cp_sat_proves_is_optimal_even_if_it_rounds_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = instance(10, 5, 0)
    best = solve_exact(problem)
    stopped = replace(best, status="feasible", bound=best.value + 1)
    monkeypatch.setattr(exact, "solve_search", lambda *_: stopped)
    below = replace(best, value=best.value - 1e-10, multipliers=None)
    monkeypatch.setattr(exact, "_cp_sat", lambda *_: below)
    again = solve_exact(problem)
    assert (again.status, again.value, again.bound) == ("optimal", best.value, best.value)
    monkeypatch.setattr(exact, "_cp_sat", lambda *_: replace(below, status="feasible"))
    cut = solve_exact(problem)
    assert (cut.status, cut.value, cut.bound) == ("feasible", best.value, best.value + 1)


def test_the_limit_is_reached_in_the_test_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LABEL_LIMIT", 40)
    found = [solve_search(instance(10, 5, seed)) for seed in range(6)]
    assert any(x is not None and x.status == "feasible" for x in found)


def test_runs_repeat() -> None:
    problem = instance(10, 30, 3)
    first, second = solved(problem), solved(problem)
    assert (first.choice == second.choice).all()
    assert first.nodes == second.nodes


@pytest.mark.parametrize(
    "change",
    [
        {"weight": np.array([0.5, 1.0])},
        {"exactly_one": True},
        {"transfer_cost": np.array([0.1])},
    ],
)
def test_other_forms_are_left_to_others(change: dict) -> None:
    keys = {
        "utility": np.ones((2, 2)),
        "weight": np.array([1.0, 2.0]),
        "capacity": np.full((1, 2), 2.0),
        "pool": np.zeros(2, int),
        "allowed": np.ones((2, 2), bool),
    }
    assert solve_search(MappingProblem(**keys)) is not None
    assert solve_search(MappingProblem(**(keys | change))) is None


def test_without_numba_the_value_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = instance(5, 5, 1)
    expected = solve_exact(problem)
    monkeypatch.setattr(search, "compiled", lambda: None)
    assert solve_search(problem) is None
    plain = solve_exact(problem)
    assert plain.status == "optimal"
    assert plain.value == pytest.approx(expected.value, abs=CLOSE)


def test_a_start_that_no_longer_fits_is_mended() -> None:
    small = MappingProblem(
        np.array([[2.0], [1.5]]), np.array([2.0, 1.0]), np.array([[3.0]]), np.zeros(2, int),
        np.ones((2, 1), bool),
    )  # fmt: skip
    previous = solved(small)
    assert previous.choice.tolist() == [0, 0]
    tight = MappingProblem(
        small.utility, small.weight, np.array([[2.0]]), small.pool, small.allowed
    )
    assert solved(tight, previous).choice.tolist() == [0, OUT]
