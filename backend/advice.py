"""What somebody who launches a run should know about its data and its drafts, although nothing of it is refused."""

from __future__ import annotations

from backend.contamination import report
from backend.inspection.models import inspect_model
from trainer.config import ReasoningGymData, RunConfig
from trainer.errors import DataError
from trainer.preflight import has_chat_template
from trainer.tasks import load
from trainer.tasks.items import conflicts

MOST_PROBLEMS = 100_000
"""Training problems that are compared with benchmarks without being asked to: several seconds' worth."""


def drafts_of_idle_heads(config: RunConfig) -> str:
    """What drafting heads that do not learn in a run come to; "" where none draft, or where they learn."""
    drafts = config.rollout.speculative != "off" or config.rollout.vllm.draft_tokens > 0
    if not drafts or config.trains_heads:
        return ""
    why = "regime off" if config.regime.kind == "off" else "mtp.head_loss none"
    model = inspect_model(config.model.path)
    if model.folder is not None and model.heads is None:
        return (
            f"drafts are asked for of new MTP heads that never learn in this run ({why}): hardly any will be accepted; take a model with "
            "heads, a regime that trains them, or leave drafts out"
        )
    return f"drafts are asked for of MTP heads that do not learn in this run ({why}): the further the policy moves, the fewer are accepted"


def advice(config: RunConfig) -> list[str]:
    """One sentence each: drafts of heads that do not learn, prompts that go in plain, problems with two answers, problems to evaluate on among the training data."""
    sentences = [said] if (said := drafts_of_idle_heads(config)) else []
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
