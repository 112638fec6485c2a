"""Equations (1) to (3) of the paper, Section 2.1, as pure functions on arrays.

The signs of (3) follow the reading in which latency and payment lower the profit (A1). Shapes
broadcast: the world calls these once with axes (B, S, M, N), the slot with axes (B, M, S).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distmllm_env.scenario import Noise, Reward

Array = np.ndarray[Any, np.dtype[Any]]

MEGABYTE = 1e6


def psi(scale_s: Array, data_bytes: Array, exponent: float) -> Array:
    """What a task brings to equation (1): psi_s(d) = scale_s (d / 1 MB)^exponent, seconds (A2).

    Args:
        scale_s: Seconds that 1 MB takes on a worker with p = 1.
        data_bytes: d_m, bytes.
        exponent: In (0, 1]; 0.5 makes psi a square root.
    """
    return scale_s * (data_bytes / MEGABYTE) ** exponent


def beta(performance: Array) -> Array:
    """What a worker brings to equation (1), beta: 1 / p (A2)."""
    return 1.0 / performance


def latency_s(scale_s: Array, data_bytes: Array, exponent: float, performance: Array) -> Array:
    """Equation (1): ``l = psi(d) beta(p)``, in seconds, of the broadcast shape."""
    return psi(scale_s, data_bytes, exponent) * beta(performance)


def work_j(joule_per_mb: Array, data_bytes: Array) -> Array:
    """What a task brings to equation (2): (gamma_s + mu) d, joules (A4).

    Args:
        joule_per_mb: gamma_s + mu, joules per 1e6 bytes.
        data_bytes: d_m, bytes.
    """
    return joule_per_mb * (data_bytes / MEGABYTE)


def alpha(performance: Array) -> Array:
    """What a worker brings to equation (2), alpha, before it is squared: p itself (A3)."""
    return performance


def energy_j(joule_per_mb: Array, data_bytes: Array, performance: Array) -> Array:
    """Equation (2): ``e = (gamma + mu) d alpha(p)^2``, in joules, of the broadcast shape."""
    return work_j(joule_per_mb, data_bytes) * alpha(performance) ** 2


def latency_reward(reward: Reward, weight_per_s: Array, latency: Array) -> Array:
    """G_s(l) of equation (3): concave, decreasing, zero at l = 0 (A6)."""
    return -latency_cost(reward, weight_per_s, latency)


def latency_cost(reward: Reward, weight_per_s: Array, latency: Array) -> Array:
    """Return -G_s(l): what waiting takes from the profit, dimensionless money."""
    if reward.shape == "deadline":
        return weight_per_s * np.maximum(latency - reward.deadline_s, 0.0)
    cost = weight_per_s * latency
    if reward.shape == "quadratic":
        cost = cost + reward.curvature_per_s2 * latency * latency
    return cost


def profit(
    reward: Reward, weight_per_s: Array, value: Array, latency: Array, price: Array, energy: Array
) -> Array:
    """Equation (3): ``r = V + G(l) - omega e``, dimensionless money.

    Args:
        reward: Shape of G.
        weight_per_s: Latency weight of the stage.
        value: V_s(m), intrinsic value of the task.
        latency: l in seconds.
        price: omega_n, money per joule.
        energy: e in joules.

    Returns:
        Profit of a served task, of the broadcast shape.
    """
    return value - latency_cost(reward, weight_per_s, latency) - price * energy


def noise_factor(distribution: str, std: float, z: Array) -> Array:
    """Turn standardised draws ``z`` (mean 0, variance 1) into factors of mean 1 (A8).

    ``uniform``: 1 + std z. ``lognormal``: exp(s z - s^2 / 2) with s^2 = ln(1 + std^2), for normal
    ``z``; its standard deviation is ``std`` too.
    """
    if distribution == "lognormal":
        s2 = np.log1p(std * std)
        return np.exp(np.sqrt(s2) * z - s2 / 2)
    return 1.0 + std * z


def noise_effect(noise: Noise, z: Array) -> Array:
    """What standardised draws ``z`` do in a slot, of the shape of ``z``.

    With the noise on latency and energy a factor of mean 1, see :func:`noise_factor`; with the
    noise on the reward a term ``std z`` to be added to it.
    """
    if noise.on == "latency_energy":
        return noise_factor(noise.distribution, noise.std, z)
    return noise.std * z


def mean_latency_reward(reward: Reward, weight_per_s: Array, latency: Array, noise: Noise) -> Array:
    """Mean of G_s(l factor) over the noise factor, in closed form for every shape of G.

    Both factors have E f = 1 and E f^2 = 1 + std^2, which settles ``affine`` and ``quadratic``.
    For ``deadline`` with threshold D the mean of max(l f - D, 0) is, with uniform noise of half
    width h = sqrt(3) std, 0 below D, l - D above, and (l (1 + h) - D)^2 / (4 h l) between; with
    lognormal noise it is the Black-Scholes call l Phi(d + s) - D Phi(d), d = ln(l / D) / s - s / 2.

    Args:
        reward: Shape of G.
        weight_per_s: Latency weight of the stage.
        latency: Mean latency l in seconds; may be infinite where nothing can run.
        noise: Noise of the scenario.

    Returns:
        E[G(l f)], of the broadcast shape. Equals G(l) where the noise is not on the latency.
    """
    std = noise.std if noise.on == "latency_energy" else 0.0
    if std == 0.0 or reward.shape == "affine":
        return latency_reward(reward, weight_per_s, latency)
    if reward.shape == "quadratic":
        square = reward.curvature_per_s2 * latency * latency * (1.0 + std * std)
        return -weight_per_s * latency - square
    threshold = reward.deadline_s
    if threshold == 0.0:  # max(l f, 0) = l f
        return -weight_per_s * latency
    if noise.distribution == "uniform":
        half = np.sqrt(3.0) * std
        top = latency * (1.0 + half) - threshold
        with np.errstate(divide="ignore", invalid="ignore"):  # no latency, or infinite: not used
            between = top * top / (4.0 * half * latency)
        above = latency * (1.0 - half) >= threshold
        late = np.where(top <= 0, 0.0, np.where(above, latency - threshold, between))
        return -weight_per_s * late
    s = np.sqrt(np.log1p(std * std))
    with np.errstate(divide="ignore"):  # no latency, no lateness
        d = np.log(latency / threshold) / s - s / 2
    return -weight_per_s * (latency * _normal_cdf(d + s) - threshold * _normal_cdf(d))


_erf = np.vectorize(math.erf, otypes=[float])


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))
