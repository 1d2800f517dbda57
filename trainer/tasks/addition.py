"""The demo task: adding two 3-digit numbers in writing, digit by digit with carries.

A problem is `357+864=`; the worked response is `7+4=11 5+6+1=12 3+8+1=12 Answer:1221`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

DIGITS = 3


def worked_response(a: int, b: int, digits: int = DIGITS) -> str:
    """The addition written out from the last digit, with each carry added where it is due, and the answer line."""
    parts, carry = [], 0
    for place in range(digits):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        parts.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return f"{' '.join(parts)} Answer:{a + b}"


def problem(a: int, b: int) -> str:
    """The text that the model sees."""
    return f"{a}+{b}="


def draw_pairs(count: int, seed: int) -> list[tuple[int, int]]:
    """`count` different pairs of 3-digit numbers."""
    generator = random.Random(seed)
    low, high = 10 ** (DIGITS - 1), 10**DIGITS - 1
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < count:
        pairs[generator.randint(low, high), generator.randint(low, high)] = None
    return list(pairs)


def write_problems(path: Path, pairs: list[tuple[int, int]]) -> None:
    """A JSONL file of problems and answers, as any data set of the user's would be."""
    lines = (json.dumps({"id": f"{a}+{b}", "problem": problem(a, b), "answer": str(a + b)}) for a, b in pairs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))
