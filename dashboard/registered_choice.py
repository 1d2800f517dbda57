"""Registered models and data sets in the form of a new run: choosing one fills in its section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from backend import store, words
from backend.inspection.data import count
from backend.registry import data_of
from dashboard import fields, forms
from db.registry import Entry, Registered, listed
from trainer.config import yaml_text
from trainer.errors import MtprlError, Problem

_BENCHMARKS = "evaluation.benchmarks"
_TITLES = {Registered.MODEL: "Registered model", Registered.DATA: "Registered data"}


def draw() -> None:
    """A choice each, where something is registered."""
    kinds = [kind for kind in Registered if entries(kind)]
    for kind, column in zip(kinds, st.columns(len(kinds)) if kinds else (), strict=True):
        names = [entry.name for entry in entries(kind)]
        column.selectbox(
            _TITLES[kind],
            names,
            index=None,
            key=_key(kind),
            placeholder="choose to fill in",
            on_change=_chosen,
            args=(kind,),
            help="Fills in the fields below with what was registered under this name; the run keeps them, not the name.",
        )


def take_from_address() -> None:
    """Fill in what `/new?model=NAME&data=NAME` names, once, and take it out of the address."""
    for kind in Registered:
        name = st.query_params.get(kind.value)
        if name is None:
            continue
        found = [entry for entry in entries(kind) if entry.name == name]
        if found:
            _fill(found[0])
            if kind == Registered.MODEL:
                _leave_out_what_is_not_here()
        else:
            st.warning(
                f"There is no {kind} registered as {name!r}; the form is as it was.", icon=":material/search_off:"
            )
        del st.query_params[kind.value]


def _leave_out_what_is_not_here() -> None:
    """Take benchmarks out that the form began with and whose problems cannot be read: they are the preset's, and nobody asked for them."""
    given = yaml_text.read(fields.texts()[_BENCHMARKS] or "[]")
    errors = {item["name"]: count(data_of(item["data"])).error for item in given}
    if not any(errors.values()):
        return
    kept = [item for item in given if not errors[item["name"]]]
    absent = ", ".join(name for name, error in errors.items() if error)
    said = f"Nothing is evaluated on {absent}, with which the preset begins: its problems cannot be read here. Benchmarks of your own stand under Evaluation."
    fields.load({_BENCHMARKS: forms.texts_of({"evaluation": {"benchmarks": kept}})[_BENCHMARKS]})
    st.info(words.literal(said), icon=":material/info:")


def entries(kind: Registered) -> list[Entry]:
    """What is registered; nothing where there is no store."""
    try:
        if not store.is_ready():
            return []
        with store.reading() as connection:
            return listed(connection, kind)
    except (MtprlError, SQLAlchemyError):
        return []


def named_in_path(values: Mapping[str, Any]) -> list[Problem]:
    """That the path of the data is what a data set is registered as, which no path stands for, unless there is such a file."""
    data = values.get("data")
    path = data.get("path") if isinstance(data, Mapping) else None
    if not path or Path(str(path)).exists() or path not in {entry.name for entry in entries(Registered.DATA)}:
        return []
    said = f"{str(path)!r} is no file; to use the registered data set {path} choose it under {_TITLES[Registered.DATA]}"
    return [Problem("data.path", said)]


def _chosen(kind: Registered) -> None:
    for entry in entries(kind):
        if entry.name == st.session_state[_key(kind)]:
            _fill(entry)


def _fill(entry: Entry) -> None:
    """Only the section's own fields change; those of other variants stay as they were."""
    section = str(entry.kind)
    variant = entry.content.get("kind")
    filled: Mapping[str, Any] = forms.texts_of({section: entry.content})
    if entry.kind == Registered.MODEL:
        wanted = {"model.path"}
    else:
        wanted = {key for key in filled if key == "data.kind" or key.startswith(f"data.{variant}.")}
    fields.load({key: text for key, text in filled.items() if key in wanted})


def _key(kind: Registered) -> str:
    return f"form:registered:{kind}"
