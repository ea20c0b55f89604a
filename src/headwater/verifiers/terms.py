r"""An answer as one tree, whatever it is: a number, an expression, words, a list, an interval, an equation.

    op                            parts                    name
    number                                                 (its `value`; `text`: digits, or a fraction, as written)
    letter, constant                                       x, x_1, \alpha; pi, e, i
    add mul div pow root log      operands
    sin ... binomial factorial    arguments
    abs floor ceiling
    infinity                                               (its `value`: 1 or -1)
    words                         the product, if it may   the text, without the blanks and stops around it
                                  be one of letters
    list, tuple, set              items                    of a list: the word between all of them
    interval                      both ends                the two brackets as written: "[)"
    \cup, \cap, \setminus         sets
    matrix, row                   rows, cells              "v" for a determinant
    based                         the base                 digits
    relation, quantity, given     sides; value             (classes of their own below)

The brackets are a part of the answer: (2, 1) is not \{1, 2\}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from headwater.verifiers.units import Unit

_ANSWERS = frozenset({
    "infinity", "words", "list", "tuple", "set", "interval", "\\cup", "\\cap", "\\setminus", "matrix", "row", "based",
    "relation", "quantity", "given",
})  # fmt: skip
"""What is an answer and never a part of an expression."""
_REVERSED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Term:
    """One node of the tree. `text` is how it was typed, where that counts: a run of letters, a number's digits."""

    op: str
    parts: tuple[Term, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""
    text: str = field(default="", compare=False)

    @property
    def is_expression(self) -> bool:
        """Whether it may have a value."""
        return self.op not in _ANSWERS

    @property
    def letters(self) -> frozenset[str]:
        """The letters in it that stand for anything."""
        if self.op == "letter":
            return frozenset({self.name})
        return frozenset[str]().union(*(part.letters for part in self.parts)) if self.op != "words" else frozenset()

    @property
    def has_i(self) -> bool:
        """Whether the imaginary unit is in it."""
        return any(node.op == "constant" and node.name == "i" for node in self.nodes())

    def nodes(self) -> Iterator[Term]:
        """The tree's nodes, the root first; the letters of words are none."""
        yield self
        for part in self.parts if self.op != "words" else ():
            yield from part.nodes()

    def renamed(self, old: str, new: str) -> Term:
        """The tree with another name for a letter."""
        if not any(old in name.split("_") for name in self.letters):
            return self
        name = (
            "_".join(new if part == old else part for part in self.name.split("_"))
            if self.op == "letter"
            else self.name
        )
        return replace(self, name=name, text="", parts=tuple(part.renamed(old, new) for part in self.parts))


@dataclass(frozen=True, slots=True)
class Name:
    """`text` is the same for the same name; `one` for a single thing (x, f'(x)) and not several (a + b)."""

    text: str
    one: bool
    letter: str = ""
    """the letter, where the name is nothing else"""


@dataclass(frozen=True, slots=True)
class Relation(Term):
    """Sides and, as `name`, the signs between them: = < > <= >= != ~ in. `names` are those of sides that only name."""

    names: tuple[Name | None, ...] = ()

    @property
    def signs(self) -> tuple[str, ...]:
        """One less than sides."""
        return tuple(self.name.split())

    def turned(self) -> Relation:
        """The same, read from right to left."""
        signs = (_REVERSED.get(sign, sign) for sign in self.signs[::-1])
        return replace(self, name=" ".join(signs), parts=self.parts[::-1], names=self.names[::-1])

    def without_first(self) -> Relation:
        """All but its first side."""
        return replace(self, name=" ".join(self.signs[1:]), parts=self.parts[1:], names=self.names[1:])


PERCENT: Unit = (("percent", 1),)


@dataclass(frozen=True, slots=True)
class Quantity(Term):
    """A value with its unit."""

    unit: Unit = ()


@dataclass(frozen=True, slots=True)
class Given(Term):
    r"""A value with what is said of a letter of it: 2k\pi, k \in \mathbb{Z}.

    `domain` is what values the letter takes: "Z", "any", ">=1", "where >0" (in words), ...
    """

    letter: str = ""
    domain: str = ""


def number(value: Fraction | int, text: str = "") -> Term:
    """A rational number that is written out."""
    return Term("number", value=value if isinstance(value, Fraction) else Fraction(value), text=text)


def letter(name: str) -> Term:
    """A letter, or the constant that it is."""
    return Term("constant" if name in ("i", "e", "pi") else "letter", name=name)


def product_of(run: str) -> Term:
    """The letters of a run, multiplied."""
    letters = tuple(letter(one) for one in run)
    return replace(letters[0], text=run) if len(run) == 1 else Term("mul", letters, text=run)


def words(text: str, *product: Term) -> Term:
    """Words; `product` where a run of letters may also be one."""
    return Term("words", product, name=text)


def infinity(sign: int) -> Term:
    """Of a sign."""
    return Term("infinity", value=Fraction(sign))


REALS = Term("interval", (infinity(-1), infinity(1)), name="()")
