"""A completion with every token on a background that says how likely it was, as HTML. Pure: numbers in, markup out.

One hue per quantity, mixed into the page's own background, so that one markup serves light and dark; more of it means more surprise. A
rejected draft is underlined whatever the background shows, a token that the head is surer of has a line above it, and the numbers stand
in each token's title, so that nothing is said by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from html import escape
from typing import NamedTuple

from db.tokens import Tokens

LEVELS = 6
_SURPRISE, _DIFFERENCE = 6.0, 3.0  # nats that have the strongest colour
_WARM, _COOL, _RED, _GREEN = "#C77A1B", "#3A66F2", "#D6453D", "#08A463"
_STRONGEST = 55  # per cent of a hue: any more, and the text on it would be hard to read


class Quantity(StrEnum):
    """What the background of a token shows."""

    NONE = "nothing"
    LOG_PROB = "log-prob"
    MTP_LOG_PROB = "MTP log-prob"
    DIFFERENCE = "difference"
    DRAFT = "draft"


class Token(NamedTuple):
    """One token, its numbers as in `db.tokens.Tokens`."""

    text: str
    log_prob: float | None
    mtp_log_prob: float | None
    agrees: int | None


def _ramp(name: str, hue: str) -> str:
    shares = (round(_STRONGEST * level / LEVELS) for level in range(1, LEVELS + 1))
    return "\n".join(
        f".m-{name}{level} {{ background: color-mix(in srgb, {hue} {share}%, transparent); }}"
        for level, share in enumerate(shares, start=1)
    )


STYLE = f"""<style>
.m-heat span {{ border-radius: 2px; }}
.m-heat .m-whole {{ opacity: 0.45; }}
.m-heat .m-no, .m-legend .m-no {{ text-decoration: underline solid {_RED} 2px; text-underline-offset: 3px; }}
.m-heat .m-above, .m-legend .m-above {{ text-decoration: overline dotted {_COOL} 2px; }}
.m-heat .m-no.m-above {{ text-decoration: underline overline solid {_RED} 2px; }}
.m-legend {{ display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; font-size: 0.8rem; margin: 0.1rem 0 0.5rem; }}
.m-legend span span {{ padding: 0.05rem 0.42rem; border-radius: 2px; font-variant-numeric: tabular-nums; }}
.m-card {{ margin: 0 0 0.8rem; }}
.m-card .m-head {{ margin-bottom: 0.25rem; }}
{_ramp("w", _WARM)}
{_ramp("c", _COOL)}
.m-taken {{ background: color-mix(in srgb, {_GREEN} 16%, transparent); }}
.m-rejected {{ background: color-mix(in srgb, {_RED} 30%, transparent); }}
</style>"""


def heat(tokens: Tokens, quantity: Quantity, most: int) -> str:
    """The completion's text, its first `most` tokens coloured, the others plain."""
    rows = [Token(*row) for row in zip(*(getattr(tokens, name) for name in Tokens.__dataclass_fields__), strict=True)]
    coloured = "".join(_token(row, quantity) for row in rows[:most])
    plain = escape("".join(tokens.texts[most:]))
    return f'<pre class="m-text m-heat" tabindex="0">{coloured}{plain}</pre>'


def title(token: Token) -> str:
    """The numbers of a token in words."""
    parts = [f"log-prob {_number(token.log_prob)}"]
    if token.mtp_log_prob is not None:
        parts.append(f"MTP {_number(token.mtp_log_prob)}")
    if token.log_prob is not None and token.mtp_log_prob is not None:
        kept = math.exp(min(0.0, token.log_prob - token.mtp_log_prob))
        parts += [f"difference {token.mtp_log_prob - token.log_prob:+.3g}", f"drafted, kept with {kept:.0%}"]
    parts.append({1: "greedy draft taken", 0: "greedy draft rejected", None: "no draft here"}[token.agrees])
    return ", ".join(parts)


def legend(quantity: Quantity) -> str:
    """What the backgrounds and lines mean."""
    if quantity == Quantity.NONE:
        return ""
    parts: list[str] = []
    if quantity in (Quantity.LOG_PROB, Quantity.MTP_LOG_PROB):
        steps = [
            f'<span class="m-w{level}">{_bound(level, _SURPRISE, first="≤ ")}</span>' for level in range(1, LEVELS + 1)
        ]
        parts.append(f"{escape(quantity)}, nats: <span>0</span>{''.join(steps)}")
    elif quantity == Quantity.DIFFERENCE:
        warm = [
            f'<span class="m-w{level}">{_bound(level, _DIFFERENCE, first="≤ ")}</span>'
            for level in range(LEVELS, 0, -1)
        ]
        cool = [
            f'<span class="m-c{level} m-above">+{_DIFFERENCE * level / LEVELS:g}</span>'
            for level in range(1, LEVELS + 1)
        ]
        parts.append(f"MTP log-prob minus log-prob, nats: {''.join(warm)}<span>0</span>{''.join(cool)}")
        parts.append('<span class="m-above">line above</span>: the head is surer than the policy')
    else:
        parts.append('<span class="m-taken">taken</span><span class="m-rejected m-no">rejected</span>')
    parts.append('<span class="m-no">underlined</span>: a greedy draft of depth 1 would be rejected')
    parts.append("◦ a token that ends no character")
    return f'<div class="m-legend">{"".join(f"<span>{part}</span>" for part in parts)}</div>'


def level(value: float, largest: float) -> int:
    """From 0 for nothing to LEVELS for `largest` and more."""
    return min(LEVELS, round(LEVELS * max(value, 0.0) / largest))


def _token(token: Token, quantity: Quantity) -> str:
    classes = _BACKGROUNDS[quantity](token)
    if token.agrees == 0 and "m-no" not in classes:
        classes = [*classes, "m-no"]
    named = f' class="{" ".join(classes)}"' if classes else ""
    return f'<span{named} title="{escape(title(token))}">{_visible(token.text)}</span>'


def _visible(text: str) -> str:
    """Text in which line ends and tokens without text can be seen."""
    if not text:
        return '<i class="m-whole">◦</i>'
    return escape(text).replace("\n", '<i class="m-whole">↵</i>\n')


def _surprise(value: float | None) -> list[str]:
    found = level(-value, _SURPRISE) if value is not None else 0
    return [f"m-w{found}"] if found else []


def _difference(token: Token) -> list[str]:
    if token.log_prob is None or token.mtp_log_prob is None:
        return []
    value = token.mtp_log_prob - token.log_prob
    found = level(abs(value), _DIFFERENCE)
    if not found:
        return []
    return [f"m-c{found}", "m-above"] if value > 0 else [f"m-w{found}"]


def _draft(token: Token) -> list[str]:
    return {1: ["m-taken"], 0: ["m-rejected"], None: []}[token.agrees]


_BACKGROUNDS: dict[Quantity, Callable[[Token], list[str]]] = {
    Quantity.NONE: lambda token: [],
    Quantity.LOG_PROB: lambda token: _surprise(token.log_prob),
    Quantity.MTP_LOG_PROB: lambda token: _surprise(token.mtp_log_prob),
    Quantity.DIFFERENCE: _difference,
    Quantity.DRAFT: _draft,
}


def _bound(level: int, largest: float, *, first: str) -> str:
    return f"{first if level == LEVELS else ''}−{largest * level / LEVELS:g}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def csv_rows(samples: Sequence[tuple[int, Tokens]]) -> list[tuple[object, ...]]:
    """One row per token: sample, place, text, log_prob, mtp_log_prob, agrees."""
    return [
        (sample, place, *row)
        for sample, tokens in samples
        for place, row in enumerate(
            zip(tokens.texts, tokens.log_probs, tokens.mtp_log_probs, tokens.agrees, strict=True)
        )
    ]
