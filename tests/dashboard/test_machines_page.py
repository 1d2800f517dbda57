"""Machines: workers, devices and what waits, and letting workers take no new run."""

from __future__ import annotations

import time

import synthetic
from pages import html, in_store, texts

from backend import machines, store
from db import reads, workers
from db.reads import LeaseRow, WorkerRow
from db.statuses import Status

GIB = 2**30
LOAD = {
    "cores": 64,
    "busy": 0.43,
    "memory_used": 96 * GIB,
    "memory_total": 512 * GIB,
    "disk_free": 1536 * GIB,
    "disk_total": 4096 * GIB,
    "gpus": {"cuda:1": {"name": "H100", "memory_used": 31 * GIB, "memory_total": 80 * GIB, "busy": 0.9}},
}


def worker(name: str = "w", host: str = "alpha", devices=("cpu:0",), at: float = 100.0, **fields) -> WorkerRow:
    return WorkerRow(name, host, 1, devices, 1.0, at, **{"ended_at": None, "draining": False, **fields})


def lease(device: str) -> LeaseRow:
    return LeaseRow("alpha", device, 7, "r", "occ", Status.RUNNING, 3, 9, 50.0)


def test_devices_are_held_free_or_drained_and_a_silent_workers_load_is_not_told():
    one = worker("one", devices=["cuda:10", "cuda:1", "cuda:2"], load=LOAD, draining=False)
    two = worker("two", devices=["cpu:0"], draining=True, at=95.0)
    found = machines.machine("alpha", [one, two], [lease("cuda:2"), lease("cuda:99")], [], now=101.0)
    held = {device.name: (device.held is not None, device.offered, device.gpu is not None) for device in found.devices}
    assert list(held) == ["cpu:0", "cuda:1", "cuda:2", "cuda:10", "cuda:99"]
    assert held["cuda:1"] == (False, True, True)
    assert held["cuda:2"] == (True, True, False)
    assert held["cpu:0"] == (False, False, False)
    assert held["cuda:99"] == (True, False, False)
    assert (found.free, found.load, found.alive) == (2, LOAD, True)
    later = machines.machine("alpha", [one, two], [lease("cuda:2")], [], now=1000.0)
    assert ([device.name for device in later.devices], later.load, later.alive) == (["cuda:2"], None, False)


def test_the_page_shows_who_holds_a_device_what_waits_and_how_much_is_taken(full_store, open_page):
    with store.writing() as connection:
        workers.worker_heartbeat(connection, "big", "gpu-box", 9, ["cuda:0", "cuda:1"], time.time() + 1e6, LOAD)
        workers.worker_heartbeat(connection, "gone", "old-box", 9, ["cpu:0"], time.time() - 3600)
        workers.worker_heartbeat(connection, "ended", "old-box", 9, ["cpu:0"], time.time())
        workers.worker_ended(connection, "ended", time.time())
    app = open_page("machines")
    shown = html(app)
    assert not app.exception
    for said in ("H100", "31.0 GiB of 80.0 GiB", "1.50 TiB", "43 %", "place 1 in the queue", "silent", "mtprl worker"):
        assert said in shown, said
    assert 'aria-label="Last runs of here"' in shown
    for run in ("running", "lost", "queued"):
        assert f'href="run?run={full_store.runs[run]}"' in shown
    assert "1 worker more, shut down" in texts(app)


def test_a_worker_is_drained_and_takes_runs_again(full_store, open_page):
    app = open_page("machines")
    app.button(key="drain:worker-1").click().run()
    assert [row.draining for row in in_store(reads.workers)] == [True]
    assert "drained" in html(app)
    app.button(key="drain:worker-1").click().run()
    assert [row.draining for row in in_store(reads.workers)] == [False]


def test_a_device_of_a_host_without_workers_is_still_shown_with_its_run(empty_store, open_page):
    with store.writing() as connection:
        synthetic.make_base(empty_store)
        run = synthetic.add_run(connection, empty_store, "demo/ce", status=Status.STARTING, steps=12, now=time.time())
    app = open_page("machines")
    assert f'href="run?run={run}"' in html(app)
    assert "No worker of this host is known any more" in texts(app)


def test_without_workers_the_page_says_how_to_start_one(empty_store, open_page):
    app = open_page("machines")
    assert [code.value for code in app.code] == ["mtprl up", "mtprl worker"]
