"""A market: what it refuses, when it ends, what luck does in it, and rows that begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from distmllm_env import LLM, Market, Outcome, Scenario, Status, draw_world
from distmllm_env.luck import Luck
from distmllm_env.slot import expected_profit, play_slot

SHAPE = (2, 2, 2)  # toy with two seeds: B = 2, M = 2, and N = 2 means defer


def toy(**overrides: Any) -> Market:
    return Market(
        Scenario.load("toy", {k.replace("__", "."): v for k, v in overrides.items()}), [0, 1]
    )


def with_entry(where: tuple[int, ...], value: int, dtype: Any = int) -> np.ndarray:
    allocation = np.zeros(SHAPE, dtype)
    allocation[where] = value
    return allocation


def everything(outcome: Outcome) -> bytes:
    return b"".join(getattr(outcome, field.name).tobytes() for field in fields(Outcome))


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no batch axis": (np.zeros((2, 2), int), ("shape (2, 2)", "(2, 2, 2) is allowed")),
    "too few rows": (np.zeros((1, 2, 2), int), ("shape (1, 2, 2)", "(2, 2, 2) is allowed")),
    "too many providers": (np.zeros((2, 3, 2), int), ("shape (2, 3, 2)", "(2, 2, 2) is allowed")),
    "one stage": (np.zeros((2, 2, 1), int), ("shape (2, 2, 1)", "(2, 2, 2) is allowed")),
    "flat": (np.zeros(8, int), ("shape (8,)", "(2, 2, 2) is allowed")),
    "a number": (0, ("shape ()", "(2, 2, 2) is allowed")),
    "floats": (
        np.zeros(SHAPE),
        ("dtype float64", "integers are allowed", "worker 0..1", "2 to defer"),
    ),
    "nan": (np.full(SHAPE, np.nan), ("dtype float64", "integers are allowed", "got array([[[nan")),
    "bools": (np.zeros(SHAPE, bool), ("dtype bool", "integers are allowed")),
    "objects": (np.zeros(SHAPE, object), ("dtype object", "integers are allowed")),
    "text": ("0", ("dtype <U1", "integers are allowed", "got '0'")),
    "nothing": (None, ("dtype object", "integers are allowed", "got None")),
    "negative": (with_entry((0, 1, 0), -1), ("[0, 1, 0] = -1", "worker 0..1 or 2 (defer)")),
    "too large": (with_entry((1, 0, 1), 3), ("[1, 0, 1] = 3", "worker 0..1 or 2 (defer)")),
    "far too large": (
        with_entry((1, 1, 1), 2**63, np.uint64),
        ("[1, 1, 1] = 9223372036854775808", "worker 0..1 or 2 (defer)"),
    ),
}


class TestAllocation:
    @pytest.mark.parametrize(("allocation", "parts"), BAD.values(), ids=BAD)
    def test_a_bad_one_is_refused_and_no_slot_is_played(
        self, allocation: Any, parts: tuple[str, ...]
    ) -> None:
        market, good = toy(noise__on="reward"), np.zeros(SHAPE, int)
        with pytest.raises(ValueError, match=r"^allocation") as caught:
            market.step(allocation)
        for part in parts:
            assert part in str(caught.value)
        assert market.slot == 0
        assert everything(market.step(good)) == everything(toy(noise__on="reward").step(good))

    @pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
    def test_every_integer_type_will_do(self, dtype: Any) -> None:
        rows = [[[0, 1], [1, 2]], [[2, 2], [0, 0]]]
        found = toy().step(np.array(rows, dtype))
        assert everything(found) == everything(toy().step(np.array(rows)))

    def test_so_will_a_list(self) -> None:
        rows: Any = [[[0, 1], [1, 2]], [[2, 2], [0, 0]]]
        assert everything(toy().step(rows)) == everything(toy().step(np.array(rows)))


class TestHorizon:
    def test_ends_after_its_slots(self) -> None:
        market, idle = toy(slots=3), np.full(SHAPE, 2)
        for slot in range(3):
            assert (market.slot, market.done) == (slot, False)
            market.step(idle)
        assert (market.slot, market.done) == (3, True)
        with pytest.raises(RuntimeError, match="the run is over: all 3 slots are played"):
            market.step(idle)
        assert market.slot == 3


def play(scenario: Scenario, seeds: list[int], episode: int = 0) -> list[bytes]:
    market = Market(scenario, seeds, episode)
    shape = (len(seeds), scenario.providers, 2)
    rng = np.random.default_rng(0)
    slots = []
    while not market.done:
        slots.append(everything(market.step(rng.integers(0, scenario.workers, shape))))
    return slots


class TestLuck:
    def test_a_run_is_fixed_by_seed_and_episode(self) -> None:
        scenario = Scenario.load("paper", slots=5)
        assert play(scenario, [4], 2) == play(scenario, [4], 2)
        runs = [play(scenario, [seed], episode)[-1] for seed in range(4) for episode in range(4)]
        assert len(set(runs)) == 16

    def test_slots_differ(self) -> None:
        market, first = toy(noise__on="latency_energy"), np.zeros(SHAPE, int)
        assert len({everything(market.step(first)) for _ in range(20)}) == 20

    def test_every_allocation_meets_the_same_noise(self) -> None:
        noise = {"noise__on": "latency_energy", "noise__std": 0.3, "capacity": 9}
        one, other = toy(**noise), toy(**noise)
        for _ in range(20):
            slow = one.step(np.zeros(SHAPE, int))
            mixed = other.step(np.array([[(1, 0), (2, 0)], [(2, 0), (0, 0)]]))
            assert mixed.latency_s[..., LLM].tolist() == slow.latency_s[..., LLM].tolist()
            # half the latency on worker 1, and the same factor
            assert mixed.latency_s[0, 0, 0] == pytest.approx(slow.latency_s[0, 0, 0] / 2)

    def test_noise_does_not_move_the_drop_order(self) -> None:
        quiet, noisy = toy(), toy(noise__on="latency_energy")
        for _ in range(20):
            everybody = np.zeros(SHAPE, int)
            dropped = quiet.step(everybody).status
            assert (dropped == noisy.step(everybody).status).all()

    def test_drops_are_fair(self) -> None:
        # Four tasks want the one place of worker 0; each should get it a quarter of the time.
        market = Market(Scenario.load("toy", slots=1000), range(4))
        everybody = np.zeros((4, 2, 2), int)
        won = [market.step(everybody).admitted for _ in range(1000)]
        share = np.mean(won, axis=(0, 1))
        assert share == pytest.approx(np.full((2, 2), 0.25), abs=4 * (0.25 * 0.75 / 4000) ** 0.5)


SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {"noise.on": "reward", "noise.distribution": "normal"}),
    "quiet": ("toy", {"noise.on": "none"}),
    "paper": ("paper", {}),
    "testbed": ("testbed", {}),
    "share": ("scarce", {"market.overload": "share", "reward.shape": "deadline"}),
    "reject-all": ("scarce", {"market.overload": "reject_all", "noise.distribution": "lognormal"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.1}),
    "some too large": (
        "paper",
        {
            "demand": {"kind": "integers", "low": 1, "high": 3},
            "capacity": [4, 2, 3, 1, 2],
            "reward.shape": "quadratic",
            "reward.curvature_per_s2": 0.4,
        },
    ),
}
every_scenario = pytest.mark.parametrize("name", SCENARIOS)
SLOTS = 40


def load(name: str) -> Scenario:
    scenario, overrides = SCENARIOS[name]
    return Scenario.load(scenario, overrides, slots=SLOTS)


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play slots by either of the two ways through them."""
    if request.param == "numpy":
        monkeypatch.setattr("distmllm_env.market.kernel", lambda: None)
    else:
        pytest.importorskip("numba")


class Beside:
    """A batch, and for each of its rows a market of its own that must agree with it bit for bit."""

    def __init__(self, scenario: Scenario, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        self.scenario = scenario
        self.batch = Market(scenario, seeds, episodes)
        self.singles = [Market(scenario, [s], e) for s, e in zip(seeds, episodes, strict=True)]
        self.rng = np.random.default_rng(len(seeds))
        self.agree()

    def agree(self) -> None:
        world = self.batch.world
        assert self.batch.slots.tolist() == [single.slot for single in self.singles]
        for b, single in enumerate(self.singles):
            alone = single.world
            assert (world.seeds[b], world.episodes[b]) == (alone.seeds[0], alone.episodes[0])
            for name in ("demand", "mean_profit", "profit_std", "latency_s", "feasible"):
                row = getattr(world, name)[b : b + 1]
                assert row.tobytes() == getattr(alone, name).tobytes(), name

    def restart(self, rows: Sequence[bool], seeds: Sequence[int], episodes: Sequence[int]) -> None:
        self.batch.restart(np.array(rows), seeds, episodes)
        for b, seed, episode in zip(np.flatnonzero(rows), seeds, episodes, strict=True):
            self.singles[b] = Market(self.scenario, [seed], episode)
        self.agree()

    def step(self, playing: Sequence[bool] | None = None) -> set[int]:
        m, n = self.scenario.providers, self.scenario.workers
        allocation = self.rng.integers(0, n + 1, (len(self.singles), m, 2))
        rows = np.ones(len(self.singles), bool) if playing is None else np.array(playing)
        allocation[~rows] = n
        together = self.batch.step(allocation, None if playing is None else rows)
        mean = expected_profit(self.batch.world, allocation, together.admitted)
        seen = set()
        for b, single in enumerate(self.singles):
            if not rows[b]:
                assert (together.status[b] == Status.DEFERRED).all()
                continue
            alone, own = single.step(allocation[b : b + 1]), allocation[b : b + 1]
            for field in fields(Outcome):
                row = getattr(together, field.name)[b : b + 1]
                assert row.tobytes() == getattr(alone, field.name).tobytes(), field.name
            exact = expected_profit(single.world, own, alone.admitted)
            assert mean[b : b + 1].tobytes() == exact.tobytes()
            seen |= set(alone.status.ravel().tolist())
        assert self.batch.slots.tolist() == [single.slot for single in self.singles]
        return seen


@pytest.mark.usefixtures("way")
@every_scenario
class TestRows:
    def test_a_market_plays_what_slot_and_luck_say(self, name: str) -> None:
        scenario, seeds, episodes = load(name), [4, 2**64 + 1, 6], [0, 2, 1]
        market, world = Market(scenario, seeds, episodes), draw_world(scenario, seeds, episodes)
        source, rng = Luck(scenario, seeds, episodes), np.random.default_rng(0)
        for _ in range(SLOTS):
            allocation = rng.integers(0, scenario.workers + 1, (3, scenario.providers, 2))
            expected = play_slot(world, allocation, source.shock(), source.priority)
            source.next_slot()
            assert everything(market.step(allocation)) == everything(expected)

    def test_some_begin_anew_and_the_others_go_on(self, name: str) -> None:
        beside = Beside(load(name), [4, 5, 6, 5], [0, 0, 1, 2])
        seen = set()
        for slot in range(SLOTS):
            if slot == 3:
                beside.restart([True, False, True, False], [2**64 + 5, 9], [1, 0])
            if slot == 5:  # at once again, and with the same seed
                beside.restart([True, False, False, True], [2**64 + 5, 5], [2, 3])
            if slot == 20:
                beside.restart([False, True, False, False], [5], [1])
            assert beside.batch.even == (slot < 3)
            seen |= beside.step()
        assert not beside.batch.done
        assert Status.REJECTED in seen or name == "share"
        assert (Status.INFEASIBLE in seen) == (name in ("testbed", "some too large"))
        beside.restart([True] * 4, [3, 2, 1, 0], [0, 0, 0, 1])
        assert (beside.batch.slot, beside.batch.even) == (0, True)
        for _ in range(SLOTS):
            assert not beside.batch.done
            beside.step()
        assert beside.batch.done

    def test_who_waits_meets_the_same_slot_later(self, name: str) -> None:
        beside = Beside(load(name), [4, 5, 6], [0, 0, 1])
        beside.restart([False, False, True], [7], [0])  # from here on, each at its own pace
        for slot in range(SLOTS):
            often = beside.rng.random(3) < (0.3, 0.6, 0.9)
            beside.step(often.tolist() if slot % 3 else None)
        assert len(set(beside.batch.slots.tolist())) == 3

    def test_over_when_the_first_row_is(self, name: str) -> None:
        beside = Beside(load(name), [4, 5], [0, 0])
        for _ in range(SLOTS - 2):
            beside.step()
        beside.restart([False, True], [5], [1])
        beside.step()
        assert not beside.batch.done
        beside.step()
        assert beside.batch.done
        idle = np.full((2, beside.scenario.providers, 2), beside.scenario.workers)
        with pytest.raises(RuntimeError, match=f"all {SLOTS} slots are played"):
            beside.batch.step(idle)
        beside.restart([True, False], [4], [1])
        assert not beside.batch.done
        assert beside.batch.slots.tolist() == [0, 2]
        beside.step()


class TestRestart:
    def test_rows_that_wait_leave_the_step(self) -> None:
        market = Market(Scenario.load("toy", slots=3), [0, 1])
        idle, turns = np.full(SHAPE, 2), np.array([True, False])
        for _ in range(2):
            market.step(idle, turns)
            market.step(idle, ~turns)
            assert market.slots[0] == market.slots[1]
            assert not market.done
        market.step(idle, turns)
        assert market.slots.tolist() == [3, 2]
        assert not market.even
        assert market.done

    @pytest.mark.parametrize(
        ("seeds", "episodes", "text"),
        [
            ([-1], [0], "seed = -1 is not allowed"),
            ([1.5], [0], "seed = 1.5 is not allowed"),
            ([3], [-1], "episode = -1 is not allowed"),
            ([3], [0, 0], "one, or 1, one per seed"),
        ],
    )
    def test_a_refused_one_changes_nothing(
        self, seeds: list[Any], episodes: list[int], text: str
    ) -> None:
        market, other = (toy(noise__on="reward") for _ in range(2))
        first = np.zeros(SHAPE, int)
        for each in (market, other):
            each.step(first)
        with pytest.raises(ValueError, match=text):
            market.restart(np.array([False, True]), seeds, episodes)
        assert market.even
        assert (market.world.seeds, market.world.episodes) == ((0, 1), (0, 0))
        for _ in range(5):
            assert everything(market.step(first)) == everything(other.step(first))

    @pytest.mark.parametrize(
        ("rows", "seeds"),
        [
            ([True, True], [5]),
            ([True, True], [5, 6, 7]),
            ([True, False], [5, 6]),
            ([False, False], [5]),
        ],
    )
    def test_nor_does_a_wrong_number_of_seeds(self, rows: list[bool], seeds: list[int]) -> None:
        # In a world smaller than the allocations the loops would write beyond the end.
        market = toy()
        with pytest.raises(ValueError, match="seeds"):
            market.restart(np.array(rows), seeds, [0] * len(seeds))
        assert (market.world.batch, market.world.seeds) == (2, (0, 1))

    def test_nor_does_a_world_that_cannot_be_played(self) -> None:
        keys = {"demand": 2, "capacity": {"kind": "integers", "low": 1, "high": 2}}
        scenario = Scenario.load("toy", {**keys, "noise.on": "reward"})
        worlds = {}
        for seed in range(20):
            try:
                worlds[seed] = draw_world(scenario, [seed])
            except ValueError:
                unplayable = seed
        good = list(worlds)[:2]
        market, other = (Market(scenario, good) for _ in range(2))
        first = np.zeros(SHAPE, int)
        for rows in ([True, False], [True, True]):
            seeds = [unplayable, good[1]][: sum(rows)]
            with pytest.raises(ValueError, match="runs on none"):
                market.restart(np.array(rows), seeds, [0] * sum(rows))
            assert market.world.seeds == tuple(good)
            assert everything(market.step(first)) == everything(other.step(first))
