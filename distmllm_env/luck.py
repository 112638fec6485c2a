"""One seed fixes everything: named streams of random numbers, drawn row by row in blocks.

Row b of a batch uses streams of its own, spawned from (seed of row b, episode, name of the
stream). So a row of a batch is bit for bit the single run with that seed, two policies meet the
same world and the same luck, and episode k of seed s depends on nothing but (s, k).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distmllm_env.errors import unknown_name
from distmllm_env.scenario import Scenario

STREAMS = ("world", "noise", "admission", "policy", "order")
"""Names of the streams. Their position is their spawn key: add at the end only."""

_BLOCK_NUMBERS = 1 << 20


def stream(seed: int, episode: int, name: str, *part: int) -> np.random.Generator:
    """Return the generator of one named stream.

    Args:
        seed: Seed of the run, at least 0.
        episode: Number of the episode under that seed, from 0.
        name: One of :data:`STREAMS`.
        *part: Numbers a stream of its own within that stream.
    """
    if name not in STREAMS:
        raise unknown_name("stream", name, STREAMS)
    key = (episode, STREAMS.index(name), *part)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


class Luck:
    """The noise and the drop order of every slot of a batch of runs.

    Args:
        scenario: Gives M and the noise distribution.
        seeds: One seed per row.
        episode: Number of the episode.
    """

    def __init__(self, scenario: Scenario, seeds: Sequence[int], episode: int) -> None:
        self._normal = scenario.noise.distribution in ("normal", "lognormal")
        self._quiet = scenario.noise.on == "none" or scenario.noise.std == 0.0
        self._shape = (scenario.providers, 2)
        self._noise = [stream(seed, episode, "noise") for seed in seeds]
        self._admission = [stream(seed, episode, "admission") for seed in seeds]
        per_slot = len(seeds) * scenario.providers * 6
        self._length = int(np.clip(_BLOCK_NUMBERS // per_slot, 1, scenario.slots))
        self._row = self._length
        self._z = np.zeros((0,))
        self._priority = np.zeros((0,))

    def next_slot(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the luck of the next slot.

        Returns:
            ``z`` of shape (B, M, S, 2), standardised noise of latency and energy (mean 0,
            variance 1), and ``priority`` of shape (B, M, S), uniform on [0, 1): where a worker is
            overloaded, the task with the lowest priority is dropped first.
        """
        if self._row == self._length:
            self._draw_block()
        row = self._row
        self._row += 1
        return self._z[:, row], self._priority[:, row]

    def _draw_block(self) -> None:
        # Block length never changes the numbers: a generator fills arrays in order.
        size, batch = (self._length, *self._shape), len(self._noise)
        self._priority = np.empty((batch, *size))
        for b, rng in enumerate(self._admission):
            rng.random(out=self._priority[b])
        self._z = np.zeros((batch, *size, 2))
        if not self._quiet:
            for b, rng in enumerate(self._noise):
                if self._normal:
                    rng.standard_normal(out=self._z[b])
                else:
                    rng.random(out=self._z[b])
            if not self._normal:
                self._z -= 0.5
                self._z *= 12.0**0.5  # a uniform on [0, 1) has variance 1 / 12
        self._row = 0
