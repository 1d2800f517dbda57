"""What sampled an evaluation's answers, from how many tokens, and which texts ended them.

Revision: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_RUNS = sa.table("runs", sa.column("id"), sa.column("kind"), sa.column("config", sa.JSON()))
_EVALUATIONS = sa.table("evaluations", sa.column("run_id"), sa.column("engine"))


def upgrade() -> None:
    """Apply the change."""
    for column in (
        sa.Column("engine", sa.String(40), server_default="builtin", nullable=False),
        sa.Column("top_k", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stop", sa.JSON(), server_default="[]", nullable=False),
    ):
        op.add_column("evaluations", column)
    # Trainings evaluated themselves with the engine that they sampled with; evaluations by themselves had the built-in one alone.
    engine = _RUNS.c.config["rollout"]["engine"].as_string()
    with_vllm = sa.select(_RUNS.c.id).where(_RUNS.c.kind == "training", engine == "vllm")
    op.execute(sa.update(_EVALUATIONS).where(_EVALUATIONS.c.run_id.in_(with_vllm)).values(engine="vllm"))
