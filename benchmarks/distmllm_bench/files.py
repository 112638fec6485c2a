"""Recorded runs on disk."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_env import Scenario, draw_world
from distmllm_env.files import write_atomic
from distmllm_env.runs import Run

_TABLES = ("allocation", "status", "profit", "expected_profit", "latency_s", "energy_j", "load")


def save_run(path: Path, run: Run, about: Mapping[str, Any]) -> None:
    """Save a record as ``.npz``.

    Args:
        path: Where to.
        run: The record. Worlds are not stored: scenario, seeds and episode redraw them.
        about: What else to remember, e.g. the policy's name; must be JSON.
    """
    meta = {
        **about,
        "scenario": run.world.scenario.to_toml(),
        "seeds": list(run.world.seeds),
        "episodes": list(run.world.episodes),
    }
    tables = {name: getattr(run, name) for name in _TABLES}
    if run.exploring is not None:
        tables["exploring"] = run.exploring
    buffer = io.BytesIO()
    np.savez_compressed(buffer, meta=np.array(json.dumps(meta)), **tables)
    write_atomic(path, buffer.getvalue())


def load_run(path: Path) -> tuple[Run, dict[str, Any]]:
    """Read what :func:`save_run` wrote.

    Returns:
        The record, its world drawn anew, and what was remembered about it.

    Raises:
        ValueError: The file is not such a record.
    """
    import tomllib

    from distmllm_env import schema

    try:
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(str(data["meta"]))
            tables = {name: data[name] for name in _TABLES}
            exploring = data.get("exploring")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a recorded run: {error}") from error
    scenario = schema.build(Scenario, tomllib.loads(meta["scenario"]))
    world = draw_world(scenario, meta["seeds"], meta["episodes"])
    return Run(world, exploring=exploring, **tables), meta
