"""One slot, worked by hand: who is admitted, what it costs, what noise does.

All worlds here have one worker with p = 0.5, others with p = 1; 1 MB of data; V_enc = 2, V_llm = 4;
psi_enc = 0.5 s, psi_llm = 1 s; gamma + mu = 0.4 J/MB; omega = 1. So

    worker      0 (p = 0.5)                       1 and up (p = 1)
    ENC         1 s, 0.1 J, 2 - 1 - 0.1 = 0.9     0.5 s, 0.4 J, 2 - 0.5 - 0.4 = 1.1
    LLM         2 s, 0.1 J, 4 - 2 - 0.1 = 1.9     1 s, 0.4 J, 4 - 1 - 0.4 = 2.6
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_env import ENC, LLM, Outcome, Scenario, Status, World, draw_world
from distmllm_env.equations import noise_effect
from distmllm_env.slot import expected_profit, play_slot

LETTERS = {
    "D": Status.DEFERRED,
    "A": Status.ADMITTED,
    "R": Status.REJECTED,
    "X": Status.INFEASIBLE,
}
Pairs = list[tuple[int, int]]


def make_world(demand: list[float], capacity: list[float], **overrides: Any) -> World:
    """Draw a world with one provider per demand and one worker per capacity."""
    keys: dict[str, Any] = {
        "providers": len(demand),
        "workers": len(capacity),
        "performance": [0.5, *[1.0] * (len(capacity) - 1)],
        "demand": demand,
        "capacity": capacity,
        "reward.value_enc": 2.0,
        "reward.value_llm": 4.0,
    }
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return draw_world(Scenario.load("toy", keys | dotted), [0])


def drop_order(priority: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Hand out priorities in [0, 1), (B, M, S), as whole numbers in the same order."""
    whole = (priority * 2**53).astype(np.uint64) << np.uint64(11)
    return whole.reshape(-1).take


def play(world: World, allocation: Any, z: Any = 0.0, priority: Any = 0.5) -> Outcome:
    """Play one slot of a single run; the arguments have no batch axis."""
    m = world.scenario.providers
    standardised = np.broadcast_to(np.array(z, float), (1, m, 2, 2))
    return play_slot(
        world,
        np.array([allocation]),
        noise_effect(world.scenario.noise, standardised),
        drop_order(np.broadcast_to(np.array(priority, float), (1, m, 2))),
    )


def never_asked(task: np.ndarray) -> np.ndarray:
    raise AssertionError(f"tasks {task} compete with nobody")


def expected(world: World, allocation: Any, outcome: Outcome) -> np.ndarray:
    """What the slot would have earned on average, given who was admitted, (M, S)."""
    return expected_profit(world, np.array([allocation]), outcome.admitted)[0]


def letters(outcome: Outcome) -> str:
    """Spell the status, ENC and LLM of each provider: ``"AD RA"``."""
    names = {status.value: letter for letter, status in LETTERS.items()}
    return " ".join("".join(names[int(s)] for s in pair) for pair in outcome.status[0])


class Case(NamedTuple):
    """An allocation, the priorities of its tasks, and what must become of them.

    2 is defer: all cases have two workers.
    """

    demand: list[float]
    capacity: list[float]
    allocation: Pairs
    priority: list[tuple[float, float]]
    status: str
    load: list[float]
    market: Mapping[str, Any] = MappingProxyType({})


REJECT_ALL = {"market__overload": "reject_all"}
SHARE = {"market__overload": "share"}
PER_STAGE = {"market__capacity": "per_stage"}
NO_MATTER = [(0.5, 0.5)] * 3

ADMISSION = {
    # Three ENC tasks of 1 on a worker for 2: the lowest priority falls.
    "random: lowest priority falls": Case(
        [1, 1, 1], [2, 9], [(0, 2)] * 3, [(0.1, 0), (0.9, 0), (0.5, 0)], "RD AD AD", [2, 0]
    ),
    "random: another order, another victim": Case(
        [1, 1, 1], [2, 9], [(0, 2)] * 3, [(0.9, 0), (0.5, 0), (0.1, 0)], "AD AD RD", [2, 0]
    ),
    # 1 stays, 1 + 2 > 2 falls; the last, though 1 + 1 would fit, fell before it.
    "random: drops until it fits, no gap is refilled": Case(
        [1, 2, 1], [2, 9], [(0, 2)] * 3, [(0.9, 0), (0.5, 0), (0.1, 0)], "AD RD RD", [1, 0]
    ),
    # By falling priority 1, 1 + 1 = 2 <= 3, 2 + 2 = 4 > 3.
    "random: demands of different size": Case(
        [2, 1, 1], [3, 9], [(0, 2)] * 3, [(0.1, 0), (0.5, 0), (0.9, 0)], "RD AD AD", [2, 0]
    ),
    # The largest has the highest priority: 3 <= 3, then nothing else fits.
    "random: a large task may stay": Case(
        [3, 1, 1], [3, 9], [(0, 2)] * 3, [(0.9, 0), (0.5, 0), (0.1, 0)], "AD RD RD", [3, 0]
    ),
    "random: both stages of a provider compete": Case(
        [1, 1, 1],
        [1, 9],
        [(0, 0), (2, 2), (2, 2)],
        [(0.3, 0.6), (0, 0), (0, 0)],
        "RA DD DD",
        [1, 0],
    ),
    # 0: ENC 0.9 and LLM 0.8 stay (1 + 1), ENC 0.2 falls. 1: ENC 0.4 stays, LLM 0.3 falls.
    "random: each worker drops its own": Case(
        [1, 1, 1],
        [2, 1],
        [(0, 1), (0, 0), (1, 2)],
        [(0.2, 0.3), (0.9, 0.8), (0.4, 0)],
        "RR AA AD",
        [2, 1],
    ),
    "random: what fits is kept whatever its priority": Case(
        [1, 1, 1], [2, 9], [(1, 1)] * 3, [(0, 0.1), (0.2, 0), (0, 0)], "AA AA AA", [0, 6]
    ),
    "exactly full is not overloaded": Case(
        [1, 1, 1], [3, 9], [(0, 2)] * 3, NO_MATTER, "AD AD AD", [3, 0]
    ),
    # 0.1 + 0.2 is 0.30000000000000004 in floating point
    "exactly full in real numbers": Case(
        [0.1, 0.2, 9], [0.3, 9], [(0, 2), (0, 2), (1, 2)], NO_MATTER, "AD AD AD", [0.1 + 0.2, 9]
    ),
    # 0.7 + 0.4 = 1.1 > 1
    "real demands": Case(
        [0.7, 0.4, 0.5],
        [1, 1],
        [(0, 1), (0, 1), (2, 2)],
        [(0.2, 0.9), (0.6, 0.1), (0, 0)],
        "RA AR DD",
        [0.4, 0.7],
    ),
    "a little too much is too much": Case(
        [0.5, 0.500001, 1],
        [1, 9],
        [(0, 2), (0, 2), (2, 2)],
        [(0.1, 0), (0.9, 0), (0, 0)],
        "RD AD DD",
        [0.500001, 0],
    ),
    # The task of 3 can never run on a worker for 2, so it neither loads it nor earns.
    "infeasible takes no capacity": Case(
        [3, 1, 1], [2, 9], [(0, 2)] * 3, [(0.9, 0), (0.5, 0), (0.1, 0)], "XD AD AD", [2, 0]
    ),
    "nobody comes": Case([1, 1, 1], [1, 1], [(2, 2)] * 3, NO_MATTER, "DD DD DD", [0, 0]),
    # 1 + 1 > 1: all on worker 0 fail, worker 1 with 1 <= 1 does not.
    "reject_all: nobody stays": Case(
        [1, 1, 1],
        [1, 1],
        [(0, 2), (0, 2), (1, 2)],
        [(0.9, 0), (0.1, 0), (0, 0)],
        "RD RD AD",
        [0, 1],
        REJECT_ALL,
    ),
    "reject_all: both stages": Case(
        [1, 1, 1], [2, 9], [(0, 0), (0, 1), (2, 2)], NO_MATTER, "RR RA DD", [0, 1], REJECT_ALL
    ),
    "reject_all: exactly full": Case(
        [1, 1, 1], [3, 9], [(0, 2)] * 3, NO_MATTER, "AD AD AD", [3, 0], REJECT_ALL
    ),
    "reject_all: infeasible does not overload": Case(
        [3, 1, 1], [2, 9], [(0, 2)] * 3, NO_MATTER, "XD AD AD", [2, 0], REJECT_ALL
    ),
    "share: all stay": Case([1, 1, 1], [1, 9], [(0, 0)] * 3, NO_MATTER, "AA AA AA", [6, 0], SHARE),
    "share: a task larger than the worker runs too": Case(
        [3, 1, 1], [2, 9], [(0, 2), (2, 2), (2, 2)], NO_MATTER, "AD DD DD", [3, 0], SHARE
    ),
    "share: a worker without capacity runs nothing": Case(
        [1, 1, 1], [0, 1], [(0, 1), (1, 0), (2, 1)], NO_MATTER, "XA AX DA", [0, 3], SHARE
    ),
    # Each stage has a pool of 1, so ENC and LLM of one provider do not meet.
    "per stage: a pool each": Case(
        [1, 1, 1], [1, 9], [(0, 0), (2, 2), (2, 2)], NO_MATTER, "AA DD DD", [2, 0], PER_STAGE
    ),
    # ENC: 0.9 stays. LLM: 0.7 stays.
    "per stage: each pool drops its own": Case(
        [1, 1, 1],
        [1, 9],
        [(0, 0), (0, 0), (2, 2)],
        [(0.9, 0.2), (0.3, 0.7), (0, 0)],
        "AR RA DD",
        [2, 0],
        PER_STAGE,
    ),
    "per stage, reject_all: one stage fails": Case(
        [1, 1, 1],
        [1, 9],
        [(0, 0), (0, 1), (2, 2)],
        NO_MATTER,
        "RA RA DD",
        [1, 1],
        REJECT_ALL | PER_STAGE,
    ),
}


@pytest.mark.parametrize("case", ADMISSION.values(), ids=ADMISSION)
def test_admission(case: Case) -> None:
    world = make_world(case.demand, case.capacity, **case.market)
    outcome = play(world, case.allocation, priority=case.priority)
    assert letters(outcome) == case.status
    assert outcome.load[0] == pytest.approx(case.load, rel=1e-12)
    assert outcome.status.dtype == np.int8
    assert outcome.admitted.dtype == bool
    assert (outcome.admitted == (outcome.status == Status.ADMITTED)).all()
    idle = ~outcome.admitted
    mean = expected(world, case.allocation, outcome)[None]
    for table in (outcome.profit, mean, outcome.latency_s, outcome.energy_j):
        assert table.shape == (1, 3, 2)
        assert (table[idle] == 0).all()
        assert (table[outcome.admitted] != 0).all()


def test_status_codes() -> None:
    assert [(s.name, s.value) for s in Status] == [
        ("DEFERRED", 0),
        ("ADMITTED", 1),
        ("REJECTED", 2),
        ("INFEASIBLE", 3),
    ]


def test_what_the_admitted_earn_and_use() -> None:
    world = make_world([1, 1, 1], [2, 9])
    allocation = [(0, 1), (1, 0), (2, 1)]
    outcome = play(world, allocation)
    assert outcome.latency_s[0] == pytest.approx(np.array([[1, 1], [0.5, 2], [0, 1]]))
    assert outcome.energy_j[0] == pytest.approx(np.array([[0.1, 0.4], [0.4, 0.1], [0, 0.4]]))
    profit = np.array([[0.9, 2.6], [1.1, 1.9], [0, 2.6]])
    assert outcome.profit[0] == pytest.approx(profit)
    assert expected(world, allocation, outcome) == pytest.approx(profit)
    assert outcome.load.tolist() == [[2, 3]]


class TestShare:
    def test_latency_is_stretched_by_load_over_capacity(self) -> None:
        world = make_world([1, 1, 1], [2, 9], **SHARE)
        allocation = [(0, 1), (0, 1), (0, 1)]
        outcome = play(world, allocation)
        # worker 0: 3 / 2 = 1.5, ENC takes 1.5 s: 2 - 1.5 - 0.1; worker 1: 3 <= 9, as ever
        assert outcome.latency_s[0] == pytest.approx(np.array([[1.5, 1.0]] * 3))
        assert outcome.energy_j[0] == pytest.approx(np.array([[0.1, 0.4]] * 3))
        for table in (outcome.profit[0], expected(world, allocation, outcome)):
            assert table == pytest.approx(np.array([[0.4, 2.6]] * 3))

    def test_both_stages_load_a_shared_pool(self) -> None:
        world = make_world([1, 1], [1, 9], **SHARE)
        outcome = play(world, [(0, 0), (0, 2)])
        # 3 / 1: ENC 3 s, LLM 6 s; LLM earns 4 - 6 - 0.1
        assert outcome.latency_s[0] == pytest.approx(np.array([[3, 6], [3, 0]]))
        assert outcome.profit[0] == pytest.approx(np.array([[-1.1, -2.1], [-1.1, 0]]))

    def test_each_stage_loads_a_pool_of_its_own(self) -> None:
        world = make_world([1, 1], [1, 9], **SHARE, **PER_STAGE)
        outcome = play(world, [(0, 0), (0, 2)])
        # ENC 2 / 1, LLM 1 / 1
        assert outcome.latency_s[0] == pytest.approx(np.array([[2, 2], [2, 0]]))
        assert outcome.profit[0] == pytest.approx(np.array([[-0.1, 1.9], [-0.1, 0]]))

    def test_real_demands(self) -> None:
        world = make_world([0.9, 0.6], [1.2, 9], **SHARE)
        outcome = play(world, [(0, 2), (0, 2)])
        assert outcome.latency_s[0, :, ENC] == pytest.approx([1.25, 1.25])  # 1.5 / 1.2

    def test_exactly_full_is_not_stretched_whatever_the_others_do(self) -> None:
        # 0.1 + 0.2 is above 0.3 by rounding only; worker 1 is overloaded at 3 / 2.
        world = make_world([0.1, 0.2, 3], [0.3, 2], **SHARE)
        outcome = play(world, [(0, 2), (0, 2), (1, 2)])
        assert outcome.latency_s[0, :, ENC].tolist() == [1.0, 1.0, 0.75]

    def test_an_idle_worker_without_capacity_is_no_division_by_zero(self) -> None:
        world = make_world([1, 1], [0, 1], **SHARE)
        outcome = play(world, [(0, 1), (2, 1)])
        assert outcome.latency_s[0].tolist() == [[0, 2], [0, 2]]  # LLM on worker 1: 1 s x 2 / 1

    @pytest.mark.parametrize("distribution", ["uniform", "lognormal"])
    def test_expected_profit_is_the_mean_at_the_stretched_latency(self, distribution: str) -> None:
        noise = {"noise__on": "latency_energy", "noise__distribution": distribution}
        shape = {"reward__shape": "deadline", "reward__deadline_s": 1.2, "noise__std": 0.01}
        world = make_world([1, 1, 1], [1, 9], **SHARE, **noise, **shape)
        allocation = [(0, 2), (0, 2), (1, 2)]
        mean = expected(world, allocation, play(world, allocation))
        # 2 s and far beyond the deadline: 2 - (2 - 1.2) - 0.1; alone, 0.5 s: 2 - 0 - 0.4
        assert mean[:, ENC] == pytest.approx([1.1, 1.1, 1.6])
        assert (mean[:, LLM] == 0).all()


KAPPA = {"market__transfer_cost_per_mb": 0.5, "tensor_bytes": 2e6}


class TestTransfer:
    @pytest.mark.parametrize(
        ("allocation", "priority", "status", "profit"),
        [
            # 0.5 per MB x 2 MB = 1, charged to the LLM task: 2.6 - 1 and 1.9 - 1
            ((0, 1), (0, 0), "AA", (0.9, 1.6)),
            ((1, 0), (0, 0), "AA", (1.1, 0.9)),
            ((1, 1), (0, 0), "AA", (1.1, 2.6)),  # nothing travels
            ((0, 2), (0, 0), "AD", (0.9, 0)),  # nobody receives
            ((2, 1), (0, 0), "DA", (0, 2.6)),  # nobody sends
        ],
    )
    def test_is_charged_between_workers(
        self, allocation: Any, priority: Any, status: str, profit: Any
    ) -> None:
        world = make_world([1], [1, 2], **KAPPA)
        outcome = play(world, [allocation], priority=[priority])
        assert letters(outcome) == status
        for table in (outcome.profit[0], expected(world, [allocation], outcome)):
            assert table[0] == pytest.approx(profit)

    def test_is_not_charged_if_a_stage_is_rejected_or_infeasible(self) -> None:
        world = make_world([1, 1, 3], [1, 4], **KAPPA)
        # worker 0 keeps the ENC of provider 1; the LLMs take 1 + 3 = 4 of worker 1
        allocation = [(0, 1), (0, 2), (0, 1)]
        outcome = play(world, allocation, priority=[(0.1, 0), (0.9, 0), (0, 0)])
        assert letters(outcome) == "RA AD XA"
        profit = np.array([[0, 2.6], [0.9, 0], [0, 2.6]])
        for table in (outcome.profit[0], expected(world, allocation, outcome)):
            assert table == pytest.approx(profit)

    def test_goes_by_the_tensor_of_each_provider(self) -> None:
        keys = KAPPA | {"tensor_bytes": [2e6, 0.4e6]}
        outcome = play(make_world([1, 1], [2, 2], **keys), [(0, 1), (0, 1)])
        assert outcome.profit[0, :, LLM] == pytest.approx([2.6 - 1.0, 2.6 - 0.2])


ON = {"noise__on": "latency_energy", "noise__std": 0.1}


class TestNoise:
    def test_uniform_on_latency_and_energy(self) -> None:
        world = make_world([1], [2, 2], **ON)
        # ENC: 0.5 x 1.1 = 0.55 s, 0.4 x 0.9 = 0.36 J. LLM: 1 x 0.95 s, 0.4 x 1.15 = 0.46 J.
        outcome = play(world, [(1, 1)], z=[[(1, -1), (-0.5, 1.5)]])
        assert outcome.latency_s[0, 0] == pytest.approx([0.55, 0.95])
        assert outcome.energy_j[0, 0] == pytest.approx([0.36, 0.46])
        assert outcome.profit[0, 0] == pytest.approx([2 - 0.55 - 0.36, 4 - 0.95 - 0.46])
        assert expected(world, [(1, 1)], outcome)[0] == pytest.approx([1.1, 2.6])

    def test_lognormal_on_latency_and_energy(self) -> None:
        noise = {"noise__std": 0.75, "noise__distribution": "lognormal"}
        world = make_world([1], [2, 2], **ON | noise)
        # 1 + 0.75^2 = 1.25^2: the factor is 1 / 1.25 = 0.8 at z = 0 and 1.25 at z = s
        s = math.sqrt(math.log(1.5625))
        outcome = play(world, [(1, 1)], z=[[(0, 0), (s, 0)]])
        assert outcome.latency_s[0, 0] == pytest.approx([0.4, 1.25])
        assert outcome.energy_j[0, 0] == pytest.approx([0.32, 0.32])
        assert outcome.profit[0, 0] == pytest.approx([2 - 0.4 - 0.32, 4 - 1.25 - 0.32])
        assert expected(world, [(1, 1)], outcome)[0] == pytest.approx([1.1, 2.6])

    @pytest.mark.parametrize("distribution", ["uniform", "normal"])
    def test_on_the_reward(self, distribution: str) -> None:
        noise = {"noise__on": "reward", "noise__std": 0.5, "noise__distribution": distribution}
        world = make_world([1], [2, 2], **noise)
        outcome = play(world, [(1, 1)], z=[[(-1, 9), (1.5, 9)]])  # the second number is for energy
        assert outcome.profit[0, 0] == pytest.approx([1.1 - 0.5, 2.6 + 0.75])
        assert expected(world, [(1, 1)], outcome)[0] == pytest.approx([1.1, 2.6])
        assert outcome.latency_s[0, 0] == pytest.approx([0.5, 1.0])
        assert outcome.energy_j[0, 0] == pytest.approx([0.4, 0.4])

    def test_none(self) -> None:
        outcome = play(make_world([1], [2, 2]), [(1, 1)], z=5.0)
        assert outcome.profit[0, 0] == pytest.approx([1.1, 2.6])
        assert outcome.latency_s[0, 0] == pytest.approx([0.5, 1.0])
        assert outcome.energy_j[0, 0] == pytest.approx([0.4, 0.4])

    @pytest.mark.parametrize("on", ["none", "reward", "latency_energy"])
    def test_no_shock_is_a_shock_that_does_nothing(self, on: str) -> None:
        world, allocation = make_world([1, 1], [2, 2], noise__on=on), [(1, 0), (2, 1)]
        quiet = play_slot(world, np.array([allocation]), None, never_asked)
        still = play(world, allocation, z=0.0)
        for field in fields(Outcome):
            left, right = (getattr(outcome, field.name) for outcome in (quiet, still))
            assert left.tobytes() == right.tobytes(), field.name

    @pytest.mark.parametrize("on", ["reward", "latency_energy"])
    def test_what_does_not_run_has_none(self, on: str) -> None:
        world = make_world([1, 1, 3], [1, 3], noise__on=on)
        allocation = [(0, 2), (0, 2), (0, 0)]
        outcome = play(world, allocation, z=1.0, priority=[(0.1, 0), (0.9, 0), (0, 0)])
        assert letters(outcome) == "RD AD XX"
        assert outcome.profit[0, 1, ENC] != pytest.approx(0.9)
        assert outcome.profit[0, [0, 2]].tolist() == [[0, 0], [0, 0]]
        assert outcome.profit[0, 1, LLM] == 0

    def test_it_is_stretched_with_the_latency(self) -> None:
        world = make_world([1, 1], [1, 2], **SHARE, **ON)
        outcome = play(world, [(0, 2), (0, 2)], z=[[(1, 1), (0, 0)], [(0, 0), (0, 0)]])
        # 1 s x 2 x 1.1 = 2.2 s; energy 0.1 x 1.1 = 0.11 J
        assert outcome.profit[0, :, ENC] == pytest.approx([2 - 2.2 - 0.11, 2 - 2 - 0.1])
        mean = expected(world, [(0, 2), (0, 2)], outcome)
        assert mean[:, ENC] == pytest.approx([-0.1, -0.1])

    def test_quadratic_expectation(self) -> None:
        shape = {"reward__shape": "quadratic", "reward__curvature_per_s2": 0.5}
        world = make_world([1], [2, 2], **ON, **shape)
        outcome = play(world, [(1, 1)])
        # z = 0: G(1 s) = -1 - 0.5; on average the square is 1 + 0.1^2 = 1.01
        assert outcome.profit[0, 0, LLM] == pytest.approx(4 - 1 - 0.5 - 0.4)
        mean = expected(world, [(1, 1)], outcome)
        assert mean[0, LLM] == pytest.approx(4 - 1 - 0.505 - 0.4)


@pytest.mark.parametrize("rule", [{}, REJECT_ALL, SHARE], ids=["random", "reject_all", "share"])
@pytest.mark.parametrize("pools", [{}, PER_STAGE], ids=["shared", "per_stage"])
def test_expected_profit_of_many_slots_at_once(rule: dict[str, Any], pools: dict[str, Any]) -> None:
    shape = {"reward__shape": "deadline", "reward__deadline_s": 0.6}
    one = make_world([1, 2, 1], [2, 3], **rule, **pools, **shape, **KAPPA, **ON, price=[0.5, 2])
    world, rng = draw_world(one.scenario, [0, 1]), np.random.default_rng(0)
    allocation = rng.integers(0, 3, (6, 4, 2, 3, 2))  # slots in a table of 6 x 4
    admitted = np.zeros(allocation.shape, bool)
    for at in np.ndindex(6, 4):
        priority = drop_order(rng.random((2, 3, 2)))
        admitted[at] = play_slot(world, allocation[at], None, priority).admitted
    found = expected_profit(world, allocation.astype(np.int16), admitted)
    assert found.shape == allocation.shape
    for at in np.ndindex(6, 4):
        assert found[at].tobytes() == expected_profit(world, allocation[at], admitted[at]).tobytes()
    assert (found[~admitted] == 0).all()
    assert (found[admitted] != 0).any()


class TestWhoIsAskedForAPriority:
    """A batch of two: flat indices of tasks run over rows, providers and stages."""

    # In row 0 worker 0 is asked for 1 + 1 of 1 by tasks 0 and 2, not by task 4, which is too large
    # for it; in row 1 worker 0 has one guest, and worker 1 room for everybody.
    ALLOCATION = np.array([[(0, 1), (0, 2), (0, 1)], [(0, 1), (1, 1), (2, 1)]])

    def asked(self, allocation: np.ndarray, **overrides: Any) -> list[int]:
        world = make_world([1, 1, 3], [1, 10], **overrides)
        world = draw_world(world.scenario, [0, 1])
        tasks: list[int] = []

        def priority(task: np.ndarray) -> np.ndarray:
            tasks.extend(task.tolist())
            return task.astype(np.uint64)

        play_slot(world, allocation, None, priority)
        return sorted(tasks)

    def test_those_on_overloaded_workers(self) -> None:
        assert self.asked(self.ALLOCATION) == [0, 2]
        assert self.asked(self.ALLOCATION[::-1]) == [6, 8]

    def test_those_of_an_overloaded_pool(self) -> None:
        allocation = self.ALLOCATION.copy()
        allocation[1, :2] = [(0, 0), (2, 0)]  # LLM: 1 + 1 of 1; ENC: 1 of 1
        assert self.asked(allocation, **PER_STAGE) == [0, 2, 7, 9]
        assert self.asked(allocation) == [0, 2, 6, 7, 9]

    @pytest.mark.parametrize("rule", [SHARE, REJECT_ALL])
    def test_nobody_where_nobody_is_drawn(self, rule: dict[str, Any]) -> None:
        assert self.asked(self.ALLOCATION, **rule) == []

    def test_nobody_where_all_fit(self) -> None:
        assert self.asked(np.ones((2, 3, 2), int)) == []


@pytest.mark.parametrize("overload", ["random", "reject_all", "share"])
@pytest.mark.parametrize("capacity", ["shared", "per_stage"])
def test_nothing_that_is_handed_in_is_changed(overload: str, capacity: str) -> None:
    world = make_world(
        [1, 1, 1, 3],
        [2, 9],
        market__overload=overload,
        market__capacity=capacity,
        market__transfer_cost_per_mb=1.0,
        noise__on="latency_energy",
    )
    allocation = np.array([[(0, 1), (0, 1), (0, 2), (0, 0)]])
    shock, whole = np.full((1, 4, 2, 2), 1.1), np.arange(8, dtype=np.uint64)
    frozen = [allocation, shock, whole, world.mean_profit, world.transfer_cost, *world.pace]
    frozen += [table for table in world.layout if table is not None]
    frozen += [getattr(world, name) for name in ("latency_s", "energy_j", "value", "demand")]
    for array in frozen:
        array.setflags(write=False)
    first, second = (play_slot(world, allocation, shock, whole.take) for _ in range(2))
    for field in fields(Outcome):
        left, right = (getattr(outcome, field.name) for outcome in (first, second))
        assert left.tobytes() == right.tobytes(), field.name
        left.setflags(write=False)
    mean = expected_profit(world, allocation, first.admitted)
    assert mean.tobytes() == expected_profit(world, allocation, second.admitted).tobytes()


def survivors(
    demand: list[float], capacity: list[float], allocation: Pairs, priority: list[list[float]]
) -> set[tuple[int, int]]:
    """Keep tasks by falling priority on each worker, up to the first that does not fit."""
    kept: set[tuple[int, int]] = set()
    for worker, room in enumerate(capacity):
        tasks = [
            (priority[m][s], m, s)
            for m, pair in enumerate(allocation)
            for s in (ENC, LLM)
            if pair[s] == worker and demand[m] <= room
        ]
        left = room
        for _, m, s in sorted(tasks, reverse=True):
            left -= demand[m]
            if left < 0:
                break
            kept.add((m, s))
    return kept


@settings(deadline=None, derandomize=True, max_examples=200)
@given(data=st.data())
def test_random_overload_keeps_a_prefix_by_falling_priority(data: st.DataObject) -> None:
    m, n = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    eighths = st.integers(1, 24).map(lambda k: k / 8)  # sums of eighths are exact
    demand = data.draw(st.lists(eighths, min_size=m, max_size=m))
    capacity = [4.0, *data.draw(st.lists(eighths, min_size=n - 1, max_size=n - 1))]
    choices = st.tuples(st.integers(0, n), st.integers(0, n))
    allocation = data.draw(st.lists(choices, min_size=m, max_size=m))
    order = data.draw(st.permutations(range(2 * m)))
    priority = [[order[2 * i] / (2 * m), order[2 * i + 1] / (2 * m)] for i in range(m)]
    outcome = play(make_world(demand, capacity), allocation, priority=priority)
    admitted = {(int(i), int(s)) for i, s in np.argwhere(outcome.admitted[0])}
    assert admitted == survivors(demand, capacity, allocation, priority)
