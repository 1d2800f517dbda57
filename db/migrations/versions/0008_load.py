"""What a worker's host has and how much of it is taken; attempts are found by their host.

Revision: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("workers") as workers:
        workers.add_column(sa.Column("load", sa.JSON(), nullable=True))
    op.create_index(op.f("ix_attempts_host_started_at"), "attempts", ["host", "started_at"])
