from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import SQLITE_ONLY
from sqlalchemy import JSON, func, select, text
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError
from store_helpers import submit

import db
from db import engine, tables
from trainer.errors import StoreError


def _names(store) -> list[str]:
    with engine.reading(store) as connection:
        return list(connection.execute(select(tables.runs.c.name)).scalars())


def _default_differs(context, inspected, column, there, default, here):
    """Whether a server's default is another. PostgreSQL compares no values of type JSON, so that their texts are compared; of others Alembic
    finds it out."""
    if not isinstance(column.type, JSON):
        return None
    return there is not here if None in (there, here) else there.partition("::")[0].strip("'") != here


def test_the_migrations_make_exactly_the_tables_of_the_metadata(store):
    with engine.reading(store) as connection:
        options = {"compare_type": True, "compare_server_default": _default_differs}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


@SQLITE_ONLY  # SQLite keeps the text of a table's definition; of PostgreSQL's, the test above compares what can be asked for
def test_the_migrations_make_the_same_sql_as_the_metadata(store, tmp_path):
    direct = engine.connect(f"sqlite:///{tmp_path}/direct.db")
    with engine.writing(direct) as connection:
        tables.metadata.create_all(connection)
    schemas = []
    for each in (store, direct):
        with engine.reading(each) as connection:
            rows = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY name")
            )
            schemas.append({name: sorted(re.findall(r"\w+|[(),]", sql or "")) for name, sql in rows})
    direct.dispose()
    assert schemas[0] == schemas[1]


def test_migrating_again_changes_nothing_and_an_empty_database_is_not_current(empty):
    store = engine.connect(empty)
    assert not engine.is_current(store)
    engine.migrate(empty)
    assert engine.is_current(store)
    with engine.writing(store) as connection:
        submit(connection, "kept")
    engine.migrate(empty)
    assert _names(store) == ["kept"]
    store.dispose()


def test_processes_that_migrate_at_once_all_succeed(empty):
    program = f"from db.engine import migrate; migrate({empty!r})"
    root = Path(db.__file__).parent.parent
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program], cwd=root, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [(process.returncode, error) for process, error in zip(processes, errors, strict=True)] == [(0, "")] * 3


def test_a_store_of_a_newer_version_is_refused_in_words(empty):
    engine.migrate(empty)
    store = engine.connect(empty)
    with engine.writing(store) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.dispose()
    with pytest.raises(StoreError, match="older than the one that wrote it; update mtprl"):
        engine.migrate(empty)


def test_the_alembic_files_lie_inside_the_package():
    folder = Path(db.__file__).parent / "migrations"
    assert {path.name for path in folder.iterdir()} >= {"env.py", "script.py.mako", "versions"}
    assert list((folder / "versions").glob("0001_*.py"))


@SQLITE_ONLY
def test_sqlite_is_set_up_for_many_readers_beside_a_writer(store):
    with engine.reading(store) as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() for pragma in pragmas]
    assert values == ["wal", 1, 1, 30_000]


def test_a_reader_sees_one_state_and_neither_waits_for_a_writer_nor_stops_it(store):
    with engine.reading(store) as reader:
        count = select(func.count()).select_from(tables.runs)
        assert reader.execute(count).scalar_one() == 0
        with engine.writing(store) as writer:
            submit(writer)
            assert reader.execute(count).scalar_one() == 0
        assert reader.execute(count).scalar_one() == 0
    assert len(_names(store)) == 1


def test_a_reader_cannot_write(store):
    with pytest.raises((OperationalError, InternalError), match=r"read-?only"), engine.reading(store) as connection:
        submit(connection)
    with engine.writing(store) as connection:
        submit(connection)


@SQLITE_ONLY  # it has one writer at a time; on PostgreSQL those that write other rows do not wait
def test_a_writer_waits_for_another_writer_instead_of_failing(store):
    def write(name: str) -> None:
        with engine.writing(store) as connection:
            count = connection.execute(select(func.count()).select_from(tables.runs)).scalar_one()
            time.sleep(0.05)  # a transaction that begins as a reader would now lose its snapshot
            submit(connection, f"{name}-{count}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name[-1] for name in _names(store)) == ["0", "1", "2", "3"]


def test_an_error_rolls_the_whole_transaction_back(store):
    def fail_in_the_middle() -> None:
        with engine.writing(store) as connection:
            submit(connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    assert _names(store) == []


def test_rows_that_refer_to_nothing_are_refused(store):
    with pytest.raises(IntegrityError), engine.writing(store) as connection:
        connection.execute(tables.leases.insert().values(host="a", device="cpu:0", run_id=99, attempt=1, taken_at=0.0))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mtprl.db", "the database address cannot be read; expected sqlite:///PATH"),
        ("sqlite://", "cannot be shared between processes"),
        ("mysql://root:secret@localhost/mtprl", r"mysql://root:\*\*\*@localhost/mtprl: mysql is not supported"),
        ("sqlite:////dev/null/mtprl.db", "the database's folder cannot be made"),
    ],
)
def test_an_unusable_address_is_refused_in_words(url, words):
    with pytest.raises(StoreError, match=words):
        engine.connect(url)
