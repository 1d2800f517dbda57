"""Names for models and data sets, on both databases."""

from __future__ import annotations

import pytest
from store_helpers import submit

from db import registry
from db.engine import reading, writing
from db.registry import Entry, Registered
from trainer.errors import StoreError

MODEL = Entry(Registered.MODEL, "base", {"path": "/m"}, "the one", "ann", 5.5)


def test_what_is_registered_comes_back_by_kind_and_name(store):
    data = Entry(Registered.DATA, "base", {"kind": "jsonl", "path": "x", "columns": {"id": "n"}}, "", "", 6.0)
    with writing(store) as connection:
        registry.add(connection, MODEL)
        registry.add(connection, data)
    with reading(store) as connection:
        assert registry.listed(connection, Registered.MODEL) == [MODEL]
        assert registry.get(connection, Registered.DATA, "base") == data
        assert registry.find(connection, Registered.DATA, "other") is None


def test_a_name_stands_for_one_thing_until_it_is_taken_away(store):
    with writing(store) as connection:
        registry.add(connection, MODEL)
        with pytest.raises(StoreError, match="model 'base' is there already"):
            registry.add(connection, MODEL)
        registry.remove(connection, Registered.MODEL, "base")
        with pytest.raises(StoreError, match="model 'base' does not exist; `mtprl models`"):
            registry.remove(connection, Registered.MODEL, "base")
        registry.add(connection, MODEL)


@pytest.mark.parametrize("name", ["", "a/b", " x", "-x", "x" * 81])
def test_a_name_that_could_be_a_folder_or_nothing_is_refused(store, name):
    with writing(store) as connection, pytest.raises(StoreError, match=r"name: .* is refused"):
        registry.add(connection, Entry(Registered.MODEL, name, {}, "", "", 1.0))


def test_the_trainings_that_used_something_are_found_by_their_configuration(store):
    with writing(store) as connection:
        first = submit(
            connection, name="first", config={"model": {"path": "/m"}, "data": {"kind": "jsonl", "path": "x"}}
        )
        submit(connection, name="other", config={"model": {"path": "/n"}, "data": {"kind": "parquet", "path": "x"}})
        second = submit(connection, name="second", config={"model": {"path": "/m"}, "data": {"kind": "hub", "id": "y"}})
        found = registry.users(connection, "model", {"path": "/m"})
        assert (found.count, found.newest) == (2, ((second, "second"), (first, "first")))
        assert registry.users(connection, "data", {"kind": "jsonl", "path": "x"}).count == 1
        assert registry.users(connection, "data", {"kind": "jsonl", "path": "y"}).count == 0
