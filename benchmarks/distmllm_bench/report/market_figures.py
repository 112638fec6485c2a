"""Figures of one scenario of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from distmllm_bench.metrics import FATES
from distmllm_bench.report.drawing import (
    Picture,
    draw_bands,
    drawn,
    finite,
    legend_below,
    legend_inches,
    plain_number,
    policy_axis,
)
from distmllm_bench.report.markets import Band, MarketView
from distmllm_bench.report.names import Names

ROUNDING = 1e-6
"""A regret that is no more than this share of the largest one may be rounding of nothing."""

FATE_LOOKS = {
    "served": ("served elsewhere", "#56B4E9", ""),
    "rejected": ("rejected", "#D55E00", "////"),
    "idle": ("idle", "#B8B8B8", "...."),
}
"""Label, colour and hatch of each part of the regret."""


def market_figures(view: MarketView, names: Names) -> list[Picture]:
    """Draw a scenario; nothing where no policy has all its runs."""
    if not view.policies:
        return []
    losers = [policy for policy in view.best_first if policy != "oracle"]
    pictures = [_learning(view, names), _over_time(view, names)]
    if losers:
        pictures += [_regret_split(view, names, losers), _final_regret(view, names, losers)]
    return pictures


def _legend(view: MarketView, names: Names) -> float:
    return legend_inches([names.label(policy) for policy in view.policies], 9.6)


def _interval_words(view: MarketView) -> str:
    if view.runs < 2:
        return "One run: no interval."
    return "Bands are 95 % intervals of the mean over the runs, by Student's t."


def _learning(view: MarketView, names: Names) -> Picture:
    """Time-averaged profit and cumulative regret."""

    def draw(figure: Any) -> None:
        from matplotlib.ticker import PercentFormatter

        left, right = figure.subplots(1, 2)
        shares = {policy: view.share_curve(policy) for policy in view.policies}
        draw_bands(left, shares, names)
        left.set_ylabel("average profit up to t, share of the optimum")
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        left.set_ylim(*_late_limits(shares.values(), [1.0]))
        regrets = {p: view.curve("regret", p) for p in view.policies if p != "oracle"}
        draw_bands(right, regrets, names)
        right.set_ylabel("cumulative pseudo-regret R(t)")
        right.yaxis.set_major_formatter(plain_number)
        if all(finite(band.mean).min(initial=0.0) >= 0 for band in regrets.values()):
            right.set_ylim(bottom=0)
        legend_below(figure, view.policies, names)

    return Picture(
        name=f"{names.file(view.market)}-learning",
        label=f"Average profit as a share of the optimum, and cumulative regret, on "
        f"{names.market(view.market)}; the table above has the final values",
        caption="Read it like this: on the left, profit per slot from the first slot up to t, each "
        "world as a share of its own optimum; higher is better, and the noise of the first slots "
        "may leave the frame. On the right, what has been lost against the optimum so far; lower "
        "is better, and a curve that flattens belongs to a policy that has learned. "
        + _interval_words(view),
        files=drawn((9.6, 3.6 + _legend(view, names)), draw),
    )


def _over_time(view: MarketView, names: Names) -> Picture:
    """Fairness, rejections and switches, slot by slot."""
    several = view.window > 1
    recent = f", last {view.window} slots" if several else ""
    averaged = f"The last two are moving averages over {view.window} slots. " if several else ""

    def draw(figure: Any) -> None:
        from matplotlib.ticker import PercentFormatter

        panels = figure.subplots(1, 3)
        curves = (
            {policy: view.curve("jain", policy) for policy in view.policies},
            {policy: view.rejections(policy) for policy in view.policies},
            {policy: view.switches(policy) for policy in view.policies},
        )
        heads = (
            "Jain's index of profits up to t",
            f"tasks rejected{recent}",
            f"tasks moved{recent}",
        )
        for ax, bands, head in zip(panels, curves, heads, strict=True):
            draw_bands(ax, bands, names, (0.0, 1.0))
            ax.set_title(head, fontsize=9)
        low, high = _late_limits(curves[0].values())
        panels[0].set_ylim(max(low, -0.02), min(high, 1.02))
        for ax in panels[1:]:
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
            top = max(ax.get_ylim()[1], 0.02)
            ax.set_ylim(-0.03 * top, top)
        legend_below(figure, view.policies, names)

    return Picture(
        name=f"{names.file(view.market)}-over-time",
        label=f"Fairness, rejected tasks and moved tasks over time on {names.market(view.market)}",
        caption="Read it like this: Jain's index is 1 where all providers have earned the same, "
        "and 1/M where one has it all. Rejected are placed tasks that no worker took, as a share "
        "of all tasks; lower is better. Moved are tasks placed elsewhere than in the slot before: "
        "how restless a policy is, not how good. Bands end where the measure does. "
        + averaged
        + _interval_words(view),
        files=drawn((9.6, 3.0 + _legend(view, names)), draw),
    )


def _regret_split(view: MarketView, names: Names, policies: list[str]) -> Picture:
    """Mean regret in its three parts, which may be negative."""

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        means = {
            fate: np.array([view.values(f"regret_{fate}", p).mean() for p in policies])
            for fate in FATES
        }
        totals = np.array([view.values("regret", policy).mean() for policy in policies])
        rows = np.arange(len(policies))
        above, below = np.zeros(len(policies)), np.zeros(len(policies))
        for fate, part in means.items():
            label, colour, hatch = FATE_LOOKS[fate]
            starts = np.where(part >= 0, above, below)
            ax.barh(
                rows,
                part,
                left=starts,
                height=0.66,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
                label=label,
            )
            above += np.maximum(part, 0)
            below += np.minimum(part, 0)
        ax.plot(totals, rows, "D", color="black", markersize=4, label="regret R(T)")
        width = max(float(above.max() - below.min()), 1e-9)
        for row, total, end in zip(rows, totals, above, strict=True):
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(plain_regret(total), (end, row), fontsize=8, **place)
        ax.axvline(0, color="#1b1f24", linewidth=0.8)
        ax.set_xlim(
            below.min() - (0.03 * width if below.min() < 0 else 0), above.max() + 0.16 * width
        )
        policy_axis(ax, policies, names)
        ax.xaxis.set_major_formatter(plain_number)
        ax.xaxis.get_major_locator().set_params(nbins=6)
        ax.set_xlabel("pseudo-regret R(T), mean over the runs")
        figure.legend(loc="outside lower center", ncols=4, columnspacing=1.2, handlelength=1.6)

    return Picture(
        name=f"{names.file(view.market)}-regret-split",
        label=f"Regret on {names.market(view.market)} split by what became of the tasks",
        caption="Read it like this: how much of the regret fell on tasks that were served, but on "
        "another worker than in the optimum, on tasks that were rejected, and on tasks that were "
        "placed nowhere or where they can never run. A part may be negative, left of 0: a task can "
        "take the place of one that the optimum serves there. The diamond and the number are the "
        "sum.",
        files=drawn((4.9, 1.35 + 0.3 * len(policies)), draw),
        width="half",
    )


def _final_regret(view: MarketView, names: Names, policies: list[str]) -> Picture:
    """Regret of every run."""
    values = [view.values("regret", policy) for policy in policies]
    medians = [float(np.median(sample)) for sample in values]
    least = min(float(sample.min()) for sample in values)
    log = least > ROUNDING * max(medians) and max(medians) > 10 * min(medians)

    def draw(figure: Any) -> None:
        ax = figure.add_subplot()
        for row, (policy, sample) in enumerate(zip(policies, values, strict=True)):
            colour = names.colour(policy)
            # Neighbours in value lie on different heights; no luck in it, and one alone is level.
            heights = row + 0.3 * ((np.arange(len(sample)) * 0.618034 + 0.5) % 1.0 - 0.5)
            ax.plot(
                np.sort(sample),
                heights,
                "o",
                color=colour,
                markersize=3.4,
                alpha=0.55,
                markeredgewidth=0,
            )
            if len(sample) > 1:
                low, middle, high = np.quantile(sample, [0.25, 0.5, 0.75])
                ax.add_patch(_box(low, high, row))
                ax.plot([middle] * 2, [row - 0.32, row + 0.32], color="black", linewidth=1.6)
        if log:
            from matplotlib.ticker import LogLocator, NullFormatter

            decades = np.log10(max(s.max() for s in values) / min(s.min() for s in values))
            steps = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.3 else (1.0, 2.0, 5.0)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
            ax.xaxis.set_minor_formatter(NullFormatter())
        else:
            ax.xaxis.get_major_locator().set_params(nbins=6)
        ax.xaxis.set_major_formatter(plain_number)
        policy_axis(ax, policies, names)
        ax.set_xlabel("pseudo-regret R(T) of each run" + (" (log scale)" if log else ""))

    box = " The box holds the middle half of the runs, the stroke is the median." * (view.runs > 1)
    return Picture(
        name=f"{names.file(view.market)}-final-regret",
        label=f"Regret of every run on {names.market(view.market)}",
        caption=f"Read it like this: every dot is one run, further left is better.{box}",
        files=drawn((4.9, 1.35 + 0.3 * len(policies)), draw),
        width="half",
    )


def _box(low: float, high: float, row: float) -> Any:
    from matplotlib.patches import Rectangle

    size = (high - low, 0.64)
    return Rectangle((low, row - 0.32), *size, fill=False, edgecolor="#3c444d", linewidth=0.9)


def _late_limits(bands: Iterable[Band], held: Iterable[float] = ()) -> tuple[float, float]:
    """Return limits that hold some values and all bands from their tenth part on.

    What comes before is the noise of a few slots.
    """
    ends = [band.mean + sign * band.half for band in bands for sign in (-1, 1)]
    late = finite(np.concatenate([end[len(end) // 10 :] for end in ends] + [list(held)]))
    if not len(late):
        return 0.0, 1.0
    low, high = float(late.min()), float(late.max())
    room = max(0.05 * (high - low), 0.003)
    return low - room, high + room


def plain_regret(value: float) -> str:
    """Return a regret as text: whole from 10 on, else with one decimal."""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:z.1f}"
