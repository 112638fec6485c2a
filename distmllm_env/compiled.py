"""The slot through compiled loops, where numba (extra ``fast``) is installed.

NumPy's way through a slot, :func:`.slot.play_slot`, says what is computed; this gives the same
bits. ``distmllm speed`` measures what it is worth.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from distmllm_env import luck
from distmllm_env.equations import Array
from distmllm_env.luck import Luck
from distmllm_env.slot import Outcome
from distmllm_env.world import World


@cache
def compiled(module: str) -> Any | None:
    """Import a module of compiled loops; None where numba is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        return None


def kernel() -> Any | None:
    """Return the loops of slots and observations, or None where numba is not installed."""
    return compiled("distmllm_env._kernel")


class CompiledSlot:
    """:func:`.slot.play_slot` for one world and its luck.

    Args:
        loops: What :func:`kernel` returns.
        world: The true tables.
        fortune: Its luck; read anew in every slot.
    """

    def __init__(self, loops: Any, world: World, fortune: Luck) -> None:
        scenario, at = world.scenario, world.layout
        batch, m, columns = world.batch, scenario.providers, scenario.workers + 1
        market, noise, reward = scenario.market, scenario.noise, scenario.reward
        uniform = noise.distribution == "uniform"
        scale, offset = luck.line(noise) if uniform else (0.0, 0.0)
        self._play = loops.play
        self._luck = fortune
        self._tasks, self._workers = (batch, m, 2), (batch, scenario.workers)
        pools = (batch, -1, columns)
        self._fixed = (
            fortune.noise_key,
            fortune.admission_key,
            at.pace,
            np.zeros((0, 0, 0, 0)) if at.work is None else at.work,
            at.work is None,
            world.price,
            np.zeros(0, bool) if at.runs is None else at.runs,
            at.runs is None,
            at.limit.reshape(pools),
            at.capacity.reshape(pools),
            at.demand,
            at.value,
            scenario.stage_weights_per_s,
            world.transfer_cost,
            np.array(
                [
                    loops.QUIET if noise.quiet else loops.NOISE[noise.on],
                    loops.OVERLOAD[market.overload],
                    loops.SHAPE[reward.shape],
                    market.transfer_cost_per_mb > 0,
                    at.limit.size.bit_length(),
                ]
            ),
            np.array([reward.deadline_s, reward.curvature_per_s2, scale, offset]),
            np.zeros(0) if uniform or noise.quiet else luck.effects(noise),
        )

    def play(self, allocation: Array) -> Outcome:
        """Play one slot with ``allocation``, int64 (B, M, S)."""
        status = np.empty(self._tasks, np.int8)
        admitted = np.empty(self._tasks, np.bool_)
        used = np.empty((*self._tasks, 2))
        profit = np.empty(self._tasks)
        total = np.empty(self._workers)
        self._play(allocation, self._luck.slot, *self._fixed, status, admitted, used, profit, total)
        return Outcome(status, admitted, profit, used[..., 0], used[..., 1], total)
