"""The report as an HTML page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from distmllm_bench.page import inline_svg, page
from distmllm_bench.report import tables, words
from distmllm_bench.report.comparison import Comparison
from distmllm_bench.report.drawing import Picture
from distmllm_bench.report.markets import MarketView
from distmllm_bench.report.names import Names, printable
from distmllm_bench.report.origins import facts
from distmllm_bench.report.tables import Table
from distmllm_bench.report.undone import counts


def document(
    comparison: Comparison,
    names: Names,
    views: Sequence[MarketView],
    overall: Mapping[str, Picture],
    pictures: Mapping[str, Sequence[Picture]],
) -> str:
    """Return the page.

    Args:
        comparison: The sweep.
        names: Who is who.
        views: Its scenarios.
        overall: Figures over all scenarios, by name.
        pictures: Figures of each scenario, by its id.
    """
    sections = [
        _leaderboard(comparison, names, overall),
        _pairs(comparison, names, overall),
        _shown("Performance profile", "profile", overall),
        _shown("Decision time and score", "decision-time", overall),
    ]
    sections += [
        f"<section><h2>Scenario by scenario</h2>{_p(words.measures(comparison))}</section>",
    ]
    sections += [
        _market(view, names, i, pictures[view.market]) for i, view in enumerate(views, start=1)
    ]
    body = [
        _p(printable(comparison.results.plan.description)),
        _p(words.compared(comparison)),
        _contents(views),
        _warning(comparison, names),
        *sections,
    ]
    return page(
        words.title(comparison),
        f"<main>{''.join(body)}</main>",
        facts(comparison.results),
        wide=True,
    )


def _contents(views: Sequence[MarketView]) -> str:
    entries = ['<li><a href="#leaderboard">Leaderboard</a></li>']
    entries += [
        f'<li><a href="#scenario-{i}">{html.escape(printable(view.market))}</a></li>'
        for i, view in enumerate(views, start=1)
    ]
    return f"<nav><ul>{''.join(entries)}</ul></nav>"


def _warning(comparison: Comparison, names: Names) -> str:
    table = tables.failures(comparison, names)
    if not table.rows:
        return ""
    return (
        '<section class="warning" id="undone"><h2>Cells are undone</h2>'
        f"{_p(words.incomplete(counts(comparison.results)))}"
        f"{_table(table, 'Cells that are undone')}</section>"
    )


def _leaderboard(comparison: Comparison, names: Names, overall: Mapping[str, Picture]) -> str:
    parts = ['<section id="leaderboard"><h2>Leaderboard</h2>']
    parts += [_p(text) for text in (*words.scale(comparison), *words.left_out(comparison))]
    if not comparison.standings:
        parts.append(_p(words.no_ranking(comparison)))
    for division in comparison.standings:
        parts.append(
            f"<h3>{division.capitalize()} division</h3>{_p(words.division(comparison, division))}"
        )
        board = tables.leaderboard(comparison, names, division)
        parts.append(_table(board, f"Leaderboard of the {division} division"))
    if comparison.unranked:
        parts.append("<h3>Not ranked</h3>")
        parts.append(_table(tables.unranked(comparison, names), "Policies without a rank"))
    ends = tables.references(comparison, names)
    if ends.rows:
        parts.append(f"<h3>The ends of the scale</h3>{_table(ends, 'The references')}")
    return "".join([*parts, _figure(overall.get("leaderboard")), "</section>"])


def _pairs(comparison: Comparison, names: Names, overall: Mapping[str, Picture]) -> str:
    boards = [board for board in comparison.standings.values() if len(board) > 1]
    if not boards and "improvement" not in overall:
        return ""
    parts = ["<section><h2>Policies in pairs</h2>", _figure(overall.get("improvement"))]
    parts += [_p(words.paired(comparison))] if boards else []
    for board in boards:
        division = comparison.division(board[0].policy)
        parts.append(f"<h3>{division.capitalize()} division</h3>")
        parts.append(_table(tables.differences(names, board), f"Differences, {division} division"))
    return "".join([*parts, "</section>"])


def _shown(head: str, name: str, overall: Mapping[str, Picture]) -> str:
    if name not in overall:
        return ""
    return f"<section><h2>{head}</h2>{_figure(overall[name])}</section>"


def _market(view: MarketView, names: Names, number: int, pictures: Sequence[Picture]) -> str:
    name = html.escape(printable(view.market))
    parts = [
        f'<section id="scenario-{number}"><h2>{name}</h2>',
        _p(f"{printable(view.scenario.description)} {words.market(view)}"),
    ]
    missing = words.not_shown(view, names)
    parts += [f'<p class="note"><strong>{html.escape(missing)}</strong></p>'] if missing else []
    parts.append(_table(tables.market(view, names), f"Results on {printable(view.market)}"))
    parts += [_figure(picture) for picture in pictures if picture.width != "half"]
    halves = "".join(_figure(picture) for picture in pictures if picture.width == "half")
    parts += [f'<div class="two">{halves}</div>'] if halves else []
    return "".join([*parts, "</section>"])


def _p(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _table(table: Table, label: str) -> str:
    def kind(head: str) -> str:
        if head not in table.texts:
            return ""
        return ' class="text long"' if head in table.long else ' class="text"'

    heads = "".join(f'<th scope="col"{kind(head)}>{html.escape(head)}</th>' for head in table.heads)
    rows = []
    for first, *rest in table.rows:
        cells = []
        for head, cell in zip(table.heads[1:], rest, strict=True):
            less = f" <span>{html.escape(cell.less)}</span>" if cell.less else ""
            cells.append(f"<td{kind(head)}>{html.escape(cell.main)}{less}</td>")
        rows.append(f'<tr><th scope="row">{html.escape(first.main)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure(picture: Picture | None) -> str:
    if picture is None:
        return ""
    svg = inline_svg(picture.files["svg"], picture.name, picture.label)
    return (
        f'<figure class="{picture.width}"><div class="scroll">{svg}</div>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )
