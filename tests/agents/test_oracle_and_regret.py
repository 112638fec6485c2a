"""The oracle is the optimum, and regret against it is never negative where capacity is hard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from distmllm_agents.heu import HEU
from distmllm_agents.oracle import Oracle, best_allocation
from distmllm_env import Scenario, Status, World, draw_world, load_policy, play
from distmllm_env.registry import policy_names
from distmllm_env.slot import play_slot

SEEDS = (0, 1)
ROUNDING = 1e-6

MARKETS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in Scenario.names()},
    "scarce, transfer cost": ("scarce", {"market.transfer_cost_per_mb": 0.8}),
    "testbed, transfer cost": ("testbed", {"market.transfer_cost_per_mb": 2.0}),
    "scarce, per stage": ("scarce", {"market.capacity": "per_stage", "capacity": 3}),
    "crowd2, per stage": ("crowd2", {"market.capacity": "per_stage", "capacity": 1.2}),
    "scarce, reject all": ("scarce", {"market.overload": "reject_all"}),
    # Thirds fill a worker to the brim and are no finite decimals.
    "thirds": ("toy", {"demand": [1 / 3, 2 / 3], "capacity": [1, 1]}),
}
every_market = pytest.mark.parametrize("market", MARKETS)


def load(market: str, slots: int) -> Scenario:
    source, keys = MARKETS[market]
    return Scenario.load(source, keys, slots=slots)


def value(world: World, b: int, allocation: np.ndarray) -> float:
    """Mean profit of an allocation (M, S) that fits, summed task by task."""
    table, defer = world.mean_profit[b], world.scenario.workers
    total = 0.0
    for m, (enc, llm) in enumerate(allocation.tolist()):
        total += table[0, m, enc] + table[1, m, llm]
        if enc != llm and defer not in (enc, llm):
            total -= world.transfer_cost[b, m]
    return float(total)


def optimum(world: World) -> np.ndarray:
    """V* of each row."""
    best = best_allocation(world)
    return np.array([value(world, b, best[b]) for b in range(world.batch)])


def random_feasible(world: World, b: int, count: int) -> Iterator[np.ndarray]:
    """Place the tasks in random order, each on a random worker that has room, or nowhere."""
    rng = np.random.default_rng(7)
    m, n = world.scenario.providers, world.scenario.workers
    apart = world.scenario.market.capacity == "per_stage"
    feasible, demand = world.feasible[b].tolist(), world.demand[b].tolist()
    tasks = [(i, s) for i in range(m) for s in range(2)]
    for _ in range(count):
        plan = np.full((m, 2), n)
        room = [world.capacity[b].tolist() for _ in range(2)]
        wish = rng.integers(0, n + 1, (m, 2)).tolist()
        for i in rng.permutation(len(tasks)).tolist():
            provider, stage = tasks[i]
            worker = wish[provider][stage]
            pool = room[stage if apart else 0]
            if feasible[stage][provider][worker] and demand[provider] <= pool[worker]:
                plan[provider, stage] = worker
                pool[worker] -= demand[provider]
        yield plan


class TestToy:
    """p = (0.5, 1), psi = (0.5, 1) s, e = 0.4 p^2 J at a price of 1, V = 2, 2 and 4, 3.

    ENC: 2 - 0.5 / 0.5 - 0.1 = 0.9 on worker 0, 2 - 0.5 - 0.4 = 1.1 on worker 1.
    LLM of provider 0: 4 - 2 - 0.1 = 1.9 and 4 - 1 - 0.4 = 2.6; of provider 1: 0.9 and 1.6.
    """

    ENC = ((0.9, 1.1), (0.9, 1.1))
    LLM = ((1.9, 2.6), (0.9, 1.6))

    @pytest.fixture
    def world(self) -> World:
        return draw_world(Scenario.load("toy"), [0])

    def test_profits(self, world: World) -> None:
        np.testing.assert_allclose(world.mean_profit[0, ..., :2], [self.ENC, self.LLM])

    def test_optimum_of_all_81_allocations(self, world: World) -> None:
        values = {}
        for tasks in itertools.product(range(3), repeat=4):  # ENC and LLM of 0, ENC and LLM of 1
            load = [tasks.count(0), tasks.count(1)]
            if load[0] <= 1 and load[1] <= 2:
                profits = (self.ENC[0], self.LLM[0], self.ENC[1], self.LLM[1])
                values[tasks] = sum(p[n] for p, n in zip(profits, tasks, strict=True) if n < 2)
        best = max(values.values())
        assert best == pytest.approx(5.1)  # 2.6 + 1.6 on worker 1, one 0.9 on worker 0
        optima = {tasks for tasks, v in values.items() if v > best - 1e-9}
        assert optima == {(0, 1, 2, 1), (2, 1, 0, 1)}
        found = best_allocation(world)
        assert found.shape == (1, 2, 2)
        assert tuple(found.ravel().tolist()) in optima
        nobody = np.zeros(0, np.uint64)  # is overloaded, so no priority is asked for
        assert play_slot(world, found, None, nobody.take).profit.sum() == pytest.approx(5.1)

    def test_a_run(self) -> None:
        run = play(Scenario.load("toy"), Oracle(), [0])
        assert run.profit.sum() == pytest.approx(20 * 5.1)


class TestOptimum:
    @every_market
    def test_nothing_is_rejected_and_the_value_is_earned(self, market: str) -> None:
        run = play(load(market, slots=2), Oracle(), range(5))
        assert np.isin(run.status, [Status.ADMITTED, Status.DEFERRED]).all()
        np.testing.assert_allclose(
            run.expected_profit.sum(axis=(2, 3)), optimum(run.world)[:, None].repeat(2, axis=1)
        )

    @every_market
    def test_beats_random_feasible_allocations(self, market: str) -> None:
        world = draw_world(load(market, slots=1), SEEDS)
        for b, best in enumerate(optimum(world)):
            rivals = [value(world, b, plan) for plan in random_feasible(world, b, 1000)]
            assert max(rivals) <= best + ROUNDING
            assert np.ptp(rivals) > 0.5  # they differ

    def test_transfer_cost_by_hand(self) -> None:
        # Toy, worker 1 with room for three. Free: both LLM (2.6, 1.6) and one ENC (1.1) on worker
        # 1, the other ENC (0.9) on worker 0: 6.2. At 0.7 a transfer that ENC (0.9) still pays:
        # 5.5. At 1.0 it does not: it waits, 5.3.
        for cost, expected in ((0.0, 6.2), (0.7, 5.5), (1.0, 5.3)):
            keys = {"capacity": [1, 3], "market.transfer_cost_per_mb": cost}
            world = draw_world(Scenario.load("toy", keys), [0])
            assert optimum(world)[0] == pytest.approx(expected)

    def test_thirds_by_hand(self) -> None:
        # Demands 1/3 and 2/3 fill a worker of capacity 1: both ENC on worker 0, both LLM on
        # worker 1: 0.9 + 0.9 + 2.6 + 1.6. HEU finds the same.
        scenario = load("thirds", slots=1)
        assert optimum(draw_world(scenario, [0]))[0] == pytest.approx(6.0)
        assert play(scenario, HEU(), [0]).profit.sum() == pytest.approx(6.0)

    def test_per_stage_by_hand(self) -> None:
        # One place on worker 0 and two on worker 1, for each stage: all tasks on worker 1.
        world = draw_world(Scenario.load("toy", {"market.capacity": "per_stage"}), [0])
        assert best_allocation(world)[0].tolist() == [[1, 1], [1, 1]]
        assert optimum(world)[0] == pytest.approx(1.1 + 1.1 + 2.6 + 1.6)

    def test_a_loss_is_never_taken(self) -> None:
        # An ENC task worth 0.5 loses money everywhere: -0.6 and -0.4.
        world = draw_world(Scenario.load("toy", {"reward.value_enc": 0.5}), [0])
        assert best_allocation(world)[0].tolist() == [[2, 1], [2, 1]]


class TestRegret:
    @pytest.mark.parametrize("name", policy_names())
    @every_market
    def test_never_negative_in_any_slot(self, market: str, name: str) -> None:
        # CP-SAT does the exact mapping with transfer cost: slow in every slot.
        slots = 25 if name == "greedy" and "transfer" in market else 100
        run = play(load(market, slots=slots), load_policy(name), SEEDS)
        regret = optimum(run.world)[:, None] - run.expected_profit.sum(axis=(2, 3))
        assert (regret >= -ROUNDING).all()
        assert (regret.sum(axis=1) >= -ROUNDING).all()
        if name == "oracle":
            assert np.abs(regret).max() <= ROUNDING
        if name == "random":
            assert regret.sum() > 1.0

    def test_may_be_negative_where_workers_slow_down(self) -> None:
        """One worker with one place and two tasks, worth 3 - 0.5 - 0.4 = 2.1 and 2.6 alone.

        Within capacity the best is 2.6. Together they take twice as long and still earn
        3 - 1 - 0.4 = 1.6 and 4 - 2 - 0.4 = 1.6: regret 2.6 - 3.2 = -0.6 in every slot.
        """
        keys = {"performance": 1.0, "demand": 1, "capacity": 1, "market.overload": "share",
                "reward.value_enc": 3.0, "reward.value_llm": 4.0}  # fmt: skip
        scenario = Scenario.load("toy", keys, providers=1, workers=1)
        run = play(scenario, HEU(), [0])
        assert run.allocation[0, 0].tolist() == [[0, 0]]
        best = optimum(run.world)[0]
        assert best == pytest.approx(2.6)
        assert scenario.slots * best - run.expected_profit.sum() == pytest.approx(-0.6 * 20)
