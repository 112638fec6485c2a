"""The policy contract, what a policy may know, and the loop that plays a policy.

A policy is any object with three methods; no base class, no registration::

    class MyPolicy:
        def reset(self, problem, rng): ...      # a new run: sizes, demands, capacities
        def act(self, observation): ...         # -> int array (B, M, S), N means defer
        def update(self, feedback): ...         # what the slot gave

Arrays lead with the batch axis B. A policy with ``batched = True`` plays all rows at once and gets
a list of B generators as ``rng``; any other policy is copied once per row, plays with B = 1 and
gets a single generator.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.luck import stream
from distmllm_env.market import Market, check_choices
from distmllm_env.scenario import Scenario
from distmllm_env.slot import Outcome
from distmllm_env.world import World

Knows = Literal["rewards", "latency_energy", "performance", "world"]
"""What a policy needs. ``rewards`` (the default) sees profits and rejections; ``latency_energy``
also measured latency and energy; ``performance`` also p_n; ``world`` everything, as an oracle does.
"""

GROUP = "distmllm_env.policies"
"""Entry-point group in which packages name their policies."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a scheduler may know before the first slot. Shapes as in :class:`~.world.World`.

    Attributes:
        providers: M.
        workers: N; also the choice that means defer.
        slots: Horizon T.
        batch: B.
        demand: c_m, (B, M).
        capacity: C_n, (B, N).
        data_bytes: d_m, (B, M), bytes.
        tensor_bytes: Size of the encoder's output, (B, M), bytes.
        price: omega_n, (B, N), money per joule.
        transfer_cost: Charge if both stages run on different workers, (B, M), money.
        feasible: Whether a task can ever run on a worker, bool (B, S, M, N).
        per_stage: Whether each stage has a capacity pool of its own (A11).
        soft_capacity: Whether an overloaded worker slows down instead of dropping tasks (A12).
        profit_range: Width R of the interval that holds all mean profits and 0, (B,). Lemma 1 and
            UCB1 take such a range as given.
        profit_std: Largest standard deviation of a served task's profit, (B,).
        performance: p_n, (B, N), or None unless the policy knows it.
        world: The true world, or None unless the policy knows it.
    """

    providers: int
    workers: int
    slots: int
    batch: int
    demand: Array
    capacity: Array
    data_bytes: Array
    tensor_bytes: Array
    price: Array
    transfer_cost: Array
    feasible: Array
    per_stage: bool
    soft_capacity: bool
    profit_range: Array
    profit_std: Array
    performance: Array | None = None
    world: World | None = None


@dataclass(frozen=True)
class Observation:
    """What a policy sees when it has to act.

    Attributes:
        slot: Number of the slot, from 0.
    """

    slot: int


@dataclass(frozen=True, eq=False)
class Feedback:
    """What a policy sees after a slot. Entries of tasks that were not admitted are 0.

    Attributes:
        allocation: What was played, int (B, M, S).
        admitted: bool (B, M, S).
        profit: (B, M, S).
        load: Admitted demand, (B, N).
        latency_s: Measured seconds, (B, M, S); None unless the policy knows latency and energy.
        energy_j: Measured joules, likewise.
    """

    allocation: Array
    admitted: Array
    profit: Array
    load: Array
    latency_s: Array | None = None
    energy_j: Array | None = None


@runtime_checkable
class Policy(Protocol):
    """The contract. Optional attributes: ``name``, ``batched``, ``knows``, ``coordinates``."""

    def reset(self, problem: Problem, rng: Any) -> None:
        """Start a new run."""

    def act(self, observation: Observation) -> Array:
        """Return the allocation, int (B, M, S)."""

    def update(self, feedback: Feedback) -> None:
        """Learn from a slot."""


def make_problem(world: World, knows: Knows = "rewards") -> Problem:
    """Tell a policy what it may know of ``world``.

    Args:
        world: The true world.
        knows: The policy's declaration.

    Raises:
        ValueError: ``knows`` is not one of the four words.
    """
    if knows not in get_args(Knows):
        raise unknown_name("value of knows", knows, get_args(Knows))
    scenario = world.scenario
    profit = world.mean_profit.reshape(world.batch, -1)  # holds the 0 of defer
    return Problem(
        providers=scenario.providers,
        workers=scenario.workers,
        slots=scenario.slots,
        batch=world.batch,
        demand=world.demand.copy(),
        capacity=world.capacity[:, :-1].copy(),
        data_bytes=world.data_bytes.copy(),
        tensor_bytes=world.tensor_bytes.copy(),
        price=world.price[:, :-1].copy(),
        transfer_cost=world.transfer_cost.copy(),
        feasible=world.feasible[..., :-1].copy(),
        per_stage=scenario.market.capacity == "per_stage",
        soft_capacity=scenario.market.overload == "share",
        profit_range=profit.max(axis=1) - profit.min(axis=1),
        profit_std=world.profit_std.reshape(world.batch, -1).max(axis=1),
        performance=world.performance.copy() if knows in ("performance", "world") else None,
        world=copy.deepcopy(world) if knows == "world" else None,
    )


def make_feedback(outcome: Outcome, allocation: Array, knows: Knows = "rewards") -> Feedback:
    """Tell a policy what it may see of a slot; the arrays are its own, to keep or to change."""
    measured = knows in ("latency_energy", "world")
    return Feedback(
        allocation=allocation.copy(),
        admitted=outcome.admitted.copy(),
        profit=outcome.profit.copy(),
        load=outcome.load.copy(),
        latency_s=outcome.latency_s.copy() if measured else None,
        energy_j=outcome.energy_j.copy() if measured else None,
    )


class Player:
    """A policy at work on a market: copies it per row if need be, and keeps it to the contract.

    Args:
        policy: A policy instance. A batched one is used as it is; any other is deep-copied per row.
        world: The world it is to play.

    Raises:
        ValueError: The object is no policy.
    """

    def __init__(self, policy: Policy, world: World) -> None:
        require_policy(policy)
        self.knows: Knows = getattr(policy, "knows", "rewards")
        self._shape = (world.batch, world.scenario.providers, 2)
        self._workers = world.scenario.workers
        problem = make_problem(world, self.knows)
        rngs = [stream(seed, world.episode, "policy") for seed in world.seeds]
        if getattr(policy, "batched", False):
            self._rows: list[Policy] | None = None
            self._policy = policy
            policy.reset(problem, rngs)
        else:
            self._rows = [copy.deepcopy(policy) for _ in rngs]
            for b, (row, rng) in enumerate(zip(self._rows, rngs, strict=True)):
                row.reset(_row(problem, b), rng)

    def act(self, observation: Observation) -> Array:
        """Return the policy's allocation, checked: int (B, M, S)."""
        if self._rows is None:
            answer = self._policy.act(observation)
        else:
            single = (1, *self._shape[1:])
            answers = [
                check_choices("allocation", row.act(observation), single, self._workers)
                for row in self._rows
            ]
            answer = np.concatenate(answers)
        return check_choices("allocation", answer, self._shape, self._workers)

    def update(self, outcome: Outcome, allocation: Array) -> None:
        """Hand the policy its feedback."""
        feedback = make_feedback(outcome, allocation, self.knows)
        if self._rows is None:
            self._policy.update(feedback)
        else:
            for b, row in enumerate(self._rows):
                row.update(_row(feedback, b))

    @property
    def exploring(self) -> Array | None:
        """Whether each row is in an exploration phase, bool (B,), where the policy says so."""
        rows: Sequence[Any] = [self._policy] if self._rows is None else self._rows
        told = [getattr(row, "exploring", None) for row in rows]
        if any(t is None for t in told):
            return None
        return np.concatenate([np.atleast_1d(np.asarray(t, bool)) for t in told])


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


def play(
    scenario: Scenario,
    policy: Policy,
    seeds: Sequence[int],
    *,
    progress: Callable[[int], object] | None = None,
) -> Run:
    """Play a policy on one run per seed, all side by side.

    Args:
        scenario: What to play; the horizon is ``scenario.slots``.
        policy: A policy instance.
        seeds: One per run. Row b equals a run with ``seeds[b]`` alone, bit for bit.
        progress: Called with 1 after every slot.

    Returns:
        The record.

    Raises:
        ValueError: No seeds, or the policy breaks the contract.
    """
    market = Market(scenario, seeds)
    player = Player(policy, market.world)
    b, t, m, n = market.world.batch, scenario.slots, scenario.providers, scenario.workers
    tasks = (b, t, m, 2)
    kept = {name: np.empty(tasks) for name in _KEPT}
    kept["load"] = np.empty((b, t, n))
    allocations, status = np.empty(tasks, np.int16), np.empty(tasks, np.int8)
    exploring = np.zeros((b, t), bool) if player.exploring is not None else None
    while not market.done:
        slot = market.slot
        allocation = player.act(Observation(slot))
        if exploring is not None:
            exploring[:, slot] = player.exploring
        outcome = market.step(allocation)
        allocations[:, slot], status[:, slot] = allocation, outcome.status
        for name, table in kept.items():
            table[:, slot] = getattr(outcome, name)
        player.update(outcome, allocation)
        if progress is not None:
            progress(1)
    return Run(market.world, allocations, status, exploring=exploring, **kept)


_KEPT = ("profit", "expected_profit", "latency_s", "energy_j")


def require_policy(thing: object) -> None:
    """Raise ``ValueError`` unless ``thing`` has the methods of the contract."""
    if isinstance(thing, type) or not isinstance(thing, Policy):
        raise ValueError(
            f"{thing!r} is not a policy: an object with reset(problem, rng), act(observation) "
            f"and update(feedback) is needed."
        )


def load_policy(spec: str | Policy | type, **parameters: Any) -> Policy:
    """Find a policy by name, by ``package.module:Class``, or take it as it is.

    Args:
        spec: A name in the entry-point group ``distmllm_env.policies``, a class as
            ``package.module:Class``, a class, or a policy instance.
        **parameters: Passed to the class.

    Returns:
        A policy instance.

    Raises:
        ValueError: No such name, module or class, parameters unknown or missing, or no policy.
    """
    if not isinstance(spec, (str, type)):
        if parameters:
            raise ValueError(f"parameters {sorted(parameters)} need a policy class, not {spec!r}.")
        require_policy(spec)
        return spec
    cls = _find_class(spec) if isinstance(spec, str) else spec
    signature = inspect.signature(cls)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in parameters:
        if key not in signature.parameters and not takes_all:
            allowed = signature.parameters or ("(no parameters)",)
            raise unknown_name(f"parameter of policy {spec!r}", key, allowed)
    try:
        signature.bind(**parameters)
    except TypeError as error:
        raise ValueError(f"policy {spec!r}: {error}.") from error
    policy = cls(**parameters)
    require_policy(policy)
    return cast(Policy, policy)


@cache
def policy_names() -> Mapping[str, str]:
    """Return the installed policies: name -> ``package.module:Class``."""
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}


def _find_class(spec: str) -> Any:
    target = spec
    if ":" not in spec:
        names = policy_names()
        if spec not in names:
            raise unknown_name("policy", spec, [*names, "package.module:Class"])
        target = names[spec]
    module, _, attribute = target.partition(":")
    if not module or module.startswith("."):
        raise ValueError(f"policy {spec!r}: package.module:Class is allowed, the package in full.")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"policy {spec!r}: cannot import {module!r} ({error}).") from error
    if not hasattr(found, attribute):
        public = [name for name in vars(found) if not name.startswith("_")]
        raise unknown_name(f"class in {module}", attribute, public)
    cls = getattr(found, attribute)
    if not callable(cls):
        raise ValueError(f"policy {spec!r}: {attribute} is {cls!r}, not a class.")
    return cls
