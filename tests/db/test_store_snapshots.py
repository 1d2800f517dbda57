"""Snapshots are written once and come back byte for byte."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from db import snapshots, tables
from db.engine import reading, writing
from trainer.errors import StoreError

CONTENT = '{"b": 1,  "a": [0.1, "NaN", "λ"]}'


def test_a_snapshot_comes_back_as_it_was_kept_and_newer_ones_come_first(store):
    with writing(store) as connection:
        first = snapshots.keep(connection, "First", CONTENT, 10.25)
        second = snapshots.keep(connection, "Second", CONTENT, 1790000000.123456)
    with reading(store) as connection:
        assert snapshots.read(connection, first.token) == (first, CONTENT)
        assert snapshots.read(connection, second.token) == (second, CONTENT)
        assert snapshots.listed(connection) == [second, first]


def test_the_same_content_is_kept_once_and_other_content_has_another_token(store):
    with writing(store) as connection:
        tokens = [
            snapshots.keep(connection, title, content, now).token
            for title, content, now in [
                ("a", "x", 1.0),
                ("a", "x", 1.0),
                ("a", "y", 1.0),
                ("b", "x", 1.0),
                ("a", "x", 2.0),
            ]
        ]
        assert len(snapshots.listed(connection)) == 4
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 4


@pytest.mark.parametrize("change", [{"content": "{}"}, {"title": "Another"}, {"created_at": 11.0}])
def test_a_row_that_was_changed_is_found_out(store, change):
    with writing(store) as connection:
        token = snapshots.keep(connection, "First", CONTENT, 10.0).token
        connection.execute(update(tables.snapshots).values(change))
    with reading(store) as connection, pytest.raises(StoreError, match=f"snapshot '{token}' was changed"):
        snapshots.read(connection, token)


@pytest.mark.parametrize("title", ["", "  ", "x" * 201])
def test_a_title_has_1_to_200_characters(store, title):
    with writing(store) as connection, pytest.raises(StoreError, match=r"title: .* give one of 1 to 200"):
        snapshots.keep(connection, title, CONTENT, 1.0)


def test_an_unknown_token_is_refused_in_words(store):
    with reading(store) as connection, pytest.raises(StoreError, match="snapshot 'abc' does not exist"):
        snapshots.read(connection, "abc")
