"""What somebody who launches a run should know about its data, although nothing of it is refused."""

from __future__ import annotations

from backend.contamination import report
from trainer.config import ReasoningGymData, RunConfig
from trainer.errors import DataError
from trainer.preflight import has_chat_template
from trainer.tasks import load
from trainer.tasks.items import conflicts

MOST_PROBLEMS = 100_000
"""Training problems that are compared with benchmarks without being asked to: several seconds' worth."""


def advice(config: RunConfig) -> list[str]:
    """One sentence each: prompts that go in plain, problems with two answers, problems to evaluate on among the training data."""
    sentences = []
    if not config.data.chat and has_chat_template(config.model.path):
        sentences.append(
            "the model has a chat template, but problems go in as plain text; data.chat=true puts them into the template"
        )
    if isinstance(config.data, ReasoningGymData):
        return sentences  # what a generator makes has one answer, and takes its time
    try:
        training = load(config.data)
        doubtful = conflicts(training)
        if doubtful:
            first, other = doubtful[0]
            sentences.append(
                f"training problems that stand there again with another answer: {len(doubtful)}, such as {other.id} with {other.answer!r} "
                f"and {first.id} with {first.answer!r}; take the wrong ones out"
            )
        if len(training) > MOST_PROBLEMS:
            sentences.append(f"the {len(training)} training problems were not compared with those to evaluate on")
        elif line := report(config, training=training).line:
            sentences.append(line)
    except DataError:  # preflight says it, where it matters
        pass
    return sentences
