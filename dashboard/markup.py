"""Pieces of HTML as pure functions: what Streamlit's own elements cannot draw (a table with dots, bars and links).

Everything that comes from data is escaped here. Colours of text and borders derive from the page's own text colour, so that
one markup serves light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from backend import palette

_MOST_NAMED = 20
"""Alarms in the title of a row."""

# Streamlit fades what it is about to replace; on a page that is drawn anew every two seconds that would be a flicker.
STYLE = """<style>
[data-testid="stElementContainer"][data-stale="true"] { opacity: 1 !important; transition: none !important; }
[data-testid="stMainBlockContainer"] { padding-top: 4.2rem; padding-bottom: 3rem; }
[data-testid="stApp"] { --m-accent: light-dark(#08693F, #3DD598); --m-quiet: light-dark(#5B5F66, #A3A8B1); }
[data-testid="stCaptionContainer"] { color: var(--m-quiet); opacity: 1; }
[data-testid="stCaptionContainer"] p, [data-testid="stCaptionContainer"] code { color: inherit; }
[data-testid="stCaptionContainer"] a, button[data-selected="true"] p, [role="tab"][aria-selected="true"] p { color: var(--m-accent) !important; }
[data-testid="stCode"] .token:is(.key, .atrule) { color: light-dark(#A0460A, #FF9D57); }
[data-testid="stCode"] .token:is(.parameter, .variable, .function) { color: light-dark(#00687F, #4CC3EB); }
[data-testid="stCode"] .token:is(.string, .number) { color: light-dark(#08693F, #3DD598); }
[data-testid="stCode"] .token:is(.boolean, .null, .important, .keyword) { color: light-dark(#B3261E, #FF8A80); }
[data-testid="stMainBlockContainer"] h2 { font-size: 1.5rem; font-weight: 600; padding: 0.7rem 0 0.3rem; }
[data-testid="stMainBlockContainer"] h1 { font-size: 2.1rem; padding: 0.3rem 0 0.6rem; }
[data-testid="stLayoutWrapper"]:has(> .st-key-launch-panel) { position: sticky; top: 4.2rem; }
[data-testid="stHtml"] code { font-size: 0.875em; }
a:focus-visible, [role="tab"]:focus-visible { outline: 2px solid currentColor !important; outline-offset: -2px; }
/* The choice of a logarithmic axis stands in the room below its chart, so that charts side by side end at one height. */
[class*="st-key-log-"] { margin-top: -2.7rem; z-index: 1; width: fit-content; }
[data-testid="stElementContainer"]:has(.m-unseen) { display: none; }
.m-scroll { overflow-x: auto; }
.m-table { width: 100%; border-collapse: collapse; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
.m-table th { text-align: left; font-weight: 600; font-size: 0.8rem; opacity: 0.68; padding: 0.45rem 0.6rem; white-space: nowrap;
  border-bottom: 1px solid color-mix(in srgb, currentColor 26%, transparent); }
.m-table td { padding: 0.55rem 0.6rem; vertical-align: middle; border-bottom: 1px solid color-mix(in srgb, currentColor 11%, transparent); }
.m-table tbody tr:hover { background: color-mix(in srgb, currentColor 5%, transparent); }
.m-table .m-number { text-align: right; white-space: nowrap; }
.m-table .m-short { white-space: nowrap; }
.m-table a { color: inherit; font-weight: 600; display: inline-block; max-width: 17rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  vertical-align: bottom; text-decoration-color: color-mix(in srgb, currentColor 30%, transparent); text-underline-offset: 3px; }
.m-table a:hover, .m-table a:focus-visible { text-decoration-color: currentColor; }
.m-plain a, .m-sub a, .m-head a { color: inherit; font-weight: 600; }
.m-plain a, .m-sub a, .m-head a { text-decoration-color: color-mix(in srgb, currentColor 30%, transparent); text-underline-offset: 3px; }
.m-below { margin-top: 0.7rem; line-height: 1.7; font-size: 0.93rem; }
.m-sub { font-size: 0.8rem; opacity: 0.68; }
.m-alarm { font-size: 0.8rem; }
.m-note { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; max-width: 26rem; overflow-wrap: break-word; }
.m-mark { display: inline-flex; align-items: center; gap: 0.45em; white-space: nowrap; }
.m-dot, .m-square { flex: none; width: 0.62em; height: 0.62em; background: var(--m); border-radius: 50%; }
.m-square { border-radius: 2px; width: 0.7em; height: 0.7em; }
.m-live { box-shadow: 0 0 0 3px color-mix(in srgb, var(--m) 26%, transparent); }
.m-bar { height: 6px; min-width: 5rem; border-radius: 3px; background: color-mix(in srgb, currentColor 13%, transparent); overflow: hidden; margin-top: 4px; }
.m-bar > i { display: block; height: 100%; border-radius: 3px; background: var(--m); }
.m-fraction { display: flex; align-items: center; gap: 0.6rem; white-space: nowrap; }
.m-fraction > span { min-width: 4.6rem; }
.m-fraction > .m-bar { flex: 0 1 9rem; min-width: 2rem; margin: 0; }
.m-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.1rem, 1fr)); gap: 0.55rem; margin-top: 0.7rem; }
.m-tile { padding: 0.45rem 0.65rem; border: 1px solid color-mix(in srgb, currentColor 14%, transparent); border-radius: 0.5rem; }
.m-value { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.m-head { display: flex; flex-wrap: wrap; gap: 0.35rem 1.4rem; align-items: center; }
.m-text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: 0.83rem; line-height: 1.45; max-height: 16rem; overflow-y: auto; margin: 0; }
.m-box { padding: 0.6rem 0.8rem; border-radius: 0.5rem; background: color-mix(in srgb, currentColor 5%, transparent); }
.m-answer + .m-answer { margin-top: 0.7rem; }
.m-log { display: flex; flex-direction: column-reverse; max-height: 34rem; overflow-y: auto; }
.m-log .m-text { max-height: none; overflow: visible; }
.m-tags { display: flex; flex-wrap: wrap; gap: 0.25rem; margin-top: 0.2rem; max-width: 17rem; }
.m-table a.m-tag, a.m-tag { font-size: 0.75rem; font-weight: 500; padding: 0.05rem 0.45rem; border-radius: 0.8rem; text-decoration: none; color: inherit;
  background: color-mix(in srgb, currentColor 11%, transparent); max-width: 12rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
a.m-tag:hover, a.m-tag:focus-visible { background: color-mix(in srgb, currentColor 22%, transparent); }
.m-noted { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; max-width: 17rem; overflow-wrap: break-word;
  white-space: normal; }
.m-narrow { display: none; }
@media (max-width: 1000px) { .m-wide { display: none; } .m-narrow { display: block; } }
</style>"""


@dataclass(frozen=True)
class Column:
    """A column of a table: right-aligned if it holds numbers, left out on narrow screens if `wide`; `help` appears beside the pointer."""

    title: str
    number: bool = False
    wide: bool = False
    help: str = ""

    @property
    def classes(self) -> str:
        """CSS classes of its cells."""
        return " ".join(name for name, wanted in (("m-number", self.number), ("m-wide", self.wide)) if wanted)


def _help(column: Column) -> str:
    return f' title="{escape(column.help)}"' if column.help else ""


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, label: str, scrolls: bool = False) -> str:
    """A table whose cells are markup already; `label` names it for screen readers; one that `scrolls` can be wider than the page, and the
    keyboard reaches its sides."""
    head = "".join(
        f'<th scope="col" class="{column.classes}"{_help(column)}>{escape(column.title)}</th>' for column in columns
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{column.classes}">{cell}</td>' for column, cell in zip(columns, row, strict=True))
        + "</tr>"
        for row in rows
    )
    reached = f' tabindex="0" role="region" aria-label="{escape(label)}, scrolls"' if scrolls else ""
    return f'<div class="m-scroll"{reached}><table class="m-table" aria-label="{escape(label)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def tags(items: Sequence[tuple[str, str]]) -> str:
    """Tags, each a link to an address; nothing where there are none."""
    links = "".join(
        f'<a class="m-tag" href="{escape(address)}" target="_self" title="Runs tagged {escape(name)}">{escape(name)}</a>'
        for name, address in items
    )
    return f'<div class="m-tags">{links}</div>' if links else ""


def note(value: str) -> str:
    """What somebody noted: its first line or two, and all of it on hovering; nothing where there is none."""
    return f'<div class="m-sub m-noted" title="{escape(value)}">✎ {escape(value)}</div>' if value else ""


def left_out(columns: Sequence[Column]) -> str:
    """On narrow screens, which columns of a table are not shown there."""
    names = ", ".join(column.title for column in columns if column.wide)
    return f'<div class="m-narrow m-sub">Left out on a screen this narrow: {escape(names)}.</div>' if names else ""


def text(value: str, *, sub: str = "") -> str:
    """Plain text, with a second, quieter line below it where given."""
    return escape(value) + (f'<div class="m-sub">{escape(sub)}</div>' if sub else "")


def with_code(said: str) -> str:
    """Plain text, with what stands between backticks as code."""
    parts = escape(said).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def link(label: str, address: str, *, sub: str = "") -> str:
    """A link inside the application."""
    below = f'<div class="m-sub">{escape(sub)}</div>' if sub else ""
    return f'<a href="{escape(address)}" target="_self" title="{escape(label)}">{escape(label)}</a>{below}'


def status(name: str, *, note: str = "", live: bool = False) -> str:
    """A status with its dot; `note` (the reason) below it, its first three lines, and all of it on hovering."""
    dot = f'<i class="m-dot{" m-live" if live else ""}" style="--m:{palette.status_colour(name)}"></i>'
    below = f'<div class="m-sub m-note" title="{escape(note)}">{escape(note)}</div>' if note else ""
    return f'<span class="m-mark">{dot}{escape(name)}</span>{below}'


def worker(state: str) -> str:
    """Whether a worker is alive, drained or silent, with its dot."""
    like = {"alive": "running", "drained": "stopping"}.get(state, "failed")
    return f'<span class="m-mark"><i class="m-dot" style="--m:{palette.status_colour(like)}"></i>{escape(state)}</span>'


def regime(name: str) -> str:
    """A regime with a square in its colour."""
    return mark(palette.regime_colour(name), name)


def mark(colour: str, label: str) -> str:
    """A label with a square in the colour that a chart draws it in."""
    return f'<span class="m-mark"><i class="m-square" style="--m:{colour}"></i>{escape(label)}</span>'


def progress(step: int, total: int, colour: str, unit: str = "") -> str:
    """'40 / 120', or '40 / 120 problems', over a bar."""
    share = 100 * min(max(step / total, 0), 1) if total > 0 else 0
    return (
        f'<span>{step:,} / {total:,} {unit}</span><div class="m-bar" role="progressbar" aria-label="{step} of {total} {unit}" '
        f'aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100"><i style="--m:{colour};width:{share:.1f}%"></i></div>'
    )


def fraction(part: int, whole: int, colour: str) -> str:
    """'3 of 16' before a bar, in one line: a list of problems is long."""
    share = 100 * part / whole
    return (
        f'<div class="m-fraction"><span>{part:,} of {whole:,}</span>'
        f'<div class="m-bar"><i style="--m:{colour};width:{share:.1f}%"></i></div></div>'
    )


def verbatim(value: str) -> str:
    """Text exactly as it is: line ends and spaces kept, scrolling when long."""
    return f'<pre class="m-text" tabindex="0">{escape(value)}</pre>'


def log(value: str) -> str:
    """The end of a log, scrolled to its last line and staying there while it grows."""
    return f'<div class="m-box m-log" tabindex="0" role="log" aria-label="Log"><pre class="m-text">{escape(value)}</pre></div>'


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """The newest numbers side by side, as (label, value, what it is of)."""
    return (
        '<div class="m-tiles">'
        + "".join(
            f'<div class="m-tile"><div class="m-sub">{escape(label)}</div><div class="m-value">{escape(value)}</div><div class="m-sub">{escape(sub)}</div></div>'
            for label, value, sub in items
        )
        + "</div>"
    )


def grade(correct: bool, why: str) -> str:
    """Right or wrong, in a word and not by colour alone, and why."""
    mark, word = ("✓", "right") if correct else ("✗", "wrong")
    colour = palette.STATUSES["running" if correct else "failed"]
    return (
        f'<span class="m-mark"><b style="color:{colour}">{mark}</b>{word}</span><div class="m-sub">{escape(why)}</div>'
    )


def alarms(names: Sequence[str]) -> str:
    """Which alarms are on, or how many, with a dot; nothing where there are none."""
    if not names:
        return ""
    said = names[0] if len(names) == 1 else f"{len(names)} alarms"
    dot = f'<i class="m-dot" style="--m:{palette.STATUSES["stopping"]}"></i>'
    title = "; ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])
    return f'<div class="m-alarm" title="{escape(title)}"><span class="m-mark">{dot}{escape(said)}</span></div>'


def event(name: str, severity: str) -> str:
    """What happened, with a dot where it is a warning or an error."""
    colour = {"warning": palette.STATUSES["stopping"], "error": palette.STATUSES["failed"]}.get(severity)
    return (
        f'<span class="m-mark"><i class="m-dot" style="--m:{colour}"></i>{escape(name)} ({escape(severity)})</span>'
        if colour
        else escape(name)
    )


def when(seconds: float, words: str) -> str:
    """A moment in words, with the exact time (UTC) on hovering."""
    exact = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'<time title="{exact}" style="white-space:nowrap">{escape(words)}</time>'


_STROKES = {
    "solid": (44,),
    "dash": (9, 5),
    "dot": (3, 4),
    "dashdot": (9, 4, 3, 4),
    "longdash": (15, 5),
    "longdashdot": (15, 4, 3, 4),
}


def line(colour: str, dash: str) -> str:
    """A piece of a chart's line, as a legend shows it."""
    stops, position = [], 0
    for index, length in enumerate(_STROKES[dash]):
        stops.append(f"{'transparent' if index % 2 else colour} {position}px {position + length}px")
        position += length
    gradient = f"repeating-linear-gradient(90deg, {', '.join(stops)})"
    return f'<span role="img" aria-label="{dash} line" style="display:inline-block;width:44px;height:3px;vertical-align:middle;background:{gradient}"></span>'
