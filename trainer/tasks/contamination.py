"""Does the training data hold problems of a benchmark?

Exact: the same text but for case, spaces, punctuation and signs, so that one that differs in a sign alone counts as the same. Near: much
of the benchmark problem's word 5-grams, such as the same problem with other numbers, or reworded: the larger of the Jaccard index and
0.75 of the share of the benchmark problem's 5-grams that the training problem has, at 0.30 or more. Both without what every second
problem says about the form of its answer. It is the measure that the folder of benchmarks was made with (its README.md), but for
numbers, which stay apart here: 12+345 is not 123+45. A translation is not found.

The benchmarks are indexed and the training data streams past, so that memory grows with the benchmarks alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from trainer.tasks.items import Item


class Measure(NamedTuple):
    """When two problems are called near."""

    words: int = 5
    """Words that make a gram."""
    contained: float = 0.75
    """What the share of the benchmark problem's grams counts beside the Jaccard index."""
    threshold: float = 0.30
    """Near from here on."""


MEASURE = Measure()


class Match(NamedTuple):
    """A problem of a benchmark and the training problem that is most like it."""

    problem: Item
    training: Item
    score: float
    """1.0: the same text; else how near, from the measure's threshold on."""

    @property
    def exact(self) -> bool:
        """Whether it is the same text."""
        return self.score == 1.0


class Overlap(NamedTuple):
    """What a benchmark has in common with the training data."""

    benchmark: str
    problems: int
    """How many the benchmark has."""
    matches: tuple[Match, ...]
    """One per problem that is in the training data, in the benchmark's order."""

    @property
    def exact(self) -> int:
        """Problems that stand in the training data word for word."""
        return sum(match.exact for match in self.matches)

    @property
    def near(self) -> int:
        """Problems of which only something near stands there."""
        return len(self.matches) - self.exact


def overlaps(
    training: Iterable[Item], benchmarks: Mapping[str, Sequence[Item]], measure: Measure = MEASURE
) -> list[Overlap]:
    """What each benchmark has in common with the training data. Of generated problems only equal ones count: near they all are."""
    index = _Index([item for items in benchmarks.values() for item in items], measure)
    best: dict[int, Match] = {}
    for item in training:
        for place, score in index.like(item):
            if place not in best or score > best[place].score:
                best[place] = Match(index.items[place], item, score)
    result, first = [], 0
    for name, items in benchmarks.items():
        places = range(first, first + len(items))
        result.append(Overlap(name, len(items), tuple(best[place] for place in places if place in best)))
        first += len(items)
    return result


def normalised(text: str) -> str:
    """The text without what typesetting makes of it: NFKC, lower case, only ASCII letters, digits and Han characters."""
    return _DIGITS_MEET.sub("", " ".join(_words(text)))


def grams(text: str, length: int = MEASURE.words) -> frozenset[tuple[str, ...]]:
    """The runs of `length` words in the text; none where it has fewer words."""
    words = _words(text)
    return frozenset(zip(*(words[start:] for start in range(length)), strict=False))


# A word is a run of ASCII letters or one of digits; Han is written without spaces, so that each character is one.
_WORD = re.compile("[a-z]+|[0-9]+|[\u3400-\u4dbf\u4e00-\u9fff]")
_DIGITS_MEET = re.compile("(?<![0-9]) | (?![0-9])")  # every space but one between two numbers

# Sentences about the form of the answer, which thousands of problems share.
_BOILERPLATE = re.compile(
    r"""
    solve\ the\ following\ math\ problem\ step\ by\ step\..*?is\ the\ answer\ to\ the\ problem\.
    | remember\ to\ put\ your\ answer\ on\ its\ own\ line.*
    | (please\ )?(reason|think)\ step\ by\ step[^.]*\.?
    | (please\ )?put\ your\ (final\ )?answer\ (with)?in[^.]*\.?
    | the\ (original\ )?answer\ (is|should\ be)\ (given\ )?in\ the\ form[^?!]*
    | please\ (provide|give|find|compute)\ the\ (value|sum)\ of[^.]*\.?
    | (express|give|write)\ (your|the)\ answer\ (as|in)[^.]*\.?
    | ((the|this|your)\ \w+\ )?can\ be\ (written|expressed)\ (as|in\ the\ form)[^.]*where[^.]*(relatively\ prime|coprime)[^.]*\.?
    | where\ [^.]{0,60}(relatively\ prime|coprime)[^.]*\.?
    | (find|compute|what\ is)\ (the\ value\ of\ )?\$?m\s*\+\s*n\$?\s*[.?]
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


class _Read(NamedTuple):
    """What is compared of a problem."""

    text: str
    grams: frozenset[tuple[str, ...]]


def _read(item: Item, length: int) -> _Read:
    if item.scorer:  # generated: what differs in a sign is another problem, and near are all of its kind
        return _Read(item.problem, frozenset())
    text = _BOILERPLATE.sub(" ", item.problem)
    return _Read(normalised(text) or item.problem, grams(text, length))


class _Index:
    """Problems of benchmarks by their texts and by their grams."""

    def __init__(self, items: list[Item], measure: Measure):
        self.items, self._measure = items, measure
        self._by_text: dict[str, list[int]] = defaultdict(list)
        self._by_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        for place, item in enumerate(items):
            read = _read(item, measure.words)
            self._by_text[read.text].append(place)
            self._sizes.append(len(read.grams))
            for gram in read.grams:
                self._by_gram[gram].append(place)

    def like(self, item: Item) -> list[tuple[int, float]]:
        """The places of the problems that this one equals or is near to, with their scores."""
        read = _read(item, self._measure.words)
        scores = dict.fromkeys(self._by_text.get(read.text, ()), 1.0)
        shared = Counter(place for gram in read.grams for place in self._by_gram.get(gram, ()))
        for place, count in shared.items():
            score = self._score(count, len(read.grams), self._sizes[place])
            if score >= self._measure.threshold:
                scores.setdefault(place, score)
        return list(scores.items())

    def _score(self, shared: int, training: int, benchmark: int) -> float:
        """Below 1.0, which is kept for equal texts."""
        jaccard = shared / (training + benchmark - shared)
        return min(max(jaccard, self._measure.contained * shared / benchmark), 0.99)
