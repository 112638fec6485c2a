"""Results of a sweep as a table, in the order of the plan whatever the order of playing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench.sweep.cells import SCORES, Cell, Failure, State, Store
from distmllm_bench.sweep.planning import Plan, PlannedMarket, PlannedPolicy
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.files import write_atomic

HEAD = ("scenario", "slots", "policy", "division", "knows", "coordinates", "seed", "status")
COLUMNS = (*HEAD, *SCORES, "error", "key")
"""Of ``results.csv``. Nothing in it tells when, where or how fast a cell was played."""


class Results:
    """A sweep's plan and what was kept of it.

    Args:
        folder: Where ``distmllm bench`` kept it.

    Raises:
        ValueError: The folder holds no sweep.
    """

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        self.folder = folder
        self.plan = plan or Plan.read(folder)
        self.markets: dict[str, PlannedMarket] = {m.id: m for m in self.plan.markets}
        self.policies: dict[str, PlannedPolicy] = {p.id: p for p in self.plan.policies}
        self.seeds = self.plan.seeds
        store = Store(folder / "cells")
        self._cells: dict[tuple[str, str, int], Cell | Failure | None] = {}
        self._damaged: dict[tuple[str, str, int], str] = {}
        for cell in self.plan.cells:
            place = (cell.market, cell.policy, cell.seed)
            try:
                self._cells[place] = store.get(cell.key)
            except ValueError as error:
                self._cells[place] = None
                self._damaged[place] = str(error)

    def cell(self, market: str, policy: str, seed: int) -> Cell | None:
        """Return a cell, or None where it is failed, missing or damaged."""
        found = self._cells[market, policy, seed]
        return found if isinstance(found, Cell) else None

    def state(self, market: str, policy: str, seed: int) -> tuple[State, str]:
        """Return how a cell stands, and why it is failed or damaged."""
        place = (market, policy, seed)
        found = self._cells[place]
        if isinstance(found, Cell):
            return "done", ""
        if isinstance(found, Failure):
            return "failed", found.error
        why = self._damaged.get(place)
        return ("damaged", why) if why is not None else ("missing", "")

    def score(self, name: str, market: str, policy: str) -> Array:
        """Return a score of every run, (R,); NaN where a cell is not done.

        Raises:
            ValueError: There is no such score.
        """
        if name not in SCORES:
            raise unknown_name("score", name, SCORES)
        cells = [self.cell(market, policy, seed) for seed in self.seeds]
        return np.array([np.nan if cell is None else cell.scores[name] for cell in cells])

    def curve(self, name: str, market: str, policy: str) -> Array:
        """Return a curve of every run, (R, T), or ``regret``; a row of NaN where it is not done."""
        slots = self.markets[market].scenario.slots
        rows = np.full((len(self.seeds), slots), np.nan)
        for row, seed in zip(rows, self.seeds, strict=True):
            cell = self.cell(market, policy, seed)
            if cell is not None:
                row[:] = cell.regret_curve if name == "regret" else cell.curves[name]
        return rows

    def normalised(self, market: str, policy: str) -> Array:
        """Return where each run stands between random (0) and the optimum (1), (R,).

        By expected profit, so that the luck of a run is no merit, and on each world for itself. NaN
        where a cell is not done, or where random play earns the optimum.
        """
        earned = self.score("expected_profit", market, policy)
        floor = self.score("expected_profit", market, "random")
        slots = self.markets[market].scenario.slots
        best = self.score("optimum", market, policy) * slots
        room = best - floor
        return np.divide(earned - floor, room, out=np.full(len(room), np.nan), where=room > 0)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row per cell, in the order of the plan."""
        rows = []
        for planned in self.plan.cells:
            status, error = self.state(planned.market, planned.policy, planned.seed)
            about = self.policies[planned.policy].about
            cell = self.cell(planned.market, planned.policy, planned.seed)
            scores: Mapping[str, Any] = dict.fromkeys(SCORES, "") if cell is None else cell.scores
            rows.append(
                {
                    "scenario": planned.market,
                    "slots": self.markets[planned.market].scenario.slots,
                    "policy": planned.policy,
                    "division": about.division,
                    "knows": about.knows,
                    "coordinates": about.coordinates,
                    "seed": planned.seed,
                    "status": status,
                    **scores,
                    "error": error.replace(str(self.folder), ".") if status == "damaged" else error,
                    "key": planned.key,
                }
            )
        return rows

    def csv(self) -> str:
        """Return the rows as CSV; numbers to the last bit."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def write_results(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Write ``results.csv`` and return its rows."""
    results = Results(folder, plan)
    write_atomic(folder / "results.csv", results.csv())
    return results.rows
