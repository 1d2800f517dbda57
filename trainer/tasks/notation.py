r"""One spelling for what LaTeX, plain text and numpy spell in many ways, before anything is compared.

`normalise` removes what changes no meaning (math delimiters, \left, \right, spacing, a final full stop) and gives one name to
commands that mean the same. It never adds, drops or moves a digit, except that a comma between thousands goes away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_UNICODE = {
    "−": "-", "–": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ", "°": r"^{\circ}",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∪": r"\cup ", "∈": r"\in ", "²": "^{2}", "³": "^{3}",
    "，": ",", "（": "(", "）": ")", "¢": r"\text{ cents}", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
}  # fmt: skip
_TRANSLATION = str.maketrans(_UNICODE)
_ROOT = re.compile(r"√\s*(?:\((?P<group>[^()]*)\)|(?P<number>\d+))", re.ASCII)

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\\!\s*|\{,\}|\\,)\d{3})+(?!\d)", re.ASCII)
_DELIMITERS = re.compile(r"(\\\\)|(?<!\\)\$|\\[()\[\]]")
_SIZES = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|boldsymbol|mathbf|bf|rm|mathit|mathsf)(?![a-zA-Z])"
)
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:> ]|(?:quad|qquad|thinspace)(?![a-zA-Z]))|~")
_NAMES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leq": "le", "leqslant": "le", "geq": "ge",
    "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">", "mbox": "text", "textbf": "text", "textrm": "text", "mathrm": "text", "textit": "text",
    "textnormal": "text", "operatorname": "text", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "langle": "(",
    "rangle": ")", "degree": "^{\\circ}", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "prime": "prime", "ast": "*", "div": "/",
    "colon": ":", "to": "rightarrow", "varnothing": "emptyset", "Bbb": "mathbb", "sim": "approx",
}  # fmt: skip
_PLAIN = frozenset({"<", ">", "[", "]", "(", ")", "|", "*", "/", ":"})
_COMMAND = re.compile(r"\\([a-zA-Z]+)")


def _renamed(match: re.Match[str]) -> str:
    name = _NAMES.get(match[1])
    if name is None:
        return match[0]
    return name if name in _PLAIN or name[0] == "^" else "\\" + name


def normalise(text: str) -> str:
    """The text in one spelling: the rule is at the top of this file."""
    text = text.strip().translate(_TRANSLATION)
    if "√" in text:
        text = _ROOT.sub(lambda match: rf"\sqrt{{{match['group'] or match['number']}}}", text)
    if "\\" in text or "{" in text:
        text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0], flags=re.ASCII), text)
    if "$" in text or "\\" in text:
        text = _DELIMITERS.sub(lambda match: match[1] or " ", text)
    if "\\" in text:
        text = _SPACES.sub(" ", _SIZES.sub(" ", text).replace("\\!", "").replace(r"\%", "%"))
    if "\\" in text or "/" in text:
        text = _one_spelling(text)
    text = " ".join(text.replace("~", " ").split())
    return text.removesuffix(".").rstrip() if not text.endswith("..") else text


_UPRIGHT = re.compile(r"\\text ?\{([ied])\}")
_ANGLE = re.compile(r"\\angle ?((?:[A-Z] ?(?:_ ?(?:\{ ?\d ?\}|\d) ?)?)+)", re.ASCII)
_NAME = r"(?P<name>(?:[A-Za-z]|\\[a-z]+)(?: ?_ ?(?:\{[^{}]*\}|\w))?)"
_RATES = (
    (re.compile(rf"\\frac ?\{{ ?d ?{_NAME} ?\}} ?\{{ ?d ?t ?\}}", re.ASCII), "'"),
    (
        re.compile(
            rf"\\frac ?\{{ ?d ?\^ ?(?:2|\{{ ?2 ?\}}) ?{_NAME} ?\}} ?\{{ ?d ?t ?\^ ?(?:2|\{{ ?2 ?\}}) ?\}}", re.ASCII
        ),
        "''",
    ),
    (re.compile(r"(?<![A-Za-z\\])d(?P<name>[A-Za-z]) ?/ ?dt(?![A-Za-z])", re.ASCII), "'"),
)
"""Derivatives by the time, which are also written with a dot or a prime."""


def _one_spelling(text: str) -> str:
    text = _UPRIGHT.sub(r"\1", _COMMAND.sub(_renamed, text))
    text = _ANGLE.sub(lambda match: rf"\angle_{{{match[1]}}} ", text)
    for pattern, primes in _RATES:
        text = pattern.sub(lambda match, primes=primes: f"{match['name']}{primes} ", text)  # type: ignore[misc]
    return text


_NEEDLESS = re.compile(r"(?<![0-9A-Za-z.,]) | (?![0-9A-Za-z.,])")


def tight(text: str) -> str:
    """The text without spaces, except between letters and digits: 1 2 is not 12."""
    return _NEEDLESS.sub("", text)


_OPENING, _CLOSING = "([{", ")]}"


def depths(text: str) -> Iterator[tuple[int, str, int]]:
    r"""Index, character and depth of brackets of every character that stands outside of all brackets or opens or closes one.

    \{ and \} count as brackets, and ( may be closed by ], for half-open intervals. A negative depth means unbalanced.
    """
    depth = 0
    for index, character in enumerate(text):
        if character in _OPENING:
            yield index, character, depth
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            yield index, character, depth
            if depth < 0:
                return
        elif depth == 0:
            yield index, character, 0


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts of a text between separators that stand outside of all brackets; the whole text where it is unbalanced."""
    found = list(separator.finditer(text))
    if not found:
        return [text]
    outside, depth = set(), 0
    for index, _, depth in depths(text):
        if depth == 0:
            outside.add(index)
        if depth < 0:
            return [text]
    parts, start = [], 0
    for match in found:
        if match.start() in outside and match.start() >= start:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]


def wrapped(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    if not text or text[0] not in _OPENING or text[-1] not in _CLOSING:
        return False
    closings = [index for index, character, depth in depths(text) if depth == 0 and character in _CLOSING]
    return closings == [len(text) - 1]
