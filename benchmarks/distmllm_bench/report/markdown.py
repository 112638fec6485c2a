"""The report as a text with tables, for who reads it without a browser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from distmllm_bench.report import tables, words
from distmllm_bench.report.comparison import Comparison
from distmllm_bench.report.drawing import Picture
from distmllm_bench.report.markets import MarketView
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.origins import facts
from distmllm_bench.report.tables import Cell, Table
from distmllm_bench.report.undone import counts


def summary(
    comparison: Comparison,
    names: Names,
    views: Sequence[MarketView],
    overall: Mapping[str, Picture],
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """Return the summary as Markdown; arguments as of :func:`.document.document`."""
    parts = [
        f"# {_plain(words.title(comparison))}",
        _plain(printable(comparison.results.plan.description)),
        _plain(words.compared(comparison)),
    ]
    table = tables.failures(comparison, names)
    if table.rows:
        parts += [
            "## Cells are undone",
            _plain(words.incomplete(counts(comparison.results))),
            _table(table),
        ]
    parts.append("## Leaderboard")
    parts += [_plain(text) for text in (*words.scale(comparison), *words.left_out(comparison))]
    parts += [] if comparison.standings else [_plain(words.no_ranking(comparison))]
    for division in comparison.standings:
        parts += [
            f"### {division.capitalize()} division",
            _plain(words.division(comparison, division)),
            _table(tables.leaderboard(comparison, names, division)),
        ]
    if comparison.unranked:
        parts += ["### Not ranked", _table(tables.unranked(comparison, names))]
    ends = tables.references(comparison, names)
    parts += ["### The ends of the scale", _table(ends)] if ends.rows else []
    parts += [_picture(overall[name]) for name in ("leaderboard",) if name in overall]
    boards = [board for board in comparison.standings.values() if len(board) > 1]
    if boards:
        parts += ["## Policies in pairs", _plain(words.paired(comparison))]
        parts += [_table(tables.differences(names, board)) for board in boards]
    rest = [picture for name, picture in overall.items() if name != "leaderboard"]
    parts += [_picture(picture) for picture in rest]
    parts += ["## Scenario by scenario", _plain(words.measures(comparison))]
    for view in views:
        text = f"{printable(view.scenario.description)} {words.market(view)}"
        parts += [f"## {_plain(printable(view.market))}", _plain(text)]
        missing = words.not_shown(view, names)
        parts += [f"**{_plain(missing)}**"] if missing else []
        parts.append(_table(tables.market(view, names)))
        parts += [_picture(picture) for picture in pictures[view.market]]
    parts.append("## How these numbers were made")
    told = facts(comparison.results)
    parts.append("\n".join(f"- {name}: {_plain('; '.join(v))}" for name, v in told.items()))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    right = [head not in table.texts for head in table.heads]
    right[0] = False
    lines = [
        [_plain(head) for head in table.heads],
        ["---:" if to_the_right else "---" for to_the_right in right],
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    return _plain(f"{cell.main} {cell.less}".strip())


def _picture(picture: Picture) -> str:
    return f"![{_plain(picture.label)}](figures/{picture.name}.svg)"


def _plain(text: str) -> str:
    """Return text in which nothing is markup."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", safe)
