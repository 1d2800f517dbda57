"""What to do about how a run ended, in words, where the words of its end tell."""

from __future__ import annotations

import re

_ON = "Resume goes on from the newest checkpoint."
_SMALLER = (
    "In a clone (a run goes on only with the settings that it began with) set `model.gradient_checkpointing=true` and a smaller "
    "`update.micro_batch_sequences` or `update.micro_batch_tokens`, none of which changes the update; where it was sampling, a smaller "
    "`rollout.sequences_at_once`, with vLLM `rollout.vllm.cache_gib`. `mtprl plan` says which of them is enough."
)
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"out of memory.*(cuda|gpu|hip)|(cuda|gpu|hip).*out of memory|OutOfMemoryError",
        f"The GPU was full. {_SMALLER} `model.mixed_precision=bf16` or a lower `rollout.max_response_tokens` helps, too, and trains otherwise.",
    ),
    (
        r"signal 9\b",
        "Nearly always the system ended it because memory ran out: see the memory under Speed. Give the machine fewer runs at once. "
        f"{_SMALLER} Where it was something else: {_ON}",
    ),
    (r"signal 15\b|by a signal from outside", f"Somebody, or the system's scheduler, asked it to end. {_ON}"),
    (
        r"signal (4|6|7|8|11)\b",
        f"A library crashed; the end of the Log may name it. {_ON} If it crashes there again, `mtprl doctor` says what is installed.",
    ),
    (
        r"free disk space|no space left|disk is full",
        f"Free disk space where the run's folder is, or lower `checkpoint.keep`; Speed shows what was free. {_ON}",
    ),
    (
        r"launch\.max_hours",
        "Resume with more time: `mtprl resume RUN --set launch.max_hours=HOURS`.",
    ),
    (r"the stack was shut down", f"Start it again with `mtprl up`. {_ON}"),
    (r"left no word of why|said nothing", f"The end of the Log may tell. {_ON}"),
    (r"another process of the run does not answer", f"See in the Log which process ended first, and why. {_ON}"),
    (
        r"the trainer could not be started",
        "`mtprl doctor` says what is missing on the machine. Resume then begins again.",
    ),
    (r"^stopped by the user", _ON),
)


def next_step(words: str) -> str | None:
    """What to do, as Markdown with settings and commands between backticks; None where the words say it themselves, or nobody knows."""
    return next((advice for pattern, advice in _KNOWN if re.search(pattern, words, re.IGNORECASE)), None)
