"""A real supervisor of the stand-in trainer: RUN_ID ATTEMPT, as `python -m backend.supervisor` takes them.

TEST_HOST is the name of the host that it believes to be on.
"""

import logging
import os
import socket
import sys
from pathlib import Path

from backend.supervisor import supervise

if "TEST_HOST" in os.environ:
    socket.gethostname = lambda: os.environ["TEST_HOST"]

PROGRAM = (sys.executable, str(Path(__file__).with_name("standin_trainer.py")))
COMMAND = (sys.executable, str(Path(__file__)))

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    supervise(int(sys.argv[1]), int(sys.argv[2]), program=PROGRAM)
