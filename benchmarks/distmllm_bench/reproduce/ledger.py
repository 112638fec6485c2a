"""The verdicts, as ``claims.json`` and ``claims.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distmllm_bench.reproduce import fig4
from distmllm_bench.reproduce.claims import CLAIMS, Claim, contradictions
from distmllm_bench.reproduce.evidence import CANNOT_HOLD, SURE, Finding
from distmllm_bench.reproduce.lab import Lab


def ledger(findings: Sequence[Finding], proof: float | None, command: str) -> list[dict[str, Any]]:
    """Return one row per claim that was looked at, in the paper's order.

    A claim that another one excludes is marked so, whatever the runs say; all its readings stand
    beside it.

    Args:
        findings: Of all panels; the first of a claim is its main reading.
        proof: What :func:`identity_error` returns; None where Figure 4 was not run.
        command: What the user typed.
    """
    excluded = contradictions()
    rows = []
    for claim in CLAIMS:
        readings = [_reading(f) for f in findings if f.claim == claim.id]
        if not readings:
            continue
        main = readings[0]
        row: dict[str, Any] = {
            "id": claim.id,
            "where": claim.where,
            "claim": claim.text,
            **main,
            "readings": readings,
            "command": command,
        }
        if claim.id in excluded:
            row["verdict"] = CANNOT_HOLD
            row["excluded_by"] = excluded[claim.id]
            row["proof"] = _proof(claim, excluded[claim.id], proof)
        rows.append(row)
    return rows


def _reading(finding: Finding) -> dict[str, Any]:
    part = finding.weakest
    return {
        "verdict": finding.verdict,
        "reading": finding.reading,
        "hangs_on": part.what,
        "effect": part.effect,
        "low": part.low,
        "high": part.high,
        "unit": finding.unit,
        "runs": part.runs,
    }


def _proof(claim: Claim, other: str, error: float | None) -> str:
    profit = next(c for c in CLAIMS if c.id == other)
    pairs = ", ".join(f"{a} above {b}" for a, b in sorted(claim.above & profit.above))
    text = (
        f"R(t) = t V* - t (average profit), so of two policies the one with the higher profit has "
        f"the lower regret. {other} and {claim.id} both claim: {pairs}."
    )
    if error is not None:
        text += f" In all runs here the identity holds to {error:.1e}."
    return text


def identity_error(lab: Lab) -> float:
    """Return the largest deviation from R_a - R_b = -t (profit_a - profit_b) in Figure 4's runs.

    Over all runs, slots, stages and pairs of policies; profits with their noise averaged out, as
    regret counts them.
    """
    runs = [lab.curves(fig4.SETTING, policy) for policy in fig4.POLICIES]
    worst = 0.0
    for i, a in enumerate(runs):
        for b in runs[i + 1 :]:
            earned = (a.expected - b.expected).cumsum(axis=1)
            worst = max(worst, float(np.abs((a.regret - b.regret) + earned).max()))
    return worst


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the verdicts."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    return counts


def markdown(rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """Return the ledger as a page: a table, then every reading of every claim."""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in summary(rows).items())
    out = ["# Claims of the paper", "", f"{len(rows)} claims: {counts}.", ""]
    out += ["| id | where | claim | verdict | weakest part | effect [95 % CI] |"]
    out += ["|:--|:--|:--|:--|:--|--:|"]
    for row in rows:
        cells = (row["id"], row["where"], row["claim"], f"**{row['verdict']}**", row["hangs_on"])
        out.append("| " + " | ".join(map(_cell, cells)) + f" | {_effect(row)} |")
    out += ["", "## Readings", ""]
    for row in rows:
        out.append(f"**{row['id']}**: {row['claim']}")
        out.append("")
        for reading in row["readings"]:
            out.append(
                f"- {reading['reading']}: **{reading['verdict']}**; {reading['hangs_on']}: "
                f"{_effect(reading)} {reading['unit']}"
            )
        if "proof" in row:
            out.append(f"- cannot hold beside {row['excluded_by']}: {row['proof']}")
        out.append("")
    out += ["## How to read this", ""]
    out += [f"- {note}" for note in (*_NOTES, *notes)]
    return "\n".join([*out, ""])


_NOTES = (
    "A claim is cut into inequalities, its parts. It is reproduced if every part is above 0, not "
    "reproduced if one is surely not, and undetermined if the runs do not decide. The part with "
    "the lowest interval is quoted.",
    "Effects are means of paired differences: all policies meet the same worlds and the same luck. "
    f"Intervals are Student's t at 95 %; to decide, the interval at {SURE:.0%} must leave out 0.",
    "An effect without an interval has no luck in it: it comes from device data or from counting.",
    "`slightly`, `about` and the like have no number in the paper and are not tested.",
)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _effect(row: Mapping[str, Any]) -> str:
    if row["low"] == row["high"]:
        return f"{row['effect']:.3g}"
    return f"{row['effect']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
