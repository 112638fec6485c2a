"""Independent learners: every provider trains a model of its own in the same markets.

Each model is an unmodified learner of Stable-Baselines3 that believes to be alone: its ``learn()``
runs in a thread of its own, on an environment of B rows, one per market, that holds this provider
only. A slot is played when all have chosen. One thread runs at a time, in the order of the
providers, and each has random numbers of its own, so that everything is as deterministic as with
one model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distmllm_agents.learned.randomness import get_random_state, set_random_state
from distmllm_agents.learned.table import Table, Turn
from distmllm_agents.learned.vec_env import RowsEnv
from distmllm_env.equations import Array


class StoppedError(RuntimeError):
    """Another learner has failed, so this one cannot go on."""


class Round:
    """Lets M learners play one table, one after another.

    Args:
        table: The markets; its views are those of providers.
        observation: As the table's.
        reward_scale: Rewards are multiplied by it.
        discrete: See :class:`~.vec_env.RowsEnv`.

    Attributes:
        seats: One environment for each provider.
        seconds: Wall time spent in playing slots.
    """

    def __init__(self, table: Table, observation: str, reward_scale: float, discrete: bool) -> None:
        self.table = table
        self.seconds = 0.0
        self._scale = reward_scale
        m = table.scenario.providers
        self._allocation = np.zeros((table.markets, m, 2), np.int64)
        self._turn: Turn | None = None
        self._baton = threading.Condition()
        self._whose = 0
        self._failure: BaseException | None = None
        self._random: list[Any] = [None] * m
        self._played = 0  # slots of the table
        self._handed_in = [0] * m  # slots of each seat
        self.seats = [Seat(self, i, observation, discrete) for i in range(m)]

    def run(self, learns: Sequence[Callable[[], object]], random: Sequence[Any]) -> None:
        """Call one function per seat, each in its thread, until all have returned.

        All must play equally many slots.

        Args:
            learns: Trains the model of each seat.
            random: What :func:`~.randomness.get_random_state` gives each to begin with.

        Raises:
            BaseException: What the first one that failed has raised.
            RuntimeError: One left while others played on.
        """
        self._played, self._handed_in = 0, [0] * len(self.seats)
        self._whose, self._failure, self._random = 0, None, list(random)
        threads = [
            threading.Thread(target=self._work, args=(i, learn), name=f"provider_{i}", daemon=True)
            for i, learn in enumerate(learns)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # an interrupt: let the learners leave, too
            self._fail(error)
            for thread in threads:
                thread.join()
            raise
        if self._failure is not None:
            raise self._failure

    def play(self, seat: int, choices: Array) -> tuple[Array, Array, Array, Array]:
        """Hand in one provider's choices, (B, 2), and wait for the slot and the next turn.

        Returns:
            View, reward, whether the episode is over, and the last view of it; (B, ...) each.
        """
        self._allocation[:, seat] = choices
        self._handed_in[seat] += 1
        if seat == len(self.seats) - 1:
            self._require_equal(min(self._handed_in))
            self._played += 1
            begun = time.perf_counter()
            self._turn = self.table.play(self._allocation)
            self.seconds += time.perf_counter() - begun
        self._pass_on(seat)
        self._wait(seat)
        self._require_equal(self._played, seat)
        turn = self._turn
        assert turn is not None
        reward = (turn.reward[:, seat] * self._scale).astype(np.float32)
        return self.seen(turn.view, seat), reward, turn.over, self.seen(turn.last_view, seat)

    @staticmethod
    def seen(views: Array, seat: int) -> Array:
        """Return one provider's part of ``views``, (B, D), in one piece.

        How an array lies in memory can show in the last bit of what torch makes of it, and a
        training that is taken up again holds its views in one piece.
        """
        return np.ascontiguousarray(views[:, seat])

    def _require_equal(self, slots: int, seat: int = -1) -> None:
        if slots != self._handed_in[seat]:
            raise RuntimeError("a learner has left while others play on: all must play alike.")

    def _work(self, seat: int, learn: Callable[[], object]) -> None:
        try:
            self._wait(seat)
            learn()
            self._pass_on(seat)
        except StoppedError:
            pass
        except BaseException as error:
            self._fail(error)

    def _pass_on(self, seat: int) -> None:
        self._random[seat] = get_random_state()
        with self._baton:
            self._whose = (seat + 1) % len(self.seats)
            self._baton.notify_all()

    def _wait(self, seat: int) -> None:
        with self._baton:
            self._baton.wait_for(lambda: self._whose == seat or self._failure is not None)
        if self._failure is not None:
            raise StoppedError
        set_random_state(self._random[seat])

    def _fail(self, error: BaseException) -> None:
        with self._baton:
            self._failure = self._failure or error
            self._baton.notify_all()


class Seat(RowsEnv):
    """One provider's place in all markets: rows are markets."""

    def __init__(self, round_: Round, provider: int, observation: str, discrete: bool) -> None:
        table = round_.table
        super().__init__(table.scenario, table.markets, observation, False, discrete)
        self._round = round_
        self._provider = provider

    def reset(self) -> Array:
        """Return what is seen before the first slot; the table was started for all together."""
        self.earned[:] = self.length[:] = 0
        return self._round.seen(self._round.table.view, self._provider)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Do nothing: seeds are the table's, and the same for all seats."""
        return [None] * self.num_envs

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Play a slot together with the other providers."""
        view, reward, over, last = self._round.play(self._provider, self._actions)
        return view, reward, over, self._infos(reward, over, last)

    def action_masks(self) -> Array:
        """Return what can ever be served, flat bool (B, 2 (N + 1))."""
        return self._round.table.action_masks[:, self._provider].reshape(self.num_envs, -1)
