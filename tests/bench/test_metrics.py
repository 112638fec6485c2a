"""Scores of a run, against numbers worked by hand and against identities."""

import numpy as np
import pytest

from distmllm_bench.metrics import Scores, optimum
from distmllm_env import Scenario, draw_world, load_policy, play

NAMES = Scenario.names()


class Fixed:
    """Plays one allocation (M, S) for ever."""

    batched = True

    def __init__(self, allocation):
        self.allocation = np.array(allocation)

    def reset(self, problem, rng):
        self.answer = np.repeat(self.allocation[None], problem.batch, axis=0)

    def act(self, observation):
        return self.answer

    def update(self, feedback):
        pass


def toy_scores(allocation, slots=4):
    scenario = Scenario.load("toy", slots=slots)
    run = play(scenario, Fixed(allocation), [0])
    return Scores(run, optimum(run.world))


def test_toy_optimum_by_hand():
    # Both LLM tasks on the fast worker 1: (4 - 1 - 0.4) + (3 - 1 - 0.4) = 4.2; one ENC on worker 0:
    # 2 - 1 - 0.1 = 0.9; the other ENC waits. Together 5.1.
    best = optimum(draw_world(Scenario.load("toy"), [0, 1]))
    assert best.value == pytest.approx([5.1, 5.1])
    assert best.stage_value[0] == pytest.approx([0.9, 4.2])


def test_toy_scores_by_hand():
    # Provider 0: ENC 0.9 on worker 0, LLM waits. Provider 1: ENC waits, LLM 3 - 1 - 0.4 = 1.6.
    scores = toy_scores([[0, 2], [2, 1]])
    assert scores.profit == pytest.approx([4 * 2.5])
    assert scores.regret == pytest.approx([4 * (5.1 - 2.5)])
    assert scores.regret_curve[0] == pytest.approx([2.6, 5.2, 7.8, 10.4])
    assert scores.stage_regret[0] == pytest.approx([0.0, 4 * (4.2 - 1.6)])
    assert scores.profit_curve[0] == pytest.approx([2.5] * 4)
    assert scores.share_curve[0] == pytest.approx([2.5 / 5.1] * 4)
    # Totals 3.6 and 6.4: Jain = 10^2 / (2 (12.96 + 40.96)).
    assert scores.jain == pytest.approx([100 / 107.84])
    assert scores.rejected == pytest.approx([0.0])
    assert scores.deferred == pytest.approx([0.5])


def test_rejections_by_hand():
    # Four unit tasks on worker 1 with two places: two of four fall in every slot.
    scores = toy_scores([[1, 1], [1, 1]])
    assert scores.rejected == pytest.approx([0.5])
    assert scores.deferred == pytest.approx([0.0])


def test_all_deferred_has_no_division_by_zero():
    scores = toy_scores([[2, 2], [2, 2]])
    assert scores.jain == pytest.approx([1.0])
    assert scores.rejected == pytest.approx([0.0])
    assert scores.regret == pytest.approx([4 * 5.1])


def test_one_provider_has_all():
    assert toy_scores([[0, 1], [2, 2]]).jain == pytest.approx([0.5])


@pytest.mark.parametrize("name", NAMES)
def test_regret_identity(name):
    """R(T) = T V* - sum of profit: pseudo with expected profits, realised with realised ones."""
    scenario = Scenario.load(name, slots=40)
    run = play(scenario, load_policy("ucb"), [0, 1, 2])
    scores = Scores(run, optimum(run.world))
    best = scores.best.value * scenario.slots
    assert scores.regret == pytest.approx(best - run.expected_profit.sum((1, 2, 3)), abs=1e-9)
    assert scores.realised_regret == pytest.approx(best - run.profit.sum((1, 2, 3)), abs=1e-9)
    assert scores.stage_regret.sum(axis=1) == pytest.approx(scores.regret, abs=1e-9)
    last = scores.profit_curve[:, -1] * scenario.slots
    assert last == pytest.approx(scores.profit, abs=1e-9)


def test_optimum_counts_the_transfer_cost_once_per_separated_provider():
    scenario = Scenario.load("paper", slots=3, overrides={"market.transfer_cost_per_mb": 0.02})
    run = play(scenario, load_policy("oracle"), [3, 4])
    scores = Scores(run, optimum(run.world))
    assert scores.regret == pytest.approx([0.0, 0.0], abs=1e-6)
    apart = scores.best.allocation[:, :, 0] != scores.best.allocation[:, :, 1]
    assert apart.any()
