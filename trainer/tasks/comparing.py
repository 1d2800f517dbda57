r"""When two answers are equal: by their shapes, and member by member.

* (a, b) is ordered, and an interval's brackets count; a list `1, 2, 3` and a set {1, 2, 3} are not, and are the same; so are the members of a
  union. With three members or more a list may stand for a tuple in the same order; with two, (1, 2) could be an interval.
* `x = 5` is 5; `x = 1, x = 2` is `1, 2`; for a point, `x = 1, y = 2` is (1, 2). What is named must be a name or a sum or product of names.
* Equations are equal up to swapped sides, moved terms and a fixed factor; inequalities likewise.
* Words are equal but for case and an article; `(C)` and `C` are one choice.
* A column of a matrix may be written as a tuple.
* `= a = b` counts where a and b are equal, and `a \approx b` where a rounds to b.

Three values: None where a part is read by nobody here; `ask` decides single expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from trainer.tasks import quantities, shapes, values
from trainer.tasks.expressions import parse
from trainer.tasks.notation import tight
from trainer.tasks.shapes import Many, Matrix, Ordered, Relation, Shape, Single, Union, Words
from trainer.tasks.trees import Call, Number, Symbol, Tree, Unreadable, symbols

Ask = Callable[[str, str], bool | None]
"""Whether a single answer equals a single gold answer; None: undecided."""


def equal(answer: str, gold: str, ask: Ask = quantities.same) -> bool | None:
    """Whether an answer is right, both in normalised form; None: undecided."""
    if answer == gold:
        return True
    return _equal(shapes.read(gold), shapes.read(answer), ask)


def _equal(gold: Shape, answer: Shape, ask: Ask) -> bool | None:
    if gold == answer:
        return True
    match gold, answer:
        case (Words(), _) | (_, Words()):
            return _same_words(gold, answer)
        case Relation(), Relation():
            return _same_relation(gold, answer, ask)
        case Relation(sides, ("=",)), _ if _is_name(sides[0]) and not _ANGLE.fullmatch(sides[1]):
            return _equal(shapes.read(sides[1]), answer, ask)
        case _, Relation():
            return _any(_equal(gold, one, ask) for one in _stated(answer))
        case Single(), Single():
            return ask(answer.text, gold.text)
        case Many(), Many():
            if not _may_be_named(_names(gold.items), _names(answer.items)):
                return False
            return _same_members(_bare(gold.items), _bare(answer.items), ask)
        case Many((only,), True), Single():
            return _equal(only, answer, ask)
        case Single(), Many((only,), True):
            return _equal(gold, only, ask)
        case Many(items, False), Ordered(given, "(", ")") if len(items) > 2:
            return _each(items, given, ask)
        case Ordered(items, "(", ")"), Many(given, False) if len(items) > 2 or _are_named_apart(given):
            return _each(items, _values(given), ask)
        case Ordered(), Ordered():
            alike = (gold.opening, gold.closing) == (answer.opening, answer.closing)
            vector = len(gold.items) > 2 and {gold.opening + gold.closing, answer.opening + answer.closing} == {
                "()",
                "[]",
            }
            return _each(gold.items, answer.items, ask) if alike or vector else False
        case Union(), Union():
            return _same_members(gold.items, answer.items, ask)
        case Union(items), Many(given, False) if all(isinstance(one, Ordered) for one in given):
            return _same_members(items, given, ask)
        case Matrix(), Matrix() if gold.is_determinant == answer.is_determinant and len(gold.rows) == len(answer.rows):
            return _all(_each(one, other, ask) for one, other in zip(gold.rows, answer.rows, strict=True))
        case Matrix(rows, False), Ordered(items, "(", ")") if all(len(row) == 1 for row in rows):
            return _each([row[0] for row in rows], items, ask)
    return False


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return True if True in found else None if None in found else False


def _each(gold: Sequence[Shape], answer: Sequence[Shape], ask: Ask) -> bool | None:
    if len(gold) != len(answer):
        return False
    return _all(_equal(one, other, ask) for one, other in zip(gold, answer, strict=True))


def _same_members(gold: Sequence[Shape], answer: Sequence[Shape], ask: Ask) -> bool | None:
    """Whether every member has one of its own on the other side, in whatever order."""
    if len(gold) != len(answer):
        return False
    left, certain = list(answer), True
    for wanted in gold:
        verdicts = []
        for one in left:
            verdicts.append(_equal(wanted, one, ask))
            if verdicts[-1]:
                break
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            certain = False
        else:
            return False
    return True if certain else None


# Words

_ARTICLE = re.compile(r"^(?:an?|the) ")


def _same_words(gold: Shape, answer: Shape) -> bool:
    if not isinstance(gold, Words | Single) or not isinstance(answer, Words | Single):
        return False
    one, other = (re.sub(r"\\text ?\{([^{}]*)\}", r"\1", shape.text).strip(" .'\"`") for shape in (gold, answer))
    choices = [re.fullmatch(r"\(?([A-Za-z])\)?", text) for text in (one, other)]
    if choices[0] and choices[1]:
        return choices[0][1].upper() == choices[1][1].upper()
    one, other = (_ARTICLE.sub("", " ".join(text.split()).casefold()) for text in (one, other))
    return one == other


# Names and equations


def _tree(text: str) -> Tree | None:
    try:
        return parse(text)
    except Unreadable:
        return None


_ANGLE = re.compile(r"\\(?:angle|triangle) ?[A-Z _{}\d]+|\\text ?\{[A-Za-z ]+\}|[A-Z]{2,4}")


def _is_name(text: str) -> bool:
    """Whether a side of an equation only names the other: x, f(x), m+n, AB; but not 2x or x^2."""
    if _ANGLE.fullmatch(text):
        return True
    tree = _tree(text)
    return tree is not None and _only_names(tree)


def _only_names(tree: Tree) -> bool:
    match tree:
        case Symbol():
            return True
        case Call(name, args) if name.startswith("of:"):
            return all(isinstance(arg, Number) or _only_names(arg) for arg in args)
        case Call("+" | "*" | "/", args):
            return all(_only_names(arg) for arg in args)
        case Call("e" | "i", ()):
            return True
    return False


def _named(shape: Shape) -> tuple[str, str] | None:
    match shape:
        case Relation((name, given), ("=",)) if _is_name(name):
            return name, given
    return None


def _bare(items: Sequence[Shape]) -> Sequence[Shape]:
    """The members of a list without their names, where these tell nothing apart."""
    return items if len(_names(items)) > 1 else _values(items)


def _names(items: Sequence[Shape]) -> set[str]:
    return {tight(named[0]) for named in map(_named, items) if named}


def _may_be_named(gold: set[str], answer: set[str]) -> bool:
    """Whether members named so may stand for members with the gold answer's one name."""
    if len(gold) != 1 or not answer:
        return True
    wanted, given = next(iter(gold)), next(iter(answer))
    return len(answer) == 1 and _renamed((given, ""), (wanted, "")) is not None


def _values(items: Sequence[Shape]) -> list[Shape]:
    return [shapes.read(named[1]) if (named := _named(item)) else item for item in items]


def _are_named_apart(items: Sequence[Shape]) -> bool:
    names = [named[0] for named in map(_named, items) if named]
    return len(names) == len(items) == len(set(names)) and names == sorted(names, key=lambda name: name.lstrip("\\"))


def _stated(answer: Relation) -> list[Shape]:
    """What an equation says its named side is, in each form that it gives; nothing where it says nothing of the kind."""
    if not set(answer.signs) <= {"=", "approx"}:
        return []
    if answer.signs == ("=",) and _is_name(answer.sides[1]) and not _is_name(answer.sides[0]):
        return [shapes.read(answer.sides[0])]
    first, *rest = answer.sides
    given = rest if _is_name(first) else list(answer.sides)
    for one, sign, other in zip(
        given, answer.signs[-len(given) + 1 :] if len(given) > 1 else (), given[1:], strict=False
    ):
        if not (
            _rounds_to(one, other)
            if sign == "approx"
            else _equal(shapes.read(one), shapes.read(other), quantities.same)
        ):
            return []
    return [shapes.read(one) for one in ({given[0], given[-1]} if "approx" in answer.signs else {given[-1]})]


def _rounds_to(text: str, rounded: str) -> bool:
    """Whether a number rounds to another, as written."""
    tree, other = quantities.read(text).tree, quantities.read(rounded).tree
    if tree is None or other is None or symbols(tree) or symbols(other):
        return False
    try:
        near, target = values.real(values.value(tree)), values.real(values.value(other))
    except values.Undefined:
        return False
    return near is not None and target is not None and abs(near - target) <= (quantities.written_unit(other) or 1) / 2


def _same_relation(gold: Relation, answer: Relation, ask: Ask) -> bool | None:
    one, other = (
        _named(gold),
        _named(Relation((answer.sides[0], answer.sides[-1]), ("=",)) if _is_chain(answer) else answer),
    )
    if one and other and (renamed := _renamed(other, one)) is not None:
        if len(answer.sides) > 2 and not _stated(answer):
            return False
        return _equal(shapes.read(one[1]), shapes.read(renamed), ask)
    if len(gold.sides) != 2 or len(answer.sides) != 2:
        return False
    return _same_equation(gold, answer)


def _is_chain(relation: Relation) -> bool:
    return len(relation.sides) > 2 and set(relation.signs) == {"="}


_FUNCTION_OF = re.compile(r"([a-zA-Z]) ?\( ?([a-z]) ?\)")


def _renamed(answer: tuple[str, str], gold: tuple[str, str]) -> str | None:
    """The value of a named answer in the variable of the gold answer: f(n) = n^2 is f(x) = x^2. None: another name."""
    left, right = _tree(gold[0]), _tree(answer[0])
    if tight(gold[0]) == tight(answer[0]) or (left and right and values.same(left, right)):
        return answer[1]
    wanted, given = _FUNCTION_OF.fullmatch(gold[0]), _FUNCTION_OF.fullmatch(answer[0])
    if wanted and given and wanted[1] == given[1] and not re.search(rf"(?<![a-zA-Z\\]){wanted[2]}", answer[1]):
        return re.sub(rf"(?<![a-zA-Z\\]){given[2]}(?![a-zA-Z])", wanted[2], answer[1])
    return None


_SWAPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne", "approx": "approx"}


def _same_equation(gold: Relation, answer: Relation) -> bool:
    (sign,), (other,) = gold.signs, answer.signs
    if other not in (sign, _SWAPPED.get(sign)):
        return False
    sides = answer.sides if other == sign else answer.sides[::-1]
    if _text(gold.sides) in (_text(sides), _text(sides[::-1]) if sign in ("=", "ne") else ""):
        return True
    trees = [quantities.read(side).tree for side in (*gold.sides, *sides)]
    left, right, one, another = trees
    if left is None or right is None or one is None or another is None:
        return False
    return values.proportional(
        Call("-", (left, right)), Call("-", (one, another)), positive=sign not in ("=", "ne", "approx")
    )


def _text(sides: Sequence[str]) -> str:
    return " = ".join(map(tight, sides))
