"""The table of the trials, as docs/results/faults.md and, a line per trial, faults.jsonl beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.plan import ALL_PHASES, FAULTS, PAIR, STOPPING, SUPERVISOR, TRAINER
from benchmarks.markdown import table

FOLDER = Path("docs/results")
PAGE, TRIALS = "faults.md", "faults.jsonl"
COUNTED = ("lost", "doubled", "phantom", "orphan", "false")
PHASES = (*ALL_PHASES, STOPPING)

Row = Mapping[str, Any]


def write(rows: Mapping[int, Row], seed: int, planned: int, folder: Path = FOLDER) -> str:
    """Write both files and return the page."""
    ordered = [rows[number] for number in sorted(rows)]
    kept = [{"planned": planned, "plan_seed": seed, **_short(row)} for row in ordered]
    (folder / TRIALS).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    page = render(kept)
    (folder / PAGE).write_text(page, encoding="utf-8")
    return page


def _short(row: Row) -> dict[str, Any]:
    names = (
        "number",
        "fault",
        "phase",
        "trainer",
        "database",
        "runs",
        "seconds",
        "counted",
        "skipped",
        "moment",
        "killed",
        "ends",
        "commit",
    )
    return {name: row.get(name, "") for name in names}


def render(rows: Sequence[Row]) -> str:
    """The page, from the lines of faults.jsonl."""
    made = [row for row in rows if not row["skipped"]]
    seed, planned = (rows[0]["plan_seed"], rows[0]["planned"]) if rows else (0, 0)
    commits = sorted({row["commit"] for row in rows})
    real = sum(row["trainer"] == "real" for row in made)
    on_postgres = sum(row["database"] == "PostgreSQL" for row in made)
    hours = sum(row["seconds"] for row in made) / 60
    wrong = [row for row in made if any(row["counted"].values())]
    skipped = [row for row in rows if row["skipped"]]
    lines = [
        "# Faults, measured",
        "",
        f"`python -m benchmarks.faults --seed {seed}` broke the stack {len(made)} times (of {planned} trials planned): {real} times under the real trainer, "
        f"{len(made) - real} times under a stand-in for it; {on_postgres} times on PostgreSQL, {len(made) - on_postgres} times on SQLite. "
        f"{sum(row['runs'] for row in made)} runs, {hours:.0f} minutes of trials, at {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)} (a line's own is in its record). "
        "A line per trial, with the moment it struck: [faults.jsonl](faults.jsonl).",
        "",
        *table(
            ("fault", "at", "trials", "real trainer", "PostgreSQL", *COUNTED),
            [
                *(_line(fault.name, [row for row in made if row["fault"] == fault.name]) for fault in FAULTS),
                _line("**all**", made),
            ],
            words=2,
        ),
        "",
        *_sentences(wrong, skipped, _too_late(made)),
        _HOW,
    ]
    return "\n".join(lines)


def _line(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    phases = (
        ", ".join(phase for phase in PHASES if any(row["phase"] == phase for row in rows)) if name != "**all**" else ""
    )
    real = sum(row["trainer"] == "real" for row in rows)
    on_postgres = sum(row["database"] == "PostgreSQL" for row in rows)
    counted = (str(sum(row["counted"][what] for row in rows)) for what in COUNTED)
    return name, phases, str(len(rows)), str(real), str(on_postgres), *counted


def _too_late(rows: Sequence[Row]) -> list[Row]:
    """Trials whose victims had just ended, so that nothing was killed."""
    return [row for row in rows if row["fault"] in (SUPERVISOR, TRAINER, PAIR) and not row["killed"]]


def _sentences(wrong: Sequence[Row], skipped: Sequence[Row], late: Sequence[Row]) -> list[str]:
    lines = []
    if wrong:
        lines += [f"Not as promised: trials {', '.join(str(row['number']) for row in wrong)}.", ""]
    if skipped:
        lines += [f"Skipped: {len(skipped)} trials, because {skipped[0]['skipped']}.", ""]
    if late:
        lines += [f"Came too late to kill anything: trials {', '.join(str(row['number']) for row in late)}.", ""]
    return lines


_HOW = """## What was found

The table was made after what the trials had brought to light was mended, in a first pass over part of them and in looking at what they could not see yet:

* `mtprl worker` killed alone left its worker behind, which worked on beside its successor (an orphan). It ends with its starter now.
* A training whose log found no room on a full disk ended without its last event (false). It loses lines of the log now. The stand-in had printed too little to
  meet this; since it prints a line per step, the trial fails where the mend is taken out.

Faults and checks became harder meanwhile, so that the trials concerned were made again; the record of each names the commit that it was made at.

## What is counted

After every fault the services that were hit are started again within three seconds (the database of the outage after 60), nothing else is helped, and all
runs of the trial are waited for.

| | |
| --- | --- |
| lost | values, completions, evaluations and history entries that stand in the surviving history of `events.jsonl` and not in the store |
| doubled | rows that no surviving event has: a second one in the same place, or one of a history that a resume made void |
| phantom | runs that are still shown queued or active after the wait, and leases that are left when all runs have ended |
| orphan | processes of a trial's home that are left when its runs have ended, and after its services were ended |
| false | ends that do not fit what was done (below), steps that a finished run lacks, torn lines that the store does not admit |

Files are parsed and rows selected by the benchmark itself, processes are read from `/proc`: nothing of it asks the product.

| done to a run | the end that it must have |
| --- | --- |
| its trainer killed, its supervisor alive | failed, with SIGKILL as reason; resumed, it finishes |
| no room for a checkpoint, or to begin | failed, with that as reason; resumed, it finishes |
| SIGTERM to its trainer from outside | stopped, with that as reason; resumed, it finishes |
| asked to stop before the fault | stopped by the user |
| anything else | finished with every step, and by the first attempt wherever its trainer lived on |

In half of the trials with resumed runs these are stopped at their first steps, compared, and resumed again. An end that the trainer had reported before the fault
came stands, of course. *At* is the phase of one run of the trial, in which the moment is drawn from the seed:
just queued; claimed, the trainer not training yet; training; writing a checkpoint; after the last step; asked to stop. A trial has one to three runs on two slots.

The stand-in is the real training program around a loop that sleeps, says as much per step as a small run and writes sealed checkpoints of 1 MB;
worker, supervisor and everything else are the real ones in every trial. The real trainer runs on a tiny untrained base. *Database down* means ended and started again
(PostgreSQL) or locked by another program (SQLite). In part of the trials of everything there is a dashboard, too. Killing everything is killing processes: what they had handed to the operating system is still there, unlike
after a power cut. One machine, one worker: what happens between several is not tried here.
"""
