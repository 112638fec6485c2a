"""Every form of the mapping problem: exact, branch and bound and enumeration agree."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_agents.mapping import MappingProblem, solve_branch_and_bound, solve_exact
from distmllm_agents.mapping.problem import OUT


@st.composite
def problems(draw: st.DrawFn) -> MappingProblem:
    providers, workers = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    items, pools = 2 * providers, draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (items, workers) if draw(st.booleans()) else (items,)
    whole = draw(st.booleans())
    weight = rng.integers(1, 4, shape).astype(float) if whole else rng.uniform(0.5, 3, shape)
    return MappingProblem(
        utility=rng.uniform(-1, 3, (items, workers)),
        weight=weight,
        capacity=rng.integers(1, 8, (pools, workers)).astype(float),
        pool=rng.integers(0, pools, items),
        allowed=rng.random((items, workers)) < 0.9,
        transfer_cost=rng.uniform(0, 1.5, providers) if draw(st.booleans()) else None,
        exactly_one=draw(st.booleans()),
    )


def enumerate_best(problem: MappingProblem) -> float:
    items, workers = problem.utility.shape
    half = items // 2
    best = -np.inf
    first = 0 if problem.exactly_one else -1
    for choice in itertools.product(range(first, workers), repeat=items):
        load: dict[tuple[int, int], float] = {}
        total = 0.0
        for k, n in enumerate(choice):
            if n >= 0:
                if not problem.allowed[k, n]:
                    break
                weight = problem.weight[k] if problem.weight.ndim == 1 else problem.weight[k, n]
                place = (int(problem.pool[k]), n)
                load[place] = load.get(place, 0.0) + float(weight)
                total += float(problem.utility[k, n])
        else:
            if any(w > problem.capacity[place] + 1e-9 for place, w in load.items()):
                continue
            for m in range(half if problem.transfer_cost is not None else 0):
                enc, llm = choice[m], choice[half + m]
                if min(enc, llm) >= 0 and enc != llm:
                    total -= float(problem.transfer_cost[m])
            best = max(best, total)
    return best


@settings(deadline=None, derandomize=True, max_examples=600)
@given(problem=problems())
def test_all_forms(problem: MappingProblem) -> None:
    best = enumerate_best(problem)
    for solve in (solve_exact, solve_branch_and_bound):
        mapping = solve(problem)
        if best == -np.inf:
            assert mapping.status == "infeasible"
            assert (mapping.choice == OUT).all()
            assert mapping.value == -np.inf
        else:
            assert mapping.status == "optimal"
            problem.check(mapping.choice)
            assert mapping.value == pytest.approx(best, abs=1e-7)
            assert mapping.value == pytest.approx(problem.value(mapping.choice), abs=1e-12)
            assert mapping.gap == pytest.approx(0, abs=1e-7)
