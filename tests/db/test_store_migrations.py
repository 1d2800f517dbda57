"""Stores of earlier versions, brought to the newest one."""

from __future__ import annotations

import math

from alembic import command
from sqlalchemy import select, text
from test_store_exactly_once import extremes_of, extremes_stored

from db import engine, reads, tables

ROWS = 400
VALUES = {
    (name, step, mini_batch): math.nan if step == 77 else math.sin(step) + mini_batch
    for name in ("loss", "reward")
    for step in range(ROWS)
    for mini_batch in (-1, 0, 1)
    if (name, mini_batch) != ("reward", -1)
}


def _at_0001(url: str) -> None:
    """Make a store as version 0001 did, with one run in it."""
    store = engine.connect(url)
    with store.connect().execution_options(writes=True) as connection, connection.begin():
        config = engine._alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO experiments VALUES (1, 'demo', 1.0)",
            "INSERT INTO runs (id, experiment_id, name, config, regime, algorithm, seed, total_steps, folder, status, reason,"
            " stop_requested, attempt, step, stage, created_at) VALUES"
            " (1, 1, 'old', '{}', 'occ', 'dapo', 0, 400, 'runs/1', 'finished', '', false, 1, 399, '', 1.0)",
            "INSERT INTO runs (id, experiment_id, name, config, regime, algorithm, seed, total_steps, folder, status, reason,"
            " stop_requested, attempt, step, stage, created_at) VALUES"
            " (2, 1, 'other', '{\"rollout\": {\"engine\": \"vllm\"}}', 'occ', 'dapo', 0, 400, 'runs/2', 'finished', '', false, 1, 399,"
            " '', 1.0)",
            "INSERT INTO metric_names VALUES (1, 'loss'), (2, 'reward')",
            "INSERT INTO evaluations (id, run_id, benchmark, step, attempt, samples, temperature, top_p, time) VALUES"
            " (1, 1, 'addition', 399, 1, 2, 1.0, 0.7, 2.0), (2, 2, 'addition', 399, 1, 2, 1.0, 0.7, 2.0)",
            "INSERT INTO evaluation_items (evaluation_id, item_id, outcomes) VALUES (1, 'q', '10')",
            "INSERT INTO completions VALUES (1, 10, 'p', 0, 1, '1+1', '2', '2', 1.0, 0.5, true, '2', '', 2, false)",
            "INSERT INTO latest_metrics VALUES (1, 1, 399, -1, 1, 0.5, 0, 2.0), (1, 2, 399, 1, 1, 0.5, 0, 2.0)",
        ):
            connection.execute(text(statement))
        rows = [
            {"m": 1 + (name == "reward"), "s": step, "b": mini_batch, "v": None if code else value, "c": code}
            for (name, step, mini_batch), value in VALUES.items()
            for code in (int(math.isnan(value)),)
        ]
        connection.execute(text("INSERT INTO metrics VALUES (1, :m, :s, :b, 1, :v, :c, 2.0)"), rows)
    store.dispose()


def test_a_store_of_the_first_version_keeps_its_values_and_gets_extremes(empty):
    _at_0001(empty)
    engine.migrate(empty)
    store = engine.connect(empty)
    with engine.reading(store) as connection:
        kept = {(row.metric, row.step, row.mini_batch): row.value for row in reads.export_rows(connection, 1)}
        assert len(connection.execute(select(tables.latest_metrics)).all()) == 2
        chart = reads.series(connection, [1], ["loss"], max_points=20)[1, "loss"]
        evaluation, with_vllm = reads.evaluations(connection, [1, 2])
        (completion,) = reads.completions_at(connection, 1, 10)
        assert reads.tokens_at(connection, 1, 10, "p") == {}
    assert (evaluation.items, evaluation.revision, evaluation.kind) == ({"q": "10"}, None, "training")
    assert [(one.engine, one.top_k, one.stop) for one in (evaluation, with_vllm)] == [
        ("builtin", 0, []),
        ("vllm", 0, []),
    ]
    assert completion.completion == "2"
    assert repr(kept) == repr(VALUES)
    assert extremes_stored(store, 1) == extremes_of(VALUES)
    assert (chart.steps[0], chart.steps[-1]) == (0, ROWS - 1)
    store.dispose()
