"""The worker: claims queued runs, starts their supervisors, and looks after runs whose owner died.

Started as `python -m celery -A backend.celery_app worker -P solo`. Celery's own loop only hears the doorbell; the work is
done by one housekeeping thread, every two seconds and whenever the bell rings. A supervisor is a process of its own, so the
death of this one ends no run: the next worker on this host finds everything in the store.
"""

from __future__ import annotations

import logging
import os
import signal
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

from backend import processes, reaper, store
from backend.celery_app import LAUNCH, app
from backend.devices import devices
from backend.fleet import WORKER_SILENT
from backend.load import Meter
from backend.settings import check_packages, environment, settings
from db import claims, workers
from db.claims import Claim, OwnerRow
from db.queue import Waiting
from trainer.folder import CONFIG_FILE

INTERVAL = 2.0
"""Seconds between two looks at the store."""
SILENT = 6.0
"""Seconds without a heartbeat after which a supervisor's process is looked for: three heartbeats."""
MOST_FAILURES = 3
"""Supervisors of one attempt that may fail before its run is given up."""

SUPERVISOR = (sys.executable, "-m", "backend.supervisor")

STARTER = "MTPRL_STARTER"
"""Variable of a worker that must not outlive the process which started it: the id of that one."""

log = logging.getLogger(__name__)


class Housekeeper:
    """Everything a worker does. `tick` is one round; the thread repeats it."""

    def __init__(self, name: str, supervisor: Sequence[str] = SUPERVISOR):
        self.name = name
        # Taken out of the environment, because supervisors do outlive it.
        self._starter = os.environ.pop(STARTER, None)
        self.host = socket.gethostname()
        self.devices = devices(settings())
        self._meter = Meter(settings().home)
        self._supervisor = supervisor
        self._children: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._absences = reaper.Absences()
        self._orphans = reaper.Orphans(settings().stop_grace)
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
        self._say_ended()

    def _say_ended(self) -> None:
        try:
            with store.writing() as connection:
                workers.worker_ended(connection, self.name, time.time())
        except store.UNREACHABLE as error:
            log.warning("the end of this worker is not recorded, because the database does not answer: %s", error)

    def tick(self) -> None:
        """One round: heartbeat, runs without an owner, queued runs."""
        self._read_exit_statuses()
        now, load = time.time(), self._meter.look()
        with store.writing() as connection:
            workers.worker_heartbeat(connection, self.name, self.host, os.getpid(), self.devices, now, load)
        with store.reading() as connection:
            silent = claims.owners(connection, host=self.host, before=now - SILENT)
            elsewhere = claims.owners_elsewhere(connection, host=self.host)
        for owner in silent:
            if (owner.run_id, owner.attempt) not in self._children and reaper.lost_its_supervisor(owner, now):
                self._take_care(owner)
        for owner in self._absences.gone(elsewhere, time.monotonic()):
            reaper.give_up(owner)
        self._orphans.end()
        while not self._ending.is_set() and (claim := self._claim()):
            log.info("run %d, attempt %d starts on %s", claim.run_id, claim.attempt, ", ".join(claim.devices))
            self._supervise(claim.run_id, claim.attempt, claim.folder)

    def _claim(self) -> Claim | None:
        unseen: list[Waiting] = []

        def sees(run: Waiting) -> bool:
            found = (Path(run.folder) / CONFIG_FILE).is_file()
            if not found:
                unseen.append(run)
            return found

        now = time.time()
        with store.writing() as connection:
            claim = claims.claim_next(
                connection,
                host=self.host,
                devices=self.devices,
                now=now,
                worker=self.name,
                since=now - WORKER_SILENT,
                sees=sees,
            )
            for run in unseen:
                claims.note_waiting(connection, run, f"{self.host} does not find its folder {run.folder}")
        return claim

    def _take_care(self, owner: OwnerRow) -> None:
        """Give the attempt a new supervisor, which goes on or ends it; or give up where supervisors keep failing."""
        if self._failures[owner.run_id, owner.attempt] < MOST_FAILURES or reaper.trainer_lives(owner):
            log.warning("run %d, attempt %d has lost its supervisor; starting another", owner.run_id, owner.attempt)
            self._supervise(owner.run_id, owner.attempt, owner.folder)
            return
        reason = f"the run's supervisor failed {MOST_FAILURES} times; {owner.folder}/supervisor.log says why"
        with store.writing() as connection:
            claims.lose(connection, run_id=owner.run_id, attempt=owner.attempt, reason=reason, now=time.time())

    def _supervise(self, run_id: int, attempt: int, folder: str) -> None:
        command = [*self._supervisor, str(run_id), str(attempt)]
        try:
            child = processes.start(command, Path(folder) / "supervisor.log", environment())
        except OSError as error:
            log.warning("the supervisor of run %d could not be started: %s", run_id, error)
            self._failures[run_id, attempt] += 1
        else:
            self._children[run_id, attempt] = child

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
            if self._starter not in (None, str(os.getppid())):
                log.warning("the process that started this worker was killed; it ends, too")
                self._say_ended()  # not only when Celery shuts down: just started, it does not listen to signals yet
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self._bell.wait(INTERVAL)


_housekeeper: Housekeeper | None = None


@app.task(name=LAUNCH)
def launch(run_id: int) -> None:
    """The doorbell. Which run rings does not matter: what is next stands in the store."""
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
