"""Equations (1) to (3) worked by hand, and the means under noise against numerical integration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distmllm_env import equations
from distmllm_env.scenario import Noise, Reward

AFFINE = Reward()
QUADRATIC = Reward(shape="quadratic", curvature_per_s2=0.5)
DEADLINE = Reward(shape="deadline", deadline_s=1.0)
SHAPES = (AFFINE, QUADRATIC, DEADLINE)


def g(reward: Reward, weight: float, latency: Any) -> Any:
    return equations.latency_reward(reward, np.array(weight), np.asarray(latency, float))


class TestLatency:
    @pytest.mark.parametrize(
        ("scale", "data", "exponent", "performance", "seconds"),
        [
            (0.5, 1e6, 0.5, 1.0, 0.5),  # 0.5 x sqrt(1) / 1
            (0.3, 4e6, 0.5, 0.5, 1.2),  # 0.3 x sqrt(4) / 0.5 = 0.6 / 0.5
            (1.8, 0.25e6, 0.5, 0.9, 1.0),  # 1.8 x sqrt(0.25) / 0.9 = 0.9 / 0.9
            (2.0, 3e6, 1.0, 0.8, 7.5),  # 2 x 3 / 0.8
            (1.5, 8e6, 1 / 3, 1.0, 3.0),  # 1.5 x cuberoot(8)
        ],
    )
    def test_equation_1(
        self, scale: float, data: float, exponent: float, performance: float, seconds: float
    ) -> None:
        found = equations.latency_s(
            np.array(scale), np.array(data), exponent, np.array(performance)
        )
        assert found == pytest.approx(seconds, rel=1e-12)

    def test_is_concave_in_the_data_and_falls_with_performance(self) -> None:
        data = np.linspace(0.1e6, 5e6, 50)
        one = np.array(1.0)
        step = np.diff(equations.latency_s(one, data, 0.5, one))
        assert (step > 0).all()
        assert (np.diff(step) < 0).all()
        assert (np.diff(equations.latency_s(one, one, 0.5, np.linspace(0.1, 2, 50))) < 0).all()


class TestEnergy:
    @pytest.mark.parametrize(
        ("joule_per_mb", "data", "performance", "joule"),
        [
            (0.4, 1e6, 1.0, 0.4),
            (0.4, 1e6, 0.5, 0.1),  # 0.4 x 1 x 0.25
            (0.6, 2.5e6, 0.8, 0.96),  # 0.6 x 2.5 x 0.64
            (0.3, 0.5e6, 0.9, 0.1215),  # 0.3 x 0.5 x 0.81
            (0.0, 1e6, 1.0, 0.0),
        ],
    )
    def test_equation_2(
        self, joule_per_mb: float, data: float, performance: float, joule: float
    ) -> None:
        found = equations.energy_j(np.array(joule_per_mb), np.array(data), np.array(performance))
        assert found == pytest.approx(joule, rel=1e-12)


class TestLatencyReward:
    @pytest.mark.parametrize(
        ("reward", "weight", "latency", "gain"),
        [
            (AFFINE, 2.0, 1.5, -3.0),
            (QUADRATIC, 1.0, 2.0, -4.0),  # -1 x 2 - 0.5 x 4
            (QUADRATIC, 0.0, 3.0, -4.5),  # -0.5 x 9
            (DEADLINE, 2.0, 0.5, 0.0),
            (DEADLINE, 2.0, 1.0, 0.0),
            (DEADLINE, 2.0, 1.75, -1.5),  # -2 x (1.75 - 1)
        ],
    )
    def test_g(self, reward: Reward, weight: float, latency: float, gain: float) -> None:
        assert g(reward, weight, latency) == pytest.approx(gain, rel=1e-12)

    @pytest.mark.parametrize("reward", SHAPES, ids=lambda r: r.shape)
    def test_is_zero_at_zero_concave_and_never_rises(self, reward: Reward) -> None:
        gain = g(reward, 0.7, np.linspace(0, 4, 81))
        assert gain[0] == 0.0
        assert (np.diff(gain) <= 0).all()
        assert (np.diff(gain, 2) <= 1e-12).all()
        assert gain[-1] < 0


class TestProfit:
    @pytest.mark.parametrize(
        ("reward", "value", "latency", "price", "energy", "profit"),
        [
            (AFFINE, 2.0, 0.5, 1.0, 0.4, 1.1),  # 2 - 0.5 - 0.4
            (AFFINE, 4.0, 2.0, 1.5, 0.1, 1.85),  # 4 - 2 - 0.15
            (AFFINE, 1.0, 2.0, 1.0, 0.5, -1.5),  # 1 - 2 - 0.5: a loss is a loss
            (QUADRATIC, 6.0, 2.0, 0.5, 1.0, 1.5),  # 6 - (2 + 0.5 x 4) - 0.5
            (DEADLINE, 2.0, 0.9, 1.0, 0.4, 1.6),  # 2 - 0 - 0.4
            (DEADLINE, 2.0, 1.5, 1.0, 0.4, 1.1),  # 2 - (1.5 - 1) - 0.4
        ],
    )
    def test_equation_3(
        self,
        reward: Reward,
        value: float,
        latency: float,
        price: float,
        energy: float,
        profit: float,
    ) -> None:
        numbers = (np.array(x) for x in (1.0, value, latency, price, energy))
        assert equations.profit(reward, *numbers) == pytest.approx(profit, rel=1e-12)

    def test_a_payment_lowers_the_profit(self) -> None:
        one, price = np.array(1.0), np.linspace(0, 3, 7)
        profit = equations.profit(AFFINE, one, one, one, price, np.array(0.4))
        assert np.diff(profit) == pytest.approx(-0.2)  # 0.5 dearer x 0.4 J


def test_shapes_broadcast_to_batch_stage_provider_worker() -> None:
    rng = np.random.default_rng(0)
    scale, gamma = rng.uniform(0.2, 2, (1, 2, 1, 1)), rng.uniform(0.2, 2, (1, 2, 1, 1))
    data, p = rng.uniform(1e5, 9e6, (3, 1, 4, 1)), rng.uniform(0.5, 1, (3, 1, 1, 5))
    value, price = rng.uniform(1, 2, (3, 2, 4, 1)), rng.uniform(1, 2, (3, 1, 1, 5))
    weight = np.array([1.0, 0.25]).reshape(2, 1, 1)
    latency = equations.latency_s(scale, data, 0.5, p)
    energy = equations.energy_j(gamma, data, p)
    profit = equations.profit(QUADRATIC, weight, value, latency, price, energy)
    assert latency.shape == energy.shape == profit.shape == (3, 2, 4, 5)
    for b, s, m, n in np.ndindex(3, 2, 4, 5):
        mb = data[b, 0, m, 0] / 1e6
        slow = scale[0, s, 0, 0] * math.sqrt(mb) / p[b, 0, 0, n]
        hot = gamma[0, s, 0, 0] * mb * p[b, 0, 0, n] ** 2
        pay = price[b, 0, 0, n] * hot
        earned = value[b, s, m, 0] - (1.0, 0.25)[s] * slow - 0.5 * slow**2 - pay
        assert latency[b, s, m, n] == pytest.approx(slow, rel=1e-12)
        assert energy[b, s, m, n] == pytest.approx(hot, rel=1e-12)
        assert profit[b, s, m, n] == pytest.approx(earned, rel=1e-12)


POINTS = 150_001


def mean(distribution: str, std: float, of: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean of ``of(factor)``, by the midpoint rule over z, with no word on how it is distributed.

    The factor is 1 + sqrt(3) std u for u uniform on [-1, 1], or exp(s x - s^2 / 2) for x normal
    with s^2 = ln(1 + std^2).
    """
    if distribution == "uniform":
        u = (np.arange(POINTS) + 0.5) / POINTS * 2 - 1
        return float(of(1 + math.sqrt(3) * std * u).mean())
    x = ((np.arange(POINTS) + 0.5) / POINTS * 2 - 1) * 12
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (24 / POINTS)
    s = math.sqrt(math.log(1 + std * std))
    return float((of(np.exp(s * x - s * s / 2)) * density).sum())


NOISES = [("uniform", 0.1), ("uniform", 0.3), ("uniform", 0.57), ("lognormal", 0.1)]
NOISES += [("lognormal", 0.3), ("lognormal", 1.5)]


class TestMeanLatencyReward:
    # With std = 0.3 the half width is 0.5196, so that a deadline of 1 s is met for sure below
    # 1 / 1.5196 = 0.658 s and missed for sure above 1 / 0.4804 = 2.082 s.
    @pytest.mark.parametrize(
        "latency", [0.3, 0.65, 0.66, 0.8, 0.99, 1.0, 1.01, 1.5, 2.08, 2.09, 4.0]
    )
    @pytest.mark.parametrize(("distribution", "std"), NOISES)
    @pytest.mark.parametrize("reward", SHAPES, ids=lambda r: r.shape)
    def test_closed_form_is_the_integral(
        self, reward: Reward, distribution: Any, std: float, latency: float
    ) -> None:
        noise = Noise("latency_energy", distribution, std)
        closed = equations.mean_latency_reward(reward, np.array(0.7), np.array(latency), noise)
        brute = mean(distribution, std, lambda factor: g(reward, 0.7, latency * factor))
        assert closed == pytest.approx(brute, rel=1e-6, abs=1e-8)

    @pytest.mark.parametrize(
        ("latency", "late"),
        [
            # half width h = sqrt(3) x 0.2 / sqrt(3) = 0.2, deadline 1 s
            (0.8, 0.0),  # at most 0.96 s
            (1.0, 0.05),  # l f - 1 is uniform on [-0.2, 0.2]: mean of the positive part 0.2 / 4
            (2.0, 1.0),  # at least 1.6 s: 2 - 1
        ],
    )
    def test_uniform_deadline_by_hand(self, latency: float, late: float) -> None:
        noise = Noise("latency_energy", "uniform", 0.2 / math.sqrt(3))
        found = equations.mean_latency_reward(DEADLINE, np.array(2.0), np.array(latency), noise)
        assert found == pytest.approx(-2 * late, abs=1e-12)

    @pytest.mark.parametrize("noise", [Noise("reward"), Noise("none"), Noise(std=0.0)])
    @pytest.mark.parametrize("reward", SHAPES, ids=lambda r: r.shape)
    def test_without_noise_on_the_latency_it_is_g(self, reward: Reward, noise: Noise) -> None:
        latency = np.linspace(0, 3, 13)
        found = equations.mean_latency_reward(reward, np.array(0.7), latency, noise)
        assert (found == g(reward, 0.7, latency)).all()

    @pytest.mark.parametrize("distribution", ["uniform", "lognormal"])
    def test_no_latency_and_no_end_of_it(self, distribution: Any) -> None:
        noise = Noise("latency_energy", distribution, 0.3)
        for reward in (*SHAPES, Reward(shape="deadline")):
            edge = np.array([0.0, np.inf])
            found = equations.mean_latency_reward(reward, np.array(0.7), edge, noise)
            assert found.tolist() == [0.0, -np.inf]

    @pytest.mark.parametrize("distribution", ["uniform", "lognormal"])
    def test_a_deadline_of_zero_is_affine(self, distribution: Any) -> None:
        noise, latency = Noise("latency_energy", distribution, 0.3), np.linspace(0, 3, 13)
        reward = Reward(shape="deadline", deadline_s=0.0)
        found = equations.mean_latency_reward(reward, np.array(0.7), latency, noise)
        assert found == pytest.approx(-0.7 * latency)

    def test_noise_never_helps_a_concave_g(self) -> None:
        latency = np.linspace(0, 3, 61)
        for reward in SHAPES:
            for distribution, std in NOISES:
                noise = Noise("latency_energy", distribution, std)  # type: ignore[arg-type]
                noisy = equations.mean_latency_reward(reward, np.array(0.7), latency, noise)
                assert (noisy <= g(reward, 0.7, latency) + 1e-12).all()


class TestNoiseFactor:
    @pytest.mark.parametrize(
        ("distribution", "std", "z", "factor"),
        [
            ("uniform", 0.1, 1.5, 1.15),
            ("uniform", 0.2, -1.0, 0.8),
            ("normal", 0.5, -3.0, -0.5),  # an additive term scaled like this may be negative
            # 1 + 0.75^2 = 1.25^2, so that exp(-s^2 / 2) = 1 / 1.25
            ("lognormal", 0.75, 0.0, 0.8),
            # exp(s z - s^2 / 2) = 1 where z = s / 2
            ("lognormal", 0.75, math.sqrt(math.log(1.5625)) / 2, 1.0),
            # and 1.25 where z = s
            ("lognormal", 0.75, math.sqrt(math.log(1.5625)), 1.25),
        ],
    )
    def test_by_hand(self, distribution: str, std: float, z: float, factor: float) -> None:
        found = equations.noise_factor(distribution, std, np.array([z]))
        assert found == pytest.approx([factor], rel=1e-12)

    @pytest.mark.parametrize(("distribution", "std"), NOISES)
    def test_mean_is_one_and_std_is_std(self, distribution: str, std: float) -> None:
        if distribution == "uniform":  # mean 0 and variance 1 on [-sqrt(3), sqrt(3)]
            z = ((np.arange(POINTS) + 0.5) / POINTS * 2 - 1) * math.sqrt(3)
            weight = np.full(POINTS, 1 / POINTS)
        else:
            z = ((np.arange(POINTS) + 0.5) / POINTS * 2 - 1) * 14
            weight = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (28 / POINTS)
        factor = equations.noise_factor(distribution, std, z)
        average = (factor * weight).sum()
        assert (factor > 0).all()
        assert average == pytest.approx(1.0, rel=1e-8)
        assert ((factor - average) ** 2 * weight).sum() == pytest.approx(std**2, rel=1e-8)

    def test_effect_on_a_slot(self) -> None:
        z = np.array([[-1.0, 0.0, 1.5]])
        effect = equations.noise_effect(Noise("latency_energy", "uniform", 0.2), z)
        assert effect == pytest.approx(np.array([[0.8, 1.0, 1.3]]))
        factor = equations.noise_factor("lognormal", 0.2, z)
        lognormal = Noise("latency_energy", "lognormal", 0.2)
        assert equations.noise_effect(lognormal, z).tolist() == factor.tolist()
        for distribution in ("uniform", "normal"):
            term = equations.noise_effect(Noise("reward", distribution, 0.2), z)  # type: ignore[arg-type]
            assert term == pytest.approx(np.array([[-0.2, 0.0, 0.3]]))
