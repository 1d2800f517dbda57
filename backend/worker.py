"""The worker: claims queued runs, starts their supervisors, and looks after runs whose supervisor died.

Started as `python -m celery -A backend.celery_app worker -P solo`. Celery's own loop only hears the doorbell; the work is
done by one housekeeping thread, every two seconds and whenever the bell rings. A supervisor is a process of its own, so the
death of this one ends no run: the next worker on this host finds everything in the store.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery import signals

from backend import processes, store
from backend.celery_app import LAUNCH, app
from backend.devices import devices
from backend.settings import check_packages, environment, settings
from db import claims, workers
from db.claims import StaleAttempt
from db.statuses import Status

INTERVAL = 2.0
"""Seconds between two looks at the store."""
SILENT = 6.0
"""Seconds without a heartbeat after which a supervisor's process is looked for: three heartbeats."""
NEVER_HEARD = 15.0
"""Seconds that a new supervisor has to record itself."""
MOST_FAILURES = 3
"""Supervisors of one attempt that may fail before its run is given up."""

SUPERVISOR = (sys.executable, "-m", "backend.supervisor")

log = logging.getLogger(__name__)


class Housekeeper:
    """Everything a worker does. `tick` is one round; the thread repeats it."""

    def __init__(self, name: str, supervisor: Sequence[str] = SUPERVISOR):
        self.name = name
        self.host = socket.gethostname()
        self.devices = devices(settings())
        self._supervisor = supervisor
        self._children: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._failures: Counter[tuple[int, int]] = Counter()
        self._bell = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        log.info("worker %s offers %s", self.name, ", ".join(self.devices))
        self._thread.start()

    def ring(self) -> None:
        """Look at the store now."""
        self._bell.set()

    def stop(self) -> None:
        """End after the current round and say so in the store; runs go on."""
        self._ending.set()
        self._bell.set()
        self._thread.join(timeout=10)
        try:
            with store.writing() as connection:
                workers.worker_ended(connection, self.name, time.time())
        except store.UNREACHABLE as error:
            log.warning("the end of this worker is not recorded, because the database does not answer: %s", error)

    def tick(self) -> None:
        """One round: heartbeat, runs without a supervisor, queued runs."""
        self._read_exit_statuses()
        now = time.time()
        with store.writing() as connection:
            workers.worker_heartbeat(connection, self.name, self.host, os.getpid(), self.devices, now)
        with store.reading() as connection:
            silent = claims.stale_attempts(connection, host=self.host, before=now - SILENT)
        for attempt in silent:
            if (attempt.run_id, attempt.attempt) not in self._children and _lost_its_supervisor(attempt, now):
                self._take_care(attempt)
        while not self._ending.is_set():
            with store.writing() as connection:
                claim = claims.claim_next(connection, host=self.host, devices=self.devices, now=time.time())
            if claim is None:
                break
            log.info("run %d, attempt %d starts on %s", claim.run_id, claim.attempt, claim.device)
            self._supervise(claim.run_id, claim.attempt, claim.folder)

    def _take_care(self, attempt: StaleAttempt) -> None:
        """Give the attempt a new supervisor, which goes on or ends it; or give up where supervisors keep failing."""
        trainer_lives = processes.alive(attempt.trainer_pid, attempt.trainer_started)
        if self._failures[attempt.run_id, attempt.attempt] < MOST_FAILURES or trainer_lives:
            log.warning("run %d, attempt %d has lost its supervisor; starting another", attempt.run_id, attempt.attempt)
            self._supervise(attempt.run_id, attempt.attempt, attempt.folder)
            return
        reason = f"the run's supervisor failed {MOST_FAILURES} times; {attempt.folder}/supervisor.log says why"
        key = {"run_id": attempt.run_id, "attempt": attempt.attempt}
        with store.writing() as connection:
            claims.finish(connection, **key, status=Status.FAILED, reason=reason, exit_code=None, now=time.time())

    def _supervise(self, run_id: int, attempt: int, folder: str) -> None:
        command = [*self._supervisor, str(run_id), str(attempt)]
        self._children[run_id, attempt] = processes.start(command, Path(folder) / "supervisor.log", environment())

    def _read_exit_statuses(self) -> None:
        """Forget ended supervisors: until its parent asks for the exit status, an ended process stays as a zombie."""
        for key, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[key]
                self._failures[key] += child.returncode != 0

    def _work(self) -> None:
        while not self._ending.is_set():
            self._bell.clear()
            try:
                self.tick()
            except store.UNREACHABLE as error:
                log.warning("the database does not answer, trying again: %s", error)
            except Exception:  # a worker that lives must work: what failed is logged, and tried again in the next round
                log.exception("a round of housekeeping failed")
            self._bell.wait(INTERVAL)


def _lost_its_supervisor(attempt: StaleAttempt, now: float) -> bool:
    if attempt.supervisor_pid is None:
        return attempt.heartbeat_at < now - NEVER_HEARD
    return not processes.alive(attempt.supervisor_pid, attempt.supervisor_started)


_housekeeper: Housekeeper | None = None


@app.task(name=LAUNCH)
def launch(run_id: int) -> None:
    """The doorbell. Which run rings does not matter: the oldest queued one is next."""
    if _housekeeper is not None:
        _housekeeper.ring()


@signals.worker_init.connect
def _begin(sender: Any = None, **_: Any) -> None:
    # At worker_init and not at worker_ready: a worker has to work while Redis is away, too.
    global _housekeeper
    check_packages()
    _housekeeper = Housekeeper(name=str(sender.hostname), supervisor=SUPERVISOR)
    _housekeeper.start()


@signals.worker_shutdown.connect
def _end(**_: Any) -> None:
    if _housekeeper is not None:
        _housekeeper.stop()
