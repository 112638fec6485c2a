"""Greedy: one covering pass, then the exact mapping of the sample means in every slot."""

import numpy as np
import pytest

from distmllm_agents.greedy import GreedyExact
from distmllm_agents.mapping.batch import solve_batch
from distmllm_agents.oracle import optimum
from distmllm_env import Market, Scenario, load_policy, play
from distmllm_env.policy import Observation, make_feedback, make_problem


def test_every_slot_maps_the_means_of_all_slots_before() -> None:
    """Against sums and counts kept here, with the solver called plainly."""
    scenario = Scenario.load("paper", slots=40)
    market = Market(scenario, [0, 3])
    problem = make_problem(market.world)
    policy = GreedyExact()
    policy.reset(problem, [np.random.default_rng(b) for b in range(2)])
    total, count = np.zeros((2, 2, 5, 5)), np.zeros((2, 2, 5, 5))
    mapped = 0
    for slot in range(scenario.slots):
        allocation = policy.act(Observation(slot))
        for b in np.flatnonzero(~policy.exploring):
            mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
            best, _ = solve_batch(problem, mean)
            worth = [
                sum(
                    mean[b, s, m, choice[b, m, s]]
                    for m in range(5)
                    for s in range(2)
                    if choice[b, m, s] < 5
                )
                for choice in (allocation, best)
            ]
            assert worth[0] == pytest.approx(worth[1], abs=1e-9)
            mapped += 1
        outcome = market.step(allocation)
        for b, m, s in np.argwhere(outcome.admitted):
            total[b, s, m, allocation[b, m, s]] += outcome.profit[b, m, s]
            count[b, s, m, allocation[b, m, s]] += 1
        policy.update(make_feedback(outcome, allocation))
    assert mapped > 50


def test_it_explores_once_and_never_again() -> None:
    run = play(Scenario.load("paper", slots=60), load_policy("greedy"), [0, 1, 2])
    assert run.exploring is not None
    assert run.exploring[:, 0].all()
    assert not run.exploring[:, 10:].any()
    starts = np.diff(run.exploring.astype(int), axis=1)
    assert (starts <= 0).all()


def test_without_noise_it_finds_the_optimum() -> None:
    scenario = Scenario.load("paper", {"noise.on": "none"}, slots=60)
    run = play(scenario, load_policy("greedy"), range(4))
    late = run.expected_profit[:, 20:].sum(axis=(2, 3))
    assert late == pytest.approx(np.repeat(optimum(run.world).value[:, None], 40, axis=1))
