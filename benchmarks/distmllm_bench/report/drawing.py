"""What the figures of a report share: how they are made, bands, legends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distmllm_bench import style
from distmllm_bench.report.markets import Band
from distmllm_bench.report.names import Names

RC: Any = {
    **style.RC,
    "text.parse_math": False,  # a policy's name is no formula
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "lines.solid_capstyle": "butt",
}

DPI = 160


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        name: Of its files, without suffix.
        label: What it shows, for who cannot see it.
        caption: How to read it.
        files: ``png`` and ``svg`` -> content.
        width: ``wide``, ``middle`` or ``half`` of the page.
    """

    name: str
    label: str
    caption: str
    files: Mapping[str, bytes]
    width: str = "wide"


def drawn(size: tuple[float, float], draw: Callable[[Any], None]) -> dict[str, bytes]:
    """Make a figure.

    Args:
        size: Width and height in inches.
        draw: Draws into the figure that it is given.

    Returns:
        ``png`` and ``svg`` -> file content.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(RC), warnings.catch_warnings():
        # A name in a script that the font lacks: boxes in the PNG, the reader's font in the SVG.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        return style.rendered(figure, DPI)


def draw_bands(
    ax: Any,
    bands: Mapping[str, Band],
    names: Names,
    possible: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """Draw curves over slots with their bands; what is not finite leaves a gap.

    Bands end where the measure does: a normal interval of few runs may leave what is possible.
    """
    for policy, band in bands.items():
        look = names.look(policy)
        if band.half.any():
            low, high = np.clip([band.mean - band.half, band.mean + band.half], *possible)
            ax.fill_between(band.slots, low, high, color=look["color"], alpha=0.13, linewidth=0)
    for policy, band in bands.items():
        mark = {"marker": "o", "markersize": 4} if len(band.slots) < 3 else {}
        ax.plot(band.slots, band.mean, linewidth=1.5, **names.look(policy), **mark)
    if not any(len(band.slots) for band in bands.values()):
        ax.text(0.5, 0.5, "nothing in one slot", ha="center", transform=ax.transAxes)
    last = max((int(band.slots[-1]) for band in bands.values() if len(band.slots)), default=1)
    ax.set_xlim(0, last if last > 2 else last + 1)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("slot t")


def legend_below(figure: Any, policies: Sequence[str], names: Names) -> None:
    """Put one legend for all panels under them."""
    from matplotlib.lines import Line2D

    labels = [names.label(policy) for policy in policies]
    handles = [Line2D([], [], linewidth=1.6, **names.look(policy)) for policy in policies]
    if labels:
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns(labels, figure.get_figwidth()),
            handlelength=3.2,
            columnspacing=1.6,
        )


def legend_inches(labels: Sequence[str], width: float) -> float:
    """Return the height that a legend takes below a figure of a width."""
    return 0.19 * -(-len(labels) // columns(labels, width)) + 0.1 if labels else 0.0


def columns(labels: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit into a width in inches, evenly filled."""
    most = max(1, int(width / (0.075 * max(map(len, labels)) + 0.8)))
    rows = -(-len(labels) // most)
    return -(-len(labels) // rows)


def policy_axis(ax: Any, policies: Sequence[str], names: Names) -> None:
    """Make the vertical axis one of policies, the first on top."""
    ax.set_yticks(range(len(policies)), [names.label(policy) for policy in policies])
    ax.set_ylim(len(policies) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)


def plain_number(value: float, _: int = 0) -> str:
    """Return a number for an axis without powers of ten."""
    return f"{value:z,.0f}" if value == round(value) else f"{value:g}"


def text_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever can be read better on a colour (red, green, blue; to 1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def finite(values: Any) -> Any:
    """Return the finite ones."""
    array = np.asarray(values, float)
    return array[np.isfinite(array)]
