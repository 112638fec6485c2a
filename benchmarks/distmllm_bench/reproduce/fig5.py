"""Figure 5: what each of five providers earns under DistMLLM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from distmllm_bench.reproduce import fig4
from distmllm_bench.reproduce.drawing import Panel, curve_rows, spread
from distmllm_bench.reproduce.evidence import Finding, Part, above_zero
from distmllm_bench.reproduce.lab import Curves, Lab
from distmllm_env.equations import Array
from distmllm_env.scenario import ENC, LLM

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), "-.", (0, (3, 1, 1, 1)), (0, (1, 1)))


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return 5-enc and 5-llm."""
    run = lab.curves(fig4.SETTING, "distmllm")
    slots = np.arange(1, run.slots + 1)
    drawn = []
    for name, stage, findings in (("ENC", ENC, ()), ("LLM", LLM, _findings(run))):
        earned = run.provider[..., stage].astype(float).cumsum(axis=1) / slots[:, None]
        curves = {f"provider_{m}": earned[:, :, m] for m in range(earned.shape[2])}
        drawn.append(
            Panel(
                f"5-{name.lower()}",
                f"Time-averaged {name} profit of each provider, DistMLLM",
                curve_rows(curves, band),
                partial(_draw, curves=curves, band=band, ylabel=f"{name} profit per slot"),
                findings,
            )
        )
    return drawn


def _draw(ax: Any, curves: dict[str, Array], band: str, ylabel: str) -> None:
    for i, (name, sample) in enumerate(curves.items()):
        mean, _ = spread(sample, band)
        look = {"color": COLORS[i % 5], "linestyle": DASHES[i % 5]}
        ax.plot(np.arange(1, len(mean) + 1), mean, label=name.replace("_", " "), **look)
    ax.set_xlabel("time slot")
    ax.set_ylabel(ylabel)
    ax.margins(x=0)
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _findings(run: Curves) -> tuple[Finding, ...]:
    earned = run.provider.astype(float)
    explore = run.exploring
    settle = _sd(earned, explore) - _sd(earned, ~explore)
    fifth = max(run.slots // 5, 1)
    early = np.arange(run.slots) < fifth
    late = np.arange(run.slots) >= run.slots - fifth
    ends = [_sd(earned, np.broadcast_to(part, explore.shape)) for part in (early, late)]
    totals = earned.mean(axis=1)  # (B, M, S)
    wide = totals.std(axis=1, ddof=1)
    each: Callable[[str, Array], tuple[Part, ...]] = lambda what, x: (above_zero(what, x),)  # noqa: E731
    return (
        Finding(
            "5-settle",
            "standard deviation of a provider's profit from slot to slot",
            each("exploring > exploiting", settle),
        ),
        Finding(
            "5-settle",
            f"the same, first {fifth} slots against the last {fifth}",
            each("first > last", ends[0] - ends[1]),
        ),
        Finding(
            "5-spread",
            "standard deviation over providers of their mean profit",
            each("LLM > ENC", wide[:, LLM] - wide[:, ENC]),
        ),
    )


def _sd(earned: Array, slots: Array) -> Array:
    """Standard deviation over the given slots, (B, T), averaged over providers and stages, (B,)."""
    out = np.zeros(len(earned))
    for b in range(len(earned)):
        part = earned[b, slots[b]]
        out[b] = part.std(axis=0).mean() if len(part) else 0.0
    return out
