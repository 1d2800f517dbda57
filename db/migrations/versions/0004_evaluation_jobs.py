"""Evaluations that are jobs of their own, and what was sampled in an evaluation.

Revision: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("kind", sa.String(20), server_default="training", nullable=False))
        runs.add_column(sa.Column("evaluates", sa.Integer(), nullable=True))
        runs.add_column(sa.Column("evaluates_step", sa.Integer(), nullable=True))
        runs.create_index(op.f("ix_runs_evaluates"), ["evaluates"])
    with op.batch_alter_table("evaluations") as evaluations:
        evaluations.add_column(sa.Column("max_tokens", sa.Integer(), nullable=True))
        evaluations.add_column(sa.Column("revision", sa.String(40), nullable=True))
        evaluations.add_column(sa.Column("grader", sa.String(40), nullable=True))
    with op.batch_alter_table("evaluation_items", table_kwargs={"sqlite_with_rowid": False}) as items:
        items.add_column(sa.Column("problem", sa.Text(), nullable=True))
        items.add_column(sa.Column("answer", sa.Text(), nullable=True))
    op.create_table(
        "evaluation_samples",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.String(200), nullable=False),
        sa.Column("sample", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("completion", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("correct", sa.Boolean(), nullable=False),
        sa.Column("extracted", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name=op.f("fk_evaluation_samples_evaluation_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "item_id", "sample", name=op.f("pk_evaluation_samples")),
    )
