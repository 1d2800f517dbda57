"""Completions token by token, and a way to find a prompt again at other steps.

Revision: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("completions", sa.Column("by_token", sa.LargeBinary()))
    op.create_index(op.f("ix_completions_run_id_prompt_id_step"), "completions", ["run_id", "prompt_id", "step"])
