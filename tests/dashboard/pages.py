"""What the tests of pages read from Streamlit's test driver."""

from __future__ import annotations

import json

from backend import store


def html(app):
    return "\n".join(element.proto.body for element in app.get("html"))


def texts(app):
    return "\n".join(
        str(element.value)
        for kind in ("markdown", "caption", "info", "warning", "error", "success")
        for element in app.get(kind)
    )


def popover(app):
    [block] = [block for block in app.get("popover") if block.proto.popover.label == "Stop"]
    return block.proto.popover


def in_store(look, *arguments):
    with store.reading() as connection:
        return look(connection, *arguments)


def charts(app):
    return [json.loads(element.proto.spec)["layout"]["title"]["text"] for element in app.get("plotly_chart")]
