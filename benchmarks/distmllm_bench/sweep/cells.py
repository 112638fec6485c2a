"""Cells: what is kept of one run of one policy on one scenario, and where."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distmllm_agents.oracle import Optimum
from distmllm_bench.metrics import FATES, Scores
from distmllm_env import archive
from distmllm_env.equations import Array
from distmllm_env.files import write_atomic
from distmllm_env.runs import Run
from distmllm_env.scenario import ENC, LLM
from distmllm_env.slot import Status

SCORES = (
    "profit",
    "expected_profit",
    "optimum",
    "regret",
    "realised_regret",
    "enc_regret",
    "llm_regret",
    *(f"regret_{fate}" for fate in FATES),
    "jain",
    "rejected",
    "deferred",
    "switches",
)
"""Numbers of a run, see :func:`measure`."""

State = Literal["done", "failed", "missing", "damaged"]


@dataclass(frozen=True, eq=False)
class Cell:
    """What is kept of a run.

    Attributes:
        scores: Name -> number, see :data:`SCORES`.
        curves: Name -> one number per slot, (T,).
        about: How it was made: provenance, seconds, batch. Nothing here changes a result.
    """

    scores: Mapping[str, float]
    curves: Mapping[str, Array]
    about: Mapping[str, Any]

    @cached_property
    def regret_curve(self) -> Array:
        """Pseudo-regret of the total after each slot, (T,)."""
        return (self.scores["optimum"] - self.curves["expected"]).cumsum()

    def differences(self, other: Cell) -> list[str]:
        """Return the names of scores and curves that are not equal to the last bit."""
        different = [name for name in SCORES if self.scores[name] != other.scores[name]]
        for name in sorted({*self.curves, *other.curves}):
            mine, theirs = self.curves.get(name), other.curves.get(name)
            if mine is None or theirs is None or mine.tobytes() != theirs.tobytes():
                different.append(f"curve {name}")
        return different


def measure(run: Run, best: Optimum, about: Mapping[str, Any]) -> Cell:
    """Keep of one run what reports need.

    Profits are totals over all providers and slots; ``optimum`` is V*, mean profit per slot;
    ``rejected`` is a share of placed tasks, ``deferred`` of all tasks, ``switches`` of all tasks
    from the second slot on.

    Args:
        run: A batch of one, see :meth:`.Run.row`.
        best: Optimum of its world.
        about: To be kept with it.
    """
    scores = Scores(run, best)
    status = run.status[0]
    slots, providers = status.shape[:2]
    numbers = {
        "profit": scores.profit[0],
        "expected_profit": run.expected_profit.sum(),
        "optimum": best.value[0],
        "regret": scores.regret[0],
        "realised_regret": scores.realised_regret[0],
        "enc_regret": scores.stage_regret[0, ENC],
        "llm_regret": scores.stage_regret[0, LLM],
        **{f"regret_{fate}": scores.regret_by_fate[0, i] for i, fate in enumerate(FATES)},
        "jain": scores.jain[0],
        "rejected": scores.rejected[0],
        "deferred": scores.deferred[0],
        "switches": scores.switches.sum() / max(2 * providers * (slots - 1), 1),
    }
    curves = {
        "profit": run.profit[0].sum(axis=(1, 2)),
        "expected": run.expected_profit[0].sum(axis=(1, 2)),
        "jain": scores.jain_curve[0].astype(np.float32),
        "rejected": (status == Status.REJECTED).sum(axis=(1, 2), dtype=np.int32),
        "deferred": (status == Status.DEFERRED).sum(axis=(1, 2), dtype=np.int32),
        "infeasible": (status == Status.INFEASIBLE).sum(axis=(1, 2), dtype=np.int32),
        "switches": scores.switches[0].astype(np.int32),
    }
    if run.exploring is not None:
        curves["exploring"] = run.exploring[0]
    return Cell({name: float(numbers[name]) for name in SCORES}, curves, about)


@dataclass(frozen=True)
class Failure:
    """A run that a policy did not finish.

    Attributes:
        error: What was wrong, in one line.
        trace: Where, if the policy raised.
        about: As of a cell.
    """

    error: str
    trace: str
    about: Mapping[str, Any]


class Store:
    """A folder with a file per cell, each whole or not there, named by its key.

    Args:
        folder: Made when the first cell is put in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, result: Cell | Failure) -> None:
        """Keep a result; a success takes the place of an earlier failure, and the other way round.

        Raises:
            OSError: It cannot be written; what was there stays.
        """
        done, failed = self._paths(key)
        for path in (done, failed):
            if path.is_dir():  # not ours: put out of the way
                path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
        if isinstance(result, Failure):
            content = {"error": result.error, "trace": result.trace, "about": dict(result.about)}
            write_atomic(failed, json.dumps({"key": key, **content}, indent=1) + "\n")
            done.unlink(missing_ok=True)
        else:
            text = {"kind": archive.CELL, "key": key, "scores": dict(result.scores)}
            archive.write_archive(done, result.curves, {**text, "about": dict(result.about)})
            failed.unlink(missing_ok=True)

    def get(self, key: str) -> Cell | Failure | None:
        """Return a result, or None where there is none.

        Raises:
            ValueError: Its file is damaged, or belongs to another cell.
        """
        done, failed = self._paths(key)
        if done.exists():
            curves, text, _ = archive.read_archive(done, archive.CELL)
            kept = {*text.get("scores", ())} == {*SCORES} and "about" in text
            if text.get("key") != key or not kept:
                raise ValueError(f"{done} is not the cell {key}: it was renamed or edited.")
            return Cell(text["scores"], curves, text["about"])
        if failed.exists():
            try:
                text = json.loads(failed.read_text("utf-8"))
                if text["key"] != key:
                    raise ValueError("it was renamed")
                return Failure(str(text["error"]), str(text["trace"]), dict(text["about"]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{failed} is not a record of a failure: {error!r}.") from error
        return None

    def forget_failure(self, key: str) -> None:
        """Take away the record of a failure, so that the cell counts as missing."""
        self._paths(key)[1].unlink(missing_ok=True)

    def state(self, key: str) -> tuple[State, str]:
        """Return how a cell stands, and why it is failed or damaged."""
        try:
            found = self.get(key)
        except ValueError as error:
            return "damaged", str(error)
        if found is None:
            return "missing", ""
        return ("failed", found.error) if isinstance(found, Failure) else ("done", "")

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.npz", self.folder / f"{key}.failed.json"
