"""The same report as Markdown: figures as tables of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from backend.report.document import Block, Bullets, Code, Figure, Report, Table, Text, plain

_MARKUP = re.compile(r"[\\`*_\[\]<>|~#]")
_CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")


def to_markdown(report: Report) -> str:
    """The whole file."""
    lines = [f"# {_escaped(report.title)}"]
    for sentence in report.lead:
        lines += ["", _prose(sentence)]
    for section in report.sections:
        lines += ["", f"## {_escaped(section.title)}"]
        for block in section.blocks:
            for line in _block(block):
                lines += line
    return "\n".join(lines) + "\n"


def _block(block: Block) -> Iterator[list[str]]:
    match block:
        case Text():
            text = _prose(block.text)
            yield ["", f"**{text}**" if block.strong else text]
        case Bullets():
            yield ["", *(f"* {_prose(item)}" for item in block.items)]
        case Table():
            yield _table(block)
        case Figure():
            if block.values is not None:
                yield _table(block.values)
            if block.note:
                yield ["", f"*{_escaped(block.note)}*"]
        case Code():
            fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", block.text))])
            yield [
                "",
                f"{_escaped(block.title)}:",
                "",
                f"{fence}{block.language}",
                *block.text.rstrip("\n").split("\n"),
                fence,
            ]


def _table(table: Table) -> list[str]:
    rule = ["---"] * min(table.words, len(table.head)) + ["---:"] * (len(table.head) - table.words)
    cells = [[_escaped(plain(cell)) for cell in row] for row in table.rows]
    notes = [line for note in table.notes for line in (f"**{_prose(note)}**", "")]
    return [
        "",
        f"**{_escaped(table.title)}**",
        "",
        *notes,
        *map(_line, [list(map(_escaped, table.head)), rule, *cells]),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _prose(text: str) -> str:
    """A paragraph as Markdown that reads it as text, but for its code spans, which stay."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if place % 2 else _MARKUP.sub(_backslashed, part) for place, part in enumerate(parts))


def _backslashed(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def _escaped(text: str) -> str:
    """Text on one line that Markdown reads as text."""
    return _MARKUP.sub(_backslashed, " ".join(text.split()))
