"""A market: what it refuses, when it ends, and where its luck comes from."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from distmllm_env import LLM, Market, Outcome, Scenario, luck
from distmllm_env.luck import STREAMS, Luck, stream

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
    @pytest.mark.parametrize(
        "noise",
        [
            {"on": "latency_energy", "distribution": "uniform"},
            {"on": "latency_energy", "distribution": "lognormal"},
            {"on": "reward", "distribution": "normal"},
            {"on": "none"},
        ],
        ids=lambda noise: "-".join(noise.values()),
    )
    def test_how_much_is_drawn_at_once_changes_nothing(
        self, noise: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scenario = Scenario.load("paper", {"noise": noise}, slots=23)
        draws = 0
        draw = Luck._draw_block

        def counted(self: Luck) -> None:
            nonlocal draws
            draws += 1
            draw(self)

        monkeypatch.setattr(Luck, "_draw_block", counted)
        whole = play(scenario, [4, 5, 6])
        assert draws == 1
        # 3 rows x 5 providers x 6 numbers = 90 a slot: one slot, four slots, ten slots a block
        for numbers, blocks in ((1, 23), (360, 6), (999, 3)):
            draws = 0
            monkeypatch.setattr(luck, "_BLOCK_NUMBERS", numbers)
            assert play(scenario, [4, 5, 6]) == whole
            assert draws == blocks

    def test_a_run_is_fixed_by_seed_and_episode(self) -> None:
        scenario = Scenario.load("paper", slots=5)
        assert play(scenario, [4], 2) == play(scenario, [4], 2)
        runs = [play(scenario, [seed], episode)[-1] for seed in range(4) for episode in range(4)]
        assert len(set(runs)) == 16

    def test_noise_and_drop_order_hang_on_seed_and_episode_each_for_itself(self) -> None:
        paper = Scenario.load("paper")
        seen = set()
        for seed in range(4):
            for episode in range(4):
                z, priority = Luck(paper, [seed], episode).next_slot()
                uniform = z[..., 0] / 12**0.5 + 0.5  # back on [0, 1), as priorities are
                seen |= set(np.round([*uniform.ravel(), *priority.ravel()], 9))
        assert len(seen) == 16 * 20

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

    @pytest.mark.parametrize(
        ("noise", "bound"),
        [
            ({"on": "latency_energy"}, 3**0.5),
            ({"on": "reward"}, 3**0.5),
            ({"on": "reward", "distribution": "normal"}, 6.0),
            ({"on": "latency_energy", "distribution": "lognormal"}, 6.0),
        ],
        ids=["uniform", "uniform reward", "normal", "lognormal"],
    )
    def test_is_standardised(self, noise: dict[str, Any], bound: float) -> None:
        scenario = Scenario.load("paper", {"noise": noise}, slots=2000)
        source = Luck(scenario, [0, 1], 0)
        slots = [source.next_slot() for _ in range(2000)]
        z, priority = (np.array(tables) for tables in zip(*slots, strict=True))
        assert z.shape == (2000, 2, 5, 2, 2)
        assert priority.shape == (2000, 2, 5, 2)
        # 80,000 numbers: the mean has a standard deviation of 0.0035, the variance of at most 0.005
        assert abs(z.mean()) < 0.02
        assert z.var() == pytest.approx(1.0, abs=0.025)
        assert 0.95 * min(bound, 3) < np.abs(z).max() <= bound
        assert 0 <= priority.min() < 0.001
        assert 0.999 < priority.max() < 1
        assert priority.mean() == pytest.approx(0.5, abs=0.01)
        # rows, providers, stages, and latency against energy: no two alike
        flat = z.reshape(2000, -1)
        alike = np.abs(np.corrcoef(flat.T) - np.eye(flat.shape[1]))
        assert alike.max() < 0.12  # five standard deviations of a correlation of 2000 pairs

    @pytest.mark.parametrize("noise", [{"on": "none"}, {"on": "reward", "std": 0.0}])
    def test_is_zero_without_noise(self, noise: dict[str, Any]) -> None:
        z, priority = Luck(Scenario.load("paper", {"noise": noise}), [0], 0).next_slot()
        assert (z == 0).all()
        assert (priority > 0).any()


class TestStreams:
    def test_no_two_are_alike(self) -> None:
        grid = [(s, e, name) for s in (0, 1, 2, 2**32) for e in (0, 1, 2) for name in STREAMS]
        assert len({stream(*key).random(4).tobytes() for key in grid}) == len(grid)

    def test_a_stream_is_repeatable(self) -> None:
        for name in STREAMS:
            assert (stream(3, 1, name).random(4) == stream(3, 1, name).random(4)).all()

    def test_names_keep_their_place(self) -> None:
        # A stream's numbers hang on the place of its name, so published results do too.
        names = ("world", "noise", "admission", "policy", "order")
        assert STREAMS[: len(names)] == names

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"unknown stream 'worlds'\. Did you mean 'world'"):
            stream(0, 0, "worlds")
