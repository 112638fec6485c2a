"""What a picture of one slot is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

from distmllm_env.equations import Array
from distmllm_env.market import Market
from distmllm_env.slot import Outcome


@dataclass(frozen=True)
class Frame:
    """One slot of one run, for rendering.

    Attributes:
        title: Scenario, seed and episode, and the world's seed where it has its own.
        slot: Slots played so far, 0 before the first.
        slots: Horizon T.
        demand: c_m, (M,).
        capacity: C_n, (N,).
        allocation: Last allocation, int (M, S), N means defer.
        status: :class:`~distmllm_env.slot.Status` of the last slot, (M, S).
        profit: Profit of the last slot, (M, S).
        load: Admitted demand of the last slot, (N,).
        history: Total profit of each slot so far, (slot,).
        waiting: Tasks placed so far in a slot that is being filled turn by turn, int (M, S), -1
            where the turn has not come; None where a slot is played at once.
    """

    title: str
    slot: int
    slots: int
    demand: Array
    capacity: Array
    allocation: Array
    status: Array
    profit: Array
    load: Array
    history: Array
    waiting: Array | None = None


def make_frame(
    market: Market,
    row: int,
    allocation: Array,
    outcome: Outcome,
    history: Array,
    waiting: Array | None = None,
) -> Frame:
    """Gather what the picture of one row of a market is drawn from.

    Args:
        market: The market.
        row: Row of its batch.
        allocation: Last allocation, (B, M, S).
        outcome: What it gave.
        history: Total profit of each slot so far, (slot,).
        waiting: As in :class:`Frame`.
    """
    world, scenario = market.world, market.scenario
    title = f"{scenario.name}, seed {market.seeds[row]}, episode {market.episodes[row]}"
    if market.world_seed is not None:
        title += f", world {market.world_seed}"
    return Frame(
        title=title,
        slot=int(market.slots[row]),
        slots=scenario.slots,
        demand=world.demand[row],
        capacity=world.capacity[row, :-1],
        allocation=allocation[row],
        status=outcome.status[row],
        profit=outcome.profit[row],
        load=outcome.load[row],
        history=history,
        waiting=waiting,
    )
