"""A market: a world and its luck, played slot by slot. Every interface of the package drives this.

The single-agent, parallel, sequential and batched environments and the policy run loop only differ
in how an allocation reaches :meth:`Market.step`; so on one seed and equal allocations they agree
bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distmllm_env.compiled import CompiledSlot, kernel
from distmllm_env.equations import Array
from distmllm_env.luck import Luck
from distmllm_env.scenario import Scenario
from distmllm_env.schema import require
from distmllm_env.slot import Outcome, play_slot
from distmllm_env.world import World, checked_seed, draw_world, runs_of


class Market:
    """B runs of one scenario, played side by side.

    Args:
        scenario: What to play.
        seeds: One per row.
        episodes: Episode of each row under its seed, or one for all; (seed, episode) fixes a run.
        world_seed: All rows and episodes play the world of this seed, and only noise and drop order
            hang on seed and episode. None: the world hangs on them too.

    Attributes:
        seeds: One per row.
        episodes: One per row.
        world: The true tables.
        slot: Number of slots played since the last start of all rows.
        even: Whether all rows are at the same slot.
    """

    def __init__(
        self,
        scenario: Scenario,
        seeds: Sequence[int],
        episodes: int | Sequence[int] = 0,
        world_seed: int | None = None,
    ) -> None:
        self.scenario = scenario
        self.seeds, self.episodes = runs_of(seeds, episodes)
        self.world_seed = checked_seed("world_seed", world_seed)
        self.world = self._draw(self.seeds, self.episodes)
        self.slot = 0
        self._luck = Luck(scenario, self.seeds, self.episodes)
        self._shape = (self.world.batch, scenario.providers, 2)
        self._lay_out()
        self.even = True

    @property
    def slots(self) -> Array:
        """Number of slots that each row has played, int64 (B,)."""
        return self._luck.slot.astype(np.int64)

    @property
    def done(self) -> bool:
        """Whether some row has played all slots of the horizon; with equal starts, all have."""
        if not self.even:
            return bool(self._luck.slot.max() >= self.scenario.slots)
        return self.slot >= self.scenario.slots

    def restart(self, rows: Array, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Begin new runs in some rows; the others go on as if nothing had happened.

        Args:
            rows: bool (B,).
            seeds: One per row that begins anew.
            episodes: Likewise.

        Raises:
            ValueError: A seed or episode is not allowed, or a world cannot be played. Nothing has
                then changed.
        """
        count = int(rows.sum())
        require(len(seeds) == count, "number of seeds", len(seeds), f"{count}, one per row")
        seeds, episodes = runs_of(seeds, episodes)
        fresh = self._draw(seeds, episodes) if self.world_seed is None else None
        self.seeds = _replaced(self.seeds, rows, seeds)
        self.episodes = _replaced(self.episodes, rows, episodes)
        self._luck.restart(rows, seeds, episodes)
        if rows.all():
            self.slot, self.even = 0, True
        else:
            self.even = False
        if fresh is not None:
            if rows.all():
                self.world = fresh
            else:
                self.world.overwrite(rows, fresh)
            self._lay_out()

    def seek(self, slots: Array) -> None:
        """Put each row at one of its slots, int (B,), as if it had played those before it.

        Raises:
            ValueError: Wrong shape, or a slot is not in 0..T.
        """
        batch = self.world.batch
        require(slots.shape == (batch,), "shape of slots", slots.shape, f"{(batch,)}")
        require(slots.dtype.kind in "iu", "dtype of slots", str(slots.dtype), "integers")
        inside = bool(((slots >= 0) & (slots <= self.scenario.slots)).all())
        require(inside, "slots", slots.tolist(), f"0..{self.scenario.slots}")
        self._luck.seek(slots)
        self.even = bool((slots == slots[0]).all())
        self.slot = int(slots[0])

    def step(self, allocation: Array, playing: Array | None = None) -> Outcome:
        """Play one slot.

        Args:
            allocation: Worker of each task, int (B, M, S) in 0..N, N meaning defer.
            playing: Rows that take part, bool (B,); None: all. The others must defer, and stay
                where they are.

        Returns:
            The outcome of the slot.

        Raises:
            ValueError: Wrong shape, dtype or range.
            RuntimeError: The horizon is over.
        """
        choices = check_choices("allocation", allocation, self._shape, self.scenario.workers)
        return self.play(choices, playing)

    def play(self, choices: Array, playing: Array | None = None) -> Outcome:
        """Play one slot with choices that :func:`check_choices` has seen; else as :meth:`step`."""
        if self.done:
            raise RuntimeError(f"the run is over: all {self.scenario.slots} slots are played.")
        luck = self._luck
        if self._compiled is not None:
            outcome = self._compiled.play(choices)
        else:
            outcome = play_slot(self.world, choices, luck.shock(), luck.priority)
        luck.next_slot(playing)
        self.even = self.even and playing is None
        self.slot += 1
        return outcome

    def _draw(self, seeds: Sequence[int], episodes: Sequence[int]) -> World:
        if self.world_seed is None:
            return draw_world(self.scenario, seeds, episodes)
        return draw_world(self.scenario, [self.world_seed] * len(seeds))

    def _lay_out(self) -> None:
        loops = kernel()
        self._compiled = loops and CompiledSlot(loops, self.world, self._luck)


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
    if array.dtype != np.int64:
        if array.dtype.kind not in "iu":
            raise ValueError(
                f"{name} has dtype {array.dtype}: integers are allowed (a worker 0..{workers - 1}, "
                f"or {workers} to defer); got {_short(choices)}."
            )
        if array.size and array.max() > workers:  # before a large unsigned one wraps round
            _refuse(name, array, workers)
        array = array.astype(np.int64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: {shape} is allowed.")
    # As unsigned numbers, negative ones are large: one comparison instead of two.
    if np.count_nonzero(array.view(np.uint64) > workers):
        _refuse(name, array, workers)
    return array


def _replaced(old: tuple[int, ...], rows: Array, new: Sequence[int]) -> tuple[int, ...]:
    fresh = iter(new)
    return tuple(next(fresh) if row else was for row, was in zip(rows, old, strict=True))


def _refuse(name: str, array: Array, workers: int) -> None:
    where = tuple(int(i) for i in np.argwhere((array < 0) | (array > workers))[0])
    at = f"{name}[{', '.join(map(str, where))}]" if where else name
    raise ValueError(
        f"{at} = {array[where]}: a worker 0..{workers - 1} or {workers} (defer) is allowed."
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
