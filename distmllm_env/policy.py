"""The policy contract, and what a policy may know.

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
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.slot import Outcome
from distmllm_env.world import World

Knows = Literal["rewards", "latency_energy", "performance", "world"]
"""What a policy needs. ``rewards`` (the default) sees profits and rejections; ``latency_energy``
also measured latency and energy; ``performance`` also p_n; ``world`` everything, as an oracle does.
"""


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
        scenario: Name of the scenario; it tells a trained policy which site it is at.
        value_scale: V, the largest intrinsic value of a task in the scenario; observations scale
            profits by it.
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
    scenario: str
    value_scale: float
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
    """The contract.

    Optional attributes: ``name``; ``batched``, it plays all rows at once; ``knows``, what it needs
    beyond rewards; ``coordinates``, it decides for all providers together; ``pretrained``, it has
    learned from other worlds before; ``files``, data that it reads, relative to its module;
    ``exploring``, whether it explores at present.
    """

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
        scenario=scenario.name,
        value_scale=scenario.value_scale,
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


def require_policy(thing: object) -> None:
    """Raise ``ValueError`` unless ``thing`` has the methods of the contract."""
    if isinstance(thing, type) and isinstance(thing, Policy):  # it has the methods
        raise ValueError(f"{thing!r} is a class, not a policy: {thing.__name__}() makes one.")
    if not isinstance(thing, Policy):
        raise ValueError(
            f"{thing!r} is not a policy: an object with reset(problem, rng), act(observation) "
            f"and update(feedback) is needed."
        )
