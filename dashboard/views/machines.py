"""Machines: which workers and devices there are, who holds them since when, and what waits for them."""

from __future__ import annotations

import time

import streamlit as st

from backend import fleet, machines, palette, words
from backend.machines import Device, Machine, Park
from dashboard import liveness, markup, store
from db import reads
from db.reads import HostRun, WorkerRow
from db.statuses import Status
from trainer.errors import MtprlError

_TICK = 2.0
_DEVICES = (
    markup.Column("Device"),
    markup.Column("Run"),
    markup.Column("Step"),
    markup.Column("Since", number=True),
)
_NEXT = (markup.Column("Next in the queue"), markup.Column("Waits for"), markup.Column("Queued", number=True))
_LAST = (markup.Column("Last runs"), markup.Column("Ended"), markup.Column("Lasted", number=True))


def main() -> None:
    """Draw the page."""
    st.title("Machines", anchor=False)
    _draw()


@st.fragment(run_every=_TICK)
def _draw() -> None:
    now = time.time()
    with store.reading() as connection:
        park, counts, alive = machines.park(connection), reads.status_counts(connection), fleet.alive(connection)
    line, attention = liveness.queue_line(counts, alive)
    free = sum(machine.free for machine in park.machines)
    if attention:
        st.warning(line, icon=":material/power_off:")
    else:
        st.caption(f"{line} · {words.plural(free, 'device')} free")
    if park.next:
        _queue(park, counts[Status.QUEUED], now)
    for machine in park.machines:
        _machine(machine, now)
    if not park.machines:
        _empty()
    if park.ended:
        st.caption(f"{words.plural(park.ended, 'worker')} more, shut down or silent for over a week: left out here.")


def _queue(park: Park, queued: int, now: float) -> None:
    rows = [
        [
            markup.link(f"{row.id} · {row.name}", f"run?run={row.id}", sub=row.experiment),
            markup.text(waits),
            words.age(row.created_at, now),
        ]
        for row, waits in park.next
    ]
    st.html(markup.table(_NEXT, rows, label="Next in the queue"))
    if queued > len(rows):
        st.caption(f"and {queued - len(rows):,} behind them")


def _machine(machine: Machine, now: float) -> None:
    with st.container(border=True):
        st.header(machine.host, anchor=False)
        for worker in machine.workers:
            _worker(worker, now)
        if not machine.workers:
            st.caption("No worker of this host is known any more; a run still holds devices of it.")
        if machine.load is not None:
            st.html(markup.tiles(_tiles(machine)))
        if machine.devices:
            rows = [_device(device, now) for device in machine.devices]
            st.html(markup.table(_DEVICES, rows, label=f"Devices of {machine.host}"))
        if machine.last:
            st.html(
                markup.table(_LAST, [_last(run, now) for run in machine.last], label=f"Last runs of {machine.host}")
            )


def _worker(worker: WorkerRow, now: float) -> None:
    alive = machines.is_alive(worker, now)
    state = "silent" if not alive else "drained" if worker.draining else "alive"
    said, button = st.columns([5, 1.2], vertical_alignment="center")
    with said:
        st.html(
            f'<div class="m-head">{markup.worker(state)}<b>{markup.text(worker.name)}</b><span class="m-sub">'
            + markup.text(
                f"process {worker.pid} · up for {words.duration(worker.heartbeat_at - worker.started_at)} · "
                f"heard of {words.age(worker.heartbeat_at, now)}"
            )
            + f"</span></div>{_advice(state)}"
        )
    label, icon = ("Undrain", "play_arrow") if worker.draining else ("Drain", "pause")
    button.button(
        label,
        key=f"drain:{worker.name}",
        icon=f":material/{icon}:",
        width="stretch",
        help="It takes runs again." if worker.draining else "It takes no new run, and goes on with those it has.",
        on_click=_set_draining,
        args=(worker.name, not worker.draining),
    )


def _advice(state: str) -> str:
    if state == "silent":
        return '<div class="m-sub">Nothing was heard of it lately. On its host, <code>mtprl up</code> or <code>mtprl worker</code> starts one, which looks after its runs.</div>'
    if state == "drained":
        return '<div class="m-sub">It takes no new run; those that it has go on.</div>'
    return ""


def _set_draining(name: str, draining: bool) -> None:
    try:
        fleet.drain(name, draining)
        st.toast(f"{name} takes {'no new run' if draining else 'runs again'}", icon=":material/check:")
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")


def _tiles(machine: Machine) -> list[tuple[str, str, str]]:
    """Processor, memory and disk; and the memory of all GPUs together where there are some."""
    load = machine.load
    assert load is not None
    tiles = [
        ("Processor", f"{100 * load['busy']:.0f} %", f"of {words.plural(load['cores'], 'core')}"),
        ("Memory", words.size(load["memory_used"]), f"of {words.size(load['memory_total'])}"),
        ("Disk free", words.size(load["disk_free"]), f"of {words.size(load['disk_total'])}, where MTPRL_HOME is"),
    ]
    if gpus := list(load["gpus"].values()):
        used, total = (sum(gpu[part] for gpu in gpus) for part in ("memory_used", "memory_total"))
        tiles.append(("GPU memory", words.size(used), f"of {words.size(total)}, {words.plural(len(gpus), 'GPU')}"))
    return tiles


def _device(device: Device, now: float) -> list[str]:
    sub = ""
    if device.gpu is not None:
        gpu = device.gpu
        memory = f"{words.size(gpu['memory_used'])} of {words.size(gpu['memory_total'])}"
        sub = f"{gpu['name']} · {memory} · {100 * gpu['busy']:.0f} % busy"
    name = markup.text(device.name, sub=sub)
    held = device.held
    if held is None:
        return [name, "free" if device.offered else "drained", "", ""]
    return [
        name,
        markup.link(f"{held.run_id} · {held.run}", f"run?run={held.run_id}", sub=str(held.status)),
        markup.progress(held.step, held.total_steps, palette.regime_colour(held.regime)),
        markup.when(held.taken_at, words.age(held.taken_at, now)),
    ]


def _last(run: HostRun, now: float) -> list[str]:
    attempt = f"attempt {run.number}" if run.number > 1 else ""
    return [
        markup.link(f"{run.run_id} · {run.run}", f"run?run={run.run_id}", sub=attempt),
        f"{markup.text(run.outcome or 'ended')}, {words.age(run.ended_at, now)}" if run.ended_at else "goes on",
        words.duration((run.ended_at or now) - run.started_at),
    ]


def _empty() -> None:
    with st.container(border=True):
        st.header("No worker yet", anchor=False)
        st.markdown("Runs are trained by workers. On this machine, this starts one with everything that it needs:")
        st.code("mtprl up", language="bash")
        st.markdown(
            "On another machine that sees the same database, queue and run folders (`MTPRL_DATABASE_URL`, `MTPRL_REDIS_URL`, `MTPRL_HOME`):"
        )
        st.code("mtprl worker", language="bash")


main()
