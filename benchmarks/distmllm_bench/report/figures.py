"""Figures over all scenarios of a sweep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distmllm_bench import statistics
from distmllm_bench.report.comparison import Comparison
from distmllm_bench.report.drawing import (
    Picture,
    columns,
    drawn,
    legend_below,
    legend_inches,
    plain_number,
    policy_axis,
    text_on,
)
from distmllm_bench.report.names import Names

DIVERGING = "RdBu"
"""Colour map from red over white to blue, safe for colour-blind eyes."""

LOWEST = -0.5
"""Where axes of the score begin at the least: one policy far below random play hides no others."""

SCORE = "score: 0 random play, 1 optimum"


def figures(comparison: Comparison, names: Names) -> dict[str, Picture]:
    """Draw what there is to draw, name -> figure; without ranked policies nothing."""
    if not comparison.ranked:
        return {}
    pictures = [
        _leaderboard(comparison, names),
        _improvement(comparison, names),
        _profiles(comparison, names),
        _decisions(comparison, names),
    ]
    return {picture.name: picture for picture in pictures if picture is not None}


def _leaderboard(comparison: Comparison, names: Names) -> Picture:
    """Scores with intervals, one panel per division."""
    standings = comparison.standings
    rows = sum(len(division) for division in standings.values())

    def draw(figure: Any) -> None:
        heights = [len(division) + 0.6 for division in standings.values()]
        panels = figure.subplots(
            len(standings), 1, sharex=True, height_ratios=heights, squeeze=False
        )[:, 0]
        for ax, (division, members) in zip(panels, standings.items(), strict=True):
            for y, standing in enumerate(members):
                policy, score = standing.policy, standing.score
                single = statistics.iqm(comparison.scores[policy], axis=0)
                if len(single) > 1:
                    ax.plot(single, np.full(len(single), y), "|", color="#8a939d", markersize=7)
                colour = names.colour(policy)
                if math.isfinite(score.low):
                    ax.plot([score.low, score.high], [y, y], color=colour, linewidth=2.4)
                if score.estimate >= LOWEST:
                    ax.plot(score.estimate, y, "o", color=colour, markersize=6)
                else:
                    ax.plot(LOWEST, y, "<", color=colour, markersize=7, clip_on=False)
                ax.annotate(
                    f"{score.estimate:.3f}",
                    (1.0, y),
                    (6, 0),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    va="center",
                )
            for end in (0.0, 1.0):
                ax.axvline(end, color="#3c444d", linewidth=0.9, linestyle=(0, (3, 2)), zorder=0)
            policy_axis(ax, [standing.policy for standing in members], names)
            ax.set_title(f"{division} division", loc="left", fontsize=9, fontweight="bold")
        low, high = panels[0].get_xlim()
        panels[0].set_xlim(min(max(low, LOWEST), -0.03), max(high, 1.03))
        panels[-1].set_xlabel(SCORE)

    return Picture(
        name="leaderboard",
        label="Scores of all ranked policies with intervals, by division; the table has the values",
        caption="Read it like this: the point is the score over all scenarios and seeds, further "
        "right is better, and the bar through it is its 95 % interval. Each grey stroke is the "
        "score on one scenario. The dashed lines are random play (0) and the optimum (1)."
        + _below(comparison),
        files=drawn((7.2, 0.75 + 0.32 * rows + 0.35 * len(standings)), draw),
        width="middle",
    )


def _improvement(comparison: Comparison, names: Names) -> Picture | None:
    """P(row beats column), in numbers and colours."""
    found = comparison.improvement
    policies = list(dict.fromkeys(a for a, _ in found))
    if len(policies) < 2:
        return None
    n = len(policies)

    def draw(figure: Any) -> None:
        from matplotlib import colormaps

        ax = figure.add_subplot()
        shares = np.full((n, n), np.nan)
        for i, a in enumerate(policies):
            for j, b in enumerate(policies):
                if i == j:
                    continue
                chance = found[a, b]
                shares[i, j] = chance.estimate
                sure = chance.low > 0.5 or chance.high < 0.5
                ax.text(
                    j,
                    i,
                    f"{chance.estimate:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=text_on(colormaps[DIVERGING](chance.estimate)),
                    fontweight="bold" if sure else "normal",
                )
        edges = np.arange(n + 1) - 0.5
        ax.pcolormesh(
            edges, edges, shares, cmap=DIVERGING, vmin=0, vmax=1, edgecolors="white", linewidth=1
        )
        policy_axis(ax, policies, names)
        labels = [names.label(policy) for policy in policies]
        ax.set_xticks(range(n), labels, rotation=40, ha="left", rotation_mode="anchor")
        ax.xaxis.tick_top()
        ax.tick_params(axis="x", length=0)
        ax.grid(visible=False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)

    # Room for names beside and, slanted, above: an axis of a fixed shape would be laid out badly.
    cells, name = 0.5 * n, 0.2 + 0.075 * max(len(names.label(policy)) for policy in policies)
    size = (cells + 1.6 * name, cells + 0.7 * name)
    return Picture(
        name="improvement",
        label="Matrix of how often one policy beats another at the same seed",
        caption="Read it like this: the number is how often the policy of the row beats that of "
        "the column in the same world with the same luck, a tie counting half, mean over the "
        "scenarios. Blue: the row is ahead; red: the column. Bold: the 95 % interval does not hold "
        "1/2. The intervals are in pairwise.csv.",
        files=drawn(size, draw),
        width="middle",
    )


def _profiles(comparison: Comparison, names: Names) -> Picture:
    """Share of runs above each score."""
    profiles = comparison.profiles

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for policy, profile in profiles.items():
            if np.isfinite(profile.low).all():
                ax.fill_between(
                    profile.thresholds,
                    profile.low,
                    profile.high,
                    color=names.colour(policy),
                    alpha=0.13,
                    linewidth=0,
                )
        for policy, profile in profiles.items():
            ax.plot(profile.thresholds, profile.share, linewidth=1.5, **names.look(policy))
        ax.set_xlabel(f"threshold of the {SCORE}")
        ax.set_ylabel("share of runs above it")
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlim(profile.thresholds[0], profile.thresholds[-1])
        legend_below(figure, list(profiles), names)

    labels = [names.label(policy) for policy in profiles]
    lowest = min(float(comparison.scores[name].min()) for name in profiles)
    cut = float(next(iter(profiles.values())).thresholds[0])
    return Picture(
        name="profile",
        label="Performance profiles: share of runs whose score is above each threshold",
        caption="Read it like this: at a score on the horizontal axis, the curve says in which "
        "share of runs the policy does better than that; each scenario weighs the same. Higher is "
        "better, and a curve that stays up and falls late is a policy that never does badly. Bands "
        "are 95 % intervals at each threshold by itself."
        + (f" Scores go down to {lowest:.2f}; the axis begins at {cut:.2f}." * (lowest < cut)),
        files=drawn((7.2, 3.6 + legend_inches(labels, 7.2)), draw),
        width="middle",
    )


def _decisions(comparison: Comparison, names: Names) -> Picture | None:
    """Decision time against score."""
    points = [
        (standing, time)
        for members in comparison.standings.values()
        for standing in members
        if (time := comparison.decision(standing.policy)) is not None and time.low > 0
    ]
    if not points:
        return None
    labels = [names.label(standing.policy) for standing, _ in points]

    def draw(figure: Any) -> None:
        from matplotlib.ticker import NullFormatter

        ax = figure.add_subplot()
        handles = []
        for standing, time in points:
            policy, score = standing.policy, standing.score
            colour = names.colour(policy)
            micro = 1e6 * np.array([time.low, time.median, time.high])
            ax.plot(
                micro[[0, 2]],
                [max(score.estimate, LOWEST)] * 2,
                color=colour,
                linewidth=1,
                alpha=0.7,
            )
            if math.isfinite(score.low):
                ends = [score.low, score.high]
                ax.plot([micro[1]] * 2, ends, color=colour, linewidth=1, alpha=0.7)
            height = max(score.estimate, LOWEST)
            filled = comparison.division(policy) == "closed"
            handles += ax.plot(
                micro[1],
                height,
                clip_on=False,
                linestyle="none",
                marker=names.marker(policy),
                markersize=7,
                color=colour,
                markerfacecolor=colour if filled else "white",
            )
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(plain_number)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("decision time per slot of one market, µs (log scale)")
        ax.set_ylabel(SCORE)
        ax.set_ylim(bottom=max(ax.get_ylim()[0], LOWEST))
        fits = columns(labels, figure.get_figwidth())
        figure.legend(handles, labels, loc="outside lower center", ncols=fits)

    return Picture(
        name="decision-time",
        label="Decision time against score of all ranked policies",
        caption="Read it like this: up is better, left is quicker. A point is the median over the "
        "scenarios of the median slot, act and update together, of the cells that were played one "
        "market at a time; the line through it reaches from the quickest to the slowest scenario, "
        "the upright one is the interval of the score. Filled marks: closed division; open marks: "
        "open division. Times hang on the machine and differ from run to run." + _below(comparison),
        files=drawn((7.2, 3.6 + legend_inches(labels, 7.2)), draw),
        width="middle",
    )


def _below(comparison: Comparison) -> str:
    """Say which scores an axis does not show."""
    members = [standing for board in comparison.standings.values() for standing in board]
    if all(standing.score.estimate >= LOWEST for standing in members):
        return ""
    return f" A score below {LOWEST} stands at the edge."
