"""`python -m trainer CONFIG --output FOLDER`: one run by itself, without queue and database, in `launch.num_processes` processes.

On several hosts it is called once on each, inside one distributed job (trainer.launch.hosts); the first holds the folder and writes.
What the run does, a training or an evaluation, is said by its configuration. Exit codes: 0 finished, 3 stopped by SIGTERM or Ctrl-C (after a checkpoint; the same command continues), 1 failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trainer.config import EvaluationConfig, RunConfig, load_job
from trainer.errors import MtprlError
from trainer.events import JsonlSink
from trainer.folder import CONFIG_FILE, keep_config, only_writer
from trainer.launch.ending import End, StopRequest, to_its_end
from trainer.launch.hosts import Share, share_of
from trainer.launch.launcher import last_step, launch
from trainer.narration import NarratingSink
from trainer.output import never_fail_to_print
from trainer.work import work_of


def main() -> int:
    """Do the run that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train or evaluate by itself.")
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument("--output", type=Path, required=True, help="run folder: events, checkpoints")
    parser.add_argument("--attempt", type=int, default=1, help="number of this attempt, written into every event")
    arguments = parser.parse_args()
    try:
        config = load_job(arguments.config)
        share = share_of(config.launch.num_processes)
        if not share.is_main:
            return told(launch(arguments.config, arguments.output, arguments.attempt, share, StopRequest()))
        arguments.output.mkdir(parents=True, exist_ok=True)
        with only_writer(arguments.output):
            keep_config(config, arguments.output)
            return run(config, arguments.output, arguments.attempt, share)
    except MtprlError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        where = error.filename or arguments.output
        fix = "free disk space or make it writable, or give another folder with --output"
        print(f"{where}: cannot be written ({error.strerror}); {fix}", file=sys.stderr)
    return 1


def run(config: RunConfig | EvaluationConfig, folder: Path, attempt: int, share: Share) -> int:
    """Do the run's work, here or in several processes, and say in a last event how it ended."""
    stop = StopRequest()
    sink = JsonlSink(folder, attempt)
    if share.total == 1:
        work = work_of(config)
        end = to_its_end(lambda: work.do(folder, NarratingSink(sink), lambda: stop.requested), work)
    else:
        sink.close()
        end = launch(folder / CONFIG_FILE, folder, attempt, share, stop)
        # Opened anew, because the process that wrote may have been killed within a line.
        sink = JsonlSink(folder, attempt)
        sink.step = last_step(folder)
    sink.emit("ended", step=sink.step, outcome=end.outcome, message=end.message)
    sink.close()
    return told(end)


def told(end: End) -> int:
    """Say how it ended to whoever called, in words and as exit code."""
    print(f"{end.outcome}: {end.message}", file=sys.stderr, flush=True)
    return end.exit_code


if __name__ == "__main__":
    never_fail_to_print()
    sys.exit(main())
