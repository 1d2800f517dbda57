"""What users say about runs, and stopping several: the panel of the list, for runs that are chosen in it, and the one of a run's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from backend import labels, words
from backend import runs as service
from dashboard import compare_choices, navigation, store
from db import reads
from db.labels import LONGEST_NAME, LONGEST_NOTE
from db.reads import RunDetail, RunFilters
from db.statuses import ENDED, Status
from trainer.errors import MtprlError

PANEL, CHOSEN, ALL, ACTION = "manage", "manage:runs", "manage:all", "manage:action"
MOST = 10_000
"""Runs that one action takes at most."""
_EDIT = "edit"
_FEWEST_COMPARED = 2
_TAG_HELP = "Letters, digits and . : / = + - _; type one that does not exist yet to make it."


def panel(filters: RunFilters, listed: Sequence[int]) -> None:
    """Choose among the runs that are listed and do something with all that are chosen.

    The choice is no part of what is drawn anew every two seconds, and what is chosen stays so on other pages and with other filters. It is of
    runs: rows that are ticked in `st.dataframe` are places, and mean other runs as soon as a new one stands above them.
    """
    with st.popover("Manage", icon=":material/checklist:", key=PANEL, on_change="rerun", width="stretch"):
        with store.reading() as connection:
            everyone = bool(st.session_state.get(ALL))
            matching = reads.count_runs(connection, **filters)
            found = reads.matching_runs(connection, limit=MOST, **filters) if everyone else []
            offered = {*listed, *(st.session_state.get(CHOSEN) or [])}
            names = {
                run_id: f"{run_id} · {name} ({status})"
                for run_id, name, status in reads.matching_runs(connection, limit=len(offered), ids=sorted(offered))
            }
            known_tags = list(reads.tags(connection))
        chosen = st.multiselect(
            "Runs",
            list(names),
            format_func=names.__getitem__,
            key=CHOSEN,
            placeholder="Choose runs of this page",
            disabled=everyone,
            help="The runs of this page of the list. What is chosen stays so on other pages and with other filters.",
        )
        several = f"All {matching:,}" if matching <= MOST else f"The newest {MOST:,} of the {matching:,}"
        if st.checkbox(f"{several} that match the filters", key=ALL, disabled=not matching):
            chosen = [row[0] for row in found]
        action = st.segmented_control("Do", list(_ACTIONS), default="Stop", key=ACTION, required=True)
        _ACTIONS[action](chosen, known_tags)


def edit(run: RunDetail) -> None:
    """Name, tags, note and archive of one run."""
    with st.popover("Edit", icon=":material/edit:", key=_EDIT, on_change="rerun"):
        with store.reading() as connection:
            known = sorted({*reads.tags(connection), *run.tags})
        with st.form("edit:form", border=False):
            # One that was given under an older rule may be longer: it stays whole unless it is changed.
            name = st.text_input("Name", run.name, max_chars=max(LONGEST_NAME, len(run.name)))
            tags = st.multiselect("Tags", known, list(run.tags), accept_new_options=True, help=_TAG_HELP)
            note = st.text_area("Note", run.note, max_chars=LONGEST_NOTE, placeholder="What to remember about it")
            archived = st.checkbox(
                "Archived",
                run.archived_at is not None,
                disabled=run.status not in ENDED,
                help="Lists leave it out unless asked for; nothing is deleted. Only for runs that have ended.",
            )
            if st.form_submit_button("Save", type="primary"):
                _done(lambda: _save(run, name, tags, note, archived))


def _save(run: RunDetail, name: str, tags: Sequence[str], note: str, archived: bool) -> str:
    """Change what differs, and say what did."""
    said = []
    if name != run.name:
        said.append(labels.rename(run.id, name))
    add, remove = sorted(set(tags) - set(run.tags)), sorted(set(run.tags) - set(tags))
    if add or remove:
        said.append(labels.tag([run.id], add, remove))
    if note.strip() != run.note:
        said.append(labels.note([run.id], note))
    if archived != (run.archived_at is not None):
        said.append(labels.archive([run.id], undo=not archived))
    return "; ".join(said) or "nothing was changed"


def _stop(chosen: Sequence[int], _: Sequence[str]) -> None:
    st.caption("They write a checkpoint after the step they are in, then end; queued ones leave the queue.")
    _button("Stop", chosen, lambda: _stop_all(chosen))


def _stop_all(chosen: Sequence[int]) -> str:
    with store.reading() as connection:
        statuses = {run_id: reads.get_run(connection, run_id).status for run_id in chosen}
    said = [service.stop(run_id) for run_id, status in statuses.items() if status not in (*ENDED, Status.STOPPING)]
    if not said:
        return "none of these runs is queued or active"
    return said[0] if len(said) == 1 else f"{words.plural(len(said), 'run')} asked to stop"


def _tag(chosen: Sequence[int], known: Sequence[str]) -> None:
    add = st.multiselect("Add tags", known, key="manage:add", accept_new_options=True, help=_TAG_HELP)
    remove = st.multiselect("Take tags away", known, key="manage:remove")
    _button("Tag", chosen, lambda: labels.tag(chosen, add, remove), ready=bool(add or remove))


def _note(chosen: Sequence[int], _: Sequence[str]) -> None:
    text = st.text_area("Note", key="manage:note", max_chars=LONGEST_NOTE, placeholder="What to remember about them")
    st.caption("It takes the place of what was noted before; an empty one takes that away.")
    _button("Note for", chosen, lambda: labels.note(chosen, text))


def _rename(chosen: Sequence[int], _: Sequence[str]) -> None:
    name = st.text_input("New name", key="manage:name", max_chars=LONGEST_NAME)
    if len(chosen) != 1:
        st.caption("Choose one run: a name is for one.")
    _button("Rename", chosen, lambda: labels.rename(chosen[0], name), ready=len(chosen) == 1 and bool(name.strip()))


def _archive(chosen: Sequence[int], _: Sequence[str]) -> None:
    st.caption(
        "Archived runs are left out of this list unless asked for. Nothing is deleted: pages, comparisons and the leaderboard keep them."
    )
    _button("Archive", chosen, lambda: labels.archive(chosen))
    _button("Take back", chosen, lambda: labels.archive(chosen, undo=True), primary=False)


def _compare(chosen: Sequence[int], _: Sequence[str]) -> None:
    st.page_link(
        navigation.compare(),
        label=f"Compare {words.plural(len(chosen), 'run')}",
        query_params={"runs": ",".join(map(str, chosen))},
        icon=":material/stacked_line_chart:",
        disabled=len(chosen) < _FEWEST_COMPARED,
    )
    st.caption(f"Trainings, {compare_choices.MOST} at most; evaluations are left out there.")


_ACTIONS: dict[str, Callable[[Sequence[int], Sequence[str]], None]] = {
    "Stop": _stop,
    "Tag": _tag,
    "Note": _note,
    "Rename": _rename,
    "Archive": _archive,
    "Compare": _compare,
}


def _button(
    verb: str, chosen: Sequence[int], do: Callable[[], str], *, primary: bool = True, ready: bool = True
) -> None:
    """It says how many runs are chosen, also where what to do with them is not yet said."""
    st.button(
        f"{verb} {words.plural(len(chosen), 'run')}",
        type="primary" if primary else "secondary",
        disabled=not (chosen and ready),
        on_click=_do,
        args=(do,),
    )


def _do(do: Callable[[], str]) -> None:
    """Do it to those that are chosen, and close the panel; where it is refused, the panel and the choice stay."""
    try:
        st.toast(do(), icon=":material/check:")
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")
    else:
        st.session_state[PANEL], st.session_state[CHOSEN], st.session_state[ALL] = False, [], False


def _done(do: Callable[[], str]) -> None:
    """Do it and draw the page anew; where it is refused, say so beside the form, which keeps what was typed."""
    try:
        said = do()
    except MtprlError as error:
        st.error(str(error), icon=":material/error:")
        return
    st.toast(said, icon=":material/check:")
    st.rerun()
