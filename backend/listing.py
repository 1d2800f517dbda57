"""A list of runs as CSV: one line per run, with the numbers that lists show."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from db.reads import RunRow

COLUMNS = (
    *("id", "name", "experiment", "kind", "status", "reason", "regime", "algorithm", "seed", "preset", "tags", "note"),
    *(
        "host",
        "devices",
        "step",
        "total_steps",
        "reward/mean",
        "reward/accuracy",
        "mtp/coefficient",
        "time/step_seconds",
    ),
    *("seconds", "created_at", "started_at", "ended_at", "archived_at"),
)
"""Times in seconds since the epoch; several tags or devices with spaces between them."""


def to_csv(rows: Sequence[RunRow]) -> str:
    """The runs in their order, with a line of `COLUMNS` before them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = {
            **{name: getattr(row, name) for name in COLUMNS if "/" not in name},
            **row.latest,
            "mtp/coefficient": row.coefficient,
            "tags": " ".join(row.tags),
            "devices": " ".join(row.devices),
        }
        writer.writerow([values.get(name) for name in COLUMNS])
    return file.getvalue()
