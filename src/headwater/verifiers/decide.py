"""From two texts to one yes or no: read both, then compare. The parent decides what needs no algebra this way,
and a worker everything else, so that there is one grader and not two."""

from __future__ import annotations

import re
from fractions import Fraction

from headwater.verifiers.compare import Algebra, Set, matches, said
from headwater.verifiers.latex import LONGEST_EXPRESSION, Unreadable
from headwater.verifiers.shapes import Listing, Words, read

EXPRESSION_VERSION = "2"
"""Changes with every change of a verdict; old verdicts in a cache are then not found."""

_UNDRESSED = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox)\s*(?=\{)|[{}$]")
_INK = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|\\[,;:! ]|[\s$]")


class NeedsAlgebra(Exception):
    """The verdict hangs on the equality of two expressions."""


class NoAlgebra:
    """An `Algebra` that cannot: every question raises NeedsAlgebra."""

    def equal(self, gold: str, answer: str, *, finished: bool) -> bool:
        """Only identical expressions are known to be equal."""
        if gold == answer:
            return True
        raise NeedsAlgebra

    def proportional(self, gold: tuple[str, str], answer: tuple[str, str], *, positive: bool) -> bool:
        """Not known."""
        raise NeedsAlgebra

    def same_set(self, gold: Set, answer: Set) -> bool:
        """Not known."""
        raise NeedsAlgebra

    def rounds(self, exact: str, value: Fraction, places: int) -> bool:
        """Not known."""
        raise NeedsAlgebra


def decide(gold: str, answer: str, algebra: Algebra) -> bool:
    """Whether the answer is the gold answer. Raises NeedsAlgebra with `NoAlgebra` where it cannot be known.

    A gold answer that has no reading is compared as text.
    """
    if len(answer) > LONGEST_EXPRESSION:
        return False
    if _inked(gold) == _inked(answer):
        return True
    try:
        right = read(gold)
    except Unreadable:
        return False
    if isinstance(right, Words) and said(right) == " ".join(_UNDRESSED.sub("", answer).split()).rstrip(".").casefold():
        return True  # April 10, without its \\text
    try:
        listed = isinstance(right, Listing) and right.kind == "list"
        return matches(right, read(answer, separators=listed), algebra)
    except Unreadable:
        return False


def is_readable(gold: str) -> bool:
    """Whether the gold answer has a reading, so that other ways to write it are found equal."""
    try:
        read(gold)
    except Unreadable:
        return False
    return True


def _inked(text: str) -> str:
    """The text without bracket sizes and blanks, but for one between digits; control characters stay."""
    return re.sub(r"(?<![0-9]) +| +(?![0-9])", "", _INK.sub(" ", re.sub(r"(?<!\.)\.$", "", text.strip())))
