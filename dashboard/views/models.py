"""Models by name, at `/models?name=NAME`: register a folder, a hub id or a run's checkpoint, and see what it is."""

from __future__ import annotations

import time

import streamlit as st

from backend import registry, verified, words
from backend.inspection.models import ModelFacts, inspect_model
from dashboard import markup, navigation, registered_page, store
from db import reads
from db.registry import Entry, Registered

_NAME, _FROM, _PATH, _RUN, _STEP, _NOTE = (f"model:{name}" for name in ("name", "from", "path", "run", "step", "note"))
_FOLDER, _CHECKPOINT = "Folder or hub id", "Checkpoint of a run"
_UNKNOWN = "not known"


_WORDS = registered_page.Words(
    "Models",
    "Register a model",
    "No model has a name yet. A name makes a folder, a hub id or a checkpoint easy to find in the form of a new run, and `mtprl models add NAME FOLDER` "
    "does the same from a shell.",
    ":material/network_node:",
)


def main() -> None:
    """Draw the page."""
    registered_page.draw(Registered.MODEL, _WORDS, _one, _register)


def _register() -> None:
    left, right = st.columns(2)
    left.text_input("Name", key=_NAME, help="Letters, digits and . _ + -; it stands for the model in `model.path`.")
    st.session_state.setdefault(_FROM, _FOLDER)
    with right:
        source = st.segmented_control("What", (_FOLDER, _CHECKPOINT), key=_FROM, required=True)
    if source == _FOLDER:
        st.text_input(
            "Folder, or name on the Hugging Face hub",
            key=_PATH,
            placeholder="/models/my-qwen3 or Qwen/Qwen3-0.6B",
            help="A folder with config.json, safetensors weights and a tokenizer. Nothing is fetched now.",
        )
    else:
        one, other = st.columns(2)
        one.text_input("Run", key=_RUN, help="Its id, or its name where only one has it.")
        other.text_input("Step", key=_STEP, placeholder="the newest", help="After which step it was saved.")
    st.text_input("Note", key=_NOTE, help="What somebody else should know about it.")
    st.button("Register", type="primary", on_click=_add)


def _add() -> None:
    def act() -> str:
        state = st.session_state
        name, note = state[_NAME], state[_NOTE]
        if state[_FROM] == _FOLDER:
            entry = registry.add_model(name, state[_PATH].strip(), note)
        else:
            with store.reading() as connection:
                run_id = reads.find_run(connection, state[_RUN].strip())
            entry = registry.add_checkpoint(name, run_id, registry.step_of(state[_STEP]), note)
        return f"model {entry.name} is {entry.content['path']}"

    if registered_page.do(act):
        for key in (_NAME, _PATH, _RUN, _STEP, _NOTE):
            st.session_state.pop(key, None)


def _one(entry: Entry) -> None:
    facts = inspect_model(str(entry.content["path"]))
    with st.container(border=True):
        st.header(words.literal(entry.name), anchor=False)
        st.caption(words.literal(str(entry.content["path"])))
        if entry.note:
            st.markdown(words.literal(entry.note))
        for problem in facts.problems:
            st.error(words.literal(problem), icon=":material/error:")
        if facts.folder is None and not facts.problems:
            st.info("It is on the hub and not on this machine: a run fetches it. What it is can be said from then on.")
        st.html(markup.tiles(_tiles(facts)))
        said = {**facts.facts, "Verified": _verified(entry.name, facts)}
        rows = [[markup.text(name), markup.with_code(text)] for name, text in said.items()]
        st.html(markup.table((markup.Column("What"), markup.Column("Is")), rows, label=f"Model {entry.name}"))
        registered_page.used_by(entry)
        with st.container(horizontal=True, vertical_alignment="center"):
            registered_page.train_link(entry, "Train with it")
            if facts.folder is not None and not facts.problems:
                st.page_link(
                    navigation.new_run(),
                    label="Warm its heads",
                    query_params={navigation.WARM: entry.name},
                    icon=":material/local_fire_department:",
                )
            registered_page.remove(entry)


def _verified(name: str, facts: ModelFacts) -> str:
    """What `mtprl verify` found last. It loads the model, which a page does not."""
    found = verified.last(facts.folder) if facts.folder else None
    command = f"`mtprl verify {name}` measures its heads"
    return f"{found.words(time.time())} ({command} again)" if found else f"not yet: {command}"


def _tiles(facts: ModelFacts) -> list[tuple[str, str, str]]:
    parameters = _UNKNOWN if facts.parameters is None else words.short(facts.parameters)
    disk = _UNKNOWN if facts.bytes is None else words.size(facts.bytes)
    heads = str(facts.heads.depths) if facts.heads else ("0" if facts.folder else _UNKNOWN)
    return [
        ("Parameters", parameters, ", ".join(facts.dtypes) or "\u00a0"),
        ("MTP depths", heads, f"{facts.heads.layout} layout" if facts.heads else "a run starts new ones"),
        ("On disk", disk, "\u00a0"),
    ]


main()
