"""The real supervisor with the stand-in trainer: RUN_ID ATTEMPT, as `python -m backend.supervisor` takes them."""

from __future__ import annotations

import logging
import sys

from backend.supervisor import supervise

PROGRAM = (sys.executable, "-P", "-m", "benchmarks.faults.standin")
COMMAND = (sys.executable, "-m", "benchmarks.faults.standin_supervisor")

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    supervise(int(sys.argv[1]), int(sys.argv[2]), program=PROGRAM)
