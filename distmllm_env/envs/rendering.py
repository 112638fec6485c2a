"""Two views of a :class:`~.envs.frame.Frame`: plain text and a picture. Pure functions.

Both show the last slot played or, once its first task is decided, the slot being filled. A task
refused before it reached a worker is marked at its provider. Importing this loads no matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distmllm_env.envs.frame import Frame
from distmllm_env.equations import Array
from distmllm_env.layout import TOLERANCE
from distmllm_env.scenario import ENC, LLM
from distmllm_env.slot import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WAITING, _PLACED = 4, 5  # states of a task besides those of Status
_WORDS = ("deferred", "served", "rejected", "infeasible", "waiting", "placed")
_COLOURS = "#0072B2", "#D55E00"  # Okabe-Ito blue and vermillion: safe for colour-blind readers
_LINES: Any = {"color": _COLOURS[ENC]}, {"color": _COLOURS[LLM], "ls": (0, (5, 1.6))}
_FILLS: Any = {"fc": _COLOURS[ENC]}, {"fc": _COLOURS[LLM], "hatch": "/////"}
_INK, _GREY, _PALE = "#222222", "#757575", "#EEEEEE"
_MARKS: dict[int, tuple[dict[str, Any], ...]] = {
    Status.REJECTED: ({"marker": "x", "ms": 5.0, "mew": 1.6},),
    Status.INFEASIBLE: ({"marker": "s", "ms": 6.5}, {"marker": "x", "ms": 3.6, "color": "white"}),
    Status.DEFERRED: ({"marker": "o", "ms": 5.0, "mfc": "white"},),
    _WAITING: ({"marker": "o", "ms": 2.5, "color": _GREY},),
}
_STYLE: dict[Any, Any] = {
    "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": _PALE, "axes.axisbelow": True, "hatch.linewidth": 0.7, "legend.frameon": False,
    "legend.borderpad": 0, "legend.borderaxespad": 0,
}  # fmt: skip


class _Scene(NamedTuple):
    """What is on show."""

    heading: str
    choice: Array
    state: Array
    load: Array


def ansi(frame: Frame) -> str:
    """Return a plain-text view, without colour codes.

    Args:
        frame: What to show.

    Returns:
        A header, a row per provider and a row per worker; lines of at most 100 columns.
    """
    scene = _scene(frame)
    header = scene.heading
    if frame.slot:
        header += f"  mean profit {frame.history.mean():.3f}, last {frame.history[-1]:.3f}"
    lines = [header, f"{'provider':8}  {'demand':>6}  {'enc':15}  {'llm':15}  {'profit':>8}"]
    for m, demand in enumerate(frame.demand):
        enc, llm = (
            f"W{worker} {_WORDS[state]}" if 0 <= worker < len(frame.capacity) else _WORDS[state]
            for worker, state in zip(scene.choice[m], scene.state[m], strict=True)
        )
        lines.append(f"P{m:<7}  {demand:6.3g}  {enc:15}  {llm:15}  {_profit(frame, m, 3):>8}")
    lines.append(f"{'worker':8}  {'load':>6} / capacity")
    for n, (load, capacity) in enumerate(zip(scene.load, frame.capacity, strict=True)):
        bar = "#" * round(20 * min(load / max(capacity, TOLERANCE), 1.0))
        lines.append(f"W{n:<7}  {load:6.3g} / {capacity:<8.3g}  [{bar:-<20}]")
    return "\n".join(line.rstrip() for line in lines)


def rgb_array(frame: Frame, width: int = 960, height: int = 540) -> Array:
    """Draw who serves whom, load against capacity, and the profit so far.

    Args:
        frame: What to show.
        width: Pixels.
        height: Pixels. Text grows with the picture; it is laid out for 960 x 540.

    Returns:
        The picture, uint8 (height, width, 3). Equal frames give equal bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dpi = max(10.0, 100 * min(width / 960, height / 540))  # Agg crashes on hatches of 0 pixels
    scene = _scene(frame)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's style must not change a recorded video
        matplotlib.rcParams.update(_STYLE)
        # The canvas rounds down; half a pixel more keeps 959.999 from becoming 959.
        figure = Figure(((width + 0.5) / dpi, (height + 0.5) / dpi), dpi, facecolor="white")
        canvas: Any = FigureCanvasAgg(figure)
        figure.text(0.017, 0.945, scene.heading, size=13, weight="bold", va="center")
        _draw_market(figure.add_axes((0.017, 0.02, 0.64, 0.88)), frame, scene)
        _draw_legend(figure)
        _draw_profit(figure.add_axes((0.745, 0.1, 0.238, 0.5)), frame)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _scene(frame: Frame) -> _Scene:
    waiting = np.full(frame.status.shape, -1) if frame.waiting is None else frame.waiting
    decided = np.count_nonzero(waiting >= 0)
    turn = f", next: {decided}/{waiting.size} tasks" if decided else ""
    slot = f"slot {frame.slot}/{frame.slots}{turn}"
    room = 60 - len(slot)
    title = frame.title if len(frame.title) <= room else frame.title[: room - 3] + "..."
    heading = f"{title}, {slot}"
    if frame.slot and not decided:
        return _Scene(heading, frame.allocation, frame.status.astype(int), frame.load)
    state = np.where(waiting < 0, _WAITING, _PLACED)
    state[waiting == len(frame.capacity)] = Status.DEFERRED
    m, s = np.nonzero(state == _PLACED)
    load = np.bincount(waiting[m, s], frame.demand[m], minlength=len(frame.capacity))
    return _Scene(heading, waiting, state, load)


def _profit(frame: Frame, m: int, digits: int) -> str:
    # Adding 0 turns -0.0, which would print as -0.00, into 0.0.
    return f"{round(float(frame.profit[m].sum()), digits) + 0:+.{digits}f}" if frame.slot else "-"


class _Column:
    """Boxes below each other, and text small and sparse enough to stand beside them."""

    def __init__(self, axes: Axes, count: int) -> None:
        self.axes, self.gap = axes, min(452 / count, 150)
        self.y = 249 + self.gap * (np.arange(count) - (count - 1) / 2)
        self.size = min(9.0, max(5.0, 0.5 * self.gap))
        self.every = -(-count // 45)

    def head(self, x: float, text: str, side: Any) -> None:
        self.axes.text(x, self.y[0] - self.gap / 2 - 11, text, size=8, color=_GREY, ha=side)

    def label(self, i: int, x: float, text: str, side: Any = "left", bold: bool = False) -> None:
        if i % self.every == 0:
            label = self.axes.text(x, self.y[i], text, size=self.size, ha=side)
            label.set(va="center_baseline", weight="bold" if bold else "normal")

    def box(self, i: int, x: float, wide: float, high: float, **style: Any) -> None:
        from matplotlib.patches import Rectangle

        high = min(high, 0.78 * self.gap)
        self.axes.add_patch(Rectangle((x, self.y[i] - high / 2), wide, high, **style))


def _draw_market(axes: Axes, frame: Frame, scene: _Scene) -> None:
    """Draw providers on the left, workers and their loads on the right, a line per task."""
    axes.set(xlim=(0, 615), ylim=(475, 0))  # pixels of a 960 x 540 picture
    axes.axis("off")
    providers, workers = _Column(axes, len(frame.demand)), _Column(axes, len(frame.capacity))
    providers.head(46, "demand", "right")
    providers.head(98, "profit", "right")
    providers.head(131, "provider", "center")
    workers.head(415, "worker", "center")
    workers.head(440, "load / capacity", "left")
    port = providers.y[:, None] + min(0.2 * providers.gap, 8) * np.array([-1, 1])
    for m, demand in enumerate(frame.demand):
        providers.box(m, 114, 34, 30, fc=_PALE, ec=_INK, lw=0.8)
        providers.label(m, 131, f"P{m}", "center", bold=True)
        providers.label(m, 46, f"{demand:.3g}", "right")
        providers.label(m, 98, _profit(frame, m, 2), "right")
    sent = (scene.choice >= 0) & (scene.choice < len(frame.capacity))
    for (m, s), state in np.ndenumerate(scene.state):
        for style in ({"marker": "o", "ms": 3.5},) if sent[m, s] else _MARKS[state]:
            axes.plot(157, port[m, s], **{"color": _COLOURS[s], "zorder": 4, **style})
    scale = 112 / max(frame.capacity.max(), scene.load.max(), TOLERANCE)
    for n in range(len(frame.capacity)):
        tasks = np.argwhere(scene.choice == n)  # by provider, so that lines cross little
        step = min(0.78 * workers.gap / max(len(tasks), 1), 9)
        for rank, (m, s) in enumerate(tasks):
            end = workers.y[n] + step * (rank - (len(tasks) - 1) / 2)
            _draw_line(axes, port[m, s], end, s, scene.state[m, s], rank)
        workers.box(n, 398, 34, max(30, step * len(tasks)), fc=_PALE, ec=_INK, lw=0.8)
        workers.label(n, 415, f"W{n}", "center", bold=True)
        _draw_load(workers, frame, scene, n, scale)


def _draw_line(axes: Axes, start: float, end: float, s: int, state: int, rank: int) -> None:
    """Draw a task's way to its worker; it ends at a mark where the worker did not run it."""
    t = np.linspace(0, 1, 61)
    x, y = 161 + 236 * (1.5 * t * (1 - t) + t**3), start + (end - start) * t * t * (3 - 2 * t)
    if state not in _MARKS:
        axes.plot(x, y, lw=1.6, zorder=3, **_LINES[s])
        return
    stop = 58 - 3 * (rank % 2)  # neighbours' marks stand side by side
    axes.plot(x[:stop], y[:stop], color=_GREY, ls=":", lw=1.0, zorder=2)
    for style in _MARKS[state]:
        axes.plot(x[stop], y[stop], **{"color": _COLOURS[s], "zorder": 5, **style})


def _draw_load(workers: _Column, frame: Frame, scene: _Scene, n: int, scale: float) -> None:
    """Draw a worker's capacity as a box and its load as one segment per task, ENC first."""
    load, capacity, left = scene.load[n], frame.capacity[n], 440.0
    full = load >= capacity - TOLERANCE
    workers.box(n, left, capacity * scale, 22, fc=_PALE)
    held = (scene.choice == n) & np.isin(scene.state, (_PLACED, Status.ADMITTED))
    for s, m in np.argwhere(held.T):
        wide = frame.demand[m] * scale
        look = {**_FILLS[s], "alpha": 0.5 if scene.state[m, s] == _PLACED else 1.0}
        workers.box(n, left, wide, 22, ec="white", lw=0.7, **look)
        left += wide
    edge = {"ec": _INK, "lw": 2.2} if full else {"ec": _GREY, "lw": 0.8}
    workers.box(n, 440, capacity * scale, 22, fill=False, **edge)
    workers.label(n, 559, f"{load:.3g} / {capacity:.3g}", bold=full)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {
        "ENC task": Line2D([], [], lw=1.6, **_LINES[ENC]),
        "LLM task": Line2D([], [], lw=1.6, **_LINES[LLM]),
        "capacity": Patch(fc=_PALE, ec=_GREY, lw=0.8),
        "full worker": Patch(fc=_PALE, ec=_INK, lw=2.2),
    }
    for kind, marks in _MARKS.items():
        line = "none" if kind in (Status.DEFERRED, _WAITING) else ":"
        styles: list[dict[str, Any]] = [{"ls": line}, *({"ls": "none", **mark} for mark in marks)]
        handles[_WORDS[kind]] = tuple(Line2D([], [], **{"color": _GREY, **k}) for k in styles)
    figure.legend(
        list(handles.values()), list(handles), handler_map={tuple: HandlerTuple(ndivide=1)},
        ncols=2, loc="upper left", bbox_to_anchor=(0.69, 0.905), handlelength=2.6, labelspacing=0.8,
    )  # fmt: skip


def _draw_profit(axes: Axes, frame: Frame) -> None:
    """Draw total profit per slot and its running mean; the axis spans the whole horizon."""
    slots = np.arange(1, frame.slot + 1)
    means = frame.history.cumsum() / slots
    # The dot at the end makes the first slots of a long horizon visible.
    look: dict[str, Any] = {"marker": "o", "markevery": [-1], "ms": 4, "clip_on": False}
    lines = (("per slot", frame.history, "#8FC1E3", 1.0), ("mean", means, _INK, 1.8))
    for name, values, colour, wide in lines:
        label = f"{name} {values[-1]:.2f}" if frame.slot else name
        axes.plot(slots, values, color=colour, lw=wide, label=label, **look)
    axes.set(xlim=(0, frame.slots), xlabel="slot", ylabel="total profit")
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.tick_params("y", left=frame.slot > 0, labelleft=frame.slot > 0)
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1.02), handlelength=1.6)
