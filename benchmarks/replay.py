"""Plays a recorded run again and again, as a trainer would write it: same events, same pauses, steps and times going on.

    python -m benchmarks.replay SECONDS CONFIG --output FOLDER --attempt N

benchmarks/recorded/occ.jsonl.gz holds 25 steps of an occ run on the demo's task, 46 seconds long.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import time
from pathlib import Path

from trainer.events import JsonlSink

RECORDED = Path(__file__).parent / "recorded" / "occ.jsonl.gz"
_HEADER = ("type", "attempt", "step", "mini_batch", "time")


def replay(sink: JsonlSink, seconds: float) -> None:
    """Write events for so long, each at its time; the recording begins anew where it ends, its steps after those before."""
    events = [json.loads(line) for line in gzip.decompress(RECORDED.read_bytes()).splitlines()]
    started, *others = events
    length, steps = events[-1]["time"] - started["time"], max(event["step"] for event in events)
    begun = time.time()
    _emit(sink, started, 0)
    for again in itertools.count():
        for event in others:
            due = begun + again * length + event["time"] - started["time"]
            if due > begun + seconds:
                return
            time.sleep(max(0.0, due - time.time()))
            _emit(sink, event, again * (steps + 1))


def _emit(sink: JsonlSink, event: dict, later: int) -> None:
    fields = {name: value for name, value in event.items() if name not in _HEADER}
    sink.emit(event["type"], step=event["step"] + later, mini_batch=event["mini_batch"], **fields)


def main() -> None:
    """Take the arguments that a trainer takes, after SECONDS."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay")
    parser.add_argument("seconds", type=float)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--attempt", type=int, required=True)
    given = parser.parse_args()
    sink = JsonlSink(given.output, given.attempt)
    replay(sink, given.seconds)
    sink.emit("ended", step=sink.step, outcome="finished", message="")
    sink.close()


if __name__ == "__main__":
    main()
