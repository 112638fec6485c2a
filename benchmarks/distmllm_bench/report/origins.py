"""Where the numbers of a report come from: command, versions, machines, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from distmllm_bench.report.names import printable
from distmllm_bench.report.undone import ranges
from distmllm_bench.sweep.isolation import is_ours
from distmllm_bench.sweep.planning import PlannedPolicy
from distmllm_bench.sweep.results import Results

About = Mapping[str, Any]


def facts(results: Results) -> dict[str, list[str]]:
    """Return what stands at the foot of a report, name -> values.

    Cells of one sweep may come from several machines and versions: each value that differs is
    there, with the number of its cells.
    """
    plan = results.plan
    abouts = list(_abouts(results))
    found = {
        "command": [plan.command or "not recorded"],
        "suite": [plan.suite],
        "seeds": [
            f"{ranges(results.seeds)} ({plan.split}); every policy meets the same worlds and the "
            f"same luck"
        ],
    }
    found["policies"] = [told for policy in plan.policies if (told := _who(policy))]
    if not found["policies"]:
        del found["policies"]
    if not abouts:
        return {**found, "cells": ["none is done, so nothing is known of how they were played"]}
    for name, value in _VALUES.items():
        found[name] = _distinct([value(about) for about in abouts])
    started = sorted(str(about["started"]) for about in abouts if about.get("started"))
    if started:
        found["played"] = [f"first cell started {started[0]}, last cell started {started[-1]}"]
    seconds = sum(float(about.get("seconds") or 0.0) for about in abouts)
    found["time"] = [f"{seconds:,.1f} s of playing in {len(abouts)} cells, all processes together"]
    return found


def _who(policy: PlannedPolicy) -> str:
    """Say what a policy is whose name does not tell; its hash is that of all that it hangs on."""
    # By what was planned: a report may be written where a policy's file is not.
    if policy.spec == policy.id and not policy.parameters and is_ours(policy.about.target):
        return ""
    told = [policy.about.target] if policy.about.target != policy.id else []
    told += [f"{name} = {value!r}" for name, value in policy.parameters.items()]
    return printable(f"{policy.id}: {', '.join([*told, f'hash {policy.about.hash[:12]}'])}")


def _abouts(results: Results) -> Iterator[About]:
    for planned in results.plan.cells:
        cell = results.cell(planned.market, planned.policy, planned.seed)
        if cell is not None:
            yield cell.about


def _distinct(values: list[str]) -> list[str]:
    counts = Counter(values)
    if len(counts) == 1:
        return values[:1]
    return [f"{value}: {n} of {len(values)} cells" for value, n in sorted(counts.items())]


def _versions(about: About) -> str:
    kept = {name: told for name, told in (about.get("versions") or {}).items() if told is not None}
    return ", ".join([f"Python {about.get('python')}", *(f"{n} {v}" for n, v in kept.items())])


def _machine(about: About) -> str:
    return f"{about.get('cpu')}, {about.get('cpus')} CPUs, {about.get('system')}"


def _revision(about: About) -> str:
    revision = about.get("revision") or "not a checkout"
    return f"{revision}, with files changed" if about.get("modified") else revision


def _threads(about: About) -> str:
    told = about.get("threads") or {}
    return ", ".join(f"{name}={value}" for name, value in sorted(told.items())) or "not set"


_VALUES: dict[str, Callable[[About], str]] = {
    "versions": _versions,
    "machine": _machine,
    "revision": _revision,
    "threads": _threads,
}
