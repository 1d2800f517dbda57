"""The widgets of `dashboard.forms`: one per field, its help from the schema, its problems in words right below it.

Texts live in the session's state under `form:<field key>`; they outlive a change of regime and a visit to another page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from backend import words
from dashboard import forms

Problems = Mapping[str, Sequence[str]]

_NONE = "none"
_NAMES = {
    "path": "Folder or hub name",
    "lr": "Learning rate",
    "mtp_depths": "MTP depths",
    "ema": "EMA",
    "top_p": "Top-p",
    "vllm": "vLLM",
}


def state_key(key: str) -> str:
    """The session-state key of a field."""
    return f"form:{key}"


def load(texts: Mapping[str, str]) -> None:
    """Put texts into the fields. Call before they are drawn, or from a callback."""
    for key, text in texts.items():
        st.session_state[state_key(key)] = text


def texts() -> dict[str, str]:
    """What the fields hold now, hidden ones included."""
    return {field.key: str(st.session_state.get(state_key(field.key)) or "") for field in forms.every_field()}


def grid(fields: Sequence[forms.Field], problems: Problems) -> None:
    """Draw fields: paths over the whole width, then short ones in pairs, then those with several lines."""
    short = [field for field in fields if not _is_path(field) and not _is_long(field)]
    for field in filter(_is_path, fields):
        draw(field, problems)
    for start in range(0, len(short), 2):
        for column, field in zip(st.columns(2), short[start : start + 2], strict=False):
            with column:
                draw(field, problems)
    for field in filter(_is_long, fields):
        draw(field, problems)


def draw(field: forms.Field, problems: Problems) -> None:
    """Draw one field and what is wrong with it."""
    key, label = state_key(field.key), _label(field)
    help_text = f"{field.help} `{field.path}`".strip()
    if field.variants:
        st.segmented_control(label, field.choices, key=key, required=True, persist_state="session", help=help_text)
        st.caption(field.variants[field.choices.index(st.session_state[key])])
    elif field.kind == "choice":
        st.selectbox(label, field.choices, key=key, persist_state="session", help=help_text)
    elif _is_long(field):
        st.text_area(
            label, key=key, height=72 if field.kind == "text" else 130, persist_state="session", help=help_text
        )
    else:
        st.text_input(
            label, key=key, placeholder=_NONE if field.optional else "", persist_state="session", help=help_text
        )
    refuse(problems.get(field.key, ()))


def refuse(messages: Sequence[str]) -> None:
    """Say below a widget why its value is refused."""
    for message in messages:
        st.markdown(f":red[:material/error:] :red[{words.literal(message)}]", width="stretch")


def _is_long(field: forms.Field) -> bool:
    return field.kind == "block" or field.path.endswith(".template")


def _is_path(field: forms.Field) -> bool:
    return field.path.endswith((".path", ".folder")) or field.path == "data.id"


def _label(field: forms.Field) -> str:
    section, _, name = field.path.rpartition(".")
    if name == "kind":
        return section.capitalize()
    if field.path == "data.id":
        return "Name on the hub, or folder"
    if field.path == "data.path":
        return "Files" if "parquet" in field.key else "File"
    return _NAMES.get(name, field.label)
