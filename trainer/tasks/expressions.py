r"""Reading one expression, in LaTeX, plain or numpy notation, as a tree. Nothing is evaluated, and nothing is ever executed.

    expr    = term {(+ | -) term}
    term    = signed {(* | / | \cdot | \times | nothing) signed}     a/bc is (a/b)c
    signed  = {+ | -} power
    power   = postfix [(^ | **) power]
    postfix = atom {! | ' | ^\circ}

`\sin 2t` takes factors up to the next sign, slash, bracket or function; `\frac12` takes one digit each, as TeX does, and x^10 takes
both, as everybody else does. 1\frac{4}{5} and 1 4/5 are mixed numbers. e and i are the constants. f, u and \delta directly
before a bracket are unknown functions, so are g and h before (x), and so is any letter before a number in brackets: I(0) is I_0, and not 0. Any other
letter there is a factor. Limits: `LONGEST` tokens, `DEEPEST` brackets in brackets, trees of
`TALLEST` levels.
"""

from __future__ import annotations

import re
from fractions import Fraction

from trainer.tasks.trees import LONGEST_NUMBER, Call, Number, Symbol, Tree, Unreadable, height, number, words

LONGEST = 600
DEEPEST = 40
TALLEST = 120
"""Levels of a tree: a sum of n terms has n - 1, brackets in brackets one each."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3}(?![\d.]))?)|(?P<command>\\(?:[a-zA-Z]+|.))|(?P<word>[a-zA-Z]+)|(?P<sign>\*\*|.))",
    re.ASCII | re.DOTALL,
)
FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "arcsin", "arccos": "arccos",
    "arctan": "arctan", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "ln": "log",
    "log": "log", "lg": "lg", "exp": "exp", "abs": "abs", "floor": "floor", "ceil": "ceil",
}  # fmt: skip
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega "
    "iota upsilon Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar partial nabla mho odot circ angle"
)
_ACCENTS = words("bar hat vec tilde overline overrightarrow widehat mathcal mathbb mathbf")
_DOTS = {"dot": "'", "ddot": "''"}
_UNKNOWN_FUNCTIONS = frozenset({"f", "g", "h", "u", "delta"})
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_ENDS = words(r"+ - * ** / ^ _ ) ] } , = ! ' \cdot \times \rfloor \rceil") | {""}


def parse(text: str) -> Tree:
    """The tree of an expression.

    Raises:
        Unreadable: it is none, or is longer or deeper than the limits.
    """
    parser = _Parser(re.sub(r"\b(?:np|numpy|math)\.", "", text))
    tree = parser.expression(0)
    if parser.token:
        raise Unreadable(f"what is {parser.token!r} for?")
    if height(tree) > TALLEST:
        raise Unreadable("too many terms")
    return tree


class _Parser:
    def __init__(self, text: str):
        self.tokens: list[tuple[str, str]] = []  # (kind, text)
        for match in _TOKEN.finditer(text.rstrip()):
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            if len(self.tokens) > LONGEST:
                raise Unreadable("too long")
        self.at = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    @property
    def token(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.token
        if not token:
            raise Unreadable("it ends too early")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise Unreadable(f"{token} is missing")

    def put_back(self, kind: str, rest: str) -> None:
        """Replace the token just taken by what was left of it."""
        self.at -= 1
        self.tokens[self.at] = (kind, rest)

    def expression(self, depth: int) -> Tree:
        tree = self.term(depth)
        while self.token in ("+", "-"):
            sign = self.take()
            tree = Call(sign, (tree, self.term(depth)))
        return tree

    def term(self, depth: int) -> Tree:
        tree = self.signed(depth)
        while True:
            if self.token in ("*", "\\cdot", "\\times"):
                self.take()
                tree = Call("*", (tree, self.signed(depth)))
            elif self.token == "/":
                self.take()
                tree = Call("/", (tree, self.signed(depth)))
            elif self.begins_factor():
                tree = self.juxtaposed(tree, depth)
            else:
                return tree

    def begins_factor(self) -> bool:
        return self.token not in _ENDS and self.token != "|"

    def juxtaposed(self, left: Tree, depth: int) -> Tree:
        whole = isinstance(left, Number) and left.unit is None
        if self.kind == "number":
            if whole and self.at + 2 < len(self.tokens) and self.tokens[self.at + 1][1] == "/":
                return self.mixed(left, Call("/", (number(self.take()), (self.take(), self.atom(depth))[1])))
            if self.tokens[self.at - 1][0] == "number" or self.tokens[self.at + 1 : self.at + 2] != [("sign", "^")]:
                raise Unreadable("a number stands behind a factor: only powers do, as in n 2^n")
        is_fraction = self.token == "\\frac"
        right = self.power(depth)
        if whole and is_fraction:
            return self.mixed(left, right)
        return Call("*", (left, right))

    @staticmethod
    def mixed(whole: Tree, fraction: Tree) -> Tree:
        match fraction:
            case Call("/", (Number(above, None), Number(below, None))) if above < below:
                return Call("mixed", (whole, fraction))
        return Call("*", (whole, fraction))

    def signed(self, depth: int) -> Tree:
        negative = False
        while self.token in ("+", "-"):
            negative ^= self.take() == "-"
        tree = self.power(depth)
        return Call("neg", (tree,)) if negative else tree

    def power(self, depth: int) -> Tree:
        if depth > DEEPEST:
            raise Unreadable("too deep")
        base = self.postfix(self.atom(depth))
        while self.token in ("^", "**"):
            self.take()
            base = self.raised(base, depth)
        return base

    def raised(self, base: Tree, depth: int) -> Tree:
        if self.token == "{" and [token for _, token in self.tokens[self.at + 1 : self.at + 3]] == ["\\circ", "}"]:
            self.at += 3
            return Call("degrees", (base,))
        if self.token == "\\circ":
            self.take()
            return Call("degrees", (base,))
        if self.token == "{":
            tree = self.group(depth)
        elif self.token in ("+", "-"):
            sign = self.take()
            operand = self.power(depth + 1)
            tree = Call("neg", (operand,)) if sign == "-" else operand
        else:
            tree = self.power(depth + 1) if self.kind == "number" else self.postfix(self.atom(depth + 1))
        return self.postfix(Call("^", (base, tree)))

    def postfix(self, tree: Tree) -> Tree:
        while self.token == "!":
            self.take()
            tree = Call("factorial", (tree,))
        return tree

    def group(self, depth: int) -> Tree:
        opening = self.take()
        tree = self.expression(depth + 1)
        self.expect(_CLOSES[opening])
        return tree

    def atom(self, depth: int) -> Tree:
        token = self.token
        if self.kind == "number":
            read = number(self.take())
            return self.repeating(read) if self.token == "\\overline" and "." in token else read
        if token in _CLOSES:
            return self.group(depth)
        if token == "|":
            self.take()
            tree = self.expression(depth + 1)
            self.expect("|")
            return Call("abs", (tree,))
        if self.kind == "word":
            return self.word(depth)
        if self.kind == "command":
            return self.command(depth)
        raise Unreadable(f"what is {token!r} for?")

    def repeating(self, start: Number) -> Number:
        """0.1\\overline{6}: the digits under the line go on for ever."""
        self.take()
        digits = self.raw()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_NUMBER):
            raise Unreadable("only digits repeat")
        return Number(start.value + (start.unit or 1) * Fraction(int(digits), 10 ** len(digits) - 1))

    def word(self, depth: int) -> Tree:
        word = self.take()
        if word == "sqrt":
            return Call("sqrt", (self.group_after(word, depth),))
        if word in FUNCTIONS:
            return self.function(FUNCTIONS[word], depth)
        if word == "pi":
            return Call("pi", ())
        if word in GREEK:
            return self.symbol(word, depth)
        if len(word) > 1:
            self.put_back("word", word[1:])
        if word[0] in ("e", "i") and self.token != "_":
            return Call(word[0], ())
        return self.symbol(word[0], depth)

    def group_after(self, name: str, depth: int) -> Tree:
        if self.token not in _CLOSES:
            raise Unreadable(f"{name} needs a bracket")
        return self.group(depth)

    def command(self, depth: int) -> Tree:
        name = self.take()[1:]
        if name == "frac":
            above = self.argument(depth)
            return Call("/", (above, self.argument(depth)))
        if name == "sqrt":
            if self.token == "[":
                degree = self.group(depth)
                return Call("root", (self.argument(depth), degree))
            return Call("sqrt", (self.argument(depth),))
        if name == "binom":
            above = self.argument(depth)
            return Call("binom", (above, self.argument(depth)))
        if name in ("lfloor", "lceil"):
            tree = self.expression(depth + 1)
            self.expect("\\r" + name[1:])
            return Call("floor" if name == "lfloor" else "ceil", (tree,))
        if name in ("pi", "infty"):
            return Call(name, ())
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name], depth)
        if name in _DOTS:
            return self.symbol(self.raw().removeprefix("\\"), depth, primes=_DOTS[name])
        if name in _ACCENTS:
            return self.symbol(f"{name}({self.raw()})", depth)
        if name in GREEK:
            return self.symbol(name, depth)
        raise Unreadable(f"\\{name} is not read here")

    def argument(self, depth: int) -> Tree:
        """What \\frac and \\sqrt take: a group, or one digit, letter or command."""
        if self.token == "{":
            return self.group(depth)
        if self.kind == "number":
            digits = self.take()
            if not digits.isdigit():
                raise Unreadable("braces are missing")
            if len(digits) > 1:
                self.put_back("number", digits[1:])
            return number(digits[0])
        if self.kind in ("word", "command"):
            return self.atom(depth + 1)
        raise Unreadable("braces are missing")

    def raw(self) -> str:
        """The text of a subscript or of what is under an accent."""
        if self.token != "{":
            token = self.take()
            if len(token) > 1 and not token.startswith("\\"):
                self.put_back("word" if token.isalpha() else "number", token[1:])
            return token[0] if not token.startswith("\\") else token
        parts: list[str] = []
        depth = 0
        while True:
            token = self.take()
            depth += (token == "{") - (token == "}")
            if depth == 0:
                return "".join(parts)
            if token not in ("{", "}", "\\text"):
                parts.append(token)

    def symbol(self, plain: str, depth: int, primes: str = "") -> Tree:
        below = ""
        while self.token in ("_", "'") or (self.token == "^" and self.is_prime()):
            sign = self.take()
            if sign == "_":
                below += "_" + self.raw()
            else:
                primes += "'" if sign == "'" else "'" * self.raw().count("\\prime")
        name = plain + below + primes
        if self.token != "(":
            return Symbol(name)
        after = self.tokens[self.at + 1 : self.at + 3]
        at_point = [kind for kind, _ in after] == ["number", "sign"] and after[1][1] == ")"
        if plain not in _UNKNOWN_FUNCTIONS and not at_point:
            return Symbol(name)
        operand = self.group(depth)
        if at_point and isinstance(operand, Number) and operand.value == 0 and not below:
            return Symbol(f"{plain}_0{primes}")
        simple = not isinstance(operand, Call) or plain in ("f", "u", "delta")
        return Call(f"of:{name}", (operand,)) if simple else Call("*", (Symbol(name), operand))

    def is_prime(self) -> bool:
        inside = [token for _, token in self.tokens[self.at + 1 : self.at + 4]]
        return inside[:1] == ["\\prime"] or inside[:2] == ["{", "\\prime"]

    def function(self, name: str, depth: int) -> Tree:
        if name == "log" and self.token == "_":
            self.take()
            base = self.argument(depth) if self.token != "1" else self.atom(depth)
            if (
                isinstance(base, Number) and base.value == 1 and self.kind == "number"
            ):  # \log_10: both digits are the base
                base = number("1" + self.take())
            return Call("log", (self.operand(depth), base))
        exponent: Tree | None = None
        if self.token == "^":
            self.take()
            exponent = self.group(depth) if self.token == "{" else self.atom(depth)
        operand = self.operand(depth)
        match exponent:
            case None:
                return Call(name, (operand,))
            case Call("neg", (Number(Fraction(numerator=1, denominator=1)),)) if name in _INVERSE:
                return Call(_INVERSE[name], (operand,))
        return Call("^", (Call(name, (operand,)), exponent))

    def operand(self, depth: int) -> Tree:
        """What a function is of: a bracket alone, else factors up to the next sign, slash, bracket or function."""
        if depth > DEEPEST:
            raise Unreadable("too deep")
        if self.token in _CLOSES or self.token == "|":
            return self.atom(depth)
        if self.token == "-":
            self.take()
            return Call("neg", (self.operand(depth + 1),))
        tree = self.power(depth + 1)
        while self.begins_factor() and self.kind != "number" and self.token not in _CLOSES and not self.is_function():
            tree = Call("*", (tree, self.power(depth + 1)))
        return tree

    def is_function(self) -> bool:
        return self.token.lstrip("\\") in FUNCTIONS
