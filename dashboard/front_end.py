"""Streamlit's own files for the browser: where they stand, and which of them draw charts.

Their names carry a hash of their content, so they are found by what stands before it. What is not found (another version of Streamlit may
name it otherwise) is fetched when the browser asks for it, only later.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import streamlit as st

FOLDER = Path(st.__file__).parent / "static"
_IMPORTED = re.compile(r'(?:from|import)\s*"\./([\w.-]+\.js)"')
_HEAD = 8_000
"""Characters in which a program of the front end names all that it imports."""
_REGISTERED = re.compile(rb'("lib/index\.js"\(\w+,\w+\)\{var \w+=\w+\(\);\w+\.register\()\[[^][]*\]')
"""Where Plotly's `lib/index.js` adds to its `lib/core.js` all kinds of traces that this one does not know."""


@cache
def charts() -> tuple[str, ...]:
    """What a page with charts asks for after its first line is there: the program that draws them, and what that one imports.

    Paths as in the addresses, without a slash before; the program itself is the first. Empty where it is not found.
    """
    found = sorted((FOLDER / "static" / "js").glob("PlotlyChart.*.js"))
    if len(found) != 1:
        return ()
    index = (FOLDER / "index.html").read_text()
    with found[0].open() as program:
        imported = [name for name in _IMPORTED.findall(program.read(_HEAD)) if name not in index]
    return tuple(f"static/js/{name}" for name in (found[0].name, *imported))


def only_scatter(program: bytes) -> bytes:
    """The program that draws charts as Plotly's core, which knows `scatter` and nothing else; as it is where it is not built as expected.

    All charts of the pages are of that kind. To prepare the other kinds, among them maps and volumes, is two thirds of what the program does
    before it can draw. Such bundles of the core with chosen traces are Plotly's own offer; this one is made of the file that is there.
    """
    return _REGISTERED.sub(rb"\1[]", program)


def start_charts() -> None:
    """Have the browser make the drawing of charts ready while the page is still being read from the store. Nothing is to be seen of it."""
    if charts():
        script = f"<script>import(new URL('./{charts()[0]}', document.baseURI))</script>"
        st.html(f'<i class="m-unseen"></i>{script}', unsafe_allow_javascript=True)
