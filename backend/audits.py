"""What the audits of a run say, as numbers. Pure: values aligned by audit in, values per depth and their agreement out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.reads import Aligned
from trainer.evaluation.rank_correlation import RankCorrelation, spearman

PREFIX = "audit/"
ANCHOR = "audit/coefficient"

_DEPTH = re.compile(r"depth_(\d+)/")
_NO_DEPTH = ("g_rl_squared", "g_rl_squared_cross", "predicted_change", "measured_change")


@dataclass(frozen=True)
class Audits:
    """The audits of one MTP depth: the steps they were made at, and values by their name without prefix and depth."""

    steps: Sequence[int]
    values: Mapping[str, Sequence[float]]

    def finite(self, *names: str) -> list[list[float]]:
        """The steps, then the values of each name, at the audits where all of them are finite; empty lists where one is absent."""
        if not all(name in self.values for name in names):
            return [[] for _ in range(len(names) + 1)]
        rows = zip(self.steps, *(self.values[name] for name in names), strict=True)
        kept = [row for row in rows if all(map(math.isfinite, row))]
        return [list(column) for column in zip(*kept, strict=True)] or [[] for _ in range(len(names) + 1)]

    def correlation(self, x: str, y: str) -> RankCorrelation:
        """Spearman's rank correlation of two values over the audits."""
        _, first, second = self.finite(x, y)
        return spearman(first, second)

    def effects(self) -> Effects:
        """Predicted and measured change by the MTP part, at the audits where it did anything: with weight 0 both are 0."""
        _, predicted, measured = self.finite("predicted_change", "measured_change")
        kept = [pair for pair in zip(predicted, measured, strict=True) if any(pair)]
        return Effects(
            of=len(kept),
            without=len(predicted) - len(kept),
            equal_signs=sum(one * other > 0 for one, other in kept),
            correlation=spearman([one for one, _ in kept], [other for _, other in kept]),
        )


@dataclass(frozen=True)
class Effects:
    """How the predicted and the measured change by the MTP part agree."""

    of: int
    """Audits in which the MTP part did anything."""
    without: int
    """Audits in which its weight was 0."""
    equal_signs: int
    correlation: RankCorrelation


def depths(names: Iterable[str]) -> list[int]:
    """The MTP depths that these metrics tell of, in order."""
    return sorted({int(match[1]) if (match := _DEPTH.search(name)) else 1 for name in names if name.startswith(PREFIX)})


def metrics_of(names: Iterable[str]) -> list[str]:
    """Those of a run's metrics that the charts of its audits need: the audits', and the coefficients that were used."""
    return [name for name in names if name.startswith(PREFIX) or re.fullmatch(r"mtp/(depth_\d+/)?coefficient", name)]


def of_depth(aligned: Aligned, depth: int) -> Audits:
    """What the audits say of one depth; the used coefficient is `used`."""
    inner = "" if depth == 1 else f"depth_{depth}/"
    values = {
        name.removeprefix(PREFIX + inner): series
        for name, series in aligned.values.items()
        if name.startswith(PREFIX + inner) and (depth > 1 or not _DEPTH.search(name))
    }
    values |= {name: aligned.values[PREFIX + name] for name in _NO_DEPTH if PREFIX + name in aligned.values}
    used = aligned.values.get(f"mtp/{inner}coefficient")
    return Audits(aligned.steps, values | ({"used": used} if used else {}))
