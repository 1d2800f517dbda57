"""What a comparison draws, as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from backend.comparison.lines import Chart

COLUMNS = ("metric", "line", "what", "n", "x_axis", "x", "value", "low", "high")


def to_csv(charts: Sequence[Chart], *, axis: str, smoothed: bool) -> str:
    """One row per point that is drawn: first the runs' own values, then the means of the groups with their 95 % intervals."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    what = "smoothed mean" if smoothed else "mean"
    for chart in charts:
        for raw in chart.raw:
            name = f"{raw.run.id} · {raw.run.name}"
            writer.writerows(
                (chart.metric, name, "value", 1, axis, x, y, "", "") for x, y in zip(raw.x, raw.y, strict=True)
            )
        for line in chart.averaged:
            for x, y, half, n in zip(line.x, line.y, line.half, line.n, strict=True):
                bounds = ("", "") if math.isnan(half) else (y - half, y + half)
                writer.writerow((chart.metric, line.group.name, what, n, axis, x, y, *bounds))
    return file.getvalue()
