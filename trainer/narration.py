"""What a run says on the terminal and in its log: a line per step (in an evaluation per part of its problems), and one for every evaluation, checkpoint and alarm."""

from __future__ import annotations

import sys
import time
from typing import Any

from trainer.events import STEP_LEVEL, Sink

_HELD_OUT = {
    "mtp/held_out_acceptance_greedy": "{:.1%} of greedy",
    "mtp/held_out_acceptance_sampled": "{:.1%} of sampled drafts of the first depth are taken on held-out prompts",
}
_SHOWN = {
    "reward/mean": "reward {:.3f}",
    "reward/accuracy": "accuracy {:.3f}",
    "mtp/coefficient": "coefficient {:.3f}",
    "mtp/divergence": "KL of the heads {:.3f}",
    "policy/entropy": "entropy {:.3f}",
    "time/step_seconds": "{:.2f} s",
}


class NarratingSink:
    """Passes events on to another sink and tells a reader what matters of them."""

    def __init__(self, sink: Sink):
        self._sink = sink
        self._total = 0
        self._unit = "step"
        self._first: tuple[int, float] | None = None

    def emit(self, type: str, *, step: int, mini_batch: int = STEP_LEVEL, **fields: Any) -> None:
        """Pass the event on; say a line if it is one that a reader waits for."""
        self._sink.emit(type, step=step, mini_batch=mini_batch, **fields)
        line = self._line(type, step, mini_batch, fields)
        if line:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the other sink."""
        self._sink.close()

    def _line(self, type: str, step: int, mini_batch: int, fields: dict[str, Any]) -> str:
        if type == "attempt_started":
            self._total = fields["total_steps"]
            if fields.get("kind") == "evaluation":
                self._unit = "problem"
                return f"{self._total} problems on {fields['device']}, {step} of them answered before"
            start = "from the base model" if fields["resumed_from"] is None else f"from the checkpoint of step {step}"
            return f"{self._total} steps on {fields['device']}, {start}"
        if type == "metrics" and mini_batch == STEP_LEVEL:
            values = fields["values"]
            if all(name in values for name in _HELD_OUT):
                shares = " and ".join(form.format(values[name]) for name, form in _HELD_OUT.items())
                return f"step {step}: {shares}"
            if "time/step_seconds" not in values:
                return "".join(
                    f"{self._unit} {step}: {name} {value:.3f}" for name, value in values.items() if "avg_at" in name
                )
            said = [form.format(values[name]) for name, form in _SHOWN.items() if name in values]
            said += [f"{name} {value:.3f}" for name, value in values.items() if "avg_at" in name]
            return f"{self._unit} {step}/{self._total}: {', '.join(said)}{self._left(step)}"
        if type == "checkpoint":
            return f"step {step}: saved {fields['path']}"
        return f"{fields['severity']}: {fields['message']}" if type == "alarm" else ""

    def _left(self, step: int) -> str:
        if self._first is None:
            self._first = step, time.monotonic()
            return ""
        first, since = self._first
        seconds = (time.monotonic() - since) / (step - first) * (self._total - step)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
