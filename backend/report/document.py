"""What a report is made of, before it is HTML or Markdown. Everything is plain text; whoever writes it out escapes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Marked:
    """A cell with a square in the colour that figures draw it in."""

    text: str
    colour: str


Cell = str | Marked


@dataclass(frozen=True)
class Text:
    """A paragraph; one that is `strong` must not be overlooked."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table: the first `words` columns hold words, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    notes: Sequence[str] = ()
    """What must not be overlooked: stands below the title, above the numbers."""


@dataclass(frozen=True)
class Figure:
    """A figure, with its numbers as a table for those who cannot see it, and for Markdown."""

    figure: go.Figure
    alt: str
    note: str
    values: Table | None = None


@dataclass(frozen=True)
class Code:
    """A block to copy."""

    title: str
    text: str
    language: str
    folded: bool = False
    """Shown when asked for, where that can be."""


Block = Text | Bullets | Table | Figure | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The heading in addresses."""
        return "-".join(self.title.lower().split())


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    lead: Sequence[str] = field(default=())
    """Sentences below the title."""
    sections: Sequence[Section] = field(default=())


def plain(cell: Cell) -> str:
    """A cell's text."""
    return cell.text if isinstance(cell, Marked) else cell
