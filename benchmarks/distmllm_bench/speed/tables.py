"""The measurements as tables, in plain text and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distmllm_bench import style
from distmllm_bench.speed.environments import (
    AGENTS,
    CARTPOLE,
    CONVERTED,
    CONVERTED_BARE,
    FORMS,
    KERNEL,
    PARALLEL,
    PARALLEL_EMPTY,
    SEQUENTIAL,
    SINGLE,
    SINGLE_EMPTY,
    SYNC,
    VECTOR,
)
from distmllm_bench.speed.results import (
    Measurements,
    above,
    experiment_ratio,
    find,
    ratio,
    short,
    si,
    spread,
)
from distmllm_bench.speed.sweeps import fit
from distmllm_bench.speed.targets import targets

OURS = (VECTOR, AGENTS)
ONE_MARKET = (
    ("single", SINGLE, SINGLE_EMPTY),
    ("parallel", PARALLEL, PARALLEL_EMPTY),
    ("sequential", SEQUENTIAL, CONVERTED),
    ("sequential", SEQUENTIAL, CONVERTED_BARE),
)


@dataclass(frozen=True)
class Table:
    """A table to print; the first column holds words, the others numbers."""

    title: str
    head: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]


def tables(measured: Measurements) -> list[Table]:
    """Return all tables."""
    judged = [(t.name, t.shown, t.wanted, t.verdict) for t in targets(measured)]
    return [
        Table("Targets", ("", "measured", "wanted", "verdict"), judged),
        *(_many(measured, batch) for batch in measured.setting.batches),
        _one_market(measured),
        _policies(measured),
        _experiment(measured),
        _memory(measured),
        _sweeps(measured),
    ]


def _many(measured: Measurements, batch: int) -> Table:
    group = f"B={batch}"
    rivals = [find(measured, group, form) for form in (KERNEL, CARTPOLE, SYNC)]
    lines = []
    for form in FORMS:
        timing = find(measured, group, form)
        if timing is None:
            continue
        cells = []
        for rival in rivals:
            if rival is None or rival is timing:
                cells.append("-")
            elif form in OURS:
                cells.append(str(ratio(timing, rival)))
            else:
                cells.append(short(ratio(timing, rival).median))
        share = 1.0 - np.median(np.array(timing.step_s) / timing.seconds)
        lines.append(
            (
                form if timing.batch == batch else f"{form} ({timing.batch})",
                si(np.median(timing.batch / timing.seconds)),
                si(np.median(timing.rate)),
                *cells,
                f"{share:.0%}" if timing.slots else "-",
            )
        )
    head = (
        "",
        "steps/s",
        "agent-steps/s",
        "/ kernel",
        "/ CartPole-v1",
        "/ SyncVectorEnv",
        "resets",
    )
    return Table(f"Many environments at once, B = {batch}", head, lines)


def _one_market(measured: Measurements) -> Table:
    lines = []
    for group, form, other in ONE_MARKET:
        ours, empty = find(measured, group, form), find(measured, group, other)
        if ours is None or empty is None:
            continue
        lines.append(
            (
                f"{form} beside {other}",
                short(1e6 * float(np.median(ours.seconds))),
                short(1e6 * float(np.median(empty.seconds))),
                str(above(ours, empty)),
                str(ratio(empty, ours)),
            )
        )
    head = ("", "us", "us, empty", "us above", "us / us, empty")
    return Table("One market: us per step, or per choice where sequential", head, lines)


def _policies(measured: Measurements) -> Table:
    lines = []
    for row in measured.policies:
        whole, decide = np.array(row.play_s), np.array(row.decide_s)
        lines.append(
            (
                f"{style.title(row.policy)}, {row.runs} runs x {row.slots} slots",
                si(np.median(row.decisions / decide)),
                si(np.median(row.decisions / whole)),
                f"{np.median(decide / whole):.0%}",
                short(1e3 * float(np.median(row.reset_s)) / row.runs),
            )
        )
    head = ("", "decisions/s", "in whole play", "act, update", "ms reset per run")
    return Table("Policies: providers' decisions per second inside play", head, lines)


def _experiment(measured: Measurements) -> Table:
    setting = measured.setting
    lines = [
        (
            style.title(row.policy),
            short(float(np.median(row.batched_s))),
            short(float(np.median(row.single_s))),
            str(spread(np.array(row.single_s) / np.array(row.batched_s))),
            f"{row.profit:.2f}",
        )
        for row in measured.experiment
    ]
    batched, single = (
        float(sum(np.median(getattr(row, way)) for row in measured.experiment))
        for way in ("batched_s", "single_s")
    )
    lines.append(("all", short(batched), short(single), str(experiment_ratio(measured)), ""))
    head = ("", "s, batched", "s, run by run", "times faster", "total profit, both ways")
    title = (
        f"Main experiment: {setting.experiment_runs} runs of {setting.experiment_slots} slots, "
        "play against the parallel environment"
    )
    return Table(title, head, lines)


def _memory(measured: Measurements) -> Table:
    memory = measured.memory
    lines = [
        (f"made, reset and stepped, B = {memory.markets}", short(memory.peak_mb)),
        (
            f"{memory.soak_steps / 1e6:g} million agent-steps on, B = {memory.soak_markets}",
            short(memory.soak_mb),
        ),
    ]
    return Table("Memory of make_vec: growth of the peak", ("", "MB"), lines)


def _sweeps(measured: Measurements) -> Table:
    lines = []
    for sweep in measured.sweeps:
        exponent = fit(sweep)
        best = np.min(sweep.seconds, axis=1)
        lines.append(
            (
                f"{sweep.of}{'' if sweep.of == 'markets' else f', B = {sweep.markets}'}",
                " ".join(map(str, sweep.sizes)),
                " ".join(short(1e3 * float(s)) for s in best),
                f"{exponent.slope:.2f}",
                f"{exponent.error:.2f}",
            )
        )
    head = ("", "sizes", "ms a slot (slots: a whole run)", "exponent", "s.e.")
    return Table("How cost grows: cost = a size^exponent", head, lines)


def text_tables(shown: Sequence[Table], notes: Sequence[str]) -> str:
    """Return tables as plain text, at most 110 columns wide, and the notes below."""
    out = []
    for table in shown:
        grid = [table.head, *table.lines]
        widths = [max(len(line[i]) for line in grid) for i in range(len(table.head))]
        out.append(table.title)
        for first, *rest in grid:
            cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
            out.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
        out.append("")
    for note in notes:
        out += textwrap.wrap(note, 108, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(out)


def markdown(shown: Sequence[Table], notes: Sequence[str]) -> str:
    """Return the same as Markdown."""
    out = ["# Speed of the environments", "", "![agent-steps per second](speed.svg)", ""]
    for table in shown:
        out += [f"## {table.title}", "", "| " + " | ".join(table.head) + " |"]
        out += ["|:--|" + "--:|" * (len(table.head) - 1)]
        out += ["| " + " | ".join(line) + " |" for line in table.lines]
        out.append("")
    return "\n".join([*out, *(f"- {note}" for note in notes), ""])
