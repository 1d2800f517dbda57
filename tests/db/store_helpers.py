"""The few steps that most tests of the store begin with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from db import claims, engine, ingest, runs


def submit(connection: Connection, name: str = "occ-seed0", **fields: Any) -> int:
    values = {"experiment": "demo", "regime": "occ", "algorithm": "dapo", "seed": 0, "total_steps": 120, "preset": None}
    return runs.create_run(
        connection, **{**values, "name": name, "config": {"steps": 120}, "folder": "runs/1", "now": 1.0, **fields}
    )


def claim(connection: Connection, *devices: str, host: str = "alpha", now: float = 2.0) -> claims.Claim:
    taken = claims.claim_next(connection, host=host, devices=devices or ["cpu:0"], now=now)
    assert taken is not None
    return taken


def event(type: str, step: int = 0, mini_batch: int = -1, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": type, "attempt": attempt, "step": step, "mini_batch": mini_batch, "time": 100.0 + step, **fields}


def started(attempt: int = 1, resumed_from: int | None = None) -> dict[str, Any]:
    return event("attempt_started", attempt=attempt, pid=7, host="alpha", total_steps=120, resumed_from=resumed_from)


def metrics(step: int, mini_batch: int = -1, attempt: int = 1, **values: Any) -> dict[str, Any]:
    """A metrics event; `reward__mean=1.0` stands for the metric reward/mean."""
    named = {name.replace("__", "/"): value for name, value in values.items()}
    return event("metrics", step, mini_batch, attempt, values=named)


class Reader:
    """Hands events in as a supervisor does: stretch after stretch."""

    def __init__(self, store: Engine, run_id: int, attempt: int = 1, offset: int = 0):
        self.store, self.run_id, self.attempt, self.offset = store, run_id, attempt, offset

    def feed(self, *events: dict[str, Any], torn_lines: int = 0) -> ingest.IngestResult:
        result = self.feed_at(self.offset, self.offset + 10 * len(events) + 1, *events, torn_lines=torn_lines)
        assert result.applied
        self.offset = result.offset
        return result

    def feed_at(self, start: int, offset: int, *events: dict[str, Any], torn_lines: int = 0) -> ingest.IngestResult:
        with engine.writing(self.store) as connection:
            return ingest.ingest(
                connection, self.run_id, events, attempt=self.attempt, start=start, offset=offset, torn_lines=torn_lines
            )
