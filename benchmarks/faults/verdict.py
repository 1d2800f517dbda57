"""Is the end of a run true? What was done to it says which ends there may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.faults import plan
from benchmarks.faults.evidence import History

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass
class Done:
    """What was done to one run."""

    killed: set[str] = field(default_factory=set)
    """Roles of its processes that were killed: supervisor, trainer."""
    had_trainer: bool = False
    """Whether its trainer lived when the fault came."""
    told: bool = False
    """Whether its trainer got a SIGTERM from outside."""
    asked_to_stop: bool = False


@dataclass(frozen=True)
class Ended:
    """A run at its end."""

    run_id: int
    ends: Sequence[tuple[str, str]]
    """Status and reason, and those after it was resumed."""
    step: int
    total: int
    attempts: int
    """Attempts when it ended first."""
    torn: int
    """Lines of its event file that the store says it could not read."""
    history: History
    done: Done


def ends_allowed(fault: str, run: Ended) -> list[tuple[str, str]]:
    """Each a status, and words that its reason holds."""
    done, said = run.done, set(run.history.ended.values())
    well = [(FINISHED, "")]
    # Whatever came too late to end it did not end it.
    if_it_said_so = well if FINISHED in said else []
    if done.asked_to_stop:
        return [(STOPPED, "stopped by the user"), (STOPPED, "stopped before it started"), *if_it_said_so]
    if fault == plan.TRAINER and done.killed == {"trainer"}:
        return [(FAILED, "SIGKILL"), *if_it_said_so]
    full = [(FAILED, "cannot be written"), (FAILED, "No space left")]
    if fault == plan.CHECKPOINT_FULL:
        return [*full, *if_it_said_so]
    if fault == plan.EVENTS_FULL:  # of several runs, one may just begin, or have to write a checkpoint
        return [*well, *full]
    if fault == plan.SIGTERM_SAVING and done.told:
        return [(STOPPED, "stopped by a signal from outside"), *if_it_said_so]
    return well


def complaints(fault: str, run: Ended) -> list[str]:
    """What is not true of the run's end, in words; none is well."""
    said = []
    status, reason = run.ends[0]
    allowed = ends_allowed(fault, run)
    if not any(status == one and words in reason for one, words in allowed):
        said.append(f"it is {status} ({reason}), and may only be {' or '.join(map(str, allowed))}")
    if len(run.ends) > 1 and run.ends[-1][0] != FINISHED:
        said.append(f"resumed, it is {run.ends[-1][0]} ({run.ends[-1][1]})")
    unharmed = run.done.had_trainer and "trainer" not in run.done.killed
    if run.attempts > 1 and unharmed:
        said.append(f"its trainer lived on, and it has {run.attempts} attempts")
    if run.torn != run.history.torn:
        said.append(f"{run.history.torn} lines of its event file are torn, and the store says {run.torn}")
    if run.ends[-1][0] == FINISHED:
        said += _incomplete(fault, run)
    return said


def _incomplete(fault: str, run: Ended) -> list[str]:
    said = []
    missing = set(range(1, run.total + 1)) - run.history.steps
    if fault == plan.EVENTS_FULL:
        if missing and not run.history.dropped:
            said.append(f"{len(missing)} steps are missing from its event file, and nothing says so")
        return said
    if missing:
        said.append(f"finished, but its event file lacks {len(missing)} steps, such as {min(missing)}")
    if run.step != run.total:
        said.append(f"finished at step {run.step} of {run.total}")
    if run.ends[-1][1]:
        said.append(f"finished, but with a reason: {run.ends[-1][1]}")
    return said
