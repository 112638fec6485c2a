"""What a report says as rows: for programs, and for who wants to compute on."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from distmllm_bench.report.comparison import Comparison, difference
from distmllm_bench.sweep.results import Results


def leaderboard_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the leaderboard as JSON knows it; policies without a rank, and why, at its end."""
    rows: list[dict[str, Any]] = []
    for division, standings in comparison.standings.items():
        for standing in standings:
            time = comparison.decision(standing.policy)
            rows.append(
                {
                    "division": division,
                    "rank": standing.rank,
                    "policy": standing.policy,
                    "score": standing.score.estimate,
                    "low": _number(standing.score.low),
                    "high": _number(standing.score.high),
                    "mean": standing.mean,
                    "optimality_gap": standing.gap,
                    "of_optimum": _number(standing.share),
                    "behind": standing.behind.estimate,
                    "behind_low": _number(standing.behind.low),
                    "behind_high": _number(standing.behind.high),
                    "verdict": standing.verdict,
                    "decision_us": None if time is None else time.median * 1e6,
                }
            )
    for policy, why in comparison.unranked.items():
        if policy in comparison.entrants:
            division = comparison.division(policy)
            rows.append({"division": division, "rank": None, "policy": policy, "why": why})
    return rows


def timing_csv(results: Results) -> str:
    """Return how long cells took. It differs from run to run, so it stands apart from results.

    ``decision_us`` is the median time of a slot, act and update together, of all ``batch`` markets
    that were played side by side; ``seconds`` is the cell's part of the whole job.
    """
    rows = []
    for planned in results.plan.cells:
        cell = results.cell(planned.market, planned.policy, planned.seed)
        if cell is not None:
            about = cell.about
            rows.append(
                {
                    "scenario": planned.market,
                    "policy": planned.policy,
                    "seed": planned.seed,
                    "batch": about["batch"],
                    "decision_us": f"{about['decision_s'] * 1e6:.3f}",
                    "seconds": f"{about['seconds']:.6f}",
                }
            )
    return _csv(("scenario", "policy", "seed", "batch", "decision_us", "seconds"), rows)


def pairwise_csv(comparison: Comparison) -> str:
    """Return all pairs of policies that are compared: probability of improvement, difference."""
    rows = []
    for (a, b), chance in comparison.improvement.items():
        gap = difference(comparison.scores[a], comparison.scores[b])
        rows.append(
            {
                "policy": a,
                "against": b,
                "p_better": chance.estimate,
                "p_low": _number(chance.low),
                "p_high": _number(chance.high),
                "difference": gap.estimate,
                "difference_low": _number(gap.low),
                "difference_high": _number(gap.high),
            }
        )
    heads = ("policy", "against", "p_better", "p_low", "p_high")
    return _csv((*heads, "difference", "difference_low", "difference_high"), rows)


def _csv(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
