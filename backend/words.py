"""Numbers, times and texts as a person reads them: sensible digits, units, no false precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits; '–' where there is none, 'NaN' and '∞' in words, not as an empty cell."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = digits - 1 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", "−")


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal."""
    return "–" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.1f} %".replace("-", "−")


def percents(low: float, high: float) -> str:
    """The bounds of an interval of shares: '50.1 … 65.3 %'."""
    return f"{percent(low).removesuffix(' %')} … {percent(high)}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign; none of what rounds to 0."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "−")


def size(count: float) -> str:
    """Bytes as '640 B', '1.5 GiB' or '128 GiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{number(float(count), 2 if count < 10 else 3)} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{number(count)} TiB"


def duration(seconds: float | None) -> str:
    """Seconds as '0.31 s', '42 s', '3 min 05 s', '2 h 04 min' or '3 d 4 h'."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0.0):.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def short(count: int) -> str:
    """A count in three digits: '950', '48.2 K', '1.24 M', '7.62 B'."""
    for limit, unit, name in ((1e3, 1, ""), (1e6, 1e3, " K"), (1e9, 1e6, " M"), (1e15, 1e9, " B")):
        if count < 0.9995 * limit:
            return f"{count:,}" if unit == 1 else f"{number(count / unit)}{name}"
    return f"{count:,}"


def age(since: float, now: float) -> str:
    """How long ago, in the coarsest unit that says something: 'just now', '40 s ago', '5 min ago', '3 h ago', '2 d ago'."""
    seconds = max(now - since, 0.0)
    for limit, size, unit in ((5, 0, ""), (60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago" if size else "just now"
    return f"{int(seconds // 86_400)} d ago"


def plural(count: int, noun: str) -> str:
    """'1 run', '1,200 runs' (never 'run(s)'), for nouns whose plural ends in s."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def time_left(*, step: int, total: int, from_step: int, elapsed: float) -> float | None:
    """Seconds until `total`, from the pace since `from_step` (loading and evaluations counted); None before the first step."""
    done = step - from_step
    return None if done <= 0 or elapsed <= 0 else elapsed / done * max(total - step, 0)


def alarm(name: str) -> str:
    """The name of an alarm: 'Acceptance collapse, depth 2' for acceptance_collapse/depth_2, 'KL high: policy/kl' for rule/KL high/policy/kl."""
    kind, _, rest = name.partition("/")
    if kind == "rule" and "/" in rest:
        return rest.replace("/", ": ", 1)
    return name.replace("/", ", ").replace("_", " ").capitalize()


def archived_left_out(count: int) -> str:
    """That so many archived runs do not count; "" where there are none."""
    return f"{plural(count, 'archived run')} {'is' if count == 1 else 'are'} left out" if count else ""


ENGINES = {"builtin": "the built-in sampler", "vllm": "vLLM"}
"""What samples, by its name in configurations."""


def decoding(*, engine: str, temperature: float, top_p: float, top_k: int, stop: Sequence[str]) -> str:
    """How answers are sampled: 'with vLLM at temperature 1, top-p 0.7', with what else is not as usual."""
    rest = [f"top-k {top_k}"] if top_k else []
    rest += [f"ending at {', '.join(map(repr, stop))}"] if stop else []
    return ", ".join([f"with {ENGINES.get(engine, engine)} at temperature {temperature:g}", f"top-p {top_p:g}", *rest])


def literal(text: str) -> str:
    """Text with the characters escaped that Markdown would read, but for commands between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "`".join(part if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in r"\`*_{}[]()#+-.!|$<>:~" else character for character in text)


def listed_briefly(numbers: Sequence[int]) -> str:
    """Whole numbers in order, with stretches drawn together: '1, 3–6, 9'."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        "–".join(map(str, (part[0], part[-1]))) if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )


def date(seconds: float) -> str:
    """A moment, such as '2026-01-31 09:05 UTC'."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
