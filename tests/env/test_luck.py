"""Random numbers: against a generator in plain Python, against what they should be distributed as.

Bounds of statistical tests are five standard errors or more; as seeds are fixed, each passes always
or never.
"""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from distmllm_env import Scenario, draw_world, luck, play
from distmllm_env.luck import (
    LEVELS,
    STREAMS,
    Luck,
    policy_generator,
    policy_stream,
    quantiles,
    random_bits,
    row_keys,
    shocks,
    stream,
    uniforms,
)
from distmllm_env.policy import Feedback, Observation, Problem
from distmllm_env.scenario import Noise

WORD = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's finaliser, one whole number at a time."""
    z &= WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB & WORD
    return z ^ z >> 31


def number(key: int, index: int) -> int:
    return mix(key + (index + 1) * GAMMA)


def key_of(seed: int, episode: int, name: str, *part: int) -> int:
    limbs = [seed & WORD]
    while seed := seed >> 64:
        limbs.append(seed & WORD)
    key = mix(limbs[0] + len(limbs) * GAMMA)
    for word in (*limbs[1:], episode, STREAMS.index(name), *part):
        key = mix(((key + GAMMA) & WORD) ^ word)
    return key


def counters(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint64)


def same(left: np.ndarray | None, right: np.ndarray | None) -> bool:
    assert left is not None
    assert right is not None
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def chi_square(index: np.ndarray, bins: int) -> float:
    """How far counts of ``index`` are from equal, in standard deviations of chi-square."""
    count = np.bincount(index.ravel(), minlength=bins)
    expected = index.size / bins
    return float(
        (((count - expected) ** 2).sum() / expected - (bins - 1)) / (2 * (bins - 1)) ** 0.5
    )


class TestBits:
    def test_published_numbers(self) -> None:
        # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
        assert random_bits(np.array([1234567], np.uint64), counters(5)).tolist() == [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ]

    def test_every_key_with_every_counter(self) -> None:
        key = np.array([0, 1, WORD], np.uint64)
        counter = np.array([0, 7, 2**40, WORD], np.uint64)
        found = random_bits(key[:, None], counter)
        assert found.dtype == np.uint64
        assert found.tolist() == [[number(k, c) for c in counter.tolist()] for k in key.tolist()]
        assert key.tolist() == [0, 1, WORD]
        assert counter.tolist() == [0, 7, 2**40, WORD]

    @pytest.mark.parametrize("bit", range(64))
    def test_a_bit_more_in_the_key_changes_half_of_the_bits(self, bit: int) -> None:
        key = row_keys(range(400), [0] * 400, "noise")
        apart = random_bits(key, counters(1)) ^ random_bits(key ^ np.uint64(1 << bit), counters(1))
        flips = np.unpackbits(apart.view(np.uint8)).mean()
        assert flips == pytest.approx(0.5, abs=5 * 0.5 / (400 * 64) ** 0.5)


LARGE = (2**64 - 1, 2**64, 2**64 + 1, 2**64 + 2, 2**65, 3 * 2**64, 2**128 - 1, 2**128, 2**128 + 1)
SEEDS = (0, 1, 2, 3, 2**32, 2**63, *LARGE)


class TestKeys:
    def test_no_two_are_alike(self) -> None:
        parts: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 0))
        seen = set()
        for name, part in product(STREAMS, parts):
            pairs = list(product(SEEDS, range(5)))
            seeds, episodes = zip(*pairs, strict=True)
            seen |= set(row_keys(seeds, episodes, name, *part).tolist())
        assert len(seen) == len(SEEDS) * 5 * len(STREAMS) * len(parts)

    def test_small_seeds_and_the_same_one_word_higher(self) -> None:
        small = range(1000)
        for words in (1, 2, 3):
            large = [k + (1 << 64 * words) for k in small]
            above = [k << 64 * words for k in small[2:]]
            keys = row_keys([*small, *large, *above], [0] * 2998, "world")
            assert len(set(keys.tolist())) == 2998

    @pytest.mark.parametrize("seed", SEEDS)
    def test_as_in_plain_python(self, seed: int) -> None:
        for name in STREAMS:
            for episode in (0, 1, 2**40):
                assert row_keys([seed], [episode], name).tolist() == [key_of(seed, episode, name)]
        assert row_keys([seed], [4], "world", 3, 5).tolist() == [key_of(seed, 4, "world", 3, 5)]

    def test_a_row_does_not_hang_on_those_beside_it(self) -> None:
        episodes = range(len(SEEDS))
        together = row_keys(SEEDS, episodes, "noise", 1).tolist()
        alone = [
            row_keys([s], [e], "noise", 1).item() for s, e in zip(SEEDS, episodes, strict=True)
        ]
        assert together == alone
        assert together[::-1] == row_keys(SEEDS[::-1], episodes[::-1], "noise", 1).tolist()

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"unknown stream 'worlds'\. Did you mean 'world'"):
            row_keys([0], [0], "worlds")


class TestUniforms:
    def test_as_in_plain_python(self) -> None:
        found = uniforms(row_keys([5, 2**70], [1, 0], "world", 2), 4)
        keys = key_of(5, 1, "world", 2), key_of(2**70, 0, "world", 2)
        assert found.tolist() == [
            [(number(key, i) >> 11) / 2**53 for i in range(4)] for key in keys
        ]

    def test_the_first_ones_do_not_hang_on_how_many_there_are(self) -> None:
        key = row_keys([0, 1], [0, 0], "world")
        many = uniforms(key, 100)
        for count in (0, 1, 2, 99):
            assert uniforms(key, count).tolist() == many[:, :count].tolist()

    def test_range(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def extremes(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
            return np.array([[0, 1, WORD]], np.uint64)

        monkeypatch.setattr(luck, "random_bits", extremes)
        assert uniforms(counters(1), 3).tolist() == [[0.0, 0.0, 1 - 2.0**-53]]

    @pytest.mark.parametrize("along", ["counters", "seeds", "episodes", "parts", "every 2^32nd"])
    def test_are_uniform(self, along: str) -> None:
        count = 100_000
        rows = range(count)
        if along == "counters":
            u = uniforms(row_keys([0], [0], "world"), count)[0]
        elif along == "seeds":
            u = uniforms(row_keys(rows, [0] * count, "world"), 1)[:, 0]
        elif along == "episodes":
            u = uniforms(row_keys([0] * count, rows, "world"), 1)[:, 0]
        elif along == "parts":
            u = np.array([uniforms(row_keys([0], [0], "world", k), 1).item() for k in range(4000)])
        else:
            u = uniforms(row_keys([k << 32 for k in rows], [0] * count, "world"), 1)[:, 0]
        assert 0 <= u.min() < u.max() < 1
        for bins in (2, 100, 1000):
            assert abs(chi_square((u * bins).astype(int), bins)) < 5
        lower = (u * 2**20 % 1 * 256).astype(int)  # bits that do not show in the hundredths
        assert abs(chi_square(lower, 256)) < 5
        pairs = (u[:-1] * 16).astype(int) * 16 + (u[1:] * 16).astype(int)
        assert abs(chi_square(pairs[::2], 256)) < 5

    def test_a_world_is_drawn_from_them(self) -> None:
        wide = {"kind": "uniform", "low": 0.5, "high": 2.0}
        names = {
            "performance": 0,
            "price": 1,
            "latency.worker_factor": 2,
            "data_bytes": 3,
            "tensor_bytes": 6,
            "reward.value_enc": 7,
            "reward.value_llm": 8,
        }
        keys = dict.fromkeys(names, wide)
        whole = {
            "demand": {"kind": "integers", "low": 1, "high": 3},
            "capacity": {"kind": "integers", "low": 4, "high": 6},
        }
        world = draw_world(Scenario.load("paper", keys | whole), [3, 2**66], [1, 4])

        def drawn(row: int, part: int, count: int) -> list[float]:
            key = key_of(*((3, 1), (2**66, 4))[row], "world", part)
            return [(number(key, i) >> 11) / 2**53 for i in range(count)]

        for row in (0, 1):
            for name, part in names.items():
                if name in ("performance", "price", "data_bytes", "tensor_bytes"):
                    table = getattr(world, name)[row, :5]
                    expected = [0.5 + 1.5 * u for u in drawn(row, part, 5)]
                    assert table == pytest.approx(expected, rel=1e-15)
            for s, name in enumerate(("reward.value_enc", "reward.value_llm")):
                expected = [0.5 + 1.5 * u for u in drawn(row, names[name], 5)]
                assert world.value[row, s] == pytest.approx(expected, rel=1e-15)
            assert world.demand[row].tolist() == [1 + int(3 * u) for u in drawn(row, 4, 5)]
            assert world.capacity[row, :5].tolist() == [4 + int(3 * u) for u in drawn(row, 5, 5)]
            # Factors come worker by worker, ENC first.
            factor = [0.5 + 1.5 * u for u in drawn(row, 2, 10)]
            for s, n in product(range(2), range(5)):
                ratio = world.latency_s[row, s, 0, n] / factor[2 * n + s]
                mega = world.data_bytes[row, 0] / 1e6
                latency = world.scenario.latency
                scale = (latency.enc_scale_s, latency.llm_scale_s)[s]
                plain = scale * mega**latency.exponent / world.performance[row, n]
                assert ratio == pytest.approx(plain, rel=1e-12)

    def test_so_is_a_testbed(self) -> None:
        bed = Scenario.load("testbed")
        for b, (seed, episode) in enumerate(((3, 1), (2**66, 4))):
            world = draw_world(bed, [3, 2**66], [1, 4]).row(b)
            listed: dict[str, Any] = {}
            for name, part, count in (
                ("performance", 0, bed.workers),
                ("testbed.data_scale", 9, bed.providers),
                ("testbed.output_scale", 10, bed.providers),
            ):
                *path, last = name.split(".")
                quantity = getattr(bed.testbed if path else bed, last)
                assert quantity.kind == "uniform"
                low, high = quantity.low, quantity.high
                key = key_of(seed, episode, "world", part)
                u = [(number(key, i) >> 11) / 2**53 for i in range(count)]
                listed[name] = [low + (high - low) * x for x in u]
            told = draw_world(Scenario.load("testbed", listed), [0])
            for name in ("data_bytes", "performance", "latency_s", "energy_j"):
                found, expected = getattr(world, name), getattr(told, name)
                np.testing.assert_allclose(found, expected, rtol=1e-13)


LATENCY, REWARD = {"on": "latency_energy"}, {"on": "reward"}
NOISES: dict[str, dict[str, Any]] = {
    "uniform": {**LATENCY, "distribution": "uniform"},
    "lognormal": {**LATENCY, "distribution": "lognormal"},
    "uniform reward": {**REWARD, "distribution": "uniform"},
    "normal reward": {**REWARD, "distribution": "normal"},
}
every_noise = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)


def paper(noise: dict[str, Any], **keys: Any) -> Scenario:
    return Scenario.load("paper", {"noise": {"std": 0.1, **noise}}, **keys)


def standardised(noise: Noise, shock: np.ndarray) -> np.ndarray:
    """Back to draws of mean 0 and variance 1."""
    if noise.on == "reward":
        return shock / noise.std
    if noise.distribution == "uniform":
        return (shock - 1) / noise.std
    s2 = math.log(1 + noise.std**2)
    return (np.log(shock) + s2 / 2) / s2**0.5


def tape(source: Luck, slots: int) -> np.ndarray:
    """The shocks of the next slots, (T, B, M, S, 2)."""
    kept = []
    for _ in range(slots):
        shock = source.shock()
        assert shock is not None
        kept.append(shock.copy())
        source.next_slot()
    return np.array(kept)


def orders(source: Luck, slots: int, tasks: int) -> np.ndarray:
    """The drop orders of all tasks in the next slots, (T, tasks)."""
    kept = []
    for _ in range(slots):
        kept.append(source.priority(np.arange(tasks)))
        source.next_slot()
    return np.array(kept)


class TestShocks:
    def test_quantiles_of_the_normal_distribution(self) -> None:
        z = quantiles()
        assert z.shape == (LEVELS,)
        assert (np.diff(z) > 0).all()
        assert (z == -z[::-1]).all()
        assert z.var() == pytest.approx(1, abs=1e-8)
        assert z[-1] == pytest.approx(4.33, abs=0.01)
        # Of equal probability each: level k stands for the quantile of (k + 1/2) / LEVELS, but for
        # a stretch that makes up for the tails beyond the last.
        level = range(0, LEVELS, 97)
        exact = [NormalDist().inv_cdf((k + 0.5) / LEVELS) for k in level]
        assert z[list(level)] == pytest.approx(exact, rel=3e-5, abs=1e-7)

    @pytest.mark.parametrize(
        ("name", "std", "tails"),  # what the tails beyond 4.3 add to a lognormal standard deviation
        [
            (name, std, tails)
            for name in NOISES
            for std, tails in (
                *((0.01, 1e-6), (0.1, 1e-6), (0.3, 1e-5)),
                *((0.5, 1e-4), (0.75, 3e-4), (1.0, 1.1e-3)),
            )
            if name != "uniform" or std < 0.577
        ],
    )
    def test_mean_and_standard_deviation_over_all_levels(
        self, name: str, std: float, tails: float
    ) -> None:
        noise = NOISES[name]
        shock = shocks(Noise(**noise, std=std), np.arange(LEVELS, dtype=np.uint16))
        mean = 1 if noise["on"] == "latency_energy" else 0
        exact = noise["distribution"] != "lognormal"
        assert shock.shape == (LEVELS,)
        assert shock.mean() == pytest.approx(mean, abs=1e-9 if exact else 1e-4)
        assert shock.std() == pytest.approx(std, abs=1e-7 * std if exact else tails)
        assert (np.diff(shock) > 0).all()
        if noise["distribution"] == "uniform":
            end = 3**0.5 * std
            assert (shock[0], shock[-1]) == pytest.approx((mean - end, mean + end), rel=1e-2)
            assert mean - end < shock[0]
            assert shock[-1] < mean + end

    @every_noise
    def test_as_in_plain_python(self, noise: dict[str, Any]) -> None:
        scenario, rows = paper(noise), ((4, 0), (2**64 + 3, 7))
        found = tape(Luck(scenario, *zip(*rows, strict=True)), 4)
        spread = np.std([NormalDist().inv_cdf((k + 0.5) / LEVELS) for k in range(LEVELS)])
        s2 = math.log(1 + 0.1**2)
        for t, b, m, s, column in product(range(4), range(2), range(5), range(2), range(2)):
            word = number(key_of(*rows[b], "noise"), (t << 24) + m)
            level = word >> 16 * (2 * s + column) & 0xFFFF  # ENC before LLM, latency before energy
            if noise["distribution"] == "uniform":
                z = (level + 0.5 - LEVELS / 2) * 12**0.5 / LEVELS
            else:
                z = NormalDist().inv_cdf((level + 0.5) / LEVELS) / spread
            effect = 1 + 0.1 * z if noise["on"] == "latency_energy" else 0.1 * z
            if noise["distribution"] == "lognormal":
                effect = math.exp(s2**0.5 * z - s2 / 2)
            assert found[t, b, m, s, column] == pytest.approx(effect, rel=1e-12, abs=1e-8)

    @pytest.mark.parametrize(
        "noise", [{"on": "none"}, {**REWARD, "std": 0.0}, {**LATENCY, "std": 0}]
    )
    def test_there_are_none_without_noise(self, noise: dict[str, Any]) -> None:
        source = Luck(paper(noise), [0], [0])
        for _ in range(3):
            assert source.shock() is None
            assert (source.priority(np.arange(10)) > 0).any()
            source.next_slot()


class TestDistribution:
    """Five rows of neighbouring seeds and episodes, with 20 numbers of noise a slot each."""

    ROWS: tuple[Sequence[int], Sequence[int]] = ((0, 1, 0, 1, 2**64), (0, 0, 1, 1, 0))
    SLOTS = 4000

    @every_noise
    def test_moments(self, noise: dict[str, Any]) -> None:
        scenario = paper(noise)
        z = standardised(scenario.noise, tape(Luck(scenario, *self.ROWS), self.SLOTS))
        assert z.shape == (self.SLOTS, 5, 5, 2, 2)
        bound = 3**0.5 if noise["distribution"] == "uniform" else 4.34
        assert 0.95 * bound < np.abs(z).max() < bound
        kurtosis = 1.8 if noise["distribution"] == "uniform" else 3.0
        for axes, count in (((0, 1, 2, 3, 4), z.size), ((0, 1, 2), 25 * self.SLOTS)):
            error = count**-0.5  # of a mean of numbers of variance 1
            assert np.abs(z.mean(axis=axes)).max() < 5 * error
            spread = 5 * (kurtosis - 1) ** 0.5 * error
            assert np.abs((z**2).mean(axis=axes) - 1).max() < spread

    def test_levels_are_uniform(self) -> None:
        scenario = paper(NOISES["uniform"])
        z = standardised(scenario.noise, tape(Luck(scenario, *self.ROWS), self.SLOTS))
        level = np.rint(z * LEVELS / 12**0.5 + (LEVELS - 1) / 2).astype(int)
        assert 0 <= level.min() < level.max() < LEVELS
        for s, column in product(range(2), range(2)):
            one = level[..., s, column]
            assert abs(chi_square(one >> 8, 256)) < 5
            assert abs(chi_square(one & 255, 256)) < 5

    @every_noise
    def test_no_two_hang_together(self, noise: dict[str, Any]) -> None:
        """Rows, providers, stages, latency and energy; in one slot and from slot to slot."""
        scenario = paper(noise)
        z = standardised(scenario.noise, tape(Luck(scenario, *self.ROWS), self.SLOTS))
        flat = z.reshape(self.SLOTS, -1)
        # 100 x 100 correlations of 4000 pairs each: the largest of so many is about 4 errors.
        bound = 5.5 * self.SLOTS**-0.5
        for table in (flat, flat**2):  # by sign, and by size
            table = (table - table.mean(axis=0)) / table.std(axis=0)
            apart = table.T @ table / self.SLOTS - np.eye(100)
            assert np.abs(apart).max() < bound
            for lag in (1, 2, 3, 7, 20, 64):
                serial = table[lag:].T @ table[:-lag] / (self.SLOTS - lag)
                assert np.abs(serial).max() < bound

    def test_priorities(self) -> None:
        scenario = paper(NOISES["uniform"])
        order = orders(Luck(scenario, *self.ROWS), self.SLOTS, 50)
        noise = standardised(scenario.noise, tape(Luck(scenario, *self.ROWS), self.SLOTS))
        assert order.dtype == np.uint64
        assert len(np.unique(order)) == order.size
        assert abs(chi_square((order >> np.uint64(56)).astype(int), 256)) < 5
        assert abs(chi_square((order & np.uint64(255)).astype(int), 256)) < 5
        u = order / 2.0**64
        flat = np.concatenate([(u - 0.5) * 12**0.5, noise.reshape(self.SLOTS, -1)], axis=1)
        bound = 5.5 * self.SLOTS**-0.5
        assert np.abs(flat.T @ flat / self.SLOTS - np.eye(150)).max() < 2 * bound
        assert np.abs(np.corrcoef(flat.T) - np.eye(150)).max() < bound
        assert np.abs(flat[1:].T @ flat[:-1] / self.SLOTS).max() < bound
        # Each of a provider's two, and of ten in a row, is the lowest equally often.
        enc_first = (u[:, ::2] < u[:, 1::2]).mean(axis=0)
        assert np.abs(enc_first - 0.5).max() < 5 * 0.5 * self.SLOTS**-0.5
        lowest = u.reshape(-1, 10).argmin(axis=1)
        assert abs(chi_square(lowest, 10)) < 5


class TestPriority:
    def test_as_in_plain_python(self) -> None:
        source, rows = Luck(paper(LATENCY), [4, 2**64], [0, 3]), ((4, 0), (2**64, 3))
        for t in range(3):
            expected = [
                number(key_of(*rows[b], "admission"), (t << 24) + place)
                for b, place in product(range(2), range(10))
            ]
            assert source.priority(np.arange(20)).tolist() == expected
            source.next_slot()

    def test_hangs_on_the_task_alone(self) -> None:
        source = Luck(paper(LATENCY), [4, 5], [0, 0])
        everybody = source.priority(np.arange(20))
        some = np.array([17, 3, 3, 0])
        assert source.priority(some).tolist() == everybody[some].tolist()
        assert source.priority(some[:0]).tolist() == []
        assert source.priority(np.arange(20)).tolist() == everybody.tolist()

    def test_differs_from_slot_to_slot(self) -> None:
        order = orders(Luck(paper(LATENCY), [4], [0]), 1000, 10)
        assert len(np.unique(order)) == 10_000

    def test_noise_and_drop_order_hang_on_seed_and_episode_each_for_itself(self) -> None:
        scenario = paper(NOISES["uniform"])
        seen: set[int] = set()
        for seed, episode in product(range(4), range(4)):
            source = Luck(scenario, [seed], [episode])
            shock = source.shock()
            assert shock is not None
            z = standardised(scenario.noise, shock)
            level = np.rint(z * LEVELS / 12**0.5 + (LEVELS - 1) / 2).astype(np.uint16)
            seen |= set(level.reshape(5, 4).view(np.uint64).ravel().tolist())
            seen |= set(source.priority(np.arange(10)).tolist())
        assert len(seen) == 16 * (5 + 10)


class TestWhatLeavesLuckAsItIs:
    @every_noise
    def test_more_providers(self, noise: dict[str, Any]) -> None:
        few, many = (Luck(paper(noise, providers=m), [3, 8], [0, 1]) for m in (5, 12))
        assert same(tape(few, 9), tape(many, 9)[:, :, :5].copy())

    def test_more_providers_and_who_is_dropped(self) -> None:
        few, many = (Luck(paper(LATENCY, providers=m), [3, 8], [0, 1]) for m in (5, 12))
        first, all_of_them = orders(few, 9, 20), orders(many, 9, 48)
        assert first.reshape(9, 2, 10).tolist() == all_of_them.reshape(9, 2, 24)[..., :10].tolist()

    @every_noise
    def test_more_rows_and_another_place_among_them(self, noise: dict[str, Any]) -> None:
        rows = {seed: Luck(paper(noise), [seed], [2]) for seed in (3, 8, 2**64)}
        batch = tape(Luck(paper(noise), [2**64, 8, 5, 3], [2, 2, 2, 2]), 9)
        for b, seed in ((0, 2**64), (1, 8), (3, 3)):
            assert same(tape(rows[seed], 9), batch[:, b : b + 1].copy())

    def test_more_rows_and_who_is_dropped(self) -> None:
        batch = orders(Luck(paper(LATENCY), [3, 8], [2, 2]), 9, 20)
        for b, seed in enumerate((3, 8)):
            alone = orders(Luck(paper(LATENCY), [seed], [2]), 9, 10)
            assert alone.tolist() == batch[:, 10 * b : 10 * b + 10].tolist()

    @pytest.mark.parametrize(
        ("block", "blocks"),  # 2 rows, 5 providers: blocks of 1, 1, 3, 3 and 20 slots or more
        [(1, 20), (10, 20), (30, 7), (39, 7), (10**6, 1)],
    )
    @every_noise
    def test_another_length_of_a_block(
        self, noise: dict[str, Any], block: int, blocks: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draws, draw = 0, Luck._draw_block

        def counted(self: Luck) -> np.ndarray:
            nonlocal draws
            draws += 1
            return draw(self)

        monkeypatch.setattr(Luck, "_draw_block", counted)
        whole = tape(Luck(paper(noise), [3, 8], [0, 1]), 20)
        assert draws == 1
        monkeypatch.setattr(luck, "_BLOCK", block)
        assert same(tape(Luck(paper(noise), [3, 8], [0, 1]), 20), whole)
        assert draws == 1 + blocks

    def test_more_slots_than_fit_into_a_block(self) -> None:
        slots = 2 * luck._BLOCK // 5 + 10
        long = tape(Luck(paper(LATENCY), [3], [0]), slots)
        assert len(np.unique(long.reshape(slots, -1), axis=0)) == slots

    @pytest.mark.parametrize("block", [1, 5 * 4, 4096])
    def test_slots_whose_noise_nobody_asks_for(
        self, block: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(luck, "_BLOCK", block)
        every = tape(Luck(paper(LATENCY), [3], [0]), 30)
        source, slot = Luck(paper(LATENCY), [3], [0]), 0
        for skipped in (1, 1, 2, 3, 5, 1, 8):
            for _ in range(skipped):
                source.next_slot()
            slot += skipped
            assert same(source.shock(), every[slot])

    def test_asking_twice(self) -> None:
        source = Luck(paper(LATENCY), [3], [0])
        assert same(source.shock(), source.shock())

    def test_another_noise_leaves_who_is_dropped(self) -> None:
        quiet, loud = Luck(paper({"on": "none"}), [3], [0]), Luck(paper(LATENCY), [3], [0])
        tape(loud, 4)
        for _ in range(4):
            quiet.next_slot()
        assert quiet.priority(np.arange(10)).tolist() == loud.priority(np.arange(10)).tolist()


def agree(batch: Luck, singles: Sequence[Luck], providers: int = 5) -> None:
    """Whether each row of ``batch`` is where the single one is, in noise and drop order."""
    shock = batch.shock()
    assert shock is not None
    order = batch.priority(np.arange(2 * providers * len(singles))).reshape(len(singles), -1)
    for b, single in enumerate(singles):
        assert batch.slot[b] == single.slot[0]
        assert same(single.shock(), shock[b : b + 1])
        assert single.priority(np.arange(2 * providers)).tolist() == order[b].tolist()


class TestRestart:
    @pytest.mark.parametrize("block", [1, 2 * 3 * 5, 4096])
    @every_noise
    def test_some_rows_begin_anew_and_the_others_go_on(
        self, noise: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(luck, "_BLOCK", block)
        scenario = paper(noise)
        batch = Luck(scenario, [3, 8, 5], [0, 0, 2])
        singles = [Luck(scenario, [s], [e]) for s, e in ((3, 0), (8, 0), (5, 2))]

        def go_on(slots: int) -> None:
            for _ in range(slots):
                agree(batch, singles)
                for source in (batch, *singles):
                    source.next_slot()

        go_on(5)
        batch.restart(np.array([True, False, True]), [2**64, 5], [1, 3])
        singles = [Luck(scenario, [2**64], [1]), singles[1], Luck(scenario, [5], [3])]
        assert batch.slot.tolist() == [0, 5, 0]
        go_on(5)
        batch.restart(np.array([False, True, False]), [8], [1])
        singles[1] = Luck(scenario, [8], [1])
        assert batch.slot.tolist() == [5, 0, 5]
        go_on(5)
        batch.restart(np.ones(3, bool), [0, 1, 2], [0, 0, 0])
        singles = [Luck(scenario, [s], [0]) for s in range(3)]
        go_on(5)

    def test_no_row(self) -> None:
        batch = Luck(paper(LATENCY), [3, 8], [0, 0])
        tape(batch, 3)
        before = batch.shock()
        batch.next_slot(np.zeros(2, bool))
        assert batch.slot.tolist() == [3, 3]
        assert same(before, batch.shock())


class TestWaiting:
    @pytest.mark.parametrize("block", [1, 2 * 3 * 5, 4096])
    @every_noise
    def test_who_waits_meets_the_same_slot_later(
        self, noise: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(luck, "_BLOCK", block)
        scenario, rng = paper(noise), np.random.default_rng(0)
        batch = Luck(scenario, [3, 8, 5], [0, 0, 2])
        singles = [Luck(scenario, [s], [e]) for s, e in ((3, 0), (8, 0), (5, 2))]
        for t in range(40):
            agree(batch, singles)
            playing = rng.random(3) < 0.6 if t % 4 else np.ones(3, bool)
            batch.next_slot(playing if t % 8 else None)
            for single, plays in zip(singles, playing, strict=True):
                if plays:
                    single.next_slot()
        assert len(set(batch.slot.tolist())) == 3


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


def draws(rng: np.random.Generator) -> list[Any]:
    """Numbers of all kinds, from a generator and from what it spawns."""
    found: list[Any] = [rng.integers(0, 99, 3, dtype=np.uint32).tolist()]  # leaves half a word
    first, second = rng.spawn(2)
    below = first.spawn(1)[0]
    for one in (rng, first, second, below):
        found += [one.random(3).tolist(), one.integers(0, 2**40, 3).tolist(), one.normal()]
        found += [one.permutation(5).tolist(), one.gumbel(size=2).tolist()]
    return found


def plain_draws(rng: np.random.Generator) -> list[float]:
    return [*rng.random(3).tolist(), *rng.normal(size=3).tolist(), float(rng.integers(0, 9))]


class Keeper:
    """A policy that keeps the generators that it is given."""

    batched = True

    def reset(self, problem: Problem, rng: list[np.random.Generator]) -> None:
        self.rng = rng
        self.shape = (problem.batch, problem.providers, 2)

    def act(self, observation: Observation) -> np.ndarray:
        return np.zeros(self.shape, int)

    def update(self, feedback: Feedback) -> None:
        pass


class TestPolicyStream:
    SEED = 0x1234_5678_9ABC_DEF0_0FED_CBA9

    @pytest.mark.parametrize(("seed", "episode"), [(0, 0), (3, 1), (2**42, 0), (SEED, 7)])
    def test_numbers_are_those_of_the_stream(self, seed: int, episode: int) -> None:
        expected = plain_draws(stream(seed, episode, "policy"))
        assert plain_draws(policy_stream(seed, episode)) == expected
        assert plain_draws(policy_stream(seed, episode)) == expected
        assert plain_draws(policy_stream(seed, episode + 1)) != expected

    def test_goes_on_from_any_state(self) -> None:
        rng = stream(3, 1, "policy")
        rng.random(5)
        rng.integers(0, 99, 3, dtype=np.uint32)  # half a word is left over
        again = policy_generator(rng.bit_generator.state)
        assert again.bit_generator.state == rng.bit_generator.state
        assert again.integers(0, 99, 4, dtype=np.uint32).tolist() == [
            *rng.integers(0, 99, 4, dtype=np.uint32)
        ]
        assert plain_draws(again) == plain_draws(rng)

    def test_the_state_that_is_given_stays(self) -> None:
        state = stream(3, 1, "policy").bit_generator.state
        before = json.dumps(state)
        draws(policy_generator(state))
        assert json.dumps(state) == before

    def test_what_it_spawns_hangs_on_the_state_alone(self) -> None:
        state = stream(3, 1, "policy").bit_generator.state
        expected = draws(policy_generator(state))
        assert draws(policy_stream(3, 1)) == expected
        assert draws(policy_generator(policy_stream(3, 1).bit_generator.state)) == expected
        assert draws(policy_generator(json.loads(json.dumps(state)))) == expected
        other = stream(3, 2, "policy").bit_generator.state
        assert draws(policy_generator(other)) != expected
        # Neither spawned generator repeats the other, or the one it came from.
        numbers = [x for entry in expected for x in (entry if isinstance(entry, list) else [entry])]
        assert len({x for x in numbers if isinstance(x, float)}) == 4 * (3 + 1 + 2)

    def test_other_states_spawn_others(self) -> None:
        seen = set()
        for seed, episode in product(range(20), range(5)):
            (child,) = policy_stream(seed, episode).spawn(1)
            seen |= set(child.integers(0, 2**62, 3).tolist())
        assert len(seen) == 300

    def test_the_seed_is_not_in_it(self) -> None:
        """Who has the seed can draw the world; a generator made of the seed tells it."""
        raw = self.SEED.to_bytes(12, "little")

        def told(rng: np.random.Generator) -> list[bool]:
            seeds: Any = rng.bit_generator.seed_seq
            words = [self.SEED & 0xFFFFFFFF, self.SEED >> 32 & 0xFFFFFFFF, self.SEED >> 64]
            everything = repr([seeds, seeds.entropy, seeds.spawn_key, seeds.state, vars_of(seeds)])
            return [
                seeds.entropy == self.SEED,
                str(self.SEED) in everything,
                raw in pickle.dumps(rng),
                any(str(word) in everything for word in words),
            ]

        def vars_of(thing: Any) -> dict[str, Any]:
            names = [name for name in dir(thing) if not name.startswith("__")]
            return {name: getattr(thing, name) for name in names}

        assert told(stream(self.SEED, 7, "policy"))[:3] == [True, True, True]  # one can look
        rng = policy_stream(self.SEED, 7)
        assert told(rng) == [False] * 4
        assert told(rng.spawn(1)[0]) == [False] * 4

    def test_is_what_a_policy_is_given(self) -> None:
        keeper = Keeper()
        play(Scenario.load("toy", slots=2), keeper, [4, self.SEED])
        for rng, seed in zip(keeper.rng, (4, self.SEED), strict=True):
            assert rng.bit_generator.seed_seq.entropy != seed  # type: ignore[attr-defined]
            assert draws(rng) == draws(policy_stream(seed, 0))

    def test_is_the_same_in_another_process(self) -> None:
        code = (
            "import json, sys; from distmllm_env.luck import policy_generator;"
            "rng = policy_generator(json.loads(sys.argv[1]));"
            "child = rng.spawn(2)[1];"
            "print(json.dumps([rng.random(3).tolist(), child.random(3).tolist()]))"
        )
        state = policy_stream(self.SEED, 3).bit_generator.state
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(state)],
            capture_output=True,
            text=True,
            check=True,
        )
        rng = policy_stream(self.SEED, 3)
        child = rng.spawn(2)[1]
        assert json.loads(done.stdout) == [rng.random(3).tolist(), child.random(3).tolist()]
