r"""What kind of thing an answer is: a number, an expression, words, a tuple, a set, an interval, an equation.

    1,000   Number            (1, 2)   Listing "tuple"     x = 2        Relation
    2\pi    Leaf              1, 2     Listing "list"      -1 < x \le 3 Relation
    \text{no} Words           \{1, 2\} Listing "set"       10\%, 5\text{ cm}  Quantity
    1011_2  Based             [0, 1)   Interval            \begin{pmatrix}..  Matrix

The brackets are a part of the answer: (2, 1) is not \{1, 2\}.

`written_number` reads a rational number that is written out, with nothing left to compute:

    1,000   1\,000   1 000   -2.50   3/4   \frac{6}{8}   3\frac12   3 1/2   0.1\overline{6}   0.333...
    1.5 \times 10^3   10^6   (-1)/2

1+1, 2^3, 6/3/2 and -(-5) are tasks, and no number here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from headwater.verifiers.formula import Formula, decimal, fraction_of, whole_number
from headwater.verifiers.latex import Node, Nodes
from headwater.verifiers.names import Condition, Name
from headwater.verifiers.units import Unit

_LARGEST_EXPONENT = 100
"""Of ten, in a number written as a \\times 10^n."""


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number that is written out: digits, a decimal, a fraction, a mixed number, a x 10^n."""

    value: Fraction
    places: int = 0
    """decimal places as written"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression; `letters` when it is nothing but one run of letters."""

    formula: Formula
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Infinity:
    """1, or -1 for its negative."""

    sign: int


@dataclass(frozen=True, slots=True)
class Words:
    """Text, without the spaces and dots around it; `formula` where a run of letters may also be a product."""

    text: str
    formula: Formula | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Several answers: a "list" without brackets, a "tuple" or a "set"; `joint` is the word between all of a list."""

    kind: str
    items: tuple[Shape, ...]
    joint: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """`brackets` are the two as written, such as "[)"."""

    brackets: str
    ends: tuple[Shape, Shape]


@dataclass(frozen=True, slots=True)
class Combination:
    r"""Sets joined by "\\cup" or "\\cap", or the first without the others by "\\setminus"."""

    operator: str
    parts: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; "v" for a determinant."""

    kind: str
    rows: tuple[tuple[Shape, ...], ...]


_REVERSED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides and the signs between them: = < > <= >= != ~ in. `names` tells which sides only stand for a value."""

    signs: tuple[str, ...]
    sides: tuple[Shape, ...]
    names: tuple[Name | None, ...] = ()

    def turned(self) -> Relation:
        """The same, read from right to left."""
        return Relation(tuple(_REVERSED.get(s, s) for s in self.signs[::-1]), self.sides[::-1], self.names[::-1])


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its unit."""

    value: Shape
    unit: Unit


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base that is named."""

    digits: str
    base: str


@dataclass(frozen=True, slots=True)
class Conditional:
    """A value with what is said of its letters: 2k\\pi, k \\in \\mathbb{Z}."""

    value: Shape
    condition: Condition
    nodes: Nodes


Shape = (
    Number
    | Leaf
    | Infinity
    | Words
    | Listing
    | Interval
    | Combination
    | Matrix
    | Relation
    | Quantity
    | Based
    | Conditional
)

REALS = Interval("()", (Infinity(-1), Infinity(1)))
PERCENT: Unit = (("percent", 1),)


def formulas_of(shape: Shape) -> Iterator[Formula]:
    """Every expression in a shape."""
    if isinstance(shape, Leaf):
        yield shape.formula
    for part in _parts(shape):
        yield from formulas_of(part)


def _parts(shape: Shape) -> tuple[Shape, ...]:
    match shape:
        case Quantity(value=value) | Conditional(value=value):
            return (value,)
        case Listing(items=parts) | Combination(parts=parts) | Relation(sides=parts) | Interval(ends=parts):
            return parts
        case Matrix(rows=rows):
            return sum(rows, ())
    return ()


def join_thousands(nodes: Nodes) -> Nodes:
    """1,000 as one number: one to three digits, then groups of a comma and three digits, without a space."""
    joined: list[Node] = []
    for node in nodes:
        if (
            len(joined) > 1
            and node.glued
            and re.fullmatch(r"[0-9]{3}(\.[0-9]+)?", node.text)
            and joined[-1].text == ","
            and joined[-1].glued
            and re.fullmatch(r"[1-9][0-9]{0,2}|[1-9][0-9]{0,2}(,[0-9]{3})+", joined[-2].text)
        ):
            joined[-2:] = [Node("number", joined[-2].text + "," + node.text, (), joined[-2].glued)]
        else:
            joined.append(node)
    return tuple(Node(n.kind, n.text.replace(",", "") if n.kind == "number" else n.text, n.parts, n.glued)
                 for n in joined)  # fmt: skip


def written_number(nodes: Nodes) -> Number | None:
    """The number that these nodes write out, or None."""
    sign = -1 if nodes[0].text == "-" else 1
    signed = nodes[0].kind == "sign" and nodes[0].text in "+-"
    number = _unsigned(nodes[signed:])
    if number is None or (signed and number.value < 0):  # -(-5) is a sum to do
        return None
    return Number(sign * number.value, number.places)


def _unsigned(nodes: Nodes) -> Number | None:
    if len(nodes) == 1 and nodes[0].kind == "group" and nodes[0].text in ("()", "{}") and nodes[0].parts[0]:
        return written_number(nodes[0].parts[0])
    if len(nodes) == 1 and nodes[0].text == "\\frac":
        return _divided(*nodes[0].parts)
    if len(nodes) > 2 and [node.text for node in nodes].count("/") == 1 and (slash := _slashed(nodes)) is not None:
        return slash
    if not nodes or nodes[0].kind != "number":
        return None
    value = decimal(nodes[0].text)
    places = nodes[0].text.partition(".")[2]
    if len(nodes) == 1:
        return Number(value, len(places))
    if len(nodes) == 2 and value.denominator == 1 and (part := fraction_of(nodes[1])) is not None:
        return Number(value + part) if 0 < part < 1 else None
    if len(nodes) == 2 and "." in nodes[0].text and nodes[1].text in ("\\overline", "\\ldots"):
        return _repeating(value, places, nodes[1])
    if nodes[0].text == "10" and len(nodes) == 2:
        return _power_of_ten(Fraction(1), nodes[1])
    if len(nodes) == 4 and nodes[1].text == "*" and nodes[2].text == "10":
        return _power_of_ten(value, nodes[3])
    return None


def _slashed(nodes: Nodes) -> Number | None:
    """a/b; 3 1/2 is a mixed number."""
    place = next(place for place, node in enumerate(nodes) if node.text == "/")
    if place == 2 and all(node.kind == "number" and node.text.isdigit() for node in nodes[:2]) and not nodes[1].glued:
        part = _divided(nodes[1:2], nodes[3:])
        mixed = part is not None and nodes[3:] == nodes[3:4] and 0 < part.value < 1
        return Number(int(nodes[0].text) + part.value) if mixed and part is not None else None
    return _divided(nodes[:place], nodes[place + 1 :])


def _divided(top: Nodes, bottom: Nodes) -> Number | None:
    """A fraction of two written numbers."""
    above, below = _digits(top), _digits(bottom)
    return Number(above / below) if above is not None and below else None


def _digits(nodes: Nodes) -> Fraction | None:
    """The value of digits with a sign and a point, in brackets or without."""
    while len(nodes) == 1 and nodes[0].text in ("()", "{}"):
        nodes = nodes[0].parts[0]
    if any(node.kind == "comma" for node in nodes):
        nodes = join_thousands(nodes)
    signed = bool(nodes) and nodes[0].kind == "sign" and nodes[0].text in "+-"
    if len(nodes) != 1 + signed or nodes[-1].kind != "number":
        return None
    return decimal(nodes[-1].text) * (-1 if nodes[0].text == "-" else 1)


_PERIOD = re.compile(r"([0-9]*?)(?:([0-9])\2{2,}|([0-9]{2,6}?)\3+)")
"""Digits that show their repetend: one digit three times, several twice."""


def _repeating(value: Fraction, places: str, behind: Node) -> Number | None:
    """0.1\\overline{6} and 0.1666..."""
    if behind.text == "\\overline":
        repeated = behind.parts[0]
        if len(repeated) != 1 or not repeated[0].text.isdigit():
            return None
        block, before = repeated[0].text, len(places)
    elif (shown := _PERIOD.fullmatch(places)) is not None:
        block, before = shown[2] or shown[3], len(shown[1])
        value = Fraction(int(value * 10**before), 10**before)
    else:
        return None
    return Number(value + Fraction(int(block), 10 ** len(block) - 1) / 10**before)


def _power_of_ten(value: Fraction, power: Node) -> Number | None:
    exponent = whole_number(power.parts[0]) if power.kind == "power" else None
    return (
        Number(value * Fraction(10) ** exponent)
        if exponent is not None and abs(exponent) <= _LARGEST_EXPONENT
        else None
    )


def stamp(nodes: Nodes) -> str | None:
    """The text of plain numbers with hyphens between them: a date, a range, a score, a telephone number; no sum."""
    if nodes[0].text == "-" and len(nodes) > 3:
        behind = stamp(nodes[1:])
        return None if behind is None else f"-{behind}"
    numbers = [node for node in nodes if node.kind == "number"]
    between = nodes[1::2]
    dashed = len(nodes) % 2 == 1 and len(numbers) == len(nodes) // 2 + 1 and numbers == list(nodes[::2])
    if len(numbers) > 1 and dashed and all(node.text == "-" for node in between):
        return "-".join(node.text for node in numbers)
    slashed = len(numbers) > 2 and dashed and all(node.text == "/" for node in between)
    return "/".join(node.text for node in numbers) if slashed else None
