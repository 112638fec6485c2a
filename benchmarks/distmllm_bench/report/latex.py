r"""The leaderboard as LaTeX, for papers: one ``tabular`` for each division (package booktabs)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from distmllm_bench.report import tables
from distmllm_bench.report.comparison import Comparison
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.tables import Cell

COLUMNS = 7
"""Columns of the page's table that are kept: up to the comparison with the best."""

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "|": r"\textbar{}",
        "–": "--", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)  # fmt: skip


def leaderboard_tex(comparison: Comparison, names: Names) -> str:
    """Return the leaderboard as LaTeX; a comment says what it was made by."""
    plan = comparison.results.plan
    parts = [f"% {printable(plan.command or plan.suite)}: {len(comparison.results.seeds)} runs"]
    for division in comparison.standings:
        board = tables.leaderboard(comparison, names, division)
        heads = board.heads[:COLUMNS]
        sides = "".join(
            "l" if i == 0 or head in board.texts else "r" for i, head in enumerate(heads)
        )
        parts += [
            f"% {division} division",
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            rf"{' & '.join(map(escaped, heads))} \\",
            r"\midrule",
            *(_row(row[:COLUMNS]) for row in board.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return plain text as LaTeX."""
    return text.translate(_ESCAPES)


def _row(cells: Sequence[Cell]) -> str:
    name, *others = (escaped(f"{cell.main} {cell.less}".strip()) for cell in cells)
    signed = (re.sub(r"(?<!\w)-(?=\d)", "$-$", other) for other in others)
    return rf"{' & '.join([name, *signed])} \\"
