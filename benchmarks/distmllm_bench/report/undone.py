"""What of a sweep is not there: cells that failed, are missing or are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from distmllm_bench.report.names import printable
from distmllm_bench.sweep.cells import State
from distmllm_bench.sweep.results import Results

STATES: tuple[State, ...] = get_args(State)


SPANS = 4
"""Most spans of seeds that are written out."""


@dataclass(frozen=True)
class Undone:
    """Cells of one policy that are undone for the same reason, all with the same seeds.

    Attributes:
        policy: Id.
        status: ``failed``, ``missing`` or ``damaged``.
        error: What was wrong, in one line; empty for a missing one.
        seeds: Of these cells, in every one of the scenarios.
        scenarios: Ids.
    """

    policy: str
    status: State
    error: str
    seeds: tuple[int, ...]
    scenarios: tuple[str, ...]


def undone(results: Results) -> list[Undone]:
    """Return all cells that are not done, grouped by policy, reason and seeds."""
    seeds: dict[tuple[str, State, str, str], list[int]] = {}
    for row in results.rows:
        if row["status"] != "done":
            key = (row["policy"], row["status"], row["error"], row["scenario"])
            seeds.setdefault(key, []).append(row["seed"])
    scenarios: dict[tuple[str, State, str, tuple[int, ...]], list[str]] = {}
    for (policy, status, error, scenario), some in seeds.items():
        scenarios.setdefault((policy, status, error, tuple(some)), []).append(scenario)
    return [Undone(*group, tuple(some)) for group, some in scenarios.items()]


def counts(results: Results) -> dict[State, int]:
    """Return how many cells are in each state."""
    found = Counter(row["status"] for row in results.rows)
    return {state: found[state] for state in STATES}


def counted(found: dict[State, int]) -> str:
    """Return counts of undone cells in words."""
    return ", ".join(f"{n} {state}" for state, n in found.items() if n and state != "done")


def where(group: Undone, results: Results) -> tuple[str, str]:
    """Return scenarios and seeds of a group in words: ``all`` stands for several that are all."""
    scenarios, seeds = ", ".join(group.scenarios), ranges(group.seeds)
    every = len(group.scenarios) == len(results.markets) > 1
    always = len(group.seeds) == len(results.seeds) > 1
    return "all" if every else printable(scenarios), "all" if always else seeds


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
