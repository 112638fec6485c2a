"""Recorded runs on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distmllm_env import Scenario, archive
from distmllm_env.market import Market
from distmllm_env.runs import LUCK, Run

_TABLES = ("allocation", "status", "profit", "expected_profit", "latency_s", "energy_j", "load")


def save_run(path: Path, run: Run, about: Mapping[str, Any]) -> None:
    """Save a record as ``.npz``.

    Args:
        path: Where to.
        run: The record. Worlds are not stored: scenario, seeds and episode redraw them.
        about: What else to remember, e.g. the policy's name; must be JSON.
    """
    luck = {name: getattr(run, name) for name in LUCK}
    text = {**about, **luck, "scenario": run.world.scenario.to_toml(), "kind": archive.RUN}
    tables = {name: getattr(run, name) for name in _TABLES}
    if run.exploring is not None:
        tables["exploring"] = run.exploring
    archive.write_archive(path, tables, text)


def load_run(path: Path) -> tuple[Run, dict[str, Any]]:
    """Read what :func:`save_run` wrote.

    Returns:
        The record, its world drawn anew, and what was remembered about it.

    Raises:
        ValueError: The file is not such a record, or damaged.
    """
    tables, about, _ = archive.read_archive(path, archive.RUN)
    missing = sorted({*_TABLES} - {*tables}) + sorted({*LUCK, "scenario"} - {*about})
    if missing:
        raise ValueError(f"{path} is not a {archive.RUN}: it has no {missing[0]!r}.")
    scenario = Scenario.from_toml(about["scenario"])
    market = Market(scenario, about["seeds"], about["episodes"], about["world_seed"])
    kept: dict[str, Any] = {**tables, **{name: getattr(market, name) for name in LUCK}}
    return Run(market.world, **{"exploring": None, **kept}), about
