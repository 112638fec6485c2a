"""Figure 7: the cost of moving tensors, and what splitting a request is worth."""

from __future__ import annotations

from functools import partial

import numpy as np

from distmllm_bench.reproduce import fig4
from distmllm_bench.reproduce.drawing import (
    Panel,
    curve_rows,
    draw_curves,
    draw_sweep,
    sweep_rows,
)
from distmllm_bench.reproduce.evidence import Finding, above_zero
from distmllm_bench.reproduce.lab import Curves, Lab, Setting
from distmllm_env import draw_world
from distmllm_env.equations import Array
from distmllm_env.scenario import LLM

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Cost of a transfer as a share of the mean LLM profit of all pairs (E5: the grid is ours)."""


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 7a and 7b."""
    return [_transfer(lab, band), _monolithic(lab, band)]


def _transfer(lab: Lab, band: str) -> Panel:
    world = draw_world(fig4.SETTING.load(lab.base), lab.seeds)
    unit = float(world.mean_profit[:, LLM, :, :-1].mean() / (world.tensor_bytes.mean() / 1e6))
    settings = [
        Setting(f"kappa={share:g}", {"market.transfer_cost_per_mb": max(share * unit, 0.0)})
        for share in SHARES
    ]
    earned = {
        policy: np.stack([lab.curves(setting, policy).total for setting in settings], axis=1)
        for policy in ("distmllm", "ucb")
    }
    ours, ucb = earned["distmllm"], earned["ucb"]
    fall = tuple(
        above_zero(f"{name}: cost {SHARES[i]:g} > {SHARES[i + 1]:g}", x[:, i] - x[:, i + 1])
        for name, x in (("DistMLLM", ours), ("UCB", ucb))
        for i in range(len(SHARES) - 1)
    )
    above = tuple(
        above_zero(f"DistMLLM > UCB at cost {share:g}", ours[:, i] - ucb[:, i])
        for i, share in enumerate(SHARES)
    )
    loss, other = ours[:, 0] - ours[:, -1], ucb[:, 0] - ucb[:, -1]
    slower = above_zero("UCB's fall > DistMLLM's", other - loss)
    share_lost = above_zero(
        "UCB's fall > DistMLLM's, as a share", other / ucb[:, 0] - loss / ours[:, 0]
    )
    findings = (
        Finding("7a-fall", "total profit, every step of the grid", fall),
        Finding("7a-slope", "total profit, in money", (slower, *above)),
        Finding("7a-slope", "fall as a share of the profit without cost", (share_lost, *above)),
    )
    labels = ("transfer cost / mean LLM profit", "profit per slot")
    return Panel(
        "7a",
        "Profit against the cost of a transfer",
        sweep_rows("cost share", SHARES, earned, band),
        partial(draw_sweep, at=SHARES, samples=earned, band=band, labels=labels),
        findings,
    )


def _monolithic(lab: Lab, band: str) -> Panel:
    runs = {name: lab.curves(fig4.SETTING, name) for name in ("distmllm", "monolithic")}
    curves = {name: run.average.sum(axis=2) for name, run in runs.items()}
    ours, whole = runs["distmllm"], runs["monolithic"]
    moving = {name: _moving(run) for name, run in runs.items()}
    first = min(100, ours.slots) - 1
    steady = 0.05 * abs(moving["monolithic"][:, -1]) - abs(
        moving["monolithic"][:, first] - moving["monolithic"][:, -1]
    )
    stable = above_zero("monolithic: slot 100 within 5 % of the end", steady)
    exploiting = [
        above_zero("DistMLLM > monolithic in slots that exploit", _exploiting(ours, whole))
    ]
    findings = (
        Finding(
            "7b",
            fig4.AVERAGE + ", at the end",
            (
                above_zero(
                    "DistMLLM > monolithic", curves["distmllm"][:, -1] - curves["monolithic"][:, -1]
                ),
                stable,
            ),
        ),
        Finding("7b", "profit in slots in which both exploit", (*exploiting, stable)),
    )
    return Panel(
        "7b",
        "Both stages apart, or on one worker",
        curve_rows(curves, band),
        partial(draw_curves, curves=curves, band=band, ylabel="profit per slot"),
        findings,
    )


def _moving(run: Curves) -> Array:
    return run.window(fig4.WINDOW).sum(axis=2)


def _exploiting(ours: Curves, other: Curves) -> Array:
    """Mean difference of the total profit over slots in which neither explores, (B,)."""
    both = ~ours.exploring & ~other.exploring
    difference = (ours.profit - other.profit).sum(axis=2)
    return (difference * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
