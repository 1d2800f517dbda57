"""Quantiles of Student's t."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def student_quantile(level: float, freedom: float) -> float:
    """The q for which Student's t with `freedom` degrees lies within -q and q with probability `level`.

    With t = sqrt(freedom) tan(angle), the angle's density is cos(angle) ** (freedom - 1): one sum inverts it, to five digits. Above
    1000 degrees of freedom the value for 1000 is used, 0.1 % above the normal one.
    """
    freedom = min(freedom, 1000.0)
    angle = np.linspace(0, np.pi / 2, 40_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(freedom) * np.tan(np.interp(level * mass[-1], mass, angle)))
