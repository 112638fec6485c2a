"""One HTML page that needs nothing else: data, style and script lie in it, nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files

from distmllm_env.equations import Array
from distmllm_env.runs import Run
from distmllm_env.viewer.data import page_data

_SCRIPTS = ("svg.js", "market.js", "timeline.js", "readout.js", "view.js")  # each uses those before


def run_page(
    runs: Sequence[Run],
    labels: Sequence[str],
    best_per_slot: Array,
    *,
    row: int = 0,
    slots: tuple[int, int] | None = None,
) -> str:
    """Turn a recorded run, or two of the same market, into a page to step through.

    Equal arguments give equal pages. The page allows itself no network and no code but its own, by
    a content security policy with the hashes of its blocks.

    Args:
        runs: One run, or two of the same scenario and seeds, to be shown side by side.
        labels: What to call each, e.g. the names of the policies. Shown as text, whatever it is.
        best_per_slot: V*, mean profit of the optimum of each row's world, (B,), money per slot.
        row: Which run of the records, from 0.
        slots: First and last slot to show, counted from 1; None: all. Averages and regret still
            count from slot 1.

    Returns:
        The HTML document.

    Raises:
        ValueError: Not one or two runs, runs that are not of the same market, a row or slots that
            the record does not have, or more tasks than a page can carry.
    """
    data = page_data(runs, labels, best_per_slot, row, slots)
    # Inside a script element only "<" can end the element or open a comment.
    embedded = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    style = _part("view.css")
    script = "\n".join(_part(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(f"{' and '.join(labels)} on {data['scenario']}"),
        "style": style,
        "data": embedded,
        "script": script,
    }
    # In one pass, so that no text in one part is taken for the place of another.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part("page.html"))


def _part(name: str) -> str:
    return (files("distmllm_env.viewer") / name).read_text(encoding="utf-8")


def _hash(block: str) -> str:
    """Name an inline block as a content security policy does."""
    digest = hashlib.sha256(block.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
