"""A trainer that trains nothing: same arguments, events and exit codes as the real one, and quick.

The run's name says how it behaves: `finish` (default), `fail`, `crash` (traceback, no event), `oom` (killed by SIGKILL),
`deaf` (ignores SIGTERM), `parent` (leaves a child behind), `mute` (exits 7 without a word). Its checkpoint is the number of the
step at which it was stopped, or which was its last.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from trainer.events import JsonlSink

STEP_SECONDS = 0.02

config = yaml.safe_load(Path(sys.argv[1]).read_text())
options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
folder, attempt = Path(options["--output"]), int(options["--attempt"])
mode = config["name"]
stopping = False


def ask_to_stop(*_: object) -> None:
    global stopping
    stopping = mode != "deaf"


signal.signal(signal.SIGTERM, ask_to_stop)
if mode == "mute":
    sys.exit(7)
if mode == "crash":
    raise RuntimeError("the tokenizer is missing")
sink = JsonlSink(folder, attempt)
visible, threads = os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"]
newest = folder / "newest-step"
resumed_from = int(newest.read_text()) if newest.exists() else None
print(f"CUDA_VISIBLE_DEVICES={visible!r} OMP_NUM_THREADS={threads} job={os.environ.get('WORLD_SIZE')}", flush=True)
sink.emit(
    "attempt_started",
    step=resumed_from or 0,
    pid=os.getpid(),
    host="test",
    total_steps=config["steps"],
    resumed_from=resumed_from,
    threads=1,
    device="cpu",
    versions={},
)
if mode == "parent":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "left-behind"])
for step in range((resumed_from or 0) + 1, config["steps"] + 1):
    time.sleep(STEP_SECONDS)
    sink.emit("metrics", step=step, values={"reward/mean": step / 10, "time/step_seconds": STEP_SECONDS})
    if mode == "fail" and step == 2:
        sink.emit("ended", step=step, outcome="failed", message="the loss is not finite at step 2; lower optimizer.lr")
        sys.exit(1)
    if mode == "oom" and step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if stopping or step == config["steps"]:
        newest.write_text(str(step))
    if stopping:
        sink.emit("ended", step=step, outcome="stopped", message="")
        sys.exit(3)
sink.emit("ended", step=config["steps"], outcome="finished", message="")
