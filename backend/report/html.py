"""A report as one HTML file that needs nothing else: styles, scripts and plotly.js stand in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from backend.report.document import Block, Bullets, Cell, Code, Figure, Marked, Report, Section, Table, Text

_FOLDER = Path(__file__).parent


def to_html(report: Report) -> str:
    """The whole file."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    contents = "".join(
        f'<li><a href="#{escape(section.anchor)}">{escape(section.title)}</a></li>' for section in report.sections
    )
    lead = "".join(f"<p>{escape(sentence)}</p>" for sentence in report.lead)
    drawn = _Figures()
    body = "".join(_section(section, drawn) for section in report.sections)
    library = f"<script>{get_plotlyjs()}</script>\n" if drawn.count else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{escape(report.title)}</h1>{lead}</header>\n<nav aria-label="Contents"><ol>{contents}</ol></nav>\n{body}'
        f"</main>\n{library}<script>\n{script}</script>\n</body>\n</html>\n"
    )


class _Figures:
    """Numbers the figures of a page."""

    count = 0

    def next(self) -> str:
        self.count += 1
        return f"figure-{self.count}"


def _section(section: Section, drawn: _Figures) -> str:
    blocks = "\n".join(part for block in section.blocks for part in _block(block, drawn))
    return f'<section id="{escape(section.anchor)}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>\n'


def _block(block: Block, drawn: _Figures) -> Iterator[str]:
    match block:
        case Text():
            strong = " class='strong'" if block.strong else ""
            yield f"<p{strong}>{escape(block.text)}</p>"
        case Bullets():
            yield f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>"
        case Table():
            yield _table(block)
        case Figure():
            yield _figure(block, drawn)
        case Code():
            yield _code(block)


def _table(table: Table) -> str:
    head = "".join(
        f"<th scope='col'{_of_number(table, place)}>{escape(name)}</th>" for place, name in enumerate(table.head)
    )
    rows = "".join(f"<tr>{_row(table, row)}</tr>" for row in table.rows)
    notes = "".join(f"<p class='strong'>{escape(note)}</p>" for note in table.notes)
    return (
        f"<figure class='table'><figcaption>{escape(table.title)}</figcaption>{notes}<div class='scroll' tabindex='0'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></figure>"
    )


def _row(table: Table, row: Sequence[Cell]) -> str:
    return "".join(f"<td{_of_number(table, place)}>{_cell(cell)}</td>" for place, cell in enumerate(row))


def _of_number(table: Table, place: int) -> str:
    return "" if place < table.words else " class='number'"


def _cell(cell: Cell) -> str:
    if isinstance(cell, Marked):
        return f"<i class='mark' style='background:{escape(cell.colour)}'></i>{escape(cell.text)}"
    return escape(cell)


def _figure(block: Figure, drawn: _Figures) -> str:
    name = drawn.next()
    values = f"<details><summary>Values</summary>{_table(block.values)}</details>" if block.values is not None else ""
    height = int(block.figure.layout.height or 360)
    note = f"<figcaption>{escape(block.note)}</figcaption>" if block.note else ""
    return (
        f"<figure class='chart'><div id='{name}' role='img' aria-label='{escape(block.alt)}' style='min-height:{height}px'></div>"
        f"<script type='application/json' data-figure='{name}'>{_json(block.figure)}</script>{note}{values}</figure>"
    )


def _code(block: Code) -> str:
    text = f"<pre tabindex='0'><code>{escape(block.text)}</code></pre>"
    button = "<button type='button' class='copy'>Copy</button>"
    if block.folded:
        return f"<details class='code'><summary>{escape(block.title)}</summary>{button}{text}</details>"
    return f"<div class='code'>{button}<p class='title'>{escape(block.title)}</p>{text}</div>"


def _json(figure: go.Figure) -> str:
    """The figure for a script element, which no text in it can end; the page has a theme of its own in the place of the template."""
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    text = json.dumps(spec, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
