"""Figure 4: profit and regret of the two stages over time, five providers on five workers."""

from __future__ import annotations

from functools import partial

from distmllm_bench.reproduce.drawing import Panel, curve_rows, draw_curves
from distmllm_bench.reproduce.evidence import Finding, above_zero, chain
from distmllm_bench.reproduce.lab import Curves, Lab, Setting
from distmllm_bench.style import title
from distmllm_env.equations import Array
from distmllm_env.scenario import ENC, LLM

SETTING = Setting("5x5")
POLICIES = ("distmllm", "ucb", "heu")
WINDOW = 50
"""Slots of the moving average, the other reading of "averaged profit" (D8)."""

AVERAGE = "profit averaged from slot 1 on"
MOVING = f"profit averaged over the last {WINDOW} slots"
REALISED = "regret of what was played, contention included"
FREE = "regret of the chosen workers as if nobody else had come"


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 4a to 4d."""
    runs = {policy: lab.curves(SETTING, policy) for policy in POLICIES}
    drawn = []
    for letter, stage, name, kind in (
        ("a", LLM, "LLM", "profit"),
        ("b", ENC, "ENC", "profit"),
        ("c", LLM, "LLM", "regret"),
        ("d", ENC, "ENC", "regret"),
    ):
        curves = {
            policy: (run.average if kind == "profit" else run.regret)[..., stage]
            for policy, run in runs.items()
        }
        label = f"{name} profit per slot" if kind == "profit" else f"{name} regret"
        heading = f"{'Time-averaged' if kind == 'profit' else 'Cumulative'} {name} {kind}"
        findings = {"a": _llm_profit, "b": _enc_profit, "c": _llm_regret, "d": _enc_regret}
        drawn.append(
            Panel(
                f"4{letter}",
                heading,
                curve_rows(curves, band),
                partial(draw_curves, curves=curves, band=band, ylabel=label),
                findings[letter](runs),
            )
        )
    return drawn


Runs = dict[str, Curves]


def _at(runs: Runs, order: tuple[str, ...], measure: str, stage: int, slot: int) -> list[Array]:
    """The measure of each policy after ``slot`` slots, (B,) each."""
    tables = {
        "average": lambda run: run.average,
        "moving": lambda run: run.window(WINDOW),
        "regret": lambda run: run.regret,
        "free": lambda run: run.free_regret,
    }
    return [tables[measure](runs[policy])[:, slot - 1, stage] for policy in order]


def _ranked(
    claim: str, runs: Runs, order: tuple[str, ...], stage: int, readings: dict[str, str], slot: int
) -> tuple[Finding, ...]:
    """The order of policies after ``slot`` slots, highest first, under each reading."""
    unit = "regret" if "regret" in readings else "profit per slot"
    names = [title(policy) for policy in order]
    return tuple(
        Finding(claim, words, chain(names, _at(runs, order, measure, stage, slot)), unit)
        for measure, words in readings.items()
    )


def _llm_profit(runs: Runs) -> tuple[Finding, ...]:
    slots = runs["heu"].slots
    first = min(100, slots)
    heu, ours, ucb = _at(runs, ("heu", "distmllm", "ucb"), "average", LLM, first)
    early = (
        above_zero(f"HEU > DistMLLM after {first} slots", heu - ours),
        above_zero(f"HEU > UCB after {first} slots", heu - ucb),
    )
    final = _ranked(
        "4a-final",
        runs,
        ("distmllm", "heu", "ucb"),
        LLM,
        {"average": AVERAGE, "moving": MOVING},
        slots,
    )
    return (Finding("4a-early", AVERAGE, early), *final)


def _enc_profit(runs: Runs) -> tuple[Finding, ...]:
    slots = runs["heu"].slots
    always = []
    for slot in range(min(50, slots), slots + 1, 50):
        ours, *others = _at(runs, ("distmllm", "ucb", "heu"), "average", ENC, slot)
        for name, other in zip(("UCB", "HEU"), others, strict=True):
            always.append(above_zero(f"DistMLLM > {name} after {slot} slots", ours - other))
    late, half = (_at(runs, ("ucb", "heu"), "average", ENC, t) for t in (slots, slots // 2))
    rise = [end - middle for end, middle in zip(late, half, strict=True)]
    (ranked,) = _ranked(
        "4b-final", runs, ("distmllm", "ucb", "heu"), ENC, {"average": AVERAGE}, slots
    )
    shape = (
        above_zero("UCB rises in the second half", rise[0]),
        above_zero("UCB rises more than HEU moves", rise[0] - abs(rise[1])),
    )
    final = Finding("4b-final", AVERAGE, (*ranked.parts, *shape))
    return Finding("4b-always", AVERAGE, tuple(always)), final


def _llm_regret(runs: Runs) -> tuple[Finding, ...]:
    slots = runs["heu"].slots
    readings = {"regret": REALISED, "free": FREE}
    final = _ranked("4c-final", runs, ("heu", "ucb", "distmllm"), LLM, readings, slots)
    times = [t for t in (100, 200, 300, 400) if t <= slots] or [slots]
    return (*final, *_early("4c-early", runs, LLM, times))


def _enc_regret(runs: Runs) -> tuple[Finding, ...]:
    slots = runs["heu"].slots
    readings = {"regret": REALISED, "free": FREE}
    final = _ranked("4d-final", runs, ("heu", "ucb", "distmllm"), ENC, readings, slots)
    times = [t for t in (50, 100) if t <= slots] or [slots]
    return (*final, *_early("4d-early", runs, ENC, times))


def _early(claim: str, runs: Runs, stage: int, times: list[int]) -> tuple[Finding, ...]:
    """DistMLLM's regret above UCB's at these times; "slightly" has no number and is not tested."""
    findings = []
    for measure, words in (("regret", REALISED), ("free", FREE)):
        parts = []
        for slot in times:
            ours, ucb = _at(runs, ("distmllm", "ucb"), measure, stage, slot)
            parts.append(above_zero(f"DistMLLM > UCB after {slot} slots", ours - ucb))
        findings.append(Finding(claim, words, tuple(parts), "regret"))
    return tuple(findings)
