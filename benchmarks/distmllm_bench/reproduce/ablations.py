"""What each idea is worth: one change at a time, on five providers and five workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.evidence import above_zero
from distmllm_bench.reproduce.lab import Contender, Curves, Lab, Setting


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        idea: What is looked at.
        name: The change in words.
        who: Who plays after it.
        before: Who plays before it.
        where: Scenario keys of both.
        scenario_change: Scenario keys that only the changed one gets: the world itself changes.
    """

    idea: str
    name: str
    who: Contender
    before: Contender = Contender("distmllm")  # noqa: RUF009
    where: Mapping[str, Any] = field(default_factory=dict)
    scenario_change: Mapping[str, Any] = field(default_factory=dict)


def _ours(label: str, **options: Any) -> Contender:
    return Contender("distmllm", options, label)


SCARCE = {"providers": 10}
CHANGES = (
    Change("mapping", "exact instead of Algorithm 2", _ours("exact", mapping="exact")),
    Change("mapping", "the same, 10 providers", _ours("exact", mapping="exact"), where=SCARCE),
    Change("mapping", "Algorithm 2 with refill", _ours("refill", refill=True)),
    Change("mapping", "workers in reverse order", _ours("reverse", worker_order="reverse")),
    Change("mapping", "largest worker first", _ours("by capacity", worker_order="capacity")),
    Change(
        "estimator",
        "sample means instead of 1 / epoch, T_explore = 10",
        _ours("10, count", explore_slots=10, estimator="count"),
        _ours("10", explore_slots=10),
    ),
    Change("learning", "also from exploitation slots", _ours("always", learn_always=True)),
    Change(
        "learning",
        "the same, with sample means",
        _ours("always, count", learn_always=True, estimator="count"),
    ),
    Change(
        "all three",
        "exact, sample means, learning always",
        Contender("distmllm-fixed"),
    ),
    Change("exploration", "T_explore = 10", _ours("10", explore_slots=10)),
    Change("exploration", "T_explore = 100", _ours("100", explore_slots=100)),
    Change("exploration", "exploitation of 100^epoch", _ours("100^", exploit_base=100)),
    Change(
        "exploration",
        "once for 100 slots, then one mapping",
        _ours("once", explore_slots=100, exploit_base=400),
    ),
    Change("splitting", "both stages on one worker", Contender("monolithic")),
    Change(
        "overload",
        "fail all instead of random drops",
        _ours("reject all"),
        scenario_change={"market.overload": "reject_all"},
    ),
    Change(
        "overload",
        "the same, UCB",
        Contender("ucb", label="reject all"),
        Contender("ucb"),
        scenario_change={"market.overload": "reject_all"},
    ),
    Change(
        "overload",
        "slow down instead of dropping, UCB",
        Contender("ucb", label="share"),
        Contender("ucb"),
        scenario_change={"market.overload": "share"},
    ),
    Change(
        "capacity",
        "a pool per stage",
        _ours("per stage"),
        scenario_change={"market.capacity": "per_stage"},
    ),
    Change("noise", "std 0.3 instead of 0.1", _ours("0.3"), scenario_change={"noise.std": 0.3}),
    Change("noise", "no noise", _ours("0"), scenario_change={"noise.on": "none"}),
    Change(
        "noise",
        "std 0.3, UCB (sigma)",
        Contender("ucb-sigma", label="0.3"),
        Contender("ucb-sigma"),
        scenario_change={"noise.std": 0.3},
    ),
    Change(
        "HEU",
        "ranks blurred by 0.05",
        Contender("heu", {"rank_noise": 0.05}, "0.05"),
        Contender("heu"),
    ),
    Change("HEU", "random ranks", Contender("heu", {"rank_noise": 1e6}, "none"), Contender("heu")),
    Change("UCB", "bonus on the noise, not the range", Contender("ucb-sigma"), Contender("ucb")),
)


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return one table; effects are paired differences of the share of the optimum, in points."""
    rows: list[Row] = []
    for change in CHANGES:
        tag = ",".join(f"{k}={v}" for k, v in {**change.where, **change.scenario_change}.items())
        plain = Setting("5x5" if not change.where else "10x5", change.where)
        other = Setting(tag or plain.id, {**change.where, **change.scenario_change})
        before = _share(lab.curves(plain, change.before))
        after = _share(lab.curves(other, change.who))
        gain = above_zero(change.name, after - before)
        rows.append(
            {
                "idea": change.idea,
                "policy": change.before.id,
                "change": change.name,
                "before %": float(before.mean()),
                "after %": float(after.mean()),
                "gain": gain.effect,
                "low": gain.low,
                "high": gain.high,
            }
        )
    return [Panel("ablations", "What each idea is worth, in points of the optimum", rows, None)]


def _share(run: Curves) -> np.ndarray[Any, np.dtype[Any]]:
    """Expected profit as a share of the optimum of the same world, %, (B,)."""
    best = run.best.sum(axis=1) * run.slots
    return 100.0 * run.expected.sum(axis=(1, 2)) / best
