"""What of a sweep is not there: cells that failed, are missing or are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from distmllm_bench.sweep.cells import State
from distmllm_bench.sweep.results import Results

STATES: tuple[State, ...] = get_args(State)


SPANS = 4
"""Most spans of seeds that are written out."""


@dataclass(frozen=True)
class Undone:
    """Cells of one policy on one scenario that are undone for the same reason.

    Attributes:
        scenario: Id.
        policy: Id.
        status: ``failed``, ``missing`` or ``damaged``.
        error: What was wrong, in one line; empty for a missing one.
        seeds: Of these cells.
    """

    scenario: str
    policy: str
    status: State
    error: str
    seeds: tuple[int, ...]


def undone(results: Results) -> list[Undone]:
    """Return all cells that are not done, grouped by scenario, policy and reason."""
    groups: dict[tuple[str, str, State, str], list[int]] = {}
    for row in results.rows:
        if row["status"] != "done":
            key = (row["scenario"], row["policy"], row["status"], row["error"])
            groups.setdefault(key, []).append(row["seed"])
    return [Undone(*key, tuple(seeds)) for key, seeds in groups.items()]


def counts(results: Results) -> dict[State, int]:
    """Return how many cells are in each state."""
    found = Counter(row["status"] for row in results.rows)
    return {state: found[state] for state in STATES}


def counted(found: dict[State, int]) -> str:
    """Return counts of undone cells in words."""
    return ", ".join(f"{n} {state}" for state, n in found.items() if n and state != "done")


def ranges(seeds: Sequence[int]) -> str:
    """Return seeds in words, neighbours as a range: ``0 to 3, 7``; of many only the first."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], seed]
        else:
            spans.append([seed])
    words = [
        f"{span[0]}"
        if len(span) == 1
        else f"{span[0]}{' to ' if span[1] - span[0] > 1 else ', '}{span[1]}"
        for span in spans[: SPANS if len(spans) > SPANS + 1 else None]
    ]
    more = len(spans) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")
