"""The tab of the run page that shows what the trainer printed: its end, followed while it grows, or where a text stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from backend import logs, words
from dashboard import markup
from db.reads import RunDetail

_SHOWN_BYTES = 64 * 1024
LARGEST_DOWNLOAD = 64 * 2**20
"""Bytes; of a larger log the end is offered."""
_STYLE = "<style>.m-gap { opacity: 0.5; } .m-log mark { background: color-mix(in srgb, #C77A1B 45%, transparent); color: inherit; }</style>"


def draw(run: RunDetail, every: float | None) -> None:
    """The end of the log, drawn anew every so many seconds where that is given, or the places of a text."""
    path = Path(run.folder) / "trainer.log"
    try:
        size = path.stat().st_size
    except OSError:
        st.info(
            f"There is no log to read at `{path}`: the trainer has not started yet, or ran on another machine.",
            icon=":material/hourglass_empty:",
        )
        if every is not None:
            st.fragment(_wait, run_every=every)(path)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            placeholder="loss, warning, ...",
            help="A text, upper and lower case alike. Results stand still until you search again.",
        )
        follow = every is not None and st.toggle(
            "Follow", value=True, key="follow", disabled=bool(text), help="Off: the log stands still, to read."
        )
        st.download_button(
            "Download" if size <= LARGEST_DOWNLOAD else f"Download the last {words.size(LARGEST_DOWNLOAD)}",
            lambda: logs.end(path, LARGEST_DOWNLOAD).text,
            file_name=f"run-{run.id}.log",
            mime="text/plain",
            icon=":material/download:",
            on_click="ignore",
        )
    if text:
        _search(path, text)
    else:
        st.fragment(_end, run_every=every if follow else None)(path)


def _wait(path: Path) -> None:
    if path.exists():
        st.rerun()


def _end(path: Path) -> None:
    try:
        part = logs.end(path, _SHOWN_BYTES)
    except OSError as error:
        st.error(words.literal(f"{path} cannot be read: {error.strerror}"), icon=":material/error:")
        return
    if not part.whole:
        st.caption(f"The last {words.size(_SHOWN_BYTES)} of {words.size(part.size)}. All of it: `{path}`")
    st.html(markup.log(part.text or "Nothing is logged yet."))


def _search(path: Path, text: str) -> None:
    try:
        found = logs.search(path, text)
    except OSError as error:
        st.error(words.literal(f"{path} cannot be read: {error.strerror}"), icon=":material/error:")
        return
    where = (
        f"all of the log, {words.size(found.size)}"
        if found.whole
        else f"the last {words.size(found.searched)} of {words.size(found.size)}, the rest was not searched"
    )
    said = f"{words.plural(found.hits, 'line')} with this text in {where}"
    if found.shown < found.hits:
        said += f"; the last {found.shown:,} are shown"
    st.caption(said)
    if not found.hits:
        st.info("Nothing found. Search for less, or for another word.", icon=":material/search_off:")
        return
    pieces = [_place(place, text, numbered=found.whole) for place in found.places]
    gap = '<div class="m-gap">⋯</div>'
    st.html(
        f'{_STYLE}<div class="m-box m-log" tabindex="0" role="log" aria-label="Hits"><div>{gap.join(pieces)}</div></div>'
    )


def _place(place: logs.Place, text: str, *, numbered: bool) -> str:
    lines = []
    for index, line in enumerate(place.lines):
        number = f'<span class="m-gap">{place.first + index:>7,}  </span>' if numbered else ""
        lines.append(number + (_marked(line, text) if index in place.hits else markup.text(line)))
    joined = "\n".join(lines)
    return f'<pre class="m-text">{joined}</pre>'


def _marked(line: str, text: str) -> str:
    """A line with the text marked wherever it stands."""
    parts = re.split(f"({re.escape(text)})", line, flags=re.IGNORECASE)
    return "".join(
        f"<mark>{markup.text(part)}</mark>" if index % 2 else markup.text(part) for index, part in enumerate(parts)
    )
