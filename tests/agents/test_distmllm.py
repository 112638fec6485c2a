"""Algorithm 1, line by line, on markets small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distmllm_agents.distmllm import DistMLLM, DistMLLMFixed, MonolithicDistMLLM
from distmllm_agents.mapping import (
    SOLVERS,
    Mapping,
    MappingBatch,
    MappingProblem,
    solve_sequential_batch,
)
from distmllm_agents.oracle import best_allocation
from distmllm_env import Scenario, Status, draw_world, play
from distmllm_env.policy import Feedback, Observation, Problem, make_problem

UP_TO_3 = {"kind": "integers", "low": 1, "high": 3}

Answer = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


def roomy(providers: int, workers: int, **keys: Any) -> Scenario:
    """Room for everybody everywhere."""
    return Scenario.load("slack", keys, providers=providers, workers=workers)


def known(scenario: Scenario, seeds: tuple[int, ...] = (0,)) -> Problem:
    return make_problem(draw_world(scenario, seeds))


def drive(
    policy: DistMLLM, problem: Problem, slots: int, answer: Answer | None = None
) -> tuple[np.ndarray, list[bool]]:
    """Play one row by hand. ``answer`` gives profit and admitted; without it all earn 1.

    Returns the allocations, (T, M, S), and whether each slot explored.
    """
    policy.reset(problem, [np.random.default_rng(0)])
    allocations, flags = [], []
    for slot in range(slots):
        allocation = policy.act(Observation(slot))
        profit, admitted = np.ones(allocation.shape), allocation < problem.workers
        if answer is not None:
            profit, admitted = answer(slot, allocation)
        allocations.append(allocation[0].copy())
        flags.append(bool(policy.exploring[0]))
        load = np.zeros((1, problem.workers))
        policy.update(Feedback(allocation, admitted, np.where(admitted, profit, 0.0), load))
    return np.array(allocations), flags


def explored(flags: list[bool]) -> int:
    """Length of the first exploration phase."""
    return flags.index(False)


class TestPhases:
    @pytest.mark.parametrize(
        ("explore", "base", "lengths"),
        [
            (3, 2, [3, 2, 3, 4, 3, 8, 3, 16]),
            (1, 2, [1, 2, 1, 4, 1, 8]),
            (2, 3, [2, 3, 2, 9, 2, 27]),
            (4, 1, [4, 1, 4, 1, 4, 1]),
            (2, 10, [2, 10, 2, 100]),
        ],
    )
    def test_lengths(self, explore: int, base: int, lengths: list[int]) -> None:
        policy = DistMLLM(explore_slots=explore, exploit_base=base)
        _, flags = drive(policy, known(roomy(2, 3)), sum(lengths))
        expected = [phase % 2 == 0 for phase, length in enumerate(lengths) for _ in range(length)]
        assert flags == expected

    @pytest.mark.parametrize(
        ("source", "keys", "length"),
        [
            ("slack", {}, 5),  # load 10 / 50: one pass over 5 workers
            ("toy", {}, 4),  # load 4 / 3: two slots for each of 2 workers
            ("toy", {"market.capacity": "per_stage"}, 2),  # 2 / 3 in each pool
            ("toy", {"capacity": [2, 2]}, 2),  # a load of exactly 1
            ("toy", {"capacity": [1, 1]}, 4),  # exactly 2
            ("toy", {"capacity": [1, 0.9]}, 6),  # just above 2
            # Exactly 2, but 2 (0.1 + 0.1 + 0.1) / 0.3 is a little more in floats.
            ("slack", {"providers": 3, "workers": 1, "demand": 0.1, "capacity": 0.3}, 2),
        ],
    )
    def test_one_covering_pass_is_the_default(
        self, source: str, keys: dict[str, Any], length: int
    ) -> None:
        _, flags = drive(DistMLLM(), known(Scenario.load(source, keys)), 20)
        assert explored(flags) == length

    def test_rows_with_different_loads_keep_their_own_schedule(self) -> None:
        # Loads 2 sum(c) / 20 of demands in 1..3: above 1 in one row, below in the other.
        scenario = Scenario.load("paper", {"demand": UP_TO_3, "capacity": 4}, slots=60)
        demand = known(scenario, tuple(range(20))).demand.sum(axis=1)
        seeds = [int(demand.argmin()), int(demand.argmax())]
        assert demand.min() <= 10 < demand.max()
        together = play(scenario, DistMLLM(), seeds)
        assert together.exploring is not None
        assert [explored(list(row)) for row in together.exploring] == [5, 10]
        for b, seed in enumerate(seeds):
            alone = play(scenario, DistMLLM(), [seed])
            assert alone.exploring is not None
            np.testing.assert_array_equal(together.exploring[b], alone.exploring[0])
            np.testing.assert_array_equal(together.allocation[b], alone.allocation[0])
            np.testing.assert_array_equal(together.profit[b], alone.profit[0])

    def test_reset_starts_over(self) -> None:
        policy, problem = DistMLLM(explore_slots=3), known(roomy(2, 3))
        first = drive(policy, problem, 17)
        again = drive(policy, problem, 17)
        np.testing.assert_array_equal(first[0], again[0])
        assert first[1] == again[1]


class TestRoundRobin:
    @pytest.mark.parametrize(("m", "n", "explore"), [(3, 4, 4), (3, 4, 3), (5, 2, 3), (1, 3, 2)])
    def test_worker_and_continuation_across_epochs(self, m: int, n: int, explore: int) -> None:
        """Provider m meets worker (m + t) mod N, t counting the slots of exploration alone."""
        policy = DistMLLM(explore_slots=explore)
        allocations, flags = drive(policy, known(roomy(m, n)), 40)
        walk = allocations[np.array(flags)]
        assert len(walk) > 3 * explore
        for t, slot in enumerate(walk):
            expected = [[(i + t) % n] * 2 for i in range(m)]
            assert slot.tolist() == expected

    def test_every_pair_once_in_n_slots(self) -> None:
        walk, _ = drive(DistMLLM(), known(roomy(4, 5)), 5)
        for m in range(4):
            assert sorted(walk[:, m, 0]) == [0, 1, 2, 3, 4]

    def test_a_pair_that_cannot_run_waits(self) -> None:
        # Worker 0 is too small for provider 1 (demand 2).
        problem = known(Scenario.load("toy", {"demand": [1, 2], "capacity": [1, 2]}))
        walk, _ = drive(DistMLLM(explore_slots=2), problem, 2)
        assert walk.tolist() == [[[0, 0], [1, 1]], [[1, 1], [2, 2]]]

    @pytest.mark.parametrize("policy", [DistMLLM, DistMLLMFixed, MonolithicDistMLLM])
    def test_never_chooses_what_cannot_run(self, policy: type[DistMLLM]) -> None:
        run = play(Scenario.load("testbed", slots=150), policy(), [0, 1])
        assert not run.world.feasible.all()
        assert run.exploring is not None
        assert not (run.status == Status.INFEASIBLE).any()
        assert (run.status[run.exploring] == Status.DEFERRED).any()


class TestEstimator:
    """One provider, one worker, two exploration slots per epoch, one of exploitation."""

    ENC = (4.0, 8.0, 100.0, 2.0, 6.0, 100.0, 1.0, 7.0)
    FLAGS = (True, True, False, True, True, False, True, True)

    @pytest.mark.parametrize(
        ("estimator", "learn_always", "values"),
        [
            # u <- (u (tau - 1) + r) / tau: epoch 1 keeps the last sample, 4 then 8. Epoch 2:
            # (8 + 2) / 2 = 5, (5 + 6) / 2 = 5.5. Epoch 3: (11 + 1) / 3 = 4, (8 + 7) / 3 = 5.
            ("paper", False, (4, 8, 8, 5, 5.5, 5.5, 4, 5)),
            # Means of 1, 2, 3, ... samples: sums 4, 12, 14, 20, 21, 28.
            ("count", False, (4, 6, 6, 14 / 3, 5, 5, 21 / 5, 28 / 6)),
            # The 100 counts too. Epoch 1: 100. Epoch 2: 51, 28.5, 64.25. Epoch 3: 129.5 / 3 ...
            ("paper", True, (4, 8, 100, 51, 28.5, 64.25, 129.5 / 3, (2 * 129.5 / 3 + 7) / 3)),
            # Sums 4, 12, 112, 114, 120, 220, 221, 228.
            ("count", True, (4, 6, 112 / 3, 28.5, 24, 220 / 6, 221 / 7, 228 / 8)),
        ],
    )
    def test_by_hand(self, estimator: Any, learn_always: bool, values: tuple[float, ...]) -> None:
        policy = DistMLLM(estimator, explore_slots=2, exploit_base=1, learn_always=learn_always)
        seen: list[tuple[float, float]] = []

        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if slot:
                seen.append((policy.estimate[0, 0, 0, 0], policy.estimate[0, 1, 0, 0]))
            enc = self.ENC[slot] if slot < 8 else 0.0
            # The LLM task earns half of it: stages are estimated each for itself.
            return np.array([[[enc, enc / 2]]]), np.ones((1, 1, 2), bool)

        allocations, flags = drive(policy, known(roomy(1, 1)), 9, answer)
        assert tuple(flags[:8]) == self.FLAGS
        assert (allocations == 0).all()
        np.testing.assert_allclose([enc for enc, _ in seen], values, rtol=1e-12)
        np.testing.assert_allclose([llm for _, llm in seen], np.array(values) / 2, rtol=1e-12)

    @pytest.mark.parametrize("estimator", ["paper", "count"])
    def test_a_rejected_task_is_no_sample(self, estimator: Any) -> None:
        policy = DistMLLM(estimator, explore_slots=4)

        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            admitted = np.array([[[slot != 1, slot % 2 == 1]]])
            return np.full((1, 1, 2), 3.0), admitted

        drive(policy, known(roomy(1, 1)), 4, answer)
        assert policy.samples.ravel().tolist() == [3, 2]
        assert policy.estimate.ravel().tolist() == [3.0, 3.0]

    def test_pairs_are_estimated_apart(self) -> None:
        policy = DistMLLM(explore_slots=6)

        def answer(slot: int, allocation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            m, s = np.arange(2)[None, :, None], np.arange(2)[None, None, :]
            return 100.0 * s + 10.0 * m + allocation, np.ones(allocation.shape, bool)

        drive(policy, known(roomy(2, 3)), 6, answer)
        s, m, n = np.ogrid[:2, :2, :3]
        np.testing.assert_allclose(policy.estimate[0], 100.0 * s + 10.0 * m + n)
        assert (policy.samples == 2).all()

    def test_an_unvisited_pair_is_worth_0_and_never_mapped(self) -> None:
        # Two slots of exploration visit two of four workers.
        allocations, flags = drive(DistMLLM(explore_slots=2), known(roomy(1, 4)), 4)
        assert flags == [True, True, False, False]
        assert set(allocations[2].ravel().tolist()) <= {0, 1}


class TestMapping:
    @pytest.mark.parametrize("name", SOLVERS)
    def test_once_per_epoch_with_the_estimates_of_that_moment(
        self, name: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[tuple[np.ndarray, np.ndarray]] = []
        mappings: list[Mapping] = []
        solver = SOLVERS[name]

        def counting(problem: MappingProblem, previous: Mapping | None) -> Mapping:
            assert previous is (mappings[-1] if mappings else None)  # where the last epoch ended
            mappings.append(solver(problem, previous))
            calls.append((problem.utility.copy(), mappings[-1].choice))
            return mappings[-1]

        def counting_batch(batch: MappingBatch, **options: Any) -> np.ndarray:
            choice = solve_sequential_batch(batch, **options)
            calls.append((batch.utility[0].copy(), choice[0]))
            return choice

        monkeypatch.setitem(SOLVERS, name, counting)
        monkeypatch.setattr("distmllm_agents.distmllm.solve_sequential_batch", counting_batch)
        run = play(Scenario.load("paper"), DistMLLM(mapping=name, explore_slots=5), [0])
        # Epochs start at 0, 7, 16, 29, 50, 87, 156, 289 and 550: eight of them map before 500.
        assert len(calls) == 8
        assert run.exploring is not None
        begins = np.flatnonzero(run.exploring[0, :-1] & ~run.exploring[0, 1:]) + 1
        assert begins.tolist() == [5, 12, 21, 34, 55, 92, 161, 294]
        for slot, epoch, (_, choice) in zip(begins, range(1, 9), calls, strict=True):
            until = run.allocation[0, slot : slot + 2**epoch]
            wanted = np.where(choice < 0, 5, choice).reshape(2, 5).T
            assert (until == wanted).all()
        first = calls[0][0].reshape(2, 5, 5)
        for t in range(5):  # one visit of each pair: the estimate is the profit of that slot
            for m in range(5):
                np.testing.assert_array_equal(first[:, m, (m + t) % 5], run.profit[0, t, m])

    @pytest.mark.parametrize("seed", range(5))
    def test_without_noise_one_pass_finds_the_optimum(self, seed: int) -> None:
        # In a round robin no two providers meet, and 2 c_m <= 6 fits: every pair is seen once.
        keys = {"noise.on": "none", "demand": UP_TO_3, "capacity": 6}
        scenario = Scenario.load("paper", keys, slots=6)
        run = play(scenario, DistMLLM("count", "exact"), [seed])
        assert run.exploring is not None
        assert run.exploring[0].tolist() == [True] * 5 + [False]
        optimum = value_of(run.world.mean_profit[0], best_allocation(run.world)[0])
        assert run.expected_profit[0, 5].sum() == pytest.approx(optimum, abs=1e-8)
        # The capacities bind: without them more could be earned.
        assert run.world.mean_profit[0].max(axis=2).sum() > optimum + 0.01

    def test_fixed_is_count_exact_and_learns_always(self) -> None:
        scenario = Scenario.load("scarce", slots=60)
        fixed = play(scenario, DistMLLMFixed(), [3])
        spelled = play(scenario, DistMLLM("count", "exact", learn_always=True), [3])
        np.testing.assert_array_equal(fixed.allocation, spelled.allocation)
        literal = play(scenario, DistMLLM(), [3])
        assert (fixed.allocation != literal.allocation).any()


def value_of(mean_profit: np.ndarray, allocation: np.ndarray) -> float:
    stages, providers = np.ogrid[:2, : allocation.shape[0]]
    return float(mean_profit[stages, providers, allocation.T].sum())


class TestMonolithic:
    @pytest.mark.parametrize("source", ["toy", "paper", "scarce", "crowd2", "testbed"])
    def test_both_stages_on_one_worker(self, source: str) -> None:
        run = play(Scenario.load(source, slots=60), MonolithicDistMLLM(), [0, 1])
        np.testing.assert_array_equal(run.allocation[..., 0], run.allocation[..., 1])
        assert (run.allocation < run.world.scenario.workers).any()

    def test_by_hand(self) -> None:
        # Toy with two places each. Worker 0: 0.9 + 1.9 = 2.8 and 0.9 + 0.9 = 1.8; worker 1:
        # 1.1 + 2.6 = 3.7 and 1.1 + 1.6 = 2.7. A provider fills a worker. Sequential: worker 0
        # takes provider 0 (2.8), worker 1 then gains 3.7 - 2.8 = 0.9 or 2.7: provider 1.
        run = play(Scenario.load("toy", {"capacity": [2, 2]}), MonolithicDistMLLM(), [0])
        assert run.exploring is not None
        assert run.exploring[0, :4].tolist() == [True, True, False, False]
        assert run.allocation[0, 2].tolist() == [[0, 0], [1, 1]]
        assert run.profit[0, 2].sum() == pytest.approx(2.8 + 2.7)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"estimator": "papr"}, "unknown estimator 'papr'. Did you mean 'paper'"),
            ({"estimator": None}, "unknown estimator None.*Allowed: count, paper"),
            ({"mapping": "exat"}, "unknown mapping 'exat'. Did you mean 'exact'"),
            ({"explore_slots": 0}, "explore_slots = 0 is not allowed"),
            ({"explore_slots": -3}, "explore_slots = -3 is not allowed"),
            ({"explore_slots": 2.5}, "explore_slots = 2.5 is not allowed: a whole number"),
            ({"explore_slots": "5"}, "explore_slots = '5' is not allowed"),
            ({"exploit_base": 0}, "exploit_base = 0 is not allowed"),
            ({"exploit_base": 1.5}, "exploit_base = 1.5 is not allowed"),
        ],
    )
    def test_a_wrong_one_is_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DistMLLM(**options)

    def test_numpy_numbers_are_numbers(self) -> None:
        _, flags = drive(DistMLLM(explore_slots=np.int64(3)), known(roomy(1, 2)), 5)
        assert flags == [True, True, True, False, False]

    def test_kept_as_given(self) -> None:
        policy = DistMLLMFixed(explore_slots=7, exploit_base=3)
        assert (policy.explore_slots, policy.exploit_base) == (7, 3)
        assert (policy.estimator, policy.mapping, policy.learn_always) == ("count", "exact", True)
