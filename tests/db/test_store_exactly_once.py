"""A file of events, read on in pieces of any size by readers that die at any moment, is in the store once: what its history leaves."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from pathlib import Path

import pytest
from databases import POSTGRESQL_ONLY, Postgres
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from store_helpers import claim, metrics, started

from db import claims, reads, tables
from db.engine import reading, writing
from db.extremes import PLACES, STEPS
from db.ingest import ingest, read_offset
from trainer.events import EVENTS_FILE, STEP_LEVEL, JsonlSink, parse_lines

Key = tuple[str, int, int]


def _train(folder: Path, attempt: int, resumed_from: int | None, steps: range, chance: random.Random) -> None:
    """What an attempt writes that dies in the middle of a line."""
    sink = JsonlSink(folder, attempt)
    sink.emit("attempt_started", step=0, pid=7, host="alpha", total_steps=9, resumed_from=resumed_from)
    for step in steps:
        for mini_batch in (0, 1):
            sink.emit(
                "metrics",
                step=step,
                mini_batch=mini_batch,
                values={"loss": chance.gauss(0, 1), "both": float(chance.randrange(9))},
            )
        values = {"both": chance.choice([math.nan, math.inf, -math.inf, float(chance.randrange(9))]), "reward": 1.5}
        sink.emit("metrics", step=step, values=values)
        if step % 7 == 0:
            sink.emit("metrics", step=max(step - 40, 0), values={"late": chance.random()})  # said again, out of order
    sink.close()
    with open(folder / EVENTS_FILE, "ab") as file:
        file.write(b'{"type":"metrics","attempt":1,"st')


def _surviving(folder: Path) -> dict[Key, float]:
    """What is to be stored, by the definition of an event file: read from its beginning to its end."""
    found: dict[Key, float] = {}
    for event, _ in parse_lines((folder / EVENTS_FILE).read_bytes()):
        if event and event["type"] == "attempt_started":
            last = -1 if event["resumed_from"] is None else event["resumed_from"]
            found = {key: value for key, value in found.items() if key[1] <= last}
        elif event and event["type"] == "metrics":
            found |= {(name, event["step"], event["mini_batch"]): float(v) for name, v in event["values"].items()}
    return found


def _stored(store, run: int) -> dict[Key, float]:
    with reading(store) as connection:
        rows = [((row.metric, row.step, row.mini_batch), row.value) for row in reads.export_rows(connection, run)]
    assert len(rows) == len(dict(rows))
    return dict(rows)


def extremes_of(values: dict[Key, float]) -> set[tuple]:
    """The rows of metric_extremes, by their definition."""
    stretches = defaultdict(list)
    for (name, step, mini_batch), value in sorted(values.items()):
        fine = int(mini_batch != STEP_LEVEL)
        stretches[name, fine, step // STEPS].append((value, step * PLACES + mini_batch + 1))
    rows = set()
    for key, points in stretches.items():
        finite = [point for point in points if math.isfinite(point[0])]
        lowest = min(finite, default=(None, None))
        highest = max(finite, key=lambda point: (point[0], -point[1]), default=(None, None))
        odd = next((at for value, at in points if not math.isfinite(value)), None)
        sums = (len(finite), sum(at // PLACES for _, at in finite), round(sum(value for value, _ in finite), 6))
        rows.add((*key, *lowest, *highest, odd, *sums))
    return rows


def extremes_stored(store, run: int) -> set[tuple]:
    names, table = tables.metric_names, tables.metric_extremes
    columns = (
        "fine",
        "stretch",
        "lowest",
        "lowest_at",
        "highest",
        "highest_at",
        "odd_at",
        "summed",
        "step_sum",
        "value_sum",
    )
    statement = (
        select(names.c.name, *(table.c[column] for column in columns))
        .join_from(table, names, table.c.metric_id == names.c.id)
        .where(table.c.run_id == run)
    )
    with reading(store) as connection:
        return {(*row[:-1], round(row[-1], 6)) for row in connection.execute(statement)}


def _carry(store, run: int, attempt: int, path: Path, chance: random.Random) -> None:
    """Read on to the end of the file in pieces of any size; now and then the reader dies before it commits, or a piece comes twice."""
    data = path.read_bytes()
    with reading(store) as connection:
        offset = read_offset(connection, run, attempt)
    while True:
        piece = data[offset : offset + chance.randrange(200, 4000)]
        lines = list(parse_lines(piece))
        if not lines:
            if offset + len(piece) == len(data):
                return
            continue
        end, torn = offset + sum(length for _, length in lines), sum(event is None for event, _ in lines)
        events = [event for event, _ in lines if event]
        with store.connect().execution_options(writes=True) as connection, connection.begin() as transaction:
            result = ingest(connection, run, events, attempt=attempt, start=offset, offset=end, torn_lines=torn)
            assert result.applied
            if chance.random() < 0.3:
                transaction.rollback()
                continue
        with writing(store) as connection:
            again = ingest(connection, run, events, attempt=attempt, start=offset, offset=end, torn_lines=torn)
        assert not again.applied
        offset = result.offset


def _same(found: dict[Key, float], wanted: dict[Key, float]) -> bool:
    return {key: repr(value) for key, value in found.items()} == {key: repr(value) for key, value in wanted.items()}


@pytest.mark.parametrize("seed", range(4))
def test_every_value_of_the_surviving_history_is_stored_once(store, run, tmp_path, seed):
    chance = random.Random(seed)
    resumed_from: int | None = None
    superseded = 0
    for attempt in (1, 2, 3):
        if attempt > 1:
            with writing(store) as connection:
                assert claims.requeue(connection, run, 50.0, "its worker died", attempt=attempt - 1)
                claim(connection)
            resumed_from = chance.choice([None, STEPS, STEPS - 1, 50, 70][attempt - 2 :])
        known = _stored(store, run)
        superseded += sum(step > (-1 if resumed_from is None else resumed_from) for _, step, _ in known)
        begin = (resumed_from or 0) + 1
        _train(
            tmp_path,
            attempt,
            resumed_from,
            range(begin, begin + chance.choice([0, 3, 20] if attempt > 1 else [80])),
            chance,
        )
        _carry(store, run, attempt, tmp_path / EVENTS_FILE, chance)
        surviving = _surviving(tmp_path)
        assert _same(_stored(store, run), surviving)
        assert extremes_stored(store, run) == extremes_of(surviving)
    with reading(store) as connection:
        attempts = reads.get_run(connection, run).attempts
    assert sum(each.superseded_rows for each in attempts) == superseded
    assert [each.torn_lines for each in attempts] == [0, 1, 1]  # a line that is torn is closed by the attempt after it


def test_a_value_that_is_said_again_leaves_nothing_of_its_first_saying(store, run, reader):
    reader.feed(started(), *(metrics(step, loss=1.0) for step in range(100)), metrics(50, loss=99.0))
    reader.feed(metrics(50, loss=0.5), metrics(10, loss="NaN"))
    reader.feed(metrics(10, loss=2.0))
    assert extremes_stored(store, run) == extremes_of(_stored(store, run))
    assert max(row[5] for row in extremes_stored(store, run)) == 2.0


@POSTGRESQL_ONLY  # SQLite has no server that could go
def test_a_connection_that_is_lost_before_the_commit_stores_nothing_and_the_next_one_everything(
    store, run, url, database: Postgres, tmp_path
):
    _train(tmp_path, 1, None, range(1, 30), random.Random(0))
    data = (tmp_path / EVENTS_FILE).read_bytes()
    lines = list(parse_lines(data))
    events, end = [event for event, _ in lines if event], sum(length for _, length in lines)
    lose = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    def store_and_lose_the_connection() -> None:
        with writing(store) as connection:
            ingest(connection, run, events, attempt=1, start=0, offset=end, torn_lines=0)
            database.execute(lose, url=url)
            connection.execute(text("SELECT 1"))

    with pytest.raises(OperationalError):
        store_and_lose_the_connection()
    assert _stored(store, run) == {}
    _carry(store, run, 1, tmp_path / EVENTS_FILE, random.Random(0))
    assert _same(_stored(store, run), _surviving(tmp_path))
