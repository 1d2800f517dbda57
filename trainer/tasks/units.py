r"""Units at the end of an answer: `5 \text{ cm}^2`, `90^\circ`, `8\%`, `10 km/h`, `3 apples`.

In \text{} any words are a unit, except those that change the number or the statement (`_NOT_UNITS`). Outside of it only known
units are, and words of four letters or more after a space. Units are compared by name: cm and centimetres are one, cm and m are not.
"""

from __future__ import annotations

import re

from trainer.tasks.expressions import FUNCTIONS, GREEK
from trainer.tasks.trees import words

_NOT_UNITS = words(
    "or and not no none mod base if for where when unless except to plus minus times over by divided negative dozen dozens hundred "
    "hundreds thousand thousands million millions billion billions trillion trillions half halves third thirds quarter quarters fourth "
    "fourths fifth fifths tens tenth tenths hundredth hundredths thousandth thousandths squared cubed factorial root sqrt infinity true false "
    "approximately about roughly less more than is are i e the answer from pi"
)
_SAME = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "kilometer": "km", "kilometre": "km", "meter": "m",
    "metre": "m", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd", "mile": "mi", "second": "s", "sec": "s",
    "minute": "min", "hour": "h", "hr": "h", "gram": "g", "kilogram": "kg", "liter": "L", "litre": "L", "degree": "degree", "deg": "degree",
    "radian": "rad", "percent": "percent", "cent": "cent", "dollar": "dollar", "usd": "dollar", "unit": "unit", "mph": "mi/h", "day": "day",
    "year": "year", "yr": "year", "newton": "N", "joule": "J", "watt": "W", "volt": "V", "kelvin": "K", "pascal": "Pa",
}  # fmt: skip
_SHORT = words(
    "cm mm km nm um pm kg mg ms ns us hr hrs ft in yd mi sec min mph rad deg eV keV MeV GeV Hz kHz MHz GHz Pa kPa MPa mol kJ kW MW GW mL ml pc "
    "kpc Mpc AU ly yr yrs Myr Gyr erg amu dB kN mA mV kV sq cu"
)
_LETTERS = words("m s g K J N W V A C T h L F H")

_LAST = re.compile(
    r"(?P<gap>[ ]*(?:/|\\cdot|\*|-)?[ ]*)(?P<unit>(?<![_^])\\text ?\{(?P<words>[^{}]*)\}|(?<![\\a-zA-Z_^{])(?P<plain>[a-zA-Z]+)|\\AA|\\mu ?(?=\\text))"
    r"(?:\^ ?(?P<power>\{-?\d\}|-?\d))?$",
    re.ASCII,
)
_WORDS = re.compile(
    r"[ ./*·-]*[A-Za-z]+(?:\^?-?[1-4](?!\d))?(?:[ ./*·-]+[A-Za-z]+(?:\^?-?[1-4](?!\d))?){0,5}[ ./*·-]*", re.ASCII
)
_DEGREES = re.compile(r" ?\^ ?(?:\{ ?\\circ ?\}|\\circ)(?: ?\\text ?\{ ?[CF]? ?\})?$")
_ANGLES = re.compile(r"sin|cos|tan|cot|sec|csc")
_MOST_PARTS = 8


def split_unit(text: str, letters: bool = False) -> tuple[str, str | None]:
    """An answer without its unit, and the unit's name; `letters`: single letters after a space are units, too."""
    if text.endswith("%"):
        return text[:-1].rstrip(), "percent"
    degrees = _DEGREES.search(text)
    if degrees and not _ANGLES.search(text):
        return text[: degrees.start()], "degree"
    parts: list[str] = []
    while len(parts) < _MOST_PARTS and text:
        match = _LAST.search(text)
        if match is None or not _is_unit(match, text, letters):
            break
        divided = "/" if "/" in match["gap"] else " "
        power = (match["power"] or "").strip("{}")
        parts.insert(0, divided + (match["words"] or match["plain"] or "") + (f"^{power}" if power else ""))
        text = text[: match.start()].rstrip()
    return text, _name("".join(parts)) if parts else None


def _is_unit(match: re.Match[str], text: str, letters: bool) -> bool:
    if match.start() == 0:
        return False
    words, plain = match["words"], match["plain"]
    if words is not None:
        known = _WORDS.fullmatch(words) and not any(_is_refused(word) for word in re.findall("[A-Za-z]+", words))
        return not words.strip() or bool(known)
    if plain is None:
        return True
    if _is_refused(plain) or plain in FUNCTIONS or plain in GREEK:
        return False
    after = text[match.start() - 1]
    if match["gap"] == "" and not (after.isdigit() and plain in _SHORT):
        return False
    return plain in _SHORT or plain.lower() in _SAME or len(plain) >= 4 or (letters and plain in _LETTERS)


def _is_refused(word: str) -> bool:
    return word.lower() in _NOT_UNITS


def _name(text: str) -> str | None:
    """One name for a unit: `square inches` and `in^2` are the same."""
    words = re.findall(r"[A-Za-z]+|\^?-?\d|/|%", text)
    names: list[str] = []
    power = ""
    for word in words:
        lower = word.lower()
        if lower in ("square", "sq"):
            power = "^2"
        elif lower in ("cubic", "cu"):
            power = "^3"
        elif lower in ("/", "per"):
            names.append("/")
        elif not word[0].isalpha():
            names.append(word if word[0] == "^" else f"^{word}")
        else:
            single = lower.removesuffix("s") if len(lower) > 2 else lower
            names.append(_SAME.get(single, _SAME.get(lower, single if len(word) > 3 else word)) + power)
            power = ""
    return "".join(names) + power or None
