"""How the figures of the paper are drawn: bands over runs, one look for every policy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distmllm_bench import style
from distmllm_bench.reproduce.evidence import Finding
from distmllm_bench.statistics import t_quantile
from distmllm_env.equations import Array

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One figure or table of the paper, as this package gets it.

    Attributes:
        id: Number of the figure, ``4a``; ``table-1``.
        title: What it shows.
        rows: Its numbers, one dictionary per line of the CSV file, all with the same keys.
        draw: Draws it into one set of axes; None for a table.
        findings: What it says about the paper's claims.
        size: Width and height in inches.
    """

    id: str
    title: str
    rows: Sequence[Row]
    draw: Callable[[Any], None] | None
    findings: tuple[Finding, ...] = ()
    size: tuple[float, float] = (3.6, 2.6)

    def csv(self) -> str:
        """Return the rows as CSV; floats at six significant digits."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        return out.getvalue()

    def files(self) -> dict[str, bytes]:
        """Return ``csv`` and, for figures, ``png`` and ``svg`` -> file content."""
        files = {"csv": self.csv().encode()}
        if self.draw is None:
            return files
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with mpl.rc_context(style.RC):
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasAgg(figure)
            self.draw(figure.add_subplot())
            return files | style.rendered(figure, dpi=200)


def spread(sample: Array, band: str) -> tuple[Array, Array]:
    """Return mean and half width of the band over runs (axis 0).

    Args:
        sample: (B, ...).
        band: ``sd``, one standard deviation, as the paper draws it; ``ci``, the 95 % confidence
            interval of the mean.
    """
    sd = sample.std(axis=0, ddof=1) if len(sample) > 1 else np.zeros(sample.shape[1:])
    if band == "ci" and len(sample) > 1:
        sd = sd * t_quantile(len(sample) - 1, 0.95) / np.sqrt(len(sample))
    return sample.mean(axis=0), sd


def curve_rows(curves: Mapping[str, Array], band: str) -> list[Row]:
    """Return one line per slot: mean and band of every policy's (B, T) curve."""
    done = {name: spread(sample, band) for name, sample in curves.items()}
    slots = len(next(iter(done.values()))[0])
    rows: list[Row] = []
    for t in range(slots):
        row: dict[str, Any] = {"slot": t + 1}
        for name, (mean, half) in done.items():
            row |= {name: float(mean[t]), f"{name} {band}": float(half[t])}
        rows.append(row)
    return rows


def draw_curves(ax: Any, curves: Mapping[str, Array], band: str, ylabel: str) -> None:
    """Draw every policy's (B, T) curve over slots with its band."""
    for name, sample in curves.items():
        mean, half = spread(sample, band)
        slot = np.arange(1, len(mean) + 1)
        look = style.style(name)
        ax.fill_between(slot, mean - half, mean + half, color=look["color"], alpha=0.15, lw=0)
        ax.plot(slot, mean, label=style.title(name), **look)
    ax.set_xlabel("time slot")
    ax.set_ylabel(ylabel)
    ax.margins(x=0)
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def sweep_rows(key: str, at: Sequence[Any], samples: Mapping[str, Array], band: str) -> list[Row]:
    """Return one line per point of a sweep; samples are (B, points)."""
    done = {name: spread(sample, band) for name, sample in samples.items()}
    rows: list[Row] = []
    for i, x in enumerate(at):
        row: dict[str, Any] = {key: x}
        for name, (mean, half) in done.items():
            row |= {name: float(mean[i]), f"{name} {band}": float(half[i])}
        rows.append(row)
    return rows


MARKERS = {"distmllm": "o", "ucb": "s", "heu": "D", "monolithic": "^", "ucb-sigma": "v"}


def draw_sweep(
    ax: Any, at: Sequence[float], samples: Mapping[str, Array], band: str, labels: tuple[str, str]
) -> None:
    """Draw every policy's (B, points) sweep with its band."""
    for name, sample in samples.items():
        mean, half = spread(sample, band)
        look = style.style(name)
        ax.fill_between(at, mean - half, mean + half, color=look["color"], alpha=0.15, lw=0)
        ax.plot(at, mean, label=style.title(name), marker=MARKERS.get(name, "x"), ms=4, **look)
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
