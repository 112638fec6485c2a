"""Times contenders side by side, in one process.

Everything that is compared runs in alternating windows: in each round every contender plays one
window, in an order that turns from round to round. Machines drift by more than the differences of
interest, but slowly, so that ratios within a round hold where seconds do not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from distmllm_env.equations import Array


@dataclass(frozen=True)
class Timing:
    """What one contender took, round by round.

    Attributes:
        group: Contenders of one group played alternating windows.
        form: Which contender.
        batch: Environments side by side.
        agent_steps: Decisions of agents in one step.
        step_s: Seconds per step, without resets unless they are part of the steps.
        reset_s: Seconds per reset; 0 where resets are part of the steps, or there are none.
        slots: Steps between resets; None without resets of their own.
    """

    group: str
    form: str
    batch: int
    agent_steps: int
    step_s: tuple[float, ...]
    reset_s: tuple[float, ...]
    slots: int | None

    @property
    def seconds(self) -> Array:
        """Seconds per step with its share of a reset, (rounds,)."""
        return np.array(self.step_s) + np.array(self.reset_s) / (self.slots or 1)

    @property
    def rate(self) -> Array:
        """Agent-steps per second with resets, (rounds,)."""
        return self.agent_steps / self.seconds


@dataclass(frozen=True)
class Contender:
    """Something that plays steps.

    Attributes:
        form: Its name.
        batch: Environments side by side.
        agent_steps: Decisions of agents in one step.
        run: Plays that many steps.
        restart: Starts the next episode; None where steps do that.
        slots: Steps from one restart to the next; None where steps do that.
    """

    form: str
    batch: int
    agent_steps: int
    run: Callable[[int], object]
    restart: Callable[[], object] | None = None
    slots: int | None = None


def alternate(
    group: str, contenders: Sequence[Contender], rounds: int, window_s: float
) -> list[Timing]:
    """Time contenders in alternating windows.

    Args:
        group: Name for the results.
        contenders: What to time.
        rounds: Windows of each.
        window_s: Seconds of each window, about; at least three steps are played.

    Returns:
        One per contender, in their order.
    """
    wanted = [_steps(contender, window_s) for contender in contenders]
    step_s: list[list[float]] = [[] for _ in contenders]
    reset_s: list[list[float]] = [[] for _ in contenders]
    gc.collect()
    for turn in range(rounds):
        for i in order(len(contenders), turn):
            step, reset = window(contenders[i], wanted[i])
            step_s[i].append(step)
            reset_s[i].append(reset)
    return [
        Timing(group, c.form, c.batch, c.agent_steps, tuple(steps), tuple(resets), c.slots)
        for c, steps, resets in zip(contenders, step_s, reset_s, strict=True)
    ]


def order(count: int, turn: int) -> list[int]:
    """Everybody's turn, begun by another one each time, there and back."""
    forth = [(turn // 2 + i) % count for i in range(count)]
    return forth[::-1] if turn % 2 else forth


def _steps(contender: Contender, window_s: float) -> int:
    """Steps that fill a window; playing them warms up what there is to warm up."""
    window(contender, 3)
    once, _ = window(contender, 3)
    return max(3, round(window_s / once))


def window(contender: Contender, steps: int) -> tuple[float, float]:
    """Play steps, restarting whenever the horizon asks for it.

    Returns:
        Seconds per step, without the first ones after each restart, and seconds per restart.
    """
    left, spent, resets = steps, 0.0, []
    gc.disable()
    try:
        while left > 0:
            chunk = left
            if contender.restart is not None:
                assert contender.slots is not None
                start = time.perf_counter()
                contender.restart()
                resets.append(time.perf_counter() - start)
                chunk = max(1, min(left, contender.slots - 1))
            if contender.slots is None or contender.slots > 1:
                contender.run(1)  # what played before left the caches full of its own
            start = time.perf_counter()
            contender.run(chunk)
            spent += time.perf_counter() - start
            left -= chunk
    finally:
        gc.enable()
    return spent / steps, float(np.median(resets)) if resets else 0.0


def stepper(step: Callable[[Any], object], actions: Sequence[Any]) -> Callable[[int], None]:
    """Return what plays that many steps, with these actions over and over."""
    queue = cycle(actions)

    def run(steps: int) -> None:
        for action in islice(queue, steps):
            step(action)

    return run


def timed(job: Callable[[], object]) -> float:
    """Return the seconds that a job takes."""
    gc.collect()
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
