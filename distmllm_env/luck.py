"""One seed fixes everything: random numbers as a function of seed, episode, stream and place.

The numbers of a market (its world, its noise, who is dropped from an overloaded worker) are
counter-based: number i of a stream is SplitMix64's i-th output, a hash of the stream's key and i
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Each row of
a batch has keys of its own, hashed from (seed of the row, episode, name of the stream). So

- a row of a batch is bit for bit the single run with that seed;
- two policies meet the same world and the same luck, whatever they do;
- episode k of seed s depends on nothing but (s, k), and a slot's luck on nothing but its number;
- more providers, workers or slots leave the luck of the first ones as it was;
- whole numbers are hashed, so every CPU gives the same bits.

Policies draw from a :class:`numpy.random.Generator` of their own, see :func:`policy_stream`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from distmllm_env import equations
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.scenario import Noise, Scenario

STREAMS = ("world", "noise", "admission", "policy", "order")
"""Names of the streams. Their position is part of the key: add at the end only."""

LEVELS = 1 << 16
"""Values that standardised noise can take: one number of 64 bits makes a provider's four."""

_WORD = (1 << 64) - 1
_GAMMA_INT = 0x9E3779B97F4A7C15
_GAMMA = np.uint64(_GAMMA_INT)
_ONE = np.uint64(1)
_SLOT_BITS = 24  # of a counter: room for the tasks of 2^23 providers in a slot
_SLOT_STEP = np.uint64((_GAMMA_INT << _SLOT_BITS) & _WORD)
_BLOCK = 4096  # provider-slots of noise made at once, so that single runs do not pay per call


def stream(seed: int, episode: int, name: str) -> np.random.Generator:
    """Return the generator of one named stream, for policies and for the order of turns.

    Args:
        seed: Seed of the run, at least 0.
        episode: Number of the episode under that seed, from 0.
        name: One of :data:`STREAMS`.
    """
    key = (episode, _index(name))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def policy_stream(seed: int, episode: int) -> np.random.Generator:
    """Return the generator that a policy draws from: :func:`stream`, without the seed in it."""
    return policy_generator(stream(seed, episode, "policy").bit_generator.state)


def policy_generator(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a generator in a given state of PCG64; what it spawns hangs on that state alone.

    A generator carries the seed that it was made of, and with that a policy could draw the world
    that it is to learn about.
    """
    words = state["state"]
    bits: Any = np.random.PCG64(np.random.SeedSequence([words["state"], words["inc"]]))
    bits.state = dict(state)
    return np.random.Generator(bits)


def row_keys(seeds: Sequence[int], episodes: Sequence[int], name: str, *part: int) -> Array:
    """Return the keys of a stream, one per row, uint64 (B,).

    Args:
        seeds: Seed of each row, at least 0, of any size.
        episodes: Episode of each row.
        name: One of :data:`STREAMS`.
        *part: Numbers a stream of its own within that stream.
    """
    key = _seed_words(seeds)
    key = _absorb(key, np.array(episodes, np.uint64))
    for word in (_index(name), *part):
        key = _absorb(key, word)
    return key


def random_bits(key: Array, counter: Array) -> Array:
    """Return number ``counter`` (from 0) of each stream, uint64 of the broadcast shape."""
    bits = np.atleast_1d((counter + _ONE) * _GAMMA + key)
    _mix(bits)
    return bits


def uniforms(key: Array, count: int) -> Array:
    """Return the first ``count`` numbers of each row's stream, uniform on [0, 1), (B, count)."""
    bits = random_bits(key[:, None], np.arange(count, dtype=np.uint64))
    return (bits >> np.uint64(11)) * 2.0**-53


class Luck:
    """The noise and the drop order of a batch of runs, slot by slot.

    Args:
        scenario: Gives M and the noise.
        seeds: One seed per row.
        episodes: Episode of each row.

    Attributes:
        slot: Slot that each row plays next, uint64 (B,).
        noise_key: Key of each row's noise, uint64 (B,).
        admission_key: Key of each row's drop order, uint64 (B,).
    """

    def __init__(self, scenario: Scenario, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        self._noise = scenario.noise
        self._providers = scenario.providers
        self.noise_key = row_keys(seeds, episodes, "noise")
        self.admission_key = row_keys(seeds, episodes, "admission")
        self._provider_step = np.arange(1, scenario.providers + 1, dtype=np.uint64) * _GAMMA
        self._length = max(1, _BLOCK // (len(self.noise_key) * scenario.providers))
        self.slot = np.zeros(len(self.noise_key), np.uint64)
        self._block: Array = np.zeros(0)
        self._used = self._length

    def restart(self, rows: Array, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Begin new runs in ``rows``, bool (B,), with one seed and episode for each of them."""
        self.noise_key[rows] = row_keys(seeds, episodes, "noise")
        self.admission_key[rows] = row_keys(seeds, episodes, "admission")
        self.slot[rows] = 0
        self._used = self._length

    def seek(self, slots: Array) -> None:
        """Put each row at its slot, (B,)."""
        self.slot[:] = slots
        self._used = self._length

    def shock(self) -> Array | None:
        """Return what noise does to this slot, as :func:`.equations.noise_effect` says, or None.

        Returns:
            (B, M, S, 2); None without noise.
        """
        if self._noise.quiet:
            return None
        if self._used >= self._length:
            self._block = self._draw_block()
            self._used = 0
        return self._block[self._used]

    def priority(self, task: Array) -> Array:
        """Return this slot's drop order of some tasks: the lowest is dropped first.

        Args:
            task: Flat indices into (B, M, S).

        Returns:
            uint64, uniform.
        """
        row, place = np.divmod(task, 2 * self._providers)
        counter = (self.slot[row] << np.uint64(_SLOT_BITS)) | place.astype(np.uint64)
        return random_bits(self.admission_key[row], counter)

    def next_slot(self, playing: Array | None = None) -> None:
        """Go on to the next slot, in the rows of ``playing``, bool (B,), or in all."""
        self._used += 1
        if playing is None:
            self.slot += _ONE
        else:
            self.slot[playing] += _ONE
            self._used = self._length  # the others see this slot's noise again

    def _draw_block(self) -> Array:
        # The length of a block never changes the numbers: each hangs on its slot alone.
        slots = self.slot + np.arange(self._length, dtype=np.uint64)[:, None]
        bits = self.noise_key + slots * _SLOT_STEP  # key + (counter + 1) gamma, piece by piece
        bits = bits[:, :, None] + self._provider_step
        _mix(bits)
        level = bits.astype("<u8", copy=False).view("<u2")  # the lowest 16 bits come first
        return shocks(self._noise, level.reshape(*bits.shape, 2, 2))


def shocks(noise: Noise, level: Array) -> Array:
    """Turn levels into what noise does, see :func:`.equations.noise_effect`.

    Args:
        noise: Noise of the scenario.
        level: Whole numbers, uniform on 0 .. :data:`LEVELS` - 1.
    """
    if noise.distribution != "uniform":
        return effects(noise).take(level)
    scale, offset = line(noise)  # no table is needed
    effect = level * scale
    effect += offset
    return effect


def line(noise: Noise) -> tuple[float, float]:
    """Return scale and offset that turn levels into what uniform noise does."""
    middle, step = (LEVELS - 1) / 2, noise.std * 12.0**0.5 / LEVELS
    return step, (1.0 if noise.on == "latency_energy" else 0.0) - middle * step


def quantiles() -> Array:
    """Return z of every level for normal noise: standard normal quantiles, variance 1, (LEVELS,).

    Levels stand for equal probabilities, so that the largest is 4.3. Rounded to 2^-24, far below
    the distance of two levels, so that no CPU's logarithm shows.
    """
    half = [NormalDist().inv_cdf((k + 0.5) / LEVELS) for k in range(LEVELS // 2)]
    z = np.array(half + [-x for x in reversed(half)])
    z /= z.std()
    return np.round(z * 2.0**24) / 2.0**24


@cache
def effects(noise: Noise) -> Array:
    """Return what noise that is not uniform does at every level, (LEVELS,)."""
    effect = equations.noise_effect(noise, quantiles())
    if noise.on == "latency_energy":
        effect = np.round(effect * 2.0**40) / 2.0**40  # so that no CPU's exponential shows
    effect.setflags(write=False)
    return effect


def _index(name: str) -> int:
    if name not in STREAMS:
        raise unknown_name("stream", name, STREAMS)
    return STREAMS.index(name)


def _seed_words(seeds: Sequence[int]) -> Array:
    """Hash seeds of any size into 64 bits each, without collisions below 2^64."""
    if max(seeds) >> 64:
        return np.concatenate([_seed_words([s]) if not s >> 64 else _long(s) for s in seeds])
    word = np.array(seeds, np.uint64) + _GAMMA
    _mix(word)
    return word


def _long(seed: int) -> Array:
    limbs = [seed >> shift & _WORD for shift in range(0, seed.bit_length(), 64)]
    word = np.array([(limbs[0] + len(limbs) * _GAMMA_INT) & _WORD], np.uint64)
    _mix(word)
    for limb in limbs[1:]:
        word = _absorb(word, limb)
    return word


def _absorb(key: Array, word: int | Array) -> Array:
    """Hash one more word into every key."""
    key = (key + _GAMMA) ^ np.asarray(word, np.uint64)
    _mix(key)
    return key


def _mix(z: Array) -> None:
    """SplitMix64's finaliser, in place on an array of uint64."""
    rest = z >> np.uint64(30)
    z ^= rest
    z *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(z, np.uint64(27), out=rest)
    z ^= rest
    z *= np.uint64(0x94D049BB133111EB)
    np.right_shift(z, np.uint64(31), out=rest)
    z ^= rest
