"""A market: a world and its luck, played slot by slot. Every interface of the package drives this.

The single-agent, parallel, sequential and batched environments and the policy run loop only differ
in how an allocation reaches :meth:`Market.step`; so on one seed and equal allocations they agree
bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.luck import Luck
from distmllm_env.scenario import Scenario
from distmllm_env.slot import Outcome, play_slot
from distmllm_env.world import draw_world


class Market:
    """B runs of one scenario, played side by side.

    Args:
        scenario: What to play.
        seeds: One per row.
        episode: Episode number under those seeds; (seed, episode) fixes a run.

    Attributes:
        world: The true tables.
        slot: Number of slots played.
    """

    def __init__(self, scenario: Scenario, seeds: Sequence[int], episode: int = 0) -> None:
        self.scenario = scenario
        self.world = draw_world(scenario, seeds, episode)
        self.slot = 0
        self._luck = Luck(scenario, self.world.seeds, episode)

    @property
    def done(self) -> bool:
        """Whether all slots of the horizon have been played."""
        return self.slot >= self.scenario.slots

    def step(self, allocation: Array) -> Outcome:
        """Play one slot.

        Args:
            allocation: Worker of each task, int (B, M, S) in 0..N, N meaning defer.

        Returns:
            The outcome of the slot.

        Raises:
            ValueError: Wrong shape, dtype or range.
            RuntimeError: The horizon is over.
        """
        if self.done:
            raise RuntimeError(f"the run is over: all {self.scenario.slots} slots are played.")
        shape = (self.world.batch, self.scenario.providers, 2)
        choices = check_choices("allocation", allocation, shape, self.scenario.workers)
        outcome = play_slot(self.world, choices, *self._luck.next_slot())
        self.slot += 1
        return outcome


def check_choices(name: str, choices: object, shape: tuple[int, ...], workers: int) -> Array:
    """Check that ``choices`` is an integer array of ``shape`` with entries in 0..``workers``.

    Args:
        name: What it is called in errors.
        choices: An array, or something that NumPy turns into one.
        shape: The only shape allowed.
        workers: N; the largest choice, which means defer.

    Returns:
        The array, int64: unsigned ones would turn into floats where they are added to indices.

    Raises:
        ValueError: Says the name, the value, what is allowed, and where.
    """
    array = np.asarray(choices)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {array.dtype}: integers are allowed (a worker 0..{workers - 1}, "
            f"or {workers} to defer); got {_short(choices)}."
        )
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: {shape} is allowed.")
    if array.size and (array.min() < 0 or array.max() > workers):
        where = tuple(int(i) for i in np.argwhere((array < 0) | (array > workers))[0])
        at = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise ValueError(
            f"{at} = {array[where]}: a worker 0..{workers - 1} or {workers} (defer) is allowed."
        )
    return array.astype(np.int64, copy=False)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
