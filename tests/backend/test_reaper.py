"""When a host that is silent counts as gone, and when its runs are left alone all the same."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
from backend_harness import look

from backend import reaper, store
from backend.reaper import HOST_GONE, Absences
from db import claims
from db.claims import OwnerRow
from db.statuses import Status
from trainer.folder import LOCK_FILE


def owner(run_id: int = 1, heartbeat_at: float = 5.0) -> OwnerRow:
    return OwnerRow(run_id, 1, Status.RUNNING, "/nowhere", "alpha", 1, 1.0, 2, 2.0, heartbeat_at)


def gone(absences: Absences, rows: list[tuple[OwnerRow, float]], begin: float, end: float) -> list[float]:
    """The seconds from `begin` to `end` at which somebody counts as gone, with a look every second."""
    return [now for now in range(int(begin), int(end)) if absences.gone(rows, now)]


def test_a_host_is_gone_after_long_silence_by_the_clock_of_who_looks() -> None:
    # The heartbeat's own time does not matter: the clocks of hosts differ.
    assert gone(Absences(), [(owner(heartbeat_at=1e12), 3.0)], 0, 200)[0] == HOST_GONE + 1


@pytest.mark.parametrize("sign", [(owner(heartbeat_at=6.0), 3.0), (owner(), 4.0)], ids=["supervisor", "worker"])
def test_any_sign_of_the_supervisor_or_of_a_worker_of_its_host_begins_anew(sign: tuple[OwnerRow, float]) -> None:
    absences = Absences()
    assert gone(absences, [(owner(), 3.0)], 0, 100) == []
    assert gone(absences, [sign], 100, 300)[0] == 100 + HOST_GONE + 1


def test_an_outage_of_the_store_makes_nobody_look_gone() -> None:
    absences = Absences()
    assert gone(absences, [(owner(), 3.0)], 0, 100) == []
    assert gone(absences, [(owner(), 3.0)], 1000, 1100) == []


def test_a_run_is_not_given_up_while_a_trainer_holds_its_folder(claimed: Callable[..., int]) -> None:
    run_id = claimed()
    with store.reading() as connection:
        [row] = claims.owners(connection, host=look(run_id).attempts[0].host)
    with open(Path(row.folder) / LOCK_FILE, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reaper.give_up(row)
        assert look(run_id).status == Status.STARTING
    reaper.give_up(row)
    assert look(run_id).status == Status.QUEUED
