from __future__ import annotations

import pytest
from store_helpers import claim, submit

from db import labels, reads, runs, tables
from db.engine import reading, writing
from db.statuses import Status
from trainer.errors import StoreError


@pytest.fixture
def three(store) -> list[int]:
    """Three runs that have ended."""
    with writing(store) as connection:
        made = [submit(connection, name) for name in "abc"]
        for run_id in made:
            runs.request_stop(connection, run_id, 2.0)
    return made


def ids(store, **filters) -> list[int]:
    with reading(store) as connection:
        found = [row.id for row in reads.list_runs(connection, **filters)]
        assert reads.count_runs(connection, **filters) == len(found)
        assert [row[0] for row in reads.matching_runs(connection, limit=100, **filters)] == found
    return found


def test_runs_are_found_by_all_of_their_tags(store, three):
    a, b, c = three
    with writing(store) as connection:
        labels.change_tags(connection, [a, b], ["baseline", "lr=1e-5"], [])
        labels.change_tags(connection, [b, c], ["baseline"], ["lr=1e-5"])
    assert ids(store, tags=["baseline"]) == [c, b, a]
    assert ids(store, tags=["baseline", "lr=1e-5"]) == [a]
    assert ids(store, tags=["nobody"]) == []
    with reading(store) as connection:
        assert reads.tags(connection) == {"baseline": 3, "lr=1e-5": 1}
        assert reads.get_run(connection, a).tags == ("baseline", "lr=1e-5")


@pytest.mark.parametrize("tag", ["", " ", "two words", "-old", "a,b", "x" * 41])
def test_what_cannot_be_a_tag_is_refused(store, three, tag):
    with writing(store) as connection, pytest.raises(StoreError, match="is refused; give 1 to 40 letters"):
        labels.change_tags(connection, three, ["good", tag], [])
    assert ids(store, tags=["good"]) == []


def test_a_tag_on_both_sides_and_a_run_that_is_not_there_are_refused(store, three):
    with writing(store) as connection:
        with pytest.raises(StoreError, match="'x' is to be added and removed"):
            labels.change_tags(connection, three, ["x"], ["x"])
        for change in (
            lambda: labels.change_tags(connection, [three[0], 99], ["x"], []),
            lambda: labels.set_note(connection, [99], "x"),
            lambda: labels.rename(connection, 99, "x"),
            lambda: labels.archive(connection, [99], 3.0),
        ):
            with pytest.raises(StoreError, match="run 99 does not exist"):
                change()


def test_a_note_is_kept_found_and_taken_away(store, three):
    with writing(store) as connection:
        labels.set_note(connection, three[:2], "  diverged at 40 %\n")
    assert ids(store, text="AT 40 %") == [three[1], three[0]]
    with writing(store) as connection:
        labels.set_note(connection, [three[0]], "")
        with pytest.raises(StoreError, match="10,001 characters are too many"):
            labels.set_note(connection, three, "x" * 10_001)
        assert [reads.get_run(connection, run).note for run in three] == ["", "diverged at 40 %", ""]


def test_a_run_has_the_name_that_it_was_given_last(store, three):
    with writing(store) as connection:
        labels.rename(connection, three[0], " better ")
        assert reads.find_run(connection, "better") == three[0]
        for name in ("", "  "):
            with pytest.raises(StoreError, match="give 1 to 80"):
                labels.rename(connection, three[0], name)
        for name in ("x" * 81, "<b>bold</b>", "a/b", "a\nb", "a\0b", "half \udce9"):
            with pytest.raises(StoreError, match="is no name; use up to 80 letters"):
                labels.rename(connection, three[0], name)
        assert reads.find_run(connection, "better") == three[0]


def test_an_archived_run_is_left_out_where_asked_and_comes_back(store, three):
    a, b, c = three
    with writing(store) as connection:
        labels.archive(connection, [a, b], 3.0)
        labels.archive(connection, [b], 9.0)
    assert ids(store) == [c, b, a]
    assert (ids(store, archived=False), ids(store, archived=True)) == ([c], [b, a])
    with writing(store) as connection:
        assert reads.get_run(connection, b).archived_at == 3.0
        labels.archive(connection, [a], None)
    assert ids(store, archived=False) == [c, a]


def test_only_what_has_ended_is_archived_and_a_resumed_run_comes_back(store, three):
    with writing(store) as connection:
        waiting = submit(connection, "waits")
        with pytest.raises(StoreError, match=f"run {waiting} is queued and cannot be archived"):
            labels.archive(connection, [three[0], waiting], 3.0)
    assert ids(store, archived=True) == []
    with writing(store) as connection:
        labels.archive(connection, three, 3.0)
        again = {"config": {}, "total_steps": 9, "devices": 1, "priority": 0, "retries": 0, "reason": "", "now": 4.0}
        assert runs.resume(connection, three[1], attempt=0, **again)
    assert ids(store, archived=False) == [waiting, three[1]]


def test_pages_of_the_list_follow_one_another(store, three):
    with reading(store) as connection:
        pages = [[row.id for row in reads.list_runs(connection, limit=2, offset=offset)] for offset in (0, 2, 4)]
    assert pages == [[three[2], three[1]], [three[0]], []]


def test_a_listed_run_says_on_which_host_it_is(store):
    with writing(store) as connection:
        submit(connection)
        claim(connection, host="beta")
        submit(connection, "waits")
        found = {row.name: (row.host, row.status) for row in reads.list_runs(connection)}
    assert found == {"waits": (None, Status.QUEUED), "occ-seed0": ("beta", Status.STARTING)}


def test_what_holds_devices_stands_before_what_waits_in_its_order_and_what_has_ended(store, three):
    with writing(store) as connection:
        running, first, urgent = submit(connection, "r"), submit(connection, "1"), submit(connection, "!", priority=5)
        labels.archive(connection, [three[0]], 3.0)
    with writing(store) as connection:
        late = submit(connection, "later", now=9.0)
        connection.execute(tables.runs.update().where(tables.runs.c.id == running).values(status=Status.RUNNING))
    with reading(store) as connection:
        rows = reads.list_runs(connection, active_first=True, archived=False)
        names = {running: "running", first: "first", urgent: "urgent", late: "late", three[1]: "b", three[2]: "c"}
        assert [names[row.id] for row in rows] == ["running", "urgent", "first", "late", "c", "b"]
        [row] = reads.list_runs(connection, active_first=True, archived=False, offset=3, limit=1)
        assert row.id == late
