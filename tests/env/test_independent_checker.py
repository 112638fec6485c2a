"""A second opinion: a checker in plain Python that shares no code with the slot, on random markets.

It reads the world's tables, what was asked for and what came out, and repeats the rules with loops
and dictionaries: one status per task, no pool above its capacity, drops only where they had to be,
the load, the profit of equation (3), the transfer cost, and nothing for who was not admitted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_env import Market, Outcome, Scenario, World, draw_world
from distmllm_env.equations import noise_effect
from distmllm_env.slot import expected_profit, play_slot

DEFERRED, ADMITTED, REJECTED, INFEASIBLE = range(4)
ROUNDING = 1e-6


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def latency_gain(scenario: Scenario, stage: int, seconds: float) -> float:
    reward = scenario.reward
    weight = (reward.enc_weight_per_s, reward.llm_weight_per_s)[stage]
    if reward.shape == "deadline":
        return -weight * max(0.0, seconds - reward.deadline_s)
    bend = reward.curvature_per_s2 if reward.shape == "quadratic" else 0.0
    return -weight * seconds - bend * seconds**2


def factor(scenario: Scenario, z: float) -> float:
    if scenario.noise.on != "latency_energy":
        return 1.0
    std = scenario.noise.std
    if scenario.noise.distribution == "uniform":
        return 1 + std * z
    s2 = math.log(1 + std**2)
    return math.exp(math.sqrt(s2) * z - s2 / 2)


def check(world: World, allocation: Any, z: Any, priority: Any, outcome: Outcome) -> None:
    expected = expected_profit(world, allocation, outcome.admitted)
    for b in range(len(world.seeds)):
        luck = z[b].tolist(), priority[b].tolist()
        check_row(world, b, allocation[b].tolist(), *luck, outcome, expected)


def check_row(
    world: World, b: int, chosen: Any, z: Any, priority: Any, outcome: Outcome, expected: Any
) -> None:
    scenario = world.scenario
    defer, overload = scenario.workers, scenario.market.overload
    demand, capacity = world.demand[b].tolist(), world.capacity[b].tolist()
    status = outcome.status[b].tolist()
    tasks = [(m, s) for m in range(scenario.providers) for s in (0, 1)]

    def pool(m: int, s: int) -> tuple[int, int]:
        return chosen[m][s], s if scenario.market.capacity == "per_stage" else 0

    # One status per task, and the right one among deferred, infeasible, and the two others.
    asked: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for m, s in tasks:
        if chosen[m][s] == defer:
            assert status[m][s] == DEFERRED
        elif not world.feasible[b, s, m, chosen[m][s]]:
            assert status[m][s] == INFEASIBLE
        else:
            assert status[m][s] in (ADMITTED, REJECTED)
            asked[pool(m, s)].append((m, s))
        assert bool(outcome.admitted[b, m, s]) == (status[m][s] == ADMITTED)

    # Capacity, and drops where they had to be.
    stretch: dict[tuple[int, int], float] = {}
    for key, here in asked.items():
        room = capacity[key[0]]
        wanted = sum(demand[m] for m, _ in here)
        kept = [(m, s) for m, s in here if status[m][s] == ADMITTED]
        gone = [(m, s) for m, s in here if status[m][s] == REJECTED]
        over = wanted > room + ROUNDING
        stretch[key] = wanted / room if over and overload == "share" else 1.0
        if overload == "share":
            assert not gone
            continue
        assert sum(demand[m] for m, _ in kept) <= room + ROUNDING
        assert over or not gone
        if overload == "reject_all":
            assert not (over and kept)
            continue
        if gone:  # the first to go had to: with it, those ahead of it do not fit
            first = max(gone, key=lambda task: priority[task[0]][task[1]])
            ahead = [t for t in here if priority[t[0]][t[1]] > priority[first[0]][first[1]]]
            assert set(ahead) == set(kept)
            assert sum(demand[m] for m, _ in [*ahead, first]) > room

    # Load: the admitted demand of both stages.
    for n in range(scenario.workers):
        served = (demand[m] for m, s in tasks if chosen[m][s] == n and status[m][s] == ADMITTED)
        assert close(outcome.load[b, n], sum(served))

    # Money, seconds and joules.
    for m, s in tasks:
        found = {
            name: float(getattr(outcome, name)[b, m, s])
            for name in ("profit", "latency_s", "energy_j")
        }
        found["expected_profit"] = float(expected[b, m, s])
        if status[m][s] != ADMITTED:
            assert set(found.values()) == {0.0}
            continue
        n = chosen[m][s]
        mean_seconds = world.latency_s[b, s, m, n] * stretch[pool(m, s)]
        assert close(found["latency_s"], mean_seconds * factor(scenario, z[m][s][0]))
        assert close(found["energy_j"], world.energy_j[b, s, m, n] * factor(scenario, z[m][s][1]))
        profit = float(world.value[b, s, m]) - float(world.price[b, n]) * found["energy_j"]
        profit += latency_gain(scenario, s, found["latency_s"])
        if scenario.noise.on == "reward":
            profit += scenario.noise.std * z[m][s][0]
        both = status[m][0] == status[m][1] == ADMITTED and chosen[m][0] != chosen[m][1]
        travels = scenario.market.transfer_cost_per_mb * world.tensor_bytes[b, m] / 1e6
        transfer = float(travels) if both and s == 1 else 0.0
        assert close(found["profit"], profit - transfer)
        if stretch[pool(m, s)] == 1.0:
            mean = float(world.mean_profit[b, s, m, n])
            assert close(found["expected_profit"], mean - transfer)
        if scenario.noise.on == "none" or scenario.noise.std == 0:
            assert close(found["expected_profit"], found["profit"])


@st.composite
def noises(draw: st.DrawFn) -> dict[str, Any]:
    on = draw(st.sampled_from(["latency_energy", "reward", "none"]))
    other = "lognormal" if on == "latency_energy" else "normal"
    distribution = draw(st.sampled_from(["uniform", other]))
    return {"on": on, "distribution": distribution, "std": draw(st.sampled_from([0, 0.1, 0.5]))}


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Markets of 1 to 5 providers and workers, with every rule, where each task fits somewhere."""
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["integers", "uniform"]))
    low, high = (1, 3) if kind == "integers" else (0.3, 1.7)
    amounts = (
        st.integers(0, 5) if kind == "integers" else st.floats(0.0, 4.0).map(lambda x: round(x, 3))
    )
    capacity = draw(st.lists(amounts, min_size=n, max_size=n))
    capacity[draw(st.integers(0, n - 1))] += high
    shape = draw(st.sampled_from(["affine", "quadratic", "deadline"]))
    return Scenario.load(
        "paper",
        {
            "slots": 8,
            "providers": m,
            "workers": n,
            "demand": {"kind": kind, "low": low, "high": high},
            "capacity": capacity,
            "tensor_bytes": {"kind": "uniform", "low": 0.0, "high": 2e6},
            "market.overload": draw(st.sampled_from(["random", "reject_all", "share"])),
            "market.capacity": draw(st.sampled_from(["shared", "per_stage"])),
            "market.transfer_cost_per_mb": draw(st.sampled_from([0, 0.7])),
            "noise": draw(noises()),
            "reward.shape": shape,
            "reward.curvature_per_s2": 0.4 if shape == "quadratic" else 0,
            "reward.deadline_s": 1.5 if shape == "deadline" else 0,
        },
    )


def drop_order(priority: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Hand out priorities in [0, 1), (B, M, S), as whole numbers in the same order."""
    whole = (priority * 2**53).astype(np.uint64) << np.uint64(11)
    return whole.reshape(-1).take


def slots_of(
    scenario: Scenario, seeds: list[int], rng: np.random.Generator, slots: int
) -> Iterator[tuple[World, Any, Any, Any, Outcome]]:
    """Play random allocations with random luck."""
    world = draw_world(scenario, seeds)
    shape = (len(seeds), scenario.providers, 2)
    for _ in range(slots):
        allocation = rng.integers(0, scenario.workers, shape, endpoint=True)
        z, priority = rng.uniform(-1.7, 1.7, (*shape, 2)), rng.random(shape)
        shock = noise_effect(scenario.noise, z)
        outcome = play_slot(world, allocation, shock, drop_order(priority))
        yield world, allocation, z, priority, outcome


@settings(deadline=None, derandomize=True, max_examples=250)
@given(scenario=scenarios(), batch=st.integers(1, 4), seed=st.integers(0, 999))
def test_random_markets(scenario: Scenario, batch: int, seed: int) -> None:
    seeds = list(range(seed, seed + batch))
    for played in slots_of(scenario, seeds, np.random.default_rng(seed), slots=3):
        check(*played)


@pytest.mark.parametrize("overload", ["random", "reject_all", "share"])
@pytest.mark.parametrize("name", ["paper", "crowd2", "scarce", "testbed"])
def test_named_scenarios(name: str, overload: str) -> None:
    keys = {"market.overload": overload, "market.transfer_cost_per_mb": 0.3}
    rng = np.random.default_rng(0)
    seen = set()
    for played in slots_of(Scenario.load(name, keys), [0, 1, 2], rng, slots=25):
        check(*played)
        seen |= set(played[-1].status.ravel().tolist())
    assert {DEFERRED, ADMITTED} <= seen
    assert (REJECTED in seen) == (overload != "share")
    assert (INFEASIBLE in seen) == (name == "testbed")


@settings(deadline=None, derandomize=True, max_examples=120)
@given(scenario=scenarios(), seeds=st.lists(st.integers(0, 9), min_size=2, max_size=4))
def test_a_batch_is_its_single_runs_bit_for_bit(scenario: Scenario, seeds: list[int]) -> None:
    batch = Market(scenario, seeds, episodes=1)
    singles = [Market(scenario, [seed], episodes=1) for seed in seeds]
    rng = np.random.default_rng(len(seeds))
    for _ in range(5):
        shape = (len(seeds), scenario.providers, 2)
        allocation = rng.integers(0, scenario.workers, shape, endpoint=True)
        together = batch.step(allocation)
        for b, single in enumerate(singles):
            alone = single.step(allocation[b : b + 1])
            for field in fields(Outcome):
                row = getattr(together, field.name)[b : b + 1]
                assert row.tobytes() == getattr(alone, field.name).tobytes(), field.name


@pytest.mark.parametrize(
    "noise",
    [
        {"on": "latency_energy", "distribution": "uniform", "std": 0.5},
        {"on": "latency_energy", "distribution": "lognormal", "std": 0.5},
        {"on": "reward", "distribution": "uniform", "std": 0.5},
        {"on": "reward", "distribution": "normal", "std": 0.5},
    ],
    ids=lambda noise: "-".join(map(str, noise.values())),
)
@pytest.mark.parametrize("shape", ["affine", "quadratic", "deadline"])
@pytest.mark.parametrize("overload", ["random", "share"])
def test_expected_profit_is_the_mean_profit_over_the_noise(
    noise: dict[str, Any], shape: str, overload: str
) -> None:
    scenario = Scenario.load(
        "paper",
        {
            "demand": 2,
            "capacity": 3,
            "noise": noise,
            "reward.shape": shape,
            "reward.curvature_per_s2": 0.4 if shape == "quadratic" else 0,
            "reward.deadline_s": 1.5 if shape == "deadline" else 0,
            "market.overload": overload,
            "market.transfer_cost_per_mb": 0.7,
        },
    )
    # One world in 20,000 equal rows, each with luck of its own. Workers 0 and 1 are overloaded with
    # 8 and 6 on 3, workers 2 and 3 are not; 5 is defer.
    draws, one, rng = 20_000, draw_world(scenario, [3]), np.random.default_rng(0)

    def repeated(table: np.ndarray) -> np.ndarray:
        return np.broadcast_to(table, (draws, *table.shape[1:]))

    tables: dict[str, Any] = {
        field.name: repeated(value)
        for field in fields(World)
        if isinstance(value := getattr(one, field.name), np.ndarray)
    }
    pace = type(one.pace)(*map(repeated, one.pace))
    world = replace(one, seeds=(3,) * draws, episodes=(0,) * draws, **tables, pace=pace)
    pairs = [(0, 1), (0, 0), (5, 2), (1, 1), (0, 3)]
    allocation = np.broadcast_to(np.array(pairs), (draws, 5, 2))
    uniform = noise["distribution"] == "uniform"
    size = (draws, 5, 2, 2)
    z = rng.uniform(-(3**0.5), 3**0.5, size) if uniform else rng.standard_normal(size)
    priority = drop_order(rng.random((draws, 5, 2)))
    outcome = play_slot(world, allocation, noise_effect(scenario.noise, z), priority)

    served = outcome.admitted.sum(axis=0)
    assert (served > 0).sum() == 9
    assert (served == draws).sum() == (9 if overload == "share" else 2)
    gap = outcome.profit - expected_profit(world, allocation, outcome.admitted)
    error = np.sqrt((gap**2).sum(axis=0))  # standard error of the sum over all draws
    assert (error[served > 0] > 0).all()
    assert (np.abs(gap.sum(axis=0)) <= 4.5 * error).all()
