"""The tables of a report, as text in cells: page and summary show the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from distmllm_bench.report.comparison import Comparison, Standing
from distmllm_bench.report.markets import MEASURES, MarketView
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.undone import undone, where
from distmllm_bench.statistics import Interval

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        main: What it says.
        less: What stands beside it, less prominent.
    """

    main: str
    less: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text. The first column names the rows.

    Attributes:
        heads: One per column.
        rows: Cells, as many as heads.
        texts: Columns of words, set to the left.
        long: Columns of words that may break.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: frozenset[str] = frozenset()
    long: frozenset[str] = field(default_factory=frozenset)


def leaderboard(comparison: Comparison, names: Names, division: str) -> Table:
    """Return the ranking of a division."""
    rows = []
    for standing in comparison.standings[division]:
        rows.append(
            [
                Cell(names.title(standing.policy)),
                Cell(str(standing.rank)),
                _with_interval(standing.score, "{:z.3f}"),
                Cell(f"{standing.mean:z.3f}"),
                Cell(f"{standing.gap:z.3f}"),
                Cell(share(standing.share)),
                Cell(standing.verdict),
                *_declared(comparison, standing.policy),
            ]
        )
    heads = ("policy", "rank", "score (IQM)", "mean", "optimality gap", "of optimum")
    return Table(
        (*heads, "against the best", *_DECLARED),
        rows,
        frozenset(("against the best", "knows", "decides")),
    )


def references(comparison: Comparison, names: Names) -> Table:
    """Return the ends of the scale."""
    rows = []
    for policy in ("oracle", "random"):
        if policy in comparison.scores:
            score = comparison.scores[policy].mean()
            rows.append(
                [
                    Cell(names.title(policy)),
                    Cell(f"{score:z.3f}"),
                    Cell(share(comparison.share(policy))),
                    *_declared(comparison, policy),
                ]
            )
    return Table(
        ("reference", "score", "of optimum", *_DECLARED), rows, frozenset(("knows", "decides"))
    )


def unranked(comparison: Comparison, names: Names) -> Table:
    """Return the policies without a score, and why."""
    rows = [
        [
            Cell(names.title(policy)),
            Cell(comparison.division(policy) if policy in comparison.entrants else "reference"),
            Cell(why),
        ]
        for policy, why in comparison.unranked.items()
    ]
    texts = frozenset(("division", "why"))
    return Table(("not ranked", "division", "why"), rows, texts, frozenset(("why",)))


def differences(names: Names, standings: Sequence[Standing]) -> Table:
    """Return what policies of a division differ by from its leader."""
    leader = names.title(standings[0].policy)
    rows = [
        [
            Cell(names.title(standing.policy)),
            _with_interval(standing.behind, "{:+z.3f}"),
            _with_interval(standing.wins, "{:.2f}"),
            Cell(standing.verdict),
        ]
        for standing in standings
        if not standing.leads
    ]
    return Table(
        ("policy", f"mean score less that of {leader}", f"P(better than {leader})", "verdict"),
        rows,
        frozenset(("verdict",)),
    )


def failures(comparison: Comparison, names: Names) -> Table:
    """Return the cells that are undone; without rows if there are none."""
    rows = []
    for group in undone(comparison.results):
        scenarios, seeds = where(group, comparison.results)
        rows.append(
            [
                Cell(names.title(group.policy)),
                Cell(scenarios),
                Cell(seeds),
                Cell(str(len(group.scenarios) * len(group.seeds))),
                Cell(group.status),
                Cell(printable(group.error) if group.error else NOTHING),
            ]
        )
    heads = ("policy", "scenarios", "seeds", "cells", "state", "error")
    words = frozenset(("scenarios", "seeds", "state", "error"))
    return Table(heads, rows, words, frozenset(("scenarios", "seeds", "error")))


def market(view: MarketView, names: Names) -> Table:
    """Return mean and standard deviation of all measures on one scenario, best first."""
    rows = []
    for policy in view.best_first:
        cells = [_measured(measure, *view.mean_and_sd(measure, policy)) for measure in MEASURES]
        rows.append([Cell(names.title(policy)), *cells])
    for policy, done in view.incomplete.items():
        note = Cell(NOTHING, f"{done} of {view.runs} runs")
        rows.append([Cell(names.title(policy)), note, *[Cell(NOTHING)] * (len(MEASURES) - 1)])
    return Table(("policy", *MEASURES.values()), rows)


def share(value: float) -> str:
    """Return a share in percent, or a dash where there is none."""
    return f"{value:.1%}" if math.isfinite(value) else NOTHING


_DECLARED = ("knows", "decides", "µs / slot")

_FORMS = {
    "profit": "{:z.2f}",
    "share": "{:.1%}",
    "normalised": "{:z.3f}",
    "jain": "{:.3f}",
    "rejected": "{:.1%}",
    "deferred": "{:.1%}",
    "switches": "{:.1%}",
}


def _declared(comparison: Comparison, policy: str) -> list[Cell]:
    """What a policy knows, how it decides and how long that takes."""
    about = comparison.results.policies[policy].about
    knows = about.knows.replace("_", ", ") + ("; pretrained" if about.pretrained else "")
    time = comparison.decision(policy)
    return [
        Cell(printable(knows)),
        Cell("together" if about.coordinates else "each alone"),
        Cell(NOTHING if time is None else micro(time.median)),
    ]


def micro(seconds: float) -> str:
    """Return seconds as microseconds with two digits at least."""
    value = seconds * 1e6
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _with_interval(value: Interval, form: str) -> Cell:
    told = form.format(value.estimate)
    if not math.isfinite(value.low):
        return Cell(told, "one run: no interval")
    return Cell(told, f"[{form.format(value.low)}, {form.format(value.high)}]")


def _measured(measure: str, mean: float, sd: float) -> Cell:
    if not math.isfinite(mean):
        return Cell(NOTHING)
    large = max(abs(mean), sd if math.isfinite(sd) else 0.0) >= 10
    form = _FORMS.get(measure) or ("{:z,.0f}" if large else "{:z.1f}")
    return Cell(form.format(mean), f"± {form.format(sd)}" if math.isfinite(sd) else "")
