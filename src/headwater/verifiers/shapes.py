r"""What kind of thing an answer is: a number, an expression, words, a tuple, a set, an interval, an equation.

    1,000   Number            (1, 2)   Listing "tuple"     x = 2        Relation
    2\pi    Leaf              1, 2     Listing "list"      -1 < x \le 3 Relation
    \text{no} Words           \{1, 2\} Listing "set"       10\%, 5\text{ cm}  Quantity
    1011_2  Based             [0, 1)   Interval            \begin{pmatrix}..  Matrix

The brackets are a part of the answer: (2, 1) is not \{1, 2\}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headwater.verifiers.conditions import Condition
from headwater.verifiers.formula import Formula
from headwater.verifiers.latex import Nodes
from headwater.verifiers.names import Name
from headwater.verifiers.units import Unit
from headwater.verifiers.written import Number


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


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides and the signs between them: = < > <= >= != ~ in. `names` tells which sides only stand for a value."""

    signs: tuple[str, ...]
    sides: tuple[Shape, ...]
    names: tuple[Name | None, ...] = ()


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
class Ratio:
    """Parts with colons between them, such as a time."""

    parts: tuple[str, ...]


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
    | Ratio
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
