"""Sums of metrics over stretches of steps, for means of long series.

Revision: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_FINE = "CASE WHEN m.mini_batch = -1 THEN 0 ELSE 1 END"
_FILL = f"""
UPDATE metric_extremes SET (summed, step_sum, value_sum) = (
    SELECT COUNT(*), COALESCE(SUM(m.step), 0), COALESCE(SUM(m.value), 0) FROM metrics AS m
    WHERE m.run_id = metric_extremes.run_id AND m.metric_id = metric_extremes.metric_id
    AND m.step BETWEEN metric_extremes.stretch * 32 AND metric_extremes.stretch * 32 + 31
    AND {_FINE} = metric_extremes.fine AND ABS(m.value) <= 1e300
)
"""


def upgrade() -> None:
    """Apply the change."""
    for name, kind in (("summed", sa.Integer()), ("step_sum", sa.BigInteger()), ("value_sum", sa.Float())):
        op.add_column("metric_extremes", sa.Column(name, kind, server_default="0", nullable=False))
    op.execute(_FILL)
