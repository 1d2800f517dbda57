"""Extremes of metrics, for charts of long series; the metrics themselves without foreign keys, which are checked row by row.

Revision: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PLACE = "CAST(m.step AS BIGINT) * 65536 + m.mini_batch + 1"
_FINE = "CASE WHEN m.mini_batch = -1 THEN 0 ELSE 1 END"
_FIRST = f"""
(SELECT {_PLACE} FROM metrics AS m
WHERE m.run_id = found.run_id AND m.metric_id = found.metric_id
AND m.step BETWEEN found.stretch * 32 AND found.stretch * 32 + 31 AND {_FINE} = found.fine AND m.value = found.%s
ORDER BY m.step, m.mini_batch LIMIT 1)
"""
_FILL = f"""
INSERT INTO metric_extremes (run_id, metric_id, fine, stretch, lowest, lowest_at, highest, highest_at, odd_at)
SELECT run_id, metric_id, fine, stretch, lowest, {_FIRST % "lowest"}, highest, {_FIRST % "highest"}, odd_at
FROM (
    SELECT m.run_id, m.metric_id, {_FINE} AS fine, m.step / 32 AS stretch, MIN(m.value) AS lowest, MAX(m.value) AS highest,
        MIN(CASE WHEN m.code <> 0 THEN {_PLACE} END) AS odd_at
    FROM metrics AS m GROUP BY m.run_id, m.metric_id, {_FINE}, m.step / 32
) AS found
"""


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("metrics", table_kwargs={"sqlite_with_rowid": False}) as metrics:
        metrics.drop_constraint(op.f("fk_metrics_metric_id"), type_="foreignkey")
        metrics.drop_constraint(op.f("fk_metrics_run_id"), type_="foreignkey")
    op.create_table(
        "metric_extremes",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fine", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("stretch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lowest", sa.Float(), nullable=True),
        sa.Column("lowest_at", sa.BigInteger(), nullable=True),
        sa.Column("highest", sa.Float(), nullable=True),
        sa.Column("highest_at", sa.BigInteger(), nullable=True),
        sa.Column("odd_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "metric_id", "fine", "stretch", name=op.f("pk_metric_extremes")),
        sqlite_with_rowid=False,
    )
    op.execute(_FILL)
