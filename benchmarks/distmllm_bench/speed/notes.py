"""How the numbers came about, and on what machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distmllm_bench.speed.environments import SYNC
from distmllm_bench.speed.results import Measurements
from distmllm_bench.speed.setting import FULL
from distmllm_bench.speed.sweeps import SWEEP_POLICY
from distmllm_env import Scenario
from distmllm_env.compiled import kernel


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, versions, whether loops are compiled."""
    packages = ("distmllm-env", "numpy", "gymnasium", "pettingzoo")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "numba": None if kernel() is None else version("numba"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def notes(measured: Measurements) -> list[str]:
    """Say how the numbers came about."""
    setting, about, paper = measured.setting, machine(), Scenario.load("paper")
    capacity = paper.capacity
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    out = [
        f"Scenario paper with M = {setting.providers} providers and N = {setting.workers} workers; "
        "uniformly random choices 0..N (N: defer), drawn beforehand. What is compared played "
        f"alternating windows of {setting.window_s:g} s in one process; a ratio is the median over "
        f"{setting.rounds} rounds of the ratio within a round, its quartiles in parentheses. "
        "Windows leave out Python's garbage collection.",
        "Agent-step: one agent's decision in one environment; M of them make a slot of a market, "
        f"one a step of CartPole. Resets: a horizon has T = {setting.slots} slots; time per step "
        "and 1 / T of the time of a reset, measured apart in the same rounds, are added up (column "
        "resets: their share). CartPole resets inside its steps, the kernel never.",
        "Kernel: the least that a slot can be in NumPy: two normal numbers per provider, two "
        "utilities looked up, loads counted, compared with capacity, masked, summed up, in float32 "
        "arrays written in place; no observation, no info, no check of actions, no reset.",
        "Empty: an environment with the same spaces and wrappers that returns constants. The "
        "sequential one stands beside pettingzoo's parallel_to_aec around the empty parallel "
        "twin, which comes in an OrderEnforcingWrapper (unwrapped: without it); it places one task "
        "a choice, the twin both tasks of a provider.",
        "Policies: decisions/s counts the time of act and update alone, in whole play also world, "
        "market and record; a reset is where HEU and the oracle do all their work.",
        f"Main experiment: scenario paper as it is ({paper.providers} providers, "
        f"{paper.workers} workers); profits of every task are "
        "equal both ways, bit for bit.",
        _path(about["numba"]),
        f"Memory: from {measured.memory.source}, in processes of their own.",
        "Exponents: least squares through the best of the rounds, without resets; markets and "
        "providers start where the overhead per call no longer dominates; what is left of it makes "
        "slopes smaller, tables that outgrow the processor's cache make them larger. "
        f"Slots: a whole play of {SWEEP_POLICY}.",
        f"Providers, same load: capacities grow with M from {capacity.low:g}..{capacity.high:g} at "
        f"M = {FULL.providers}, rounded, so that a worker's mean load keeps its share of them (the "
        "load varies less about it, so that overloads, rare at first, vanish). Fixed capacity: "
        "they stay, so that more providers overload a growing share of workers, and each costs "
        "more until all are overloaded; that is growth with load, not with size alone, and is not "
        "judged.",
    ]
    other = [t for t in measured.timings if t.form == SYNC and t.group != f"B={t.batch}"]
    if other:
        out.append(
            "SyncVectorEnv: in parentheses the size that was timed, where it is not B. More "
            "markets fit the processor's cache worse, so that the ratio is a lower bound."
        )
    left_out = {r for r, _ in setting.policy_runs if r > setting.oracle_runs}
    if left_out:
        out.append(f"Left out: the oracle with {', '.join(map(str, sorted(left_out)))} runs.")
    if not setting.usual:
        out.append(f"Targets are for M = {FULL.providers}, N = {FULL.workers}: not judged here.")
    out.append(
        f"{versions}, Python {about['python']}; {about['cpu']}, {about['cores']} cores, "
        f"{about['system']}."
    )
    return out


def _path(numba: str | None) -> str:
    if numba is None:
        return (
            "Path measured: NumPy, and CP-SAT for exact mappings of unequal demands; no numba "
            "(extra fast) is installed. Targets are the same, and are judged all the same."
        )
    return (
        f"Path measured: loops compiled by numba {numba} (extra fast) for slots, observations and "
        "exact mappings of unequal demands; NumPy does the rest."
    )
