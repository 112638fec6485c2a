"""Agent-steps per second against the number of markets."""

from __future__ import annotations

from typing import Any

from distmllm_bench import style
from distmllm_bench.speed.environments import AGENTS, CARTPOLE, FORMS, KERNEL, SYNC, VECTOR
from distmllm_bench.speed.results import Measurements, find, si, spread

# Okabe and Ito's colours, a dash and a marker each, so that grey print is readable too.
_LOOKS: dict[str, dict[str, Any]] = {
    KERNEL: {"color": "#000000", "linestyle": (0, (1, 1)), "marker": "s"},
    VECTOR: {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    AGENTS: {"color": "#D55E00", "linestyle": "-.", "marker": "D"},
    CARTPOLE: {"color": "#E69F00", "linestyle": (0, (5, 1.5)), "marker": "^"},
    SYNC: {"color": "#009E73", "linestyle": (0, (3, 1, 1, 1)), "marker": "v"},
}

_LABELS = {
    KERNEL: "bare NumPy kernel",
    VECTOR: "make_vec: one dispatcher a market",
    AGENTS: "parallel_vector_env: one agent a provider",
    CARTPOLE: "CartPole-v1: Gymnasium's NumPy vector env",
    SYNC: "SyncVectorEnv of single markets",
}


def figure(measured: Measurements) -> dict[str, bytes]:
    """Draw agent-steps per second against the number of markets.

    Returns:
        ``png`` and ``svg`` -> file content.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    batches = measured.setting.batches
    with mpl.rc_context(style.RC):
        fig = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasAgg(fig)
        ax = fig.subplots()
        for form in FORMS:
            found = [t for b in batches if (t := find(measured, f"B={b}", form)) and t.batch == b]
            if not found:
                continue
            at = [timing.batch for timing in found]
            rates = [spread(timing.rate) for timing in found]
            look = {**_LOOKS[form], "label": _LABELS[form], "markersize": 5, "linewidth": 1.5}
            low, high = [r.low for r in rates], [r.high for r in rates]
            ax.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
            ax.plot(at, [r.median for r in rates], **look)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(list(batches), [str(b) for b in batches])
        ax.set_xlabel("environments side by side, B")
        ax.set_ylabel("agent-steps per second")
        ax.yaxis.set_major_formatter(lambda y, _: si(y))
        band = Patch(color="#666666", alpha=0.2, lw=0)
        handles, labels = ax.get_legend_handles_labels()
        fig.legend(
            [*handles, band],
            [*labels, "quartiles"],
            loc="outside upper center",
            ncols=2,
            handlelength=3.2,
            columnspacing=1.4,
            fontsize=8.5,
        )
        return style.rendered(fig, 200)
