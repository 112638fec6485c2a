"""The bare kernel: the least that a slot can be in NumPy, the floor for everything else."""

from __future__ import annotations

import numpy as np

from distmllm_env.equations import Array


class Kernel:
    """The least that a slot can be in NumPy: the floor for everything that plays slots.

    Two normal numbers per provider, two utilities looked up, loads counted, compared with
    capacity, tasks on overloaded workers masked out, the rest summed up per market. The simplest
    rules: every task weighs 1, an overloaded worker drops all. No observation, no info, no reset,
    no check of actions. Arrays are float32, made once and written in place; utilities are in units
    of the noise's standard deviation, which saves a multiplication.

    Args:
        markets: B.
        providers: M.
        workers: N.
        seed: Fixes tables and noise.

    Attributes:
        utility: float32 (B, 2M, N + 1); [..., N], to defer, gives nothing but noise.
        capacity: Tasks that each worker runs, int64 (B, N + 1); no limit in [..., N].
        noise: Noise of the last slot, float32 (B, 2M).
    """

    def __init__(self, markets: int, providers: int, workers: int, seed: int = 0) -> None:
        rng = np.random.Generator(np.random.SFC64(seed))  # the fastest of NumPy's
        tasks, choices = 2 * providers, workers + 1
        self._normal = rng.standard_normal
        self.utility = rng.random((markets, tasks, choices), dtype=np.float32)
        self.utility[..., -1] = 0.0
        self.capacity = rng.integers(1, 3, (markets, choices))
        self.capacity[:, -1] = tasks
        self.noise = np.empty((markets, tasks), np.float32)
        self._table, self._limit = self.utility.ravel(), self.capacity.ravel()
        self._first_cell = np.arange(markets)[:, None] * choices
        self._first_pair = np.arange(markets * tasks).reshape(markets, tasks) * choices
        self._cell = np.empty((markets, tasks), np.int64)
        self._flat_cell = self._cell.reshape(-1)
        self._pair = np.empty_like(self._cell)
        self._gain = np.empty_like(self.noise)
        self._fits = np.empty(markets * choices, bool)
        self._stays = np.empty((markets, tasks), bool)
        self._reward = np.empty(markets, np.float32)
        # Without threads of their own: matrix products would get them, and nothing else has them.
        self._sum = _add_up if markets > 1 else _add_up_one

    def step(self, actions: Array) -> Array:
        """Play a slot.

        Args:
            actions: Worker of each task, int64 (B, 2M), N to defer.

        Returns:
            Sum of each market, float32 (B,); the next step writes over it.
        """
        self._normal(dtype=np.float32, out=self.noise)
        np.add(actions, self._first_pair, self._pair)
        self._table.take(self._pair, None, self._gain, "wrap")
        np.add(self._gain, self.noise, self._gain)
        np.add(actions, self._first_cell, self._cell)
        load = np.bincount(self._flat_cell, None, self._limit.size)
        np.less_equal(load, self._limit, self._fits)
        self._fits.take(self._cell, None, self._stays, "wrap")
        np.multiply(self._gain, self._stays, self._gain)
        return self._sum(self._gain, self._reward)


def _add_up(gain: Array, out: Array) -> Array:
    return np.einsum("bi->b", gain, out=out)


def _add_up_one(gain: Array, out: Array) -> Array:
    return np.add.reduce(gain, 1, out=out)  # faster than einsum on one row
