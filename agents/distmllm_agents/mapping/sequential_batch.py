"""Algorithm 2 for many runs at once: what :mod:`.sequential` does, on arrays.

The algorithm is easier to read there. Arrays of a step keep the rows last, so that an operation
runs over long lines of memory however few items and places there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distmllm_agents.mapping.knapsack import DP_CELLS
from distmllm_agents.mapping.problem import OUT, Array, MappingBatch
from distmllm_agents.mapping.sequential import solve_sequential, worker_order
from distmllm_env.layout import TOLERANCE

FEW = 2
"""Up to so many rows, solving them one by one takes less time."""

_CELLS = 1 << 16  # of the tables of one pass; more would not stay in the cache


def solve_sequential_batch(
    batch: MappingBatch, *, order: str | Sequence[int] = "index", refill: bool = False
) -> Array:
    """Map the items of every row as Algorithm 2 prints it.

    Row by row the choice is the one that :func:`.solve_sequential` makes, ties included. It also
    solves the rows that a table of whole numbers cannot express: those with a demand that is not
    whole or with very large capacities.

    Args:
        batch: The rows.
        order: As for :func:`.solve_sequential`.
        refill: Likewise.

    Returns:
        Worker of each item, int (R, K), :data:`~.problem.OUT` for items left out.

    Raises:
        ValueError: The order is none, or a row is no valid problem.
    """
    rows, items, _ = batch.utility.shape
    workers = worker_order(order, batch.capacity)
    choice = np.full((rows, items), OUT)
    tabled = _fits_a_table(batch) if rows > FEW else np.zeros(rows, bool)
    for r in np.flatnonzero(~tabled).tolist():
        choice[r] = solve_sequential(batch.row(r), order=order, refill=refill).choice
    # More room than all items weigh makes no difference, but a larger table.
    room = np.minimum(np.floor(batch.capacity + TOLERANCE), batch.weight.sum(axis=1)[:, None])
    width = room.max(axis=1) + 1
    left = np.flatnonzero(tabled)
    left = left[np.argsort(-width[left])]  # rows of much the same width share tables
    while left.size:
        size = max(1, int(_CELLS / (max(items, 1) * width[left[0]])))
        part, left = left[:size], left[size:]
        choice[part] = _worker_by_worker(batch, room, workers, part)
    if refill and tabled.any():
        choice[tabled] = _refill(batch, np.flatnonzero(tabled), choice[tabled])
    return choice


def _fits_a_table(batch: MappingBatch) -> Array:
    """Return the rows that are valid problems for the dynamic program, bool (R,)."""
    weight = batch.weight
    whole = (np.isfinite(weight) & (weight == np.floor(weight)) & (weight > 0)).all(axis=1)
    small = weight.shape[1] * (np.floor(batch.capacity + TOLERANCE) + 1) <= DP_CELLS
    valid = np.isfinite(batch.utility).all(axis=(1, 2)) & (batch.capacity >= 0).all(axis=1)
    return whole & small.all(axis=1) & valid


def _worker_by_worker(batch: MappingBatch, room: Array, workers: Array, rows: Array) -> Array:
    """Lines 2 to 17.

    Args:
        batch: All rows.
        room: Their capacities, whole numbers, (B, N).
        workers: Their workers in order, int (B, N).
        rows: The R rows to map, int (R,).

    Returns:
        Their choice, int (R, K).
    """
    row, order = np.arange(rows.size), workers[rows].T
    pairs = rows, order  # (N, R): row and worker
    utility, useful = (
        np.ascontiguousarray(table.swapaxes(1, 2)[pairs].swapaxes(1, 2))  # (N, K, R)
        for table in (batch.utility, batch.useful)
    )
    places = room[pairs].astype(int)
    width = int(places.max()) + 1
    # An item that is too heavy for every worker is never offered: any weight above all room does.
    weight = np.minimum(batch.weight[rows].T, width).astype(int)
    # Tables are read flat. Row r with room c is at c R + r, and after item k at ``source[k]``,
    # behind as many places that stand for room below 0.
    step = weight * rows.size
    cell = np.arange(width * rows.size).reshape(width, rows.size)
    source = cell + width * rows.size - step[:, None]
    choice = np.full(weight.shape, OUT)
    held = np.zeros(weight.shape)
    for n, here, may, c in zip(order, utility, useful, places, strict=True):  # line 2
        residual = here - held
        profit = np.where(may & (residual > 0), residual, -np.inf)
        taken = _knapsacks(profit, step, source, c * rows.size + row)  # line 12
        choice = np.where(taken, n, choice)  # lines 13 to 17
        held = np.where(taken, here, held)
    return choice.T


def _knapsacks(profit: Array, step: Array, source: Array, room: Array) -> Array:
    """Solve one knapsack per row by the dynamic program of :mod:`.knapsack`.

    Args:
        profit: (K, R); minus infinity for items that are not offered.
        step: Cells by which an item moves a row in a table, int (K, R).
        source: Cell to which an item takes each cell, int (K, C, R).
        room: Cell at which each row begins, int (R,).

    Returns:
        bool (K, R), the chosen items.
    """
    items, width, rows = source.shape
    # best[width + c]: most profit from items k.. within c. Room below 0 earns minus infinity, so
    # what is too heavy needs no case of its own.
    best = np.full((2 * width, rows), -np.inf)
    best[width:] = 0.0
    after, flat = best[width:], best.reshape(-1)
    keeps = np.empty((items, width * rows), bool)
    for k in reversed(range(items)):
        with_k = flat.take(source[k])
        with_k += profit[k]
        np.greater_equal(with_k, after, out=keeps[k].reshape(width, rows))
        np.maximum(with_k, after, out=after)
    # From item 0 on, an early item is kept on a tie, so ties go to the lowest index (C7).
    taken = np.empty((items, rows), bool)
    for k in range(items):
        taken[k] = keeps[k].take(room)
        room = room - step[k] * taken[k]
    return taken


def _refill(batch: MappingBatch, rows: Array, choice: Array) -> Array:
    """Place what is out where there is room, best utility first (C6)."""
    utility, weight, useful = batch.utility[rows], batch.weight[rows], batch.useful[rows]
    room = batch.capacity[rows] + TOLERANCE
    for k in range(weight.shape[1]):
        placed = np.flatnonzero(choice[:, k] != OUT)
        room[placed, choice[placed, k]] -= weight[placed, k]
    pairs = np.argsort(-utility.reshape(len(rows), -1), axis=1, kind="stable")
    every = np.arange(len(rows))
    for k, n in zip(*np.divmod(pairs.T, utility.shape[2]), strict=True):
        out, fits = choice[every, k] == OUT, weight[every, k] <= room[every, n]
        r = np.flatnonzero(out & fits & useful[every, k, n])
        choice[r, k[r]] = n[r]
        room[r, n[r]] -= weight[r, k[r]]
    return choice
