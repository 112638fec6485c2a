"""What can be named on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from distmllm_env import Scenario
from distmllm_env.devices import devices, models
from distmllm_env.errors import unknown_name
from distmllm_env.registry import find_policy, policy_names

Row = dict[str, Any]


def _scenarios() -> list[Row]:
    rows = []
    for name in Scenario.names():
        s = Scenario.load(name)
        size = f"{s.providers} x {s.workers} x {s.slots}"
        rows.append({"name": name, "M x N x T": size, "description": s.description})
    return rows


def _policies() -> list[Row]:
    rows = []
    for name, target in policy_names().items():
        policy = find_policy(name)  # the class: some need more than it takes to list them
        first = (inspect.getdoc(policy) or "").partition("\n")[0]
        rows.append(
            {
                "name": name,
                "knows": getattr(policy, "knows", "rewards"),
                "decides": "together" if getattr(policy, "coordinates", False) else "each alone",
                "class": target,
                "description": first,
            }
        )
    return rows


def _devices() -> list[Row]:
    rows = []
    for name, device in devices().items():
        cannot = [model for model in models() if device.why_infeasible(model) is not None]
        rows.append({"name": name, "device": device.title, "cannot run": ", ".join(cannot) or "-"})
    return rows


def _figures() -> list[Row]:
    from distmllm_bench.reproduce.run import EXPERIMENTS

    rows = []
    for group, (module, panels) in EXPERIMENTS.items():
        first = (inspect.getdoc(module) or "").partition("\n")[0]
        rows += [{"name": panel, "group": group, "what it shows": first} for panel in panels]
    return rows


def _suites() -> list[Row]:
    from distmllm_bench.sweep.suite import Suite

    rows = []
    for name in Suite.names():
        suite = Suite.load(name)
        size = f"{len(suite.scenarios)} x {len(suite.entrants())} x {suite.runs}"
        line = {"name": name, "scenarios x policies x runs": size}
        rows.append({**line, "description": suite.description})
    return rows


KINDS: dict[str, Callable[[], list[Row]]] = {
    "scenarios": _scenarios,
    "policies": _policies,
    "suites": _suites,
    "devices": _devices,
    "figures": _figures,
}


def rows(what: str) -> list[Row]:
    """Return what is known of a kind.

    Args:
        what: ``scenarios``, ``policies``, ``suites``, ``devices`` or ``figures``.

    Raises:
        ValueError: Another kind.
    """
    if what not in KINDS:
        raise unknown_name("list", what, KINDS)
    return KINDS[what]()


def table(rows: list[Row]) -> str:
    """Return rows as aligned text under their column names."""
    heads = list(rows[0])
    lines = [heads, *([str(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
