"""The loop that plays a policy on a batch of worlds, and the record it leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.luck import policy_stream
from distmllm_env.market import Market, check_choices
from distmllm_env.policy import (
    Feedback,
    Knows,
    Observation,
    Policy,
    Problem,
    make_feedback,
    make_problem,
    require_policy,
)
from distmllm_env.scenario import Scenario
from distmllm_env.slot import Outcome, Status, expected_profit
from distmllm_env.world import World


class Lifted:
    """A policy written for one run, playing a batch: a copy of it for every row.

    Args:
        policy: What is copied. It stays as it is.

    Raises:
        ValueError: A copy answers with something else than an allocation of one run.
    """

    batched = True

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.knows: Knows = getattr(policy, "knows", "rewards")
        self.coordinates = bool(getattr(policy, "coordinates", False))

    def reset(self, problem: Problem, rng: Sequence[np.random.Generator]) -> None:
        """Copy the policy for each generator, and start each copy with its row of the problem."""
        self._shape, self._workers = (1, problem.providers, 2), problem.workers
        self._rows = [copy.deepcopy(self._policy) for _ in rng]
        for b, (row, luck) in enumerate(zip(self._rows, rng, strict=True)):
            row.reset(_row(problem, b), luck)

    def act(self, observation: Observation) -> Array:
        """Ask every copy, and check its answer; (B, M, S)."""
        answers = [row.act(Observation(observation.slot)) for row in self._rows]
        checked = [
            check_choices("allocation", answer, self._shape, self._workers) for answer in answers
        ]
        return np.concatenate(checked)

    def update(self, feedback: Feedback) -> None:
        """Hand every copy its row."""
        for b, row in enumerate(self._rows):
            row.update(_row(feedback, b))

    @property
    def exploring(self) -> Array | None:
        """Whether each row is in an exploration phase, bool (B,), where the policy says so."""
        told = [getattr(row, "exploring", None) for row in self._rows]
        if any(t is None for t in told):
            return None
        return np.concatenate([np.atleast_1d(np.asarray(t, bool)) for t in told])


def batched(policy: Policy) -> Policy:
    """Return the policy if it plays a batch by itself, else lifted to do so.

    Raises:
        ValueError: The object is no policy.
    """
    require_policy(policy)
    return policy if getattr(policy, "batched", False) else Lifted(policy)


class Player:
    """A policy at work on a market, kept to the contract.

    Args:
        policy: A policy instance. A batched one is used as it is; any other is copied per row.
        market: The market it is to play.

    Raises:
        ValueError: The object is no policy.
    """

    def __init__(self, policy: Policy, market: Market) -> None:
        self._policy = batched(policy)
        world = market.world
        self.knows: Knows = getattr(policy, "knows", "rewards")
        self._shape = (world.batch, world.scenario.providers, 2)
        self._workers = world.scenario.workers
        rngs = [
            policy_stream(seed, episode)
            for seed, episode in zip(market.seeds, market.episodes, strict=True)
        ]
        self._policy.reset(make_problem(world, self.knows), rngs)

    def act(self, observation: Observation) -> Array:
        """Return the policy's allocation, checked: int (B, M, S)."""
        answer = self._policy.act(observation)
        return check_choices("allocation", answer, self._shape, self._workers)

    def update(self, outcome: Outcome, allocation: Array) -> None:
        """Hand the policy its feedback."""
        self._policy.update(make_feedback(outcome, allocation, self.knows))

    @property
    def exploring(self) -> Array | None:
        """Whether each row is in an exploration phase, bool (B,), where the policy says so."""
        told = getattr(self._policy, "exploring", None)
        return None if told is None else np.atleast_1d(np.asarray(told, bool))


def _row(record: Any, b: int) -> Any:
    """Row ``b`` of a Problem or Feedback, still with a batch axis of 1."""
    values = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if isinstance(value, np.ndarray):
            value = value[b : b + 1]
        elif isinstance(value, World):
            value = value.row(b)
        values[f.name] = value
    if "batch" in values:
        values["batch"] = 1
    return type(record)(**values)


@dataclass(frozen=True, eq=False)
class Run:
    """What a policy did on a batch of worlds, slot by slot.

    Attributes:
        world: The world that was played.
        allocation: int16 (B, T, M, S).
        status: :class:`~.slot.Status`, int8 (B, T, M, S).
        profit: Realised profit, (B, T, M, S).
        expected_profit: Its mean given who was admitted, (B, T, M, S).
        latency_s: Seconds, (B, T, M, S).
        energy_j: Joules, (B, T, M, S).
        load: Admitted demand, (B, T, N).
        exploring: bool (B, T), or None where the policy has no phases.
        seeds: Seed of each row's luck, and of its world unless ``world_seed`` is given.
        episodes: Episode of each row under its seed.
        world_seed: Seed of the one world that all rows met, or None.
    """

    world: World
    allocation: Array
    status: Array
    profit: Array
    expected_profit: Array
    latency_s: Array
    energy_j: Array
    load: Array
    exploring: Array | None
    seeds: tuple[int, ...]
    episodes: tuple[int, ...]
    world_seed: int | None = None

    def row(self, b: int) -> Run:
        """Return row ``b`` as a run of its own.

        Its tables lie in memory as those of a single run, so sums over them are equal to the last
        bit, whatever batch the row was played in.
        """
        tables: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value[b : b + 1])
            tables[f.name] = value
        luck = {"seeds": self.seeds[b : b + 1], "episodes": self.episodes[b : b + 1]}
        return Run(**{**tables, **luck, "world": self.world.row(b)})


def play(
    scenario: Scenario,
    policy: Policy,
    seeds: Sequence[int],
    *,
    world_seed: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Run:
    """Play a policy on one run per seed, all side by side.

    Args:
        scenario: What to play; the horizon is ``scenario.slots``.
        policy: A policy instance.
        seeds: One per run. Row b equals a run with ``seeds[b]`` alone, bit for bit.
        world_seed: All runs meet the world of this seed; their own seeds fix noise, drop order and
            what the policy draws. None: each meets its own world.
        progress: Called with 1 after every slot.

    Returns:
        The record.

    Raises:
        ValueError: No seeds, or the policy breaks the contract.
    """
    market = Market(scenario, seeds, world_seed=world_seed)
    player = Player(policy, market)
    b, t, m, n = market.world.batch, scenario.slots, scenario.providers, scenario.workers
    # Slot by slot in memory, as it is written; handed out with the batch axis first.
    kept: dict[str, Array] = {name: np.empty((t, b, m, 2), dtype) for name, dtype in _KEPT.items()}
    kept["load"] = np.empty((t, b, n))
    kept["exploring"] = np.zeros((t, b), bool)
    phases = player.exploring is not None
    while not market.done:
        slot = market.slot
        allocation = player.act(Observation(slot))
        if phases:
            kept["exploring"][slot] = player.exploring
        outcome = market.play(allocation)
        kept["allocation"][slot] = allocation
        for name in ("status", "profit", "latency_s", "energy_j", "load"):
            kept[name][slot] = getattr(outcome, name)
        player.update(outcome, allocation)
        if progress is not None:
            progress(1)
    for t0 in range(0, t, _CHUNK):
        part = slice(t0, t0 + _CHUNK)
        admitted = kept["status"][part] == Status.ADMITTED
        mean = expected_profit(market.world, kept["allocation"][part], admitted)
        kept["expected_profit"][part] = mean
    tables: dict[str, Any] = {name: table.swapaxes(0, 1) for name, table in kept.items()}
    if not phases:
        tables["exploring"] = None
    return Run(market.world, **tables, **{name: getattr(market, name) for name in LUCK})


LUCK = ("seeds", "episodes", "world_seed")
"""Fields of a :class:`Run`, and attributes of a market, that fix it beside the scenario."""

_CHUNK = 64  # slots whose means are looked up at once

_KEPT: dict[str, type] = {
    "allocation": np.int16,
    "status": np.int8,
    "profit": float,
    "expected_profit": float,
    "latency_s": float,
    "energy_j": float,
}
