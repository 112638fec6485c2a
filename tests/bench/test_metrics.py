"""Scores of a run, against numbers worked by hand and against identities."""

import numpy as np
import pytest

from distmllm_bench.metrics import FATES, Optimum, Scores, optimum
from distmllm_env import Scenario, draw_world, load_policy, play
from distmllm_env.slot import Status

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


# The optimum of toy, by hand; the one ENC task that is served could as well be provider 1's.
TOY_BEST = Optimum(np.array([[[0, 1], [2, 1]]]), np.array([[[0.9, 2.6], [0.0, 1.6]]]))


class Script:
    """Plays a list of allocations (M, S)."""

    batched = True

    def __init__(self, *allocations):
        self.allocations = [np.array(allocation)[None] for allocation in allocations]

    def reset(self, problem, rng):
        pass

    def act(self, observation):
        return self.allocations[observation.slot]

    def update(self, feedback):
        pass


def scripted(*allocations, **keys):
    scenario = Scenario.load("toy", keys, slots=len(allocations))
    return play(scenario, Script(*allocations), [0])


def fates(run, best=None):
    served, rejected, idle = Scores(run, best or optimum(run.world)).regret_by_fate[0]
    return [served, rejected, idle]


class TestRegretByFate:
    def test_names(self):
        assert FATES == ("served", "rejected", "idle")

    def test_the_optimum_loses_nothing(self):
        assert fates(scripted([[0, 1], [2, 1]]), TOY_BEST) == pytest.approx([0, 0, 0])

    def test_tasks_that_wait(self):
        # LLM 0 waits and loses its 2.6; ENC 1 waits as in the optimum. Twice.
        run = scripted([[0, 2], [2, 1]], [[0, 2], [2, 1]])
        assert fates(run, TOY_BEST) == pytest.approx([0, 0, 2 * 2.6])
        assert fates(scripted([[2, 2], [2, 2]]), TOY_BEST) == pytest.approx([0, 0, 5.1])

    def test_tasks_on_another_worker(self):
        # ENC 0 earns 1.1 instead of 0.9 on the fast worker, LLM 0 1.9 instead of 2.6 on the slow
        # one; LLM 1 as in the optimum.
        run = scripted([[1, 0], [2, 1]])
        assert fates(run, TOY_BEST) == pytest.approx([-0.2 + 0.7, 0, 0])
        # ENC 1 earns 0.9 where the optimum gives it nothing, and ENC 0 waits.
        run = scripted([[2, 1], [0, 1]])
        assert fates(run, TOY_BEST) == pytest.approx([-0.9, 0, 0.9])

    def test_tasks_that_are_dropped(self):
        # All four on worker 1 with two places: none is served.
        run = scripted([[1, 1], [1, 1]], **{"market.overload": "reject_all"})
        assert fates(run, TOY_BEST) == pytest.approx([0, 5.1, 0])
        # Two on worker 0 with one place; the LLM tasks as in the optimum.
        run = scripted([[0, 1], [0, 1]], **{"market.overload": "reject_all"})
        assert fates(run, TOY_BEST) == pytest.approx([0, 0.9, 0])

    def test_tasks_where_they_can_never_run(self):
        # A demand of 2 does not fit worker 0 with its one place; alone on worker 1 LLM 1 fits.
        run = scripted([[2, 2], [0, 1]], demand=[1, 2])
        assert run.status[0, 0, 1].tolist() == [Status.INFEASIBLE, Status.ADMITTED]
        best = Optimum(np.array([[[2, 2], [0, 1]]]), np.array([[[0.0, 0.0], [0.7, 1.6]]]))
        assert fates(run, best) == pytest.approx([0, 0, 0.7])

    def test_a_slot_of_each(self):
        parts = [[0, 1], [2, 1]], [[2, 2], [2, 2]], [[1, 0], [2, 1]]
        assert fates(scripted(*parts), TOY_BEST) == pytest.approx([0.5, 0, 5.1])

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("policy", ["random", "ucb"])
    def test_sum_to_the_regret(self, name, policy):
        scenario = Scenario.load(name, slots=30)
        run = play(scenario, load_policy(policy), [0, 1, 2])
        scores = Scores(run, optimum(run.world))
        assert scores.regret_by_fate.shape == (3, 3)
        assert scores.regret_by_fate.sum(axis=1) == pytest.approx(scores.regret, abs=1e-9)
        # Dropped and idle tasks earn nothing, so they lose all that the optimum gives them.
        best = scores.best.task_value
        for b in range(3):
            lost = {Status.REJECTED: 0.0, Status.DEFERRED: 0.0, Status.INFEASIBLE: 0.0}
            for t, m, s in np.ndindex(*run.status.shape[1:]):
                if run.status[b, t, m, s] in lost:
                    lost[Status(run.status[b, t, m, s])] += best[b, m, s]
            _, rejected, idle = scores.regret_by_fate[b]
            assert rejected == pytest.approx(lost[Status.REJECTED], abs=1e-9)
            assert idle == pytest.approx(lost[Status.DEFERRED] + lost[Status.INFEASIBLE], abs=1e-9)

    @pytest.mark.parametrize(
        "keys", [{"market.transfer_cost_per_mb": 0.2}, {"market.overload": "share"}]
    )
    def test_sum_to_the_regret_elsewhere(self, keys):
        run = play(Scenario.load("scarce", keys, slots=30), load_policy("random"), [0, 1])
        scores = Scores(run, optimum(run.world))
        assert scores.regret_by_fate.sum(axis=1) == pytest.approx(scores.regret, abs=1e-9)
        assert scores.best.task_value.sum(axis=1) == pytest.approx(scores.best.stage_value)
        assert scores.best.stage_value.sum(axis=1) == pytest.approx(scores.best.value)


def test_switches_by_hand():
    run = scripted([[0, 1], [2, 1]], [[0, 1], [2, 1]], [[1, 1], [2, 0]], [[2, 2], [1, 1]])
    scores = Scores(run, TOY_BEST)
    # The first slot has none before it; then nothing, ENC 0 and LLM 1, and all four.
    assert scores.switches.tolist() == [[0, 0, 2, 4]]
    assert scores.switches.dtype == np.int64
    assert Scores(scripted([[0, 1], [2, 1]]), TOY_BEST).switches.tolist() == [[0]]


def test_a_task_that_is_dropped_has_not_moved():
    run = scripted(*[[[1, 1], [1, 1]]] * 5)
    assert (run.status == Status.REJECTED).any()
    assert Scores(run, TOY_BEST).switches.tolist() == [[0] * 5]


def test_jain_curve_by_hand():
    # Provider 0 and 1 earn nothing; then 0.9 and nothing; then 0.9 and 1.6, so 0.9 + 0.9 and 1.6.
    run = scripted([[2, 2], [2, 2]], [[0, 2], [2, 2]], [[0, 2], [2, 1]])
    curve = Scores(run, TOY_BEST).jain_curve
    assert curve.shape == (1, 3)
    assert curve[0] == pytest.approx([1.0, 0.5, (1.8 + 1.6) ** 2 / (2 * (1.8**2 + 1.6**2))])


def test_jain_curve_ends_in_jain():
    run = play(Scenario.load("paper", slots=30), load_policy("ucb"), [0, 1])
    scores = Scores(run, optimum(run.world))
    assert scores.jain_curve[:, -1] == pytest.approx(scores.jain)
    assert (scores.jain_curve >= 1 / 5 - 1e-12).all()
    assert (scores.jain_curve <= 1 + 1e-12).all()


ATTRIBUTES = (
    *("profit", "regret", "regret_curve", "realised_regret", "stage_regret", "regret_by_fate"),
    *("switches", "jain_curve", "jain", "profit_curve", "share_curve", "rejected", "deferred"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_a_batch_scores_as_the_single_run(name):
    """To the last bit: sums are taken in the same order."""
    seeds = [7, 2**42, 0, 3, 5]
    scenario = Scenario.load(name, slots=70)
    batch = play(scenario, load_policy("random"), seeds)
    assert {key for key in vars(Scores) if not key.startswith("_")} - {*ATTRIBUTES} <= {
        *("run", "best")
    }
    for b, seed in enumerate(seeds):
        single, row = play(scenario, load_policy("random"), [seed]), batch.row(b)
        assert row.seeds == single.seeds == (seed,)
        assert row.episodes == single.episodes
        one, other = Scores(single, optimum(single.world)), Scores(row, optimum(row.world))
        for key in ATTRIBUTES:
            left, right = getattr(one, key), getattr(other, key)
            assert (left.shape, left.tobytes()) == (right.shape, right.tobytes()), key
        for key, table in vars(single).items():
            if isinstance(table, np.ndarray):
                found = getattr(row, key)
                assert (found.dtype, found.shape) == (table.dtype, table.shape)
                assert found.tobytes() == table.tobytes()
                assert found.sum().tobytes() == table.sum().tobytes()  # in the same order


def test_a_row_keeps_the_phases():
    batch = play(Scenario.load("paper", slots=20), load_policy("distmllm"), [0, 1])
    assert batch.row(1).exploring.tolist() == batch.exploring[1:].tolist()
    assert play(Scenario.load("toy"), load_policy("ucb"), [0]).row(0).exploring is None
