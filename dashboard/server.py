"""The pages' server, for `streamlit run`: the application of app.py, made ready before the first visitor.

What makes a page slow is mostly not the page. A first visit asks for seventy files of Streamlit's front end, each of which
Streamlit opens anew and sends in pieces; after every look at a page it searches all objects of the process for garbage; and its
program for charts prepares every kind of chart there is. Here the files stay in memory, what the pages import is imported at the start and then left
alone by that search, and the program for charts is one for the kind that is drawn, fetched as soon as a page with charts is asked for
([why so](../docs/decisions/front_end.md)).
"""

from __future__ import annotations

import gc
import importlib
import mimetypes
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import dashboard
from dashboard import front_end

WITH_CHARTS = ("/run", "/compare")
"""Addresses of pages that begin with charts."""
_NOT_IMPORTED = {"app", "server", "views"}
_UNCHANGING = {"Cache-Control": "public, immutable, max-age=31536000"}
"""A file's name changes with its content."""
_OUR_OWN = {"Cache-Control": "no-cache"}
"""Not so the name of what was made of a file here: another application at this address would get it from the browser's memory."""


class Quick:
    """Answers for Streamlit's own files itself; adds to a page with charts what the browser is to fetch for them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        links = (f"<./{path}>; rel=modulepreload" for path in front_end.charts())
        self.link = ", ".join(links)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
        elif scope["path"] in _files() and "range" not in Headers(scope=scope):
            await _answer(scope["path"], Headers(scope=scope).get("if-none-match"))(scope, receive, send)
        elif scope["path"] in WITH_CHARTS and self.link:
            await self.app(scope, receive, self._with_link(send))
        else:
            await self.app(scope, receive, send)

    def _with_link(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Link"] = self.link
            await send(message)

        return sent


@cache
def _files() -> dict[str, Path]:
    """Streamlit's files by their addresses."""
    return {
        f"/{path.relative_to(front_end.FOLDER).as_posix()}": path
        for path in (front_end.FOLDER / "static").rglob("*")
        if path.is_file()
    }


def _answer(address: str, known: str | None) -> Response:
    """The file at this address; `known`: the tag of what the browser has of it."""
    content, headers = _read(address)
    if known is not None and known == headers.get("ETag"):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=mimetypes.guess_type(address)[0], headers=headers)


@cache
def _read(address: str) -> tuple[bytes, dict[str, str]]:
    """What is sent for an address, and the headers that say how long it may be kept."""
    content = _files()[address].read_bytes()
    if address.removeprefix("/") not in front_end.charts()[:1]:
        return content, _UNCHANGING
    ours = front_end.only_scatter(content)
    return ours, {**_OUR_OWN, "ETag": f'"{sha256(ours).hexdigest()}"'}


@asynccontextmanager
async def _ready(_: st.App) -> AsyncIterator[None]:
    for module in pkgutil.iter_modules(dashboard.__path__):
        if module.name not in _NOT_IMPORTED:
            importlib.import_module(f"dashboard.{module.name}")
    gc.collect()
    gc.freeze()
    yield


app = st.App(Path(__file__).with_name("app.py"), lifespan=_ready, middleware=[Middleware(Quick)])
