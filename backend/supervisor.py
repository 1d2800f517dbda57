"""One attempt of one run: starts the trainer, carries its events into the store, and ends the run truthfully.

    python -m backend.supervisor RUN_ID ATTEMPT

A process of its own beside the trainer, in a session of its own: it survives the worker that started it, and the terminal.
Where it dies itself, a worker starts another, which takes its place (compare-and-set on the attempt's row), finds the trainer
and reads on from the committed offset. A database that does not answer is waited for; no trainer is ever killed for that.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection

from backend import processes, store
from backend.devices import devices, environment_for
from backend.outcome import End, Evidence, end_of, part_of, tail, torn_in_words
from backend.settings import check_packages, environment, settings
from backend.trainer_process import LOG_FILE, TRAINER, TrainerProcess
from db import claims, reads, silences
from db.ingest import ingest, read_offset
from db.reads import AttemptRow
from db.runs import log_event
from db.statuses import Status
from trainer.errors import MtprlError
from trainer.events import EVENTS_FILE, parse_lines

POLL = 0.3
"""Seconds between two looks at the event file, the stop flag and the trainer."""
HEARTBEAT = 2.0
"""Seconds between two heartbeats."""
COMPLAINTS = 30.0
"""Seconds between two lines in the log about a database that does not answer."""
RETRY = 1.0
"""Seconds between two tries where nothing can go on without the database."""
LEFT = 0.1
"""Seconds between two looks at what an ended trainer left behind."""

BY_USER = "stopped by the user"
BY_SHUTDOWN = "the stack was shut down"

_READ_BYTES = 4 * 2**20

log = logging.getLogger("backend.supervisor")
T = TypeVar("T")

if TYPE_CHECKING:
    from backend.evaluations import Prepared


def supervise(
    run_id: int,
    attempt: int,
    *,
    program: Sequence[str] = TRAINER,
    shut_down: bool = False,
    patience: float = math.inf,
) -> None:
    """Supervise the attempt until its run has ended, or somebody else owns it.

    Args:
        run_id: a run that is claimed (starting), or whose supervisor died.
        attempt: its last attempt, on this host.
        program: the command that trains.
        shut_down: end the run at once, as a SIGTERM to this process would.
        patience: seconds to wait for a database without which nothing can go on; then its error is raised.
    """
    supervisor = Supervisor(run_id, attempt, program, patience)
    if shut_down:
        supervisor.shut_down()
    else:
        signal.signal(signal.SIGTERM, lambda *_: supervisor.shut_down())
    supervisor.run()


class Supervisor:
    """The state of one supervision. Use `supervise`."""

    def __init__(self, run_id: int, attempt: int, program: Sequence[str], patience: float):
        self._run_id, self._attempt = run_id, attempt
        self._program = program
        self._patience = patience
        self._grace = settings().stop_grace
        self._folder = Path()
        self._devices: Sequence[str] = ()
        self._time_is_over_at = math.inf
        self._max_hours: float | None = None
        self._offset = 0
        self._trainer: TrainerProcess | None = None
        self._recorded = False
        self._stop: str | None = None
        self._shutting_down = False
        self._last_heartbeat = 0.0
        self._last_look = 0.0
        self._last_complaint = -math.inf

    def shut_down(self) -> None:
        """End the run, gracefully, because the stack goes down. Safe in a signal handler."""
        self._shutting_down = True

    def run(self) -> None:
        """Supervise until the end."""
        if not self._insist(self._adopt):
            log.info("run %d, attempt %d is somebody else's, or has ended", self._run_id, self._attempt)
            return
        if self._trainer is None:
            self._insist(self._look_for_stop)
            if self._stop or self._shutting_down:
                self._finish(End(Status.STOPPED, f"{self._stop or BY_SHUTDOWN} before it started"))
                return
            try:
                self._start()
            except OSError as error:
                self._finish(End(Status.FAILED, f"the trainer could not be started: {error}", lost=True))
                return
        assert self._trainer is not None
        if self._watch(self._trainer) and self._outlast(self._trainer):
            # Once more: a trainer that ended before it was watched, or between two looks, may have been asked to stop.
            self._insist(self._look_for_stop)
            while self._insist(self._carry):
                pass
            self._finish(end_of(self._evidence(self._trainer)))
        else:
            self._give_up(self._trainer)

    def _adopt(self) -> bool:
        """Become the attempt's supervisor and learn what an earlier one left; False where the attempt is not to be had."""
        with store.reading() as connection:
            run = reads.get_run(connection, self._run_id)
            row = next((row for row in run.attempts if row.number == self._attempt), None)
            if row is None or processes.alive(row.supervisor_pid, row.supervisor_started):
                return False
            self._offset = read_offset(connection, self._run_id, self._attempt)
        me = processes.this_process()
        with store.writing() as connection:
            adopted = claims.adopt(
                connection,
                run_id=self._run_id,
                attempt=self._attempt,
                host=socket.gethostname(),
                supervisor_pid=me.pid,
                supervisor_started=me.started,
                previous_pid=row.supervisor_pid,
                now=time.time(),
            )
        self._folder, self._devices = Path(run.folder), run.devices
        self._max_hours = (run.config.get("launch") or {}).get("max_hours")
        if self._max_hours is not None:
            before = sum((other.ended_at or 0.0) - other.started_at for other in run.attempts if other.ended_at)
            self._time_is_over_at = row.started_at + 3600 * self._max_hours - before
        self._trainer = self._left_by(row)
        self._recorded = row.trainer_pid is not None
        return adopted

    def _left_by(self, row: AttemptRow) -> TrainerProcess | None:
        if row.trainer_pid is not None and row.trainer_started is not None:
            return TrainerProcess.recorded(row.trainer_pid, row.trainer_started, self._folder, self._attempt)
        if row.supervisor_pid is not None:
            return TrainerProcess.find(self._folder, self._attempt)
        return None

    def _start(self) -> None:
        assert self._devices, "a claimed run holds devices"
        confined = environment_for(self._devices, total=len(devices(settings())))
        self._trainer = TrainerProcess.start(self._program, self._folder, self._attempt, {**environment(), **confined})
        log.info("the trainer runs as process %s on %s", self._trainer.identity, ", ".join(self._devices))

    # --- while the trainer lives -----------------------------------------------------------------------------

    def _watch(self, trainer: TrainerProcess) -> bool:
        """Look after the trainer until it has ended; False where the run became somebody else's."""
        while trainer.lives():
            try:
                self._record(trainer)
                if not self._beat():
                    return False
                self._look_for_stop()
                self._carry()
            except store.UNREACHABLE as error:
                self._complain("the database does not answer, the trainer goes on: %s", error)
            if self._shutting_down and self._stop is None:
                self._stop = BY_SHUTDOWN
            if self._stop is not None:
                trainer.stop(self._grace)
            time.sleep(POLL)
        return True

    def _outlast(self, trainer: TrainerProcess) -> bool:
        """Wait until nothing is left of the ended trainer; False where the run became somebody else's meanwhile."""
        while not trainer.all_gone():
            try:
                if not self._beat():
                    return False
            except store.UNREACHABLE as error:
                self._complain("the database does not answer: %s", error)
            time.sleep(LEFT)
        return True

    def _give_up(self, trainer: TrainerProcess) -> None:
        """End the trainer of a run that was given to somebody else, because nobody had heard of this attempt: it holds devices that are
        another's now."""
        log.warning("run %d, attempt %d is somebody else's now; its trainer is ended", self._run_id, self._attempt)
        while trainer.lives():
            trainer.stop(self._grace)
            time.sleep(POLL)
        while not trainer.all_gone():
            time.sleep(LEFT)

    def _record(self, trainer: TrainerProcess) -> None:
        if not self._recorded and trainer.identity is not None:
            with store.writing() as connection:
                claims.set_trainer(connection, self._run_id, self._attempt, *trainer.identity)
            self._recorded = True

    def _beat(self) -> bool:
        if time.monotonic() - self._last_heartbeat < HEARTBEAT:
            return True
        with store.writing() as connection:
            owner = claims.heartbeat(connection, self._run_id, self._attempt, time.time())
            if owner and time.monotonic() - self._last_look > silences.EVERY:
                silences.look(connection, self._run_id, self._attempt, time.time())
                self._last_look = time.monotonic()
        self._last_heartbeat = time.monotonic()
        return owner

    def _look_for_stop(self) -> None:
        if self._stop is None:
            with store.reading() as connection:
                self._stop = BY_USER if claims.stop_requested(connection, self._run_id) else None
        if self._stop is None and time.time() > self._time_is_over_at:
            self._stop = f"stopped after {self._max_hours:g} h, the longest time that it may take (launch.max_hours)"

    def _carry(self) -> bool:
        """Store the next stretch of the event file; False where it holds no further complete line."""
        events, torn, end = _next_events(self._folder / EVENTS_FILE, self._offset)
        if end == self._offset:
            return False
        with store.writing() as connection:
            result = ingest(
                connection, self._run_id, events, attempt=self._attempt, start=self._offset, offset=end, torn_lines=torn
            )
        self._offset = result.offset
        return result.applied

    # --- ending ----------------------------------------------------------------------------------------------

    def _evidence(self, trainer: TrainerProcess) -> Evidence:
        return Evidence(
            exit_code=trainer.exit_code,
            ended=_last_ended(self._folder / EVENTS_FILE, self._attempt),
            log=part_of(tail(self._folder / LOG_FILE), self._attempt),
            stop=self._stop,
            killed_after=self._grace if trainer.killed else None,
        )

    def _finish(self, end: End) -> None:
        # Imported here, because Celery is large and a supervisor waits beside its trainer for hours.
        from backend.celery_app import ring
        from backend.runs import folders_or_none

        exit_code = self._trainer.exit_code if self._trainer else None
        afterwards = self._insist(self._prepare_afterwards) if end.status == Status.FINISHED else None

        def finish() -> Status | None:
            with folders_or_none() as folders, store.writing() as connection:
                status = self._end(connection, end, exit_code)
                if status is not None:
                    self._tell_of_torn_lines(connection)
                    self._queue_afterwards(connection, afterwards, folders)
                return status

        status = self._insist(finish)
        log.info("run %d is %s: %s", self._run_id, status or "somebody else's", end.reason or "no more to say")
        ring(self._run_id)

    def _prepare_afterwards(self) -> Prepared | MtprlError | None:
        """The evaluation that the run wants once it has finished, or why there can be none; None where it wants none."""
        from backend import evaluations

        with store.reading() as connection:
            run = reads.get_run(connection, self._run_id)
        try:
            return evaluations.prepare_afterwards(run)
        except MtprlError as error:
            return error

    def _queue_afterwards(
        self, connection: Connection, afterwards: Prepared | MtprlError | None, folders: list[Path]
    ) -> None:
        if afterwards is None:
            return
        from backend import evaluations

        run = reads.get_run(connection, self._run_id)
        if isinstance(afterwards, MtprlError):
            severity, words = "warning", f"its evaluation afterwards could not be queued: {afterwards}"
        else:
            job = evaluations.queue_within(connection, afterwards, folders, experiment=run.experiment)
            severity, words = "info", f"run {job} is queued, to evaluate it"
        log_event(connection, run.id, self._attempt, run.step, "evaluation", words, severity, now=time.time())

    def _end(self, connection: Connection, end: End, exit_code: int | None) -> Status | None:
        run_id, attempt, now = self._run_id, self._attempt, time.time()
        if end.lost:
            return claims.lose(connection, run_id=run_id, attempt=attempt, reason=end.reason, now=now)
        ended = claims.finish(
            connection,
            run_id=run_id,
            attempt=attempt,
            status=end.status,
            reason=end.reason,
            exit_code=exit_code,
            now=now,
        )
        return end.status if ended else None

    def _tell_of_torn_lines(self, connection: Connection) -> None:
        run = reads.get_run(connection, self._run_id)
        torn = sum(row.torn_lines for row in run.attempts if row.number == self._attempt)
        if torn:
            words = torn_in_words(torn)
            log_event(connection, run.id, self._attempt, run.step, "torn_lines", words, "warning", now=time.time())

    def _insist(self, action: Callable[[], T]) -> T:
        """The action's result, tried until the database answers or patience is at its end."""
        begun = time.monotonic()
        while True:
            try:
                return action()
            except store.UNREACHABLE as error:
                if time.monotonic() - begun >= self._patience:
                    raise
                self._complain("the database does not answer, waiting: %s", error)
                time.sleep(RETRY)

    def _complain(self, words: str, error: Exception) -> None:
        """Log a failure that comes several times a second, now and then: an outage of a night must not fill the disk."""
        if time.monotonic() - self._last_complaint >= COMPLAINTS:
            self._last_complaint = time.monotonic()
            log.warning(words, error)


def _next_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int, int]:
    """Events from byte `offset` on, how many lines among them are none, and the byte after the last complete line read."""
    size = _READ_BYTES
    while True:
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except FileNotFoundError:
            return [], 0, offset
        lines = list(parse_lines(data))
        if lines or len(data) < size:
            break
        size *= 2  # one line is longer than that
    events = [event for event, _ in lines if event is not None]
    return events, len(lines) - len(events), offset + sum(length for _, length in lines)


def _last_ended(path: Path, attempt: int) -> dict[str, Any] | None:
    """The attempt's last `ended` event, read from the file: an earlier supervisor may have stored it and died."""
    lines = parse_lines(tail(path).encode())
    ended = [event for event, _ in lines if event and event["type"] == "ended" and event.get("attempt") == attempt]
    return ended[-1] if ended else None


def main() -> None:
    """Entry point of `python -m backend.supervisor`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    check_packages()
    supervise(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
