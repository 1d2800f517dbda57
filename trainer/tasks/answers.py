r"""Finding the final answer of a completion, and comparing plain answers.

Extraction rule: the last \boxed{...} with balanced braces; without one, the rest of the line after the last "Answer:";
without one, nothing. Only the last `TAIL` characters of a completion are read, so that no completion is slow to read.

Comparison rule: two answers that are the same text after normalisation are equal; two plain numbers (integers, decimals,
thousands separators, fractions of integers) are compared exactly; an unevaluated sum or product of plain numbers is no
answer where a number is asked for, or copying `357+864` from the question would be right. Everything else is undecided
here and is left to `trainer.tasks.symbolic`.
"""

from __future__ import annotations

import re
from fractions import Fraction

TAIL = 20_000
_LONGEST_NUMBER = 100

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


def equal(answer: str, gold: str) -> bool | None:
    """Whether two answers are equal as text or as plain numbers; None: not decided here."""
    answer, gold = normalise(answer), normalise(gold)
    if answer == gold:
        return True
    gold_number = number(gold)
    if gold_number is None:
        return None
    answer_number = number(answer)
    if answer_number is not None:
        return answer_number == gold_number
    return False if _is_unevaluated(answer) else None


_ARITHMETIC = frozenset("0123456789.,+-*() ")


def _is_unevaluated(text: str) -> bool:
    return _ARITHMETIC.issuperset(text) and any(sign in text.lstrip("+-( ") for sign in "+-*")


_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_SPACING = re.compile(r"\\[!,;:]|\\(?:left|right)(?![a-zA-Z])")
_FRACTION_COMMAND = re.compile(r"\\[dt]frac(?![a-zA-Z])")


def normalise(text: str) -> str:
    r"""The text without what changes no meaning: math delimiters, a final full stop, \left, \right and LaTeX's spacing."""
    text = text.strip().removesuffix(".").rstrip()
    for opening, closing in _DELIMITERS:
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            text = text[len(opening) : -len(closing)]
            break
    if "\\" in text:
        text = _FRACTION_COMMAND.sub(r"\\frac", _SPACING.sub("", text))
    return " ".join(text.replace("−", "-").split()).removesuffix(".")


# At most three digits of exponent: 10**999 is cheap, 10**999999999 is not.
_DECIMAL = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_RATIO = re.compile(r"([+-]?)(?:(\d+) ?/ ?(\d+)|\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\})", re.ASCII)


def number(text: str) -> Fraction | None:
    """The exact value of a plain number in normalised form; None where the text is none."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if _DECIMAL.fullmatch(text):
        return Fraction(text.replace(",", ""))
    ratio = _RATIO.fullmatch(text)
    if ratio is None:
        return None
    numerator, denominator = int(ratio[2] or ratio[4]), int(ratio[3] or ratio[5])
    return Fraction(-numerator if ratio[1] == "-" else numerator, denominator) if denominator else None
