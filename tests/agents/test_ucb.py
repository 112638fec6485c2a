"""UCB1 by hand: indices, first trials, rejections, and that nobody coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distmllm_agents.ucb import UCB, UCBSigma
from distmllm_env import Scenario, Status, draw_world, play
from distmllm_env.policy import Feedback, Observation, Problem, make_problem

Answer = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


def market(
    providers: int, workers: int, width: tuple[float, ...] = (1.0,), std: float = 0.1
) -> Problem:
    """Room for everybody; one row per width of the interval of mean profits."""
    scenario = Scenario.load("slack", providers=providers, workers=workers)
    problem = make_problem(draw_world(scenario, range(len(width))))
    return replace(problem, profit_range=np.array(width), profit_std=np.full(len(width), std))


def drive(policy: UCB, problem: Problem, slots: int, answer: Answer) -> np.ndarray:
    """Play by hand; ``answer`` gives profit and admitted. Returns (T, B, M, S)."""
    policy.reset(problem, [np.random.default_rng(b) for b in range(problem.batch)])
    chosen = []
    for slot in range(slots):
        allocation = policy.act(Observation(slot))
        profit, admitted = answer(slot, allocation)
        chosen.append(allocation.copy())
        load = np.zeros((problem.batch, problem.workers))
        policy.update(Feedback(allocation, admitted, np.where(admitted, profit, 0.0), load))
    return np.array(chosen)


def pays(*table: list[float]) -> Answer:
    """ENC and LLM profit of each worker, the same for all providers; nothing is rejected."""
    rows = np.array(table)

    def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rows[np.arange(2), allocation], np.ones(allocation.shape, bool)

    return answer


# With R = 1 and n = trials so far, sqrt(2 ln t / n), t = 2..6:
#   t   n = 1   n = 2   n = 3   n = 4
#   2   1.177
#   3   1.482   1.048
#   4   1.665           0.961
#   5   1.794   1.269   1.036   0.897
#   6           1.339           0.947
# ENC (1.0, 0.4): t=2: 0 (2.18 > 1.58). t=3: 0 (2.05 > 1.88). t=4: 1 (1.96 < 2.07).
#   t=5: 0 (2.04 > 1.67). t=6: 0 (1.95 > 1.74).
# LLM (0.17, 0.9): t=2: 1. t=3: 1 (1.65 < 1.95). t=4: 1 (1.84 < 1.86; with ln 5 it would be 0).
#   t=5: 0 (1.96 > 0.9 + 0.897). t=6: 1 (1.51 < 1.85).
# On a tenth of that scale no bonus ever makes up for the difference.
WIDE = ([0, 0, 1, 0, 0], [1, 1, 1, 0, 1])
NARROW = ([0] * 5, [1] * 5)


class TestIndex:
    @pytest.mark.parametrize(
        ("policy", "width", "std", "choices"),
        [
            (UCB(), 1.0, 0.1, WIDE),
            (UCB(), 0.1, 1.0, NARROW),
            (UCB("sigma"), 1.0, 0.1, NARROW),
            (UCB("sigma"), 0.1, 1.0, WIDE),
            (UCBSigma(), 0.1, 1.0, WIDE),
        ],
    )
    def test_by_hand(self, policy: UCB, width: float, std: float, choices: Any) -> None:
        problem = market(1, 2, (width,), std)
        chosen = drive(policy, problem, 7, pays([1.0, 0.4], [0.17, 0.9]))[:, 0, 0]
        for s in range(2):
            assert sorted(chosen[:2, s]) == [0, 1]
            assert chosen[2:, s].tolist() == choices[s]

    def test_every_row_has_its_own_scale(self) -> None:
        problem = market(1, 2, (1.0, 0.1))
        chosen = drive(UCB(), problem, 7, pays([1.0, 0.4], [0.17, 0.9]))
        for b, choices in enumerate((WIDE, NARROW)):
            assert [chosen[2:, b, 0, s].tolist() for s in range(2)] == list(choices)

    def test_ties_go_to_the_lowest_worker(self) -> None:
        chosen = drive(UCB(), market(1, 3), 6, pays([1.0] * 3, [1.0] * 3))[3:, 0, 0]
        assert chosen.tolist() == [[0, 0], [1, 1], [2, 2]]

    def test_mean_is_over_all_samples(self) -> None:
        # Without a bonus: worker 0 gives 1.0 once and then 0.0, means 1, 1/2, 1/3, 1/4; worker 1
        # gives 0.3.
        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            first = np.where(slot < 2, 1.0, 0.0)
            return np.where(allocation == 0, first, 0.3), np.ones(allocation.shape, bool)

        chosen = drive(UCB(), market(1, 2, (0.0,)), 7, answer)[2:, 0, 0]
        assert chosen.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1], [1, 1]]


class TestFirstTrials:
    def test_every_worker_once_in_an_order_of_ones_own(self) -> None:
        chosen = drive(UCB(), market(4, 5, (1.0, 1.0)), 5, pays([1.0] * 5, [1.0] * 5))
        orders = {tuple(chosen[:, b, m, s]) for b in range(2) for m in range(4) for s in range(2)}
        assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
        assert len(orders) > 8

    def test_only_what_can_run(self) -> None:
        problem = market(1, 4)
        feasible = problem.feasible.copy()
        feasible[0, 0, 0] = [False, True, False, True]  # ENC
        feasible[0, 1, 0] = False  # LLM runs nowhere: it waits
        problem = replace(problem, feasible=feasible)
        chosen = drive(UCB(), problem, 30, lambda t, a: (np.full(a.shape, -5.0), a < 4))[:, 0, 0]
        assert sorted(chosen[:2, 0]) == [1, 3]
        assert set(chosen[:, 0].tolist()) == {1, 3}
        assert (chosen[:, 1] == 4).all()

    @pytest.mark.parametrize("policy", [UCB, UCBSigma])
    def test_never_infeasible_on_the_testbed(self, policy: type[UCB]) -> None:
        run = play(Scenario.load("testbed", slots=150), policy(), [0, 1])
        assert not run.world.feasible.all()
        assert not np.isin(run.status, [Status.INFEASIBLE, Status.DEFERRED]).any()


class TestRejection:
    def test_counts_as_0(self) -> None:
        # Without a bonus: worker 0 pays 1.0 once and then rejects: means 1, 1/2, 1/3 < 0.4.
        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.where(allocation == 0, 1.0, 0.4), (allocation == 1) | (slot < 2)

        chosen = drive(UCB(), market(1, 2, (0.0,)), 7, answer)[2:, 0, 0, 0]
        assert chosen.tolist() == [0, 0, 1, 1, 1]

    def test_is_a_trial(self) -> None:
        """Rejected on every first trial, a worker is not tried again at once."""
        chosen = drive(
            UCB(), market(1, 3), 3, lambda t, a: (np.ones(a.shape), np.zeros(a.shape, bool))
        )
        assert sorted(chosen[:, 0, 0, 0]) == [0, 1, 2]


class TestIndependence:
    def choices(self, swap: bool) -> np.ndarray:
        """Provider 1 meets other rewards and rejections if ``swap``; provider 0 never."""

        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rank = np.array([0.3, 0.9, 0.1, 0.5])
            profit = rank[allocation]
            admitted = np.ones(allocation.shape, bool)
            if swap:
                profit[:, 1] = -profit[:, 1]
                admitted[:, 1] = slot % 3 > 0
            return profit, admitted

        return drive(UCB(), market(2, 4), 80, answer)[:, 0]

    def test_of_the_other_provider(self) -> None:
        before, after = self.choices(False), self.choices(True)
        np.testing.assert_array_equal(before[:, 0], after[:, 0])
        assert (before[:, 1] != after[:, 1]).any()

    def test_of_the_other_stage(self) -> None:
        one = drive(UCB(), market(1, 3), 60, pays([0.1, 0.5, 0.9], [0.9, 0.5, 0.1]))
        two = drive(UCB(), market(1, 3), 60, pays([0.1, 0.5, 0.9], [0.1, 0.9, 0.5]))
        np.testing.assert_array_equal(one[..., 0], two[..., 0])
        assert (one[..., 1] != two[..., 1]).any()


def test_wrong_scale_is_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'sigma'"):
        UCB("sigm")  # type: ignore[arg-type]
