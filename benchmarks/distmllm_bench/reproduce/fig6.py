"""Figure 6: more providers on five workers, and more workers for ten providers."""

from __future__ import annotations

from functools import partial

import numpy as np

from distmllm_bench.reproduce.drawing import Panel, draw_sweep, sweep_rows
from distmllm_bench.reproduce.evidence import Finding, Part, above_zero
from distmllm_bench.reproduce.lab import Lab, Setting
from distmllm_env.equations import Array

PROVIDERS = (5, 6, 7, 8, 9, 10)
WORKERS = (5, 10, 20, 30)
POLICIES = ("distmllm", "ucb")
READING = "profit of all providers per slot, averaged over the run"


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 6a and 6b."""
    a = [Setting(f"M={m},N=5", {"providers": m, "workers": 5}) for m in PROVIDERS]
    b = [Setting(f"M=10,N={n}", {"providers": 10, "workers": n}) for n in WORKERS]
    return [
        _panel(lab, band, "6a", "Profit against the number of providers, N = 5", PROVIDERS, a),
        _panel(lab, band, "6b", "Profit against the number of workers, M = 10", WORKERS, b),
    ]


def _panel(
    lab: Lab, band: str, id_: str, heading: str, at: tuple[int, ...], settings: list[Setting]
) -> Panel:
    earned = {
        policy: np.stack([lab.curves(setting, policy).total for setting in settings], axis=1)
        for policy in POLICIES
    }
    axis = "providers" if id_ == "6a" else "workers"
    labels = (f"number of {axis}", "profit per slot")
    ours, ucb = earned["distmllm"], earned["ucb"]
    above = tuple(
        above_zero(f"DistMLLM > UCB at {axis} = {x}", ours[:, i] - ucb[:, i])
        for i, x in enumerate(at)
    )
    if id_ == "6a":
        findings: tuple[Finding, ...] = (Finding("6a", READING, above),)
    else:
        findings = (
            Finding("6b-above", READING, above),
            Finding("6b-peak", READING, (*_peak("DistMLLM", ours), *_peak("UCB", ucb))),
            Finding(
                "6b-gain",
                READING,
                (
                    above_zero(
                        "DistMLLM's gain > UCB's, 5 to 10 workers",
                        (ours[:, 1] - ours[:, 0]) - (ucb[:, 1] - ucb[:, 0]),
                    ),
                ),
            ),
        )
    draw = partial(draw_sweep, at=at, samples=earned, band=band, labels=labels)
    return Panel(id_, heading, sweep_rows(axis, at, earned, band), draw, findings)


def _peak(name: str, earned: Array) -> tuple[Part, ...]:
    """Profit at 10 workers above that at 5, 20 and 30."""
    return tuple(
        above_zero(f"{name}: 10 workers > {n}", earned[:, 1] - earned[:, i])
        for i, n in enumerate(WORKERS)
        if n != 10
    )
