"""What to do about an end: for every end that the supervisor puts into words itself."""

from __future__ import annotations

import pytest

from backend.next_steps import next_step
from backend.outcome import Evidence, end_of
from backend.supervisor import BY_SHUTDOWN, BY_USER


def reason(exit_code: int | None, log: str = "", stop: str | None = None) -> str:
    return end_of(Evidence(exit_code=exit_code, ended=None, log=log, stop=stop)).reason


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (reason(-9), "memory under Speed"),
        (reason(-9), "`model.gradient_checkpointing=true`"),
        (reason(-9), "`rollout.vllm.cache_gib`"),
        (reason(-15), "scheduler"),
        (reason(3), "asked it to end"),
        (reason(-11), "A library crashed"),
        (reason(7), "The end of the Log"),
        (reason(None), "The end of the Log"),
        (reason(3, stop=BY_USER), "Resume goes on"),
        (reason(3, stop=BY_SHUTDOWN), "mtprl up"),
        ("stopped after 2 h, the longest time that it may take (launch.max_hours)", "mtprl resume RUN"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "model.mixed_precision=bf16"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "`update.micro_batch_tokens`"),
        ("x: the checkpoint cannot be written (No space left on device); free disk space", "checkpoint.keep"),
    ],
)
def test_a_known_end_has_a_next_step(words, says):
    assert says in next_step(words)


@pytest.mark.parametrize("words", ["", "model.path: x cannot be loaded", "the loss at step 4 is NaN", reason(-19)])
def test_an_end_that_says_it_itself_or_that_nobody_knows_has_none(words):
    assert next_step(words) is None
