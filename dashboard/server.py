"""The pages' server, for `streamlit run`: the application of app.py, made ready before the first visitor.

Two things make a page slow that are not the page's: most of a first visit's seventy requests are for Streamlit's own files, each of which
Streamlit opens anew and sends in pieces; and after every look at a page it searches all objects of the process for garbage. Here the files
stay in memory, and what the pages import is imported at the start and then left alone by that search. A page with charts
names the program that draws them in its first answer, so that the browser fetches it at once.
"""

from __future__ import annotations

import gc
import importlib
import mimetypes
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
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
        elif (content := _content(scope["path"])) is not None and "range" not in Headers(scope=scope):
            kind, _ = mimetypes.guess_type(scope["path"])
            await Response(content, media_type=kind, headers=_UNCHANGING)(scope, receive, send)
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


def _content(address: str) -> bytes | None:
    path = _files().get(address)
    return _read(path) if path else None


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@asynccontextmanager
async def _ready(_: st.App) -> AsyncIterator[None]:
    for module in pkgutil.iter_modules(dashboard.__path__):
        if module.name not in _NOT_IMPORTED:
            importlib.import_module(f"dashboard.{module.name}")
    gc.collect()
    gc.freeze()
    yield


app = st.App(Path(__file__).with_name("app.py"), lifespan=_ready, middleware=[Middleware(Quick)])
