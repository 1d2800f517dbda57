"""What child processes of the trainer have in common."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python_path() -> str:
    """PYTHONPATH of a child: it must find what this process finds, this package first, and nothing that happens to lie in the current folder."""
    return os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
