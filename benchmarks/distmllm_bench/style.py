"""One look for all plots: a policy has the same colour and dash everywhere."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

# Okabe and Ito's palette, safe for colour-blind eyes. Dashes differ too, so that print and
# screenshots in grey stay readable.
STYLES: dict[str, dict[str, Any]] = {
    "oracle": {"color": "#000000", "linestyle": (0, (1, 1))},
    "distmllm": {"color": "#0072B2", "linestyle": "-"},
    "distmllm-fixed": {"color": "#56B4E9", "linestyle": (0, (7, 2))},
    "monolithic": {"color": "#CC79A7", "linestyle": (0, (3, 1, 1, 1))},
    "heu": {"color": "#009E73", "linestyle": (0, (5, 1))},
    "ucb": {"color": "#D55E00", "linestyle": "-."},
    "ucb-sigma": {"color": "#E69F00", "linestyle": (0, (4, 1, 1, 1, 1, 1))},
    "random": {"color": "#999999", "linestyle": (0, (1, 3))},
    "greedy": {"color": "#332288", "linestyle": (0, (2, 1))},
    "ppo": {"color": "#882255", "linestyle": (0, (8, 1, 2, 1))},
}

# For policies from elsewhere: Tol's muted colours that are not in use above. Five colours and four
# dashes run side by side, so that neighbours differ in both and twenty policies are all different.
FURTHER_COLOURS = ("#AA4499", "#117733", "#CC6677", "#999933", "#661100")
FURTHER_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1)), (0, (6, 1, 1, 1)))

TITLES = {
    "oracle": "oracle",
    "distmllm": "DistMLLM",
    "distmllm-fixed": "DistMLLM-fixed",
    "monolithic": "monolithic",
    "heu": "HEU",
    "ucb": "UCB (range)",
    "ucb-sigma": "UCB (sigma)",
    "random": "random",
    "greedy": "greedy, exact",
    "ppo": "PPO (trained)",
}

RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "distmllm",
}


def style(policy: str) -> dict[str, Any]:
    """Return the line style of a policy; one without a style of its own gets a solid grey."""
    return STYLES.get(policy, {"color": "#666666", "linestyle": "-"})


def looks(policies: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return a line style for each policy, so that those without one of their own differ, too.

    The same policies in the same order get the same looks.
    """
    found: dict[str, dict[str, Any]] = {}
    further = 0
    for policy in policies:
        if policy not in found:
            found[policy] = style(policy)
            if policy not in STYLES:
                colour = FURTHER_COLOURS[further % len(FURTHER_COLOURS)]
                dash = FURTHER_DASHES[further % len(FURTHER_DASHES)]
                found[policy] = {"color": colour, "linestyle": dash}
                further += 1
    return found


def title(policy: str) -> str:
    """Return the name of a policy in plots and tables."""
    return TITLES.get(policy, policy)


def rendered(figure: Any, dpi: int) -> dict[str, bytes]:
    """Render a matplotlib figure without dates or versions in it, so that equal figures are equal.

    Args:
        figure: The figure; call this inside the ``rc_context`` that it was drawn in. It is laid out
            once, at this resolution, and has no layout engine afterwards.
        dpi: Resolution of the PNG.

    Returns:
        ``png`` and ``svg`` -> file content.
    """
    layout = figure.get_layout_engine()
    if layout is not None:  # left to savefig, it costs a drawing more for every file
        figure.set_dpi(dpi)
        layout.execute(figure)
        figure.set_layout_engine(None)
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files
