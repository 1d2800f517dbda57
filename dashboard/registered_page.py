"""What the pages of models and of data share: the list, the choice of one of them, removing it, and the runs that used it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import streamlit as st
from sqlalchemy import Connection

from backend import registry, words
from backend import store as backend_store
from dashboard import markup, navigation, store
from db import registry as rows
from db.registry import Entry, Registered, Users
from trainer.errors import ConfigError

NAME = "name"
"""The address of one of them, `/models?name=NAME`."""
_SAID = "registered:said"


class Words(NamedTuple):
    """What a page says of its kind."""

    title: str
    register: str
    """What its form does."""
    nothing: str
    """What it says where nothing is registered."""
    icon: str


def draw(kind: Registered, said: Words, one: Callable[[Entry], None], register: Callable[[], None]) -> None:
    """The page: the one that the address names, the form, the list. Without a store it says what to run and ends."""
    st.title(said.title, anchor=False)
    with store.reading() as connection:
        entries = rows.listed(connection, kind)
    _say()
    entry = _chosen(entries)
    if entry is not None:
        one(entry)
    with st.expander(said.register, icon=":material/add_circle:", expanded=not entries, key=f"{kind}:register"):
        register()
    if entries:
        _table(kind, entries)
    else:
        st.info(said.nothing, icon=said.icon)


def _chosen(entries: Sequence[Entry]) -> Entry | None:
    """The one that the address names; None where it names none."""
    name = st.query_params.get(NAME)
    found = next((entry for entry in entries if entry.name == name), None)
    if name is not None and found is None:
        st.warning(f"Nothing is registered here as {name!r} any more.", icon=":material/search_off:")
    return found


def _table(kind: Registered, entries: Sequence[Entry]) -> None:
    """The list, each with a link to what it is."""
    now = time.time()
    columns = (
        markup.Column("Name"),
        markup.Column("Where"),
        markup.Column("Runs", number=True),
        markup.Column("Registered", wide=True),
        markup.Column("Note", wide=True),
    )
    page = "models" if kind == Registered.MODEL else "data"
    with store.reading() as connection:
        lines = [_line(connection, page, entry, registry.where(entry), now) for entry in entries]
    st.html(markup.table(columns, lines, label=f"Registered {page}") + markup.left_out(columns))


def _line(connection: Connection, page: str, entry: Entry, where: str, now: float) -> list[str]:
    link = markup.link(entry.name, f"{page}?{urlencode({NAME: entry.name})}")
    when = markup.when(entry.created_at, words.age(entry.created_at, now))
    by = f'{when}<div class="m-sub">{markup.text(entry.created_by)}</div>'
    wrapped = f'<span style="overflow-wrap:anywhere">{markup.text(where)}</span>'
    return [link, wrapped, f"{registry.used_by(connection, entry).count:,}", by, markup.text(entry.note)]


def used_by(entry: Entry) -> None:
    """The runs that used it, the newest first."""
    with store.reading() as connection:
        users: Users = registry.used_by(connection, entry)
    st.markdown("**Runs that used it**")
    if not users.count:
        st.caption("None yet.")
        return
    links = " · ".join(markup.link(f"{run_id} {name}", f"run?run={run_id}") for run_id, name in users.newest)
    more = users.count - len(users.newest)
    st.html(f'<div class="m-table">{links}{f" and {more:,} more" if more else ""}</div>')


def remove(entry: Entry) -> None:
    """A button that takes the name away, after a second thought."""
    with st.popover("Remove", icon=":material/delete:", key="registered:remove"):
        st.markdown("Takes the name away. Files stay, and so do runs that used it: they hold what it stood for.")
        st.button(f"Remove {entry.name}", type="primary", on_click=_remove, args=(entry,))


def _remove(entry: Entry) -> None:
    def act() -> str:
        with backend_store.writing() as connection:
            rows.remove(connection, entry.kind, entry.name)
        return f"{entry.kind} {entry.name} has its name no more."

    if do(act):
        st.query_params.pop(NAME, None)


def do(action: Callable[[], str]) -> bool:
    """Do what a button asks for; what came of it is said when the page is drawn next. Whether it was done."""
    try:
        with store.errors_as_problems():
            st.session_state[_SAID] = ("done", action())
            return True
    except ConfigError as error:
        st.session_state[_SAID] = ("refused", str(error))
    return False


def _say() -> None:
    """What the last button did, once."""
    kind, said = st.session_state.pop(_SAID, ("", ""))
    if kind == "done":
        st.success(words.literal(said), icon=":material/check_circle:")
    elif kind == "refused":
        st.error(words.literal(said), icon=":material/error:")


def train_link(entry: Entry, label: str) -> None:
    """The form of a new run with this filled in."""
    st.page_link(
        navigation.new_run(),
        label=label,
        query_params={entry.kind.value: entry.name},
        icon=":material/rocket_launch:",
    )
