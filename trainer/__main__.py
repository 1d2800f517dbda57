"""`python -m trainer CONFIG --output FOLDER`: one run by itself, without queue and database, in `launch.num_processes` processes.

Exit codes: 0 finished, 3 stopped by SIGTERM or Ctrl-C (after a checkpoint; the same command continues), 1 failed.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.config import RunConfig, dump, load, read_yaml, resolve
from trainer.config.continuing import check_continues
from trainer.errors import ConfigError, MtprlError, Problem, TrainingError
from trainer.events import JsonlSink
from trainer.launch.ending import StopRequest, to_its_end
from trainer.launch.launcher import check_not_launched, last_step, launch
from trainer.manifest import to_disk
from trainer.narration import NarratingSink
from trainer.output import never_fail_to_print


def main() -> int:
    """Run the training that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train one run by itself.")
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument("--output", type=Path, required=True, help="run folder: events, checkpoints")
    parser.add_argument("--attempt", type=int, default=1, help="number of this attempt, written into every event")
    arguments = parser.parse_args()
    try:
        check_not_launched()
        config = load(arguments.config)
        arguments.output.mkdir(parents=True, exist_ok=True)
        with only_writer(arguments.output):
            keep_config(config, arguments.output)
            return run(config, arguments.output, arguments.attempt)
    except MtprlError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        where = error.filename or arguments.output
        fix = "free disk space or make it writable, or give another folder with --output"
        print(f"{where}: cannot be written ({error.strerror}); {fix}", file=sys.stderr)
    return 1


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the run folder; events and checkpoints have one writer. The system lets go of it when the process dies, however that is.

    Raises:
        TrainingError: another trainer holds it.
    """
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{folder}: another trainer is writing there; wait for its end, or give another folder"
            ) from None
        yield


def keep_config(config: RunConfig, folder: Path) -> None:
    """Write the configuration into the run folder, all of it or nothing, so that it is there whatever becomes of the process.

    Raises:
        ConfigError: the folder holds a run that cannot go on with this configuration, or whose configuration cannot be read.
        OSError: it cannot be written.
    """
    kept = folder / "config.yaml"
    if kept.exists() and check_continues(_began_with(kept), config, str(kept)) == config:
        return
    partial = kept.with_name(".config.yaml.partial")
    partial.write_text(dump(config), encoding="utf-8")
    to_disk(partial)
    partial.replace(kept)


def _began_with(kept: Path) -> dict[str, Any]:
    try:
        return resolve(read_yaml(kept))
    except ConfigError as error:
        fix = (
            f"{kept} is what the run began with: put it right, or remove it; checkpoints know their configuration, too"
        )
        raise ConfigError([*error.problems, Problem("", fix)]) from None


def run(config: RunConfig, folder: Path, attempt: int) -> int:
    """Train, here or in several processes, and say in a last event how it ended."""
    stop, processes = StopRequest(), config.launch.num_processes
    sink = JsonlSink(folder, attempt)
    if processes == 1:
        end = to_its_end(lambda: train_here(config, folder, sink, stop))
    else:
        sink.close()
        end = launch(folder, attempt, processes, stop)
        # Opened anew, because the process that wrote may have been killed within a line.
        sink = JsonlSink(folder, attempt)
        sink.step = last_step(folder)
    sink.emit("ended", step=sink.step, outcome=end.outcome, message=end.message)
    sink.close()
    print(f"{end.outcome}: {end.message}", file=sys.stderr, flush=True)
    return end.exit_code


def train_here(config: RunConfig, folder: Path, sink: JsonlSink, stop: StopRequest) -> str:
    """Train in this process."""
    from trainer.loop import train  # imports torch: late, so that a refused configuration answers at once

    return train(config, folder, NarratingSink(sink), lambda: stop.requested)


if __name__ == "__main__":
    never_fail_to_print()
    sys.exit(main())
