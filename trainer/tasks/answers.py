r"""The final answer of a completion, and what can be decided about it without another process.

Extraction rule: the last \boxed{...} with balanced braces; without one, the rest of the line after the last "Answer:";
without one, nothing. Only the last `TAIL` characters of a completion are read, so that no completion is slow to read.

Comparison: `equal` knows the same text and plain numbers by itself, which is most of what rewards need, and leaves
the rest to `trainer.tasks.comparing` (shapes), `trainer.tasks.quantities` (numbers and units) and `trainer.tasks.values` (expressions). Each
says its rules at its top. What none of them reads goes to math-verify (`trainer.tasks.symbolic`).
"""

from __future__ import annotations

import re
import threading

from trainer.tasks import comparing
from trainer.tasks.notation import normalise

TAIL = 20_000

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_ANSWER_LABEL = re.compile(r"answer[*_ \t]*[:：]", re.IGNORECASE)


def extract(completion: str) -> str | None:
    """The final answer of a completion, or None where it gives none."""
    tail = completion[-TAIL:]
    boxed = _last_boxed(tail)
    if boxed is not None:
        return boxed.strip()
    after = [match.end() for match in _ANSWER_LABEL.finditer(tail)]
    if not after:
        return None
    line, _, _ = tail[after[-1] :].partition("\n")
    return line.strip().strip("*").strip() or None


def _last_boxed(text: str) -> str | None:
    start = text.find("\\boxed")
    if start < 0:
        return None
    opened: list[int | None] = []  # per open brace: where a box's content starts, None for any other brace
    best_start, best_end = -1, -1
    for token in _BRACES.finditer(text, start):
        if token[0] == "{":
            opened.append(None)
        elif token[0] == "}":
            content = opened.pop() if opened else None
            if content is not None and content > best_start:  # of nested boxes, the inner one opens last
                best_start, best_end = content, token.start()
        elif token[0].startswith("\\boxed"):
            opened.append(token.end())
    return text[best_start:best_end] if best_start >= 0 else None


_ONE_AT_A_TIME = threading.Lock()
"""mpmath raises its precision for a while inside of some functions, for all threads."""

_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,99})", re.ASCII)


def equal(answer: str, gold: str) -> bool | None:
    """Whether an extracted answer is right; None: not decided here."""
    if answer == gold:
        return True
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return False  # both are in lowest form, so that another text is another number
    with _ONE_AT_A_TIME:
        return comparing.equal(normalise(answer), normalise(gold))
