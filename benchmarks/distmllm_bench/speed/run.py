"""Measures everything and writes the files."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distmllm_bench.progress import Progress
from distmllm_bench.speed.environments import (
    batched_group,
    parallel_group,
    sequential_group,
    single_group,
)
from distmllm_bench.speed.figure import figure
from distmllm_bench.speed.memory import memory_group
from distmllm_bench.speed.notes import machine, notes
from distmllm_bench.speed.policies import PolicyTiming, experiment_group, policy_group
from distmllm_bench.speed.results import Measurements, above, experiment_ratio, find, ratio
from distmllm_bench.speed.setting import Setting
from distmllm_bench.speed.sweeps import fit, sweep_group
from distmllm_bench.speed.tables import ONE_MARKET, markdown, tables, text_tables
from distmllm_bench.speed.targets import targets
from distmllm_bench.speed.timing import Timing
from distmllm_env.files import write_atomic

Result = TypeVar("Result")


def measure(setting: Setting) -> Measurements:
    """Measure everything.

    Raises:
        RuntimeError: Two ways to play the main experiment disagree, or memory cannot be measured.
    """
    gc.collect()
    gc.freeze()  # what is there now need not be searched for garbage again and again
    try:
        return _measure(setting)
    finally:
        gc.unfreeze()


def _measure(setting: Setting) -> Measurements:
    stages = 3 + len(setting.batches) + len(setting.policy_runs) + 2 + len(setting.sweeps)
    timings: list[Timing] = []
    with Progress(stages, "stage") as progress:

        def stage(label: str, job: Callable[[], Result]) -> Result:
            progress.begin(label)
            result = job()
            progress.step()
            return result

        for batch in setting.batches:
            timings += stage(f"many markets, B={batch}", partial(batched_group, setting, batch))
        timings += stage("single environment", partial(single_group, setting))
        timings += stage("parallel environment", partial(parallel_group, setting))
        timings += stage("sequential environment", partial(sequential_group, setting))
        policies: list[PolicyTiming] = []
        for runs, slots in setting.policy_runs:
            label = f"policies, {runs} runs of {slots} slots"
            policies += stage(label, partial(policy_group, setting, runs, slots))
        experiment = stage("main experiment, both ways", partial(experiment_group, setting))
        memory = stage("memory", partial(memory_group, setting))
        sweeps = [
            stage(f"cost against {sweep.name}", partial(sweep_group, setting, sweep))
            for sweep in setting.sweeps
        ]
    return Measurements(
        setting, tuple(timings), tuple(policies), tuple(experiment), memory, tuple(sweeps)
    )


def to_json(measured: Measurements) -> dict[str, Any]:
    """Return everything as a JSON-ready dict: what was measured, and what follows from it."""
    ratios = []
    for timing in measured.timings:
        for rival in measured.timings:
            if timing.group == rival.group and timing is not rival:
                pair = {"group": timing.group, "of": timing.form, "to": rival.form}
                ratios.append(pair | asdict(ratio(timing, rival)))
    return {
        "machine": machine(),
        **asdict(measured),
        "ratios": ratios,
        "above_empty_us": {
            form: asdict(above(ours, empty))
            for group, form, other in ONE_MARKET[:2]
            if (ours := find(measured, group, form)) and (empty := find(measured, group, other))
        },
        "experiment_ratio": asdict(experiment_ratio(measured)),
        "exponents": [asdict(fit(sweep)) for sweep in measured.sweeps],
        "targets": [asdict(t) | {"verdict": t.verdict} for t in targets(measured)],
        "notes": notes(measured),
    }


def run_speed(out: Path, setting: Setting) -> tuple[str, dict[str, Any]]:
    """Time everything and save tables and the figure under ``out``.

    Args:
        out: Folder for the results.
        setting: What to time.

    Returns:
        The tables as text, and the same numbers as a JSON-ready dict.

    Raises:
        RuntimeError: Batched and single runs give other profits.
    """
    measured = measure(setting)
    shown, foot, numbers = tables(measured), notes(measured), to_json(measured)
    write_atomic(out / "speed.md", markdown(shown, foot))
    write_atomic(out / "speed.json", json.dumps(numbers, indent=2) + "\n")
    for kind, content in figure(measured).items():
        write_atomic(out / f"speed.{kind}", content)
    return text_tables(shown, foot), numbers
