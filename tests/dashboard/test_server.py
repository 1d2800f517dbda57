"""The pages' server: Streamlit's own files from memory, and what the browser fetches ahead of the charts."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard import front_end
from dashboard.server import WITH_CHARTS, Quick

ROOT = Path(__file__).parents[2]


def asked(path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and content of the answer; behind `Quick` stands an application that answers `else`."""
    sent: list[dict] = []

    async def behind(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"else"})

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    asyncio.run(Quick(behind)({"type": "http", "method": method, "path": path, "headers": raw}, receive, send))
    start, *bodies = sent
    return (
        {name.decode().lower(): value.decode() for name, value in start["headers"]},
        b"".join(body["body"] for body in bodies),
    )


def test_the_program_that_draws_charts_is_found_with_what_it_imports():
    program, *imported = front_end.charts()
    assert re.fullmatch(r"static/js/PlotlyChart\.[\w-]+\.js", program)
    assert imported
    for path in (program, *imported):
        assert (front_end.FOLDER / path).is_file()
        assert path not in (front_end.FOLDER / "index.html").read_text()  # else the browser fetches it anyway


def test_files_of_the_front_end_are_those_on_the_disk_and_are_kept_by_the_browser():
    path = front_end.charts()[1]
    headers, content = asked(f"/{path}")
    assert content == (front_end.FOLDER / path).read_bytes()
    assert "javascript" in headers["content-type"]
    assert "immutable" in headers["cache-control"]
    assert int(headers["content-length"]) == len(content)


def test_the_program_that_draws_charts_is_plotlys_core_and_asked_for_again_at_every_visit():
    path = front_end.charts()[0]
    whole = (front_end.FOLDER / path).read_bytes()
    headers, content = asked(f"/{path}")
    assert 100 < len(whole) - len(content) < 1000  # the list of what is registered, and nothing else
    assert re.search(rb'"lib/index\.js"\(e,t\)\{var n=\w+\(\);n\.register\(\[\]\),t\.exports=n', content)
    assert headers["cache-control"] == "no-cache"
    again, nothing = asked(f"/{path}", headers={"if-none-match": headers["etag"]})
    assert (nothing, again["etag"]) == (b"", headers["etag"])
    assert asked(f"/{path}", headers={"if-none-match": '"of another application"'})[1] == content


def test_a_program_built_in_another_way_is_left_as_it_is():
    program = b'"lib/index.js"(e,t){n.add(a(),b())}'
    assert front_end.only_scatter(program) == program


def test_all_charts_of_the_pages_are_of_the_kind_that_the_core_draws():
    for room in ("backend", "dashboard"):
        for path in (ROOT / room).rglob("*.py"):
            kinds = {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "go"
            }
            assert kinds <= {"Figure", "Scatter"}, f"{path.name}: front_end.only_scatter leaves out {kinds}"


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/static/js/none.js", "GET", {}),
        ("/static/../index.html", "GET", {}),
        ("/static/js", "GET", {}),
        (f"/{front_end.charts()[0]}", "HEAD", {}),
        (f"/{front_end.charts()[0]}", "GET", {"range": "bytes=0-9"}),
        ("/", "GET", {}),
    ],
)
def test_everything_else_is_left_to_streamlit(path, method, headers):
    answered, content = asked(path, method=method, headers=headers)
    assert content == b"else"
    assert "link" not in answered


@pytest.mark.parametrize("path", WITH_CHARTS)
def test_pages_with_charts_name_what_the_browser_fetches_at_once(path):
    headers, content = asked(path)
    assert content == b"else"
    assert headers["link"].split(", ") == [f"<./{file}>; rel=modulepreload" for file in front_end.charts()]


def test_what_is_imported_before_the_first_visitor_holds_no_torch():
    program = """
import asyncio, sys
from dashboard import server
async def start():
    async with server._ready(server.app):
        pass
asyncio.run(start())
print(sorted({"torch", "transformers", "accelerate"} & set(sys.modules)), "dashboard.run_tabs" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[] True", done.stderr
