"""Data sets by name, at `/data?name=NAME`: register a file, a folder or a hub id, and see what is in it."""

from __future__ import annotations

import json

import streamlit as st

from backend import registry, words
from backend.contamination import Report, report_data
from backend.inspection.data import DataFacts, count, inspect_data
from dashboard import contamination, markup, registered_page
from db.registry import Entry, Registered
from trainer.config import Data, yaml_text
from trainer.errors import ConfigError, MtprlError, Problem
from trainer.tasks import load

_NAME, _WHERE, _MORE, _NOTE = (f"data:{name}" for name in ("name", "where", "more", "note"))
_READ, _COMPARED = "data:read", "data:compared"
_MOST_CONFLICTS = 10


_WORDS = registered_page.Words(
    "Data",
    "Register data",
    "No data set has a name yet. A name makes problems easy to find in the form of a new run, and `mtprl data add NAME FILE` does the same from a shell.",
    ":material/dataset:",
)


def main() -> None:
    """Draw the page."""
    registered_page.draw(Registered.DATA, _WORDS, _one, _register)


def _register() -> None:
    left, right = st.columns(2)
    left.text_input("Name", key=_NAME, help="Letters, digits and . _ + -; it stands for the section in `data`.")
    right.text_input(
        "File, folder, or name on the hub",
        key=_WHERE,
        placeholder="problems.jsonl, data/*.parquet or HuggingFaceH4/MATH-500",
        help="JSONL and Parquet by their endings; else a data set of the hub. It is read once when it is registered.",
    )
    st.text_area(
        "Further settings, as YAML",
        key=_MORE,
        height=90,
        placeholder="columns: {problem: question, answer: final_answer}\ntemplate: 'Q: {problem}'\nchat: true",
        help="As in the section `data` of a configuration. With `kind` alone a source without a file: {kind: reasoning_gym, task: gcd}.",
    )
    st.text_input("Note", key=_NOTE, help="What somebody else should know about it.")
    st.button("Register", type="primary", on_click=_add)


def _add() -> None:
    def act() -> str:
        state = st.session_state
        where = state[_WHERE].strip()
        section = {**(registry.section_of(where) if where else {}), **_further(state[_MORE])}
        if not section:
            raise ConfigError([Problem("File", "is empty; give a file, a folder or a name on the hub")])
        entry = registry.add_data(state[_NAME], section, state[_NOTE])
        return f"data {entry.name} is {registry.where(entry)}"

    if registered_page.do(act):
        for key in (_NAME, _WHERE, _MORE, _NOTE):
            st.session_state.pop(key, None)


def _further(text: str) -> dict[str, object]:
    try:
        values = yaml_text.read(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError([Problem("Further settings", f"are not valid YAML: {error}")]) from None
    if not isinstance(values, dict):
        raise ConfigError([Problem("Further settings", f"{text[:60]!r} is no mapping; write `name: value`")])
    return values


def _one(entry: Entry) -> None:
    with st.container(border=True):
        st.header(words.literal(entry.name), anchor=False)
        st.caption(words.literal(registry.where(entry)))
        if entry.note:
            st.markdown(words.literal(entry.note))
        try:
            _inspection(entry, registry.data_of(entry.content))
        except MtprlError as error:
            st.error(words.literal(str(error)), icon=":material/error:")
        registered_page.used_by(entry)
        with st.container(horizontal=True, vertical_alignment="center"):
            registered_page.train_link(entry, "Train on it")
            registered_page.remove(entry)
        with st.expander("The section that a run gets"):
            st.code(yaml_text.write({"data": dict(entry.content)}), language="yaml")


def _inspection(entry: Entry, data: Data) -> None:
    with st.spinner("Counting the problems"):
        found = count(data)
    asked = st.session_state.get(_READ) == entry.name
    if found.later and not asked:
        st.info(f"{words.literal(found.later)}.", icon=":material/cloud:")
        st.button("Read it now", on_click=_read, args=(entry.name,))
        return
    if found.error:
        st.error(words.literal(found.error), icon=":material/error:")
        return
    with st.spinner("Reading the problems"):
        _facts(entry, _facts_of(json.dumps(entry.content), repr(found)))
    st.button(
        "Compare with the six benchmarks",
        icon=":material/compare:",
        on_click=_compare,
        args=(entry.name, data),
        help="Which problems of AIME24, AIME25, AMC23, MATH-500, Minerva and OlympiadBench are in it, word for word or nearly.",
    )
    name, report, error = st.session_state.get(_COMPARED, ("", None, ""))
    if name == entry.name and report is not None:
        contamination.draw_report(report)
    elif name == entry.name:
        st.error(words.literal(error), icon=":material/error:")


@st.cache_data(ttl=300, max_entries=16, show_spinner=False)
def _facts_of(section: str, state: str) -> DataFacts:
    """`state` changes when what is counted changes."""
    return inspect_data(registry.data_of(json.loads(section)))


def _read(name: str) -> None:
    st.session_state[_READ] = name


def _compare(name: str, data: Data) -> None:
    report: Report | None = None
    error = ""
    try:
        report = report_data(data, training=load(data))
    except MtprlError as refused:
        error = str(refused)
    st.session_state[_COMPARED] = (name, report, error)


def _facts(entry: Entry, facts: DataFacts) -> None:
    low, middle, high = facts.lengths
    st.html(
        markup.tiles(
            [
                ("Problems", f"{facts.problems:,}", str(entry.content["kind"])),
                ("Length", f"{middle:,}", f"characters, median; {low:,} to {high:,}"),
                ("Conflicts", f"{len(facts.conflicts):,}", "again with another answer"),
            ]
        )
    )
    answers = ", ".join(f"{kind} {number:,}" for kind, number in facts.answers.items())
    st.markdown(f"**Answers**: {words.literal(answers)}")
    columns = (markup.Column("Problem"), markup.Column("Answer"), markup.Column("Id", wide=True))
    rows = [
        [f'<span class="m-note">{markup.text(item.problem)}</span>', markup.text(item.answer), markup.text(item.id)]
        for item in facts.examples
    ]
    st.html(markup.table(columns, rows, label="Three of the problems"))
    if not facts.conflicts:
        return
    with st.expander(f"{words.plural(len(facts.conflicts), 'problem')} again with another answer"):
        pairs = facts.conflicts[:_MOST_CONFLICTS]
        lines = [[markup.text(a.problem[:300]), markup.text(a.answer), markup.text(b.answer)] for a, b in pairs]
        heads = (markup.Column("Problem"), markup.Column("First"), markup.Column("Later"))
        st.html(markup.table(heads, lines, label="Problems with two answers"))
        if len(facts.conflicts) > len(pairs):
            st.caption(f"and {len(facts.conflicts) - len(pairs):,} more")


main()
