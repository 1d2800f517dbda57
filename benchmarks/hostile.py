"""Hostile and broken completions from a seed, for the tests and the benchmark of the grader: mutated gold answers, pieces of LaTeX, sheer size."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

GOLDS = [
    "42", "1221", "-7", "0", "1", r"\frac{14}{3}", "0.15", "4.5e33", "3e8", "-1./3", "np.arcsin(10/13)", r"90^\circ", r"\$32,\!348", "62.5%",
    r"864 \mbox{ inches}^2", "204_5", r"(3, \frac{\pi}{2})", "(2,\\infty)", r"(0,9) \cup (9,36)", "1,-2", r"1 \pm \sqrt{19}", "(1,8,19), (2,7,13)",
    r"\{1\pm\sqrt{5},-2\}", r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\text{Evelyn}", r"\text{(C)}", "y = 2x + 3", r"f(x)=x,f(x)=2-x",
    r"\left\lfloor\log _{2} n\right\rfloor+1", r"\binom{2n}{n}", r"\frac{1}{2a}(\exp{a*t} - \exp{-a*t})", r"y^{\prime}+r y-r x(t)=0", r"2^{1009}",
    r"\frac{100!}{2^{50}}", "MR=SRMC", r"m_{\max }=n^{2}-n-1", r"k \geqslant 2", r"\int_0^x t dt", r"x^8 + x^7 + 1", "6 - 5i",
]  # fmt: skip

PIECES = [
    r"\frac", r"\sqrt", "{", "}", "(", ")", "[", "]", "^", "_", "9", "99999999", "0", "1", "-", "+", "*", "/", "!", "%", "$", "\\", "\\\\", ",", ";", "=", "<",
    r"\le", r"\pm", r"\cup", r"\text{", r"\text{ cm}", r"\boxed{", r"\begin{pmatrix}", r"\end{pmatrix}", "&", r"\infty", r"\pi", "e", "i", "x", "n", r"\log",
    r"\sin", r"\lfloor", r"\rceil", "|", r"\binom", r"\int", r"\sum_{n=1}^{10^{12}}", "**", "e99", "e999", ".", "..", "np.", "__import__('os')", "; DROP TABLE runs",
    "\x00", "\ud800", "\udfff", "\u202e", "\u200b", "٣", "４", "�", "𝟗", "Answer:", "\n", " ", "~", "'", r"\prime", r"\overline{3}", r"\angle", "#", r"\def\x{\x}",
]  # fmt: skip


def mutated(draw: random.Random) -> str:
    """A gold answer with some characters removed, doubled, moved or replaced."""
    text = list(draw.choice(GOLDS))
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(text) + 1)
        match draw.randrange(4):
            case 0:
                del text[at : at + draw.randint(1, 3)]
            case 1:
                text[at:at] = text[at : at + draw.randint(1, 4)] * draw.randint(1, 40)
            case 2:
                text.insert(at, draw.choice(PIECES))
            case _:
                draw.shuffle(text)
    return "".join(text)


def pieced(draw: random.Random) -> str:
    """Pieces of LaTeX, numpy, SQL and stranger things in a row."""
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(1, draw.choice([5, 20, 100, 400]))))


def grown(draw: random.Random) -> str:
    """One construction that goes on for long, or deep, or up."""
    n = draw.choice([3, 8, 15, 30, 60, 200, 1_000])
    digit = str(draw.randint(2, 9))
    return draw.choice(
        [
            lambda: f"{digit}^{{" * n + digit + "}" * n,
            lambda: f"{digit}**" * n + digit,
            lambda: digit + "!" * n,
            lambda: f"({digit}!)^" * n + digit,
            lambda: f"10^{{10^{{{n}}}}}!",
            lambda: f"{digit}^{{{'9' * n}}}",
            lambda: f"\\sqrt[{'9' * n}]{{{digit}}}",
            lambda: f"{digit}e{'9' * n}",
            lambda: r"\frac{1}{" * n + "x" + "}" * n,
            lambda: r"\sqrt{" * n + "2" + "}" * n,
            lambda: r"\exp(" * n + digit + ")" * n,
            lambda: r"\sin \cos " * n + "x",
            lambda: r"\exp " * n + digit,
            lambda: "(" * n + "1" + ")" * n,
            lambda: "-" * n + digit,
            lambda: "|" * n + digit + "|" * n,
            lambda: "+".join(f"x_{{{k}}}^{k}" for k in range(n)),
            lambda: "(x+1)" * n,
            lambda: "(x+y+z)^{" + "9" * min(n, 9) + "}",
            lambda: ",".join(str(k) for k in range(n)),
            lambda: r"\{" + ",".join(f"{k}\\pi" for k in range(n)) + r"\}",
            lambda: "(" + "),(".join("1,2" for _ in range(n)) + ")",
            lambda: r" \pm 1" * n,
            lambda: "=".join("x" for _ in range(n)),
            lambda: r"\cup".join("(0,1)" for _ in range(n)),
            lambda: " or ".join(digit for _ in range(n)),
            lambda: r"\begin{pmatrix}" + r"\\".join("&".join("1" * n) for _ in range(min(n, 60))) + r"\end{pmatrix}",
            lambda: r"\begin{pmatrix}" * n,
            lambda: r"\text{" * n + "a" + "}" * n,
            lambda: digit + r"\text{ cm}" * n,
            lambda: digit + " metres" * n,
            lambda: digit * n,
            lambda: "1," + "000," * n + "000",
            lambda: f"\\binom{{{'9' * n}}}{{{digit}}}",
            lambda: r"\lfloor " * n + digit + r"\rfloor" * n,
            lambda: f"\\sin({'9' * n})",
            lambda: f"\\log_{{{digit}}} " * n + digit,
            lambda: "0." + "0" * n + "1",
            lambda: r"\int_0^x " * n + "t dt",
            lambda: r"\prod_{k=1}^{" + "9" * n + "} k",
            lambda: "a" * n,
            lambda: "a b " * n,
            lambda: "x'" * n + "'" * n,
            lambda: "_{" * n + "}" * n,
            lambda: "x" + "_1" * n,
            lambda: r"\frac" * n + digit * n,
            lambda: "\\" * n,
        ]
    )()


def huge(draw: random.Random) -> str:
    """About a megabyte of one thing, as a whole completion."""
    piece = draw.choice(
        ["{", "}", "{}", "\\boxed{", "\\boxed", "\\boxed{1}", "Answer:", "Answer: 1 ", "answer ", "\\", "9", "$", "(", "^", "\\frac{", " ", "\n", "\x00", "𝟗"]
    )  # fmt: skip
    return piece * (10**6 // len(piece))


def completion(draw: random.Random) -> tuple[str, str]:
    """A completion and the gold answer that it is graded against."""
    gold = draw.choice(GOLDS)
    kind = draw.random()
    if kind < 0.002:
        return draw.choice(["", "\\boxed{", "\\boxed{1}"]) + huge(draw), gold
    make: Callable[[random.Random], str] = mutated if kind < 0.4 else pieced if kind < 0.7 else grown
    answer = make(draw)
    frame = draw.choice(["\\boxed{%s}", "Answer: %s", "\\boxed{\\boxed{%s}", "Answer: $%s$", "\\boxed{%s", "%s}", "%s"])
    return frame.replace("%s", answer), gold


def completions(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of completion and gold answer."""
    draw = random.Random(seed)
    return (completion(draw) for _ in range(count))
