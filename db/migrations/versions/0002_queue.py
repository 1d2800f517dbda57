"""What a run asks of the queue, what it was cloned from, why there is an attempt, and workers that are drained.

Revision: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("devices", sa.Integer(), server_default="1", nullable=False))
        runs.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        runs.add_column(sa.Column("queued_at", sa.Float(), server_default="0", nullable=False))
        runs.add_column(sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
        runs.add_column(sa.Column("retried", sa.Integer(), server_default="0", nullable=False))
        runs.add_column(sa.Column("cloned_from", sa.Integer(), nullable=True))
        runs.add_column(sa.Column("difference", sa.JSON(), nullable=True))
    op.execute("UPDATE runs SET queued_at = created_at")
    with op.batch_alter_table("attempts") as attempts:
        attempts.add_column(sa.Column("devices", sa.JSON(), nullable=True))
        attempts.add_column(sa.Column("cause", sa.Text(), nullable=True))
    with op.batch_alter_table("workers") as workers:
        workers.add_column(sa.Column("draining", sa.Boolean(), server_default=sa.false(), nullable=False))
