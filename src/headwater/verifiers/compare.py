r"""Whether an answer is the gold answer: shape by shape, and only the values at the leaves by algebra.

A rational gold answer asks for a written number, so 1+1 is not 2. The brackets must agree, the units may be
left out but not exchanged, "%" means a hundredth, and several values in one place are no answer.
`docs/grading.md` lists the policy with examples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from headwater.verifiers.shapes import (
    Based,
    Combination,
    Interval,
    Leaf,
    Listing,
    Matrix,
    Number,
    Quantity,
    Ratio,
    Relation,
    Shape,
    Words,
)
from headwater.verifiers.units import denies, is_unit, unit_of

Set = tuple[object, ...]
r"""("interval", "[)", low, high), ("points", a, b, ...), ("\cup", set, ...), ("\cap", set, ...) or
("\setminus", set, ...); leaves are canonical LaTeX."""


class Algebra(Protocol):
    """What needs a computer algebra system; all texts are canonical LaTeX."""

    def equal(self, gold: str, answer: str, *, finished: bool) -> bool:
        """Whether two expressions are equal; `finished`: the answer leaves nothing to compute that the gold has not."""

    def proportional(self, gold: tuple[str, str], answer: tuple[str, str], *, positive: bool) -> bool:
        """Whether left minus right of both equations differ by a constant factor (a positive one)."""

    def same_set(self, gold: Set, answer: Set) -> bool:
        """Whether two sets of real numbers are equal."""

    def rounds(self, exact: str, value: Fraction, places: int) -> bool:
        """Whether the expression, rounded to so many decimal places, is the value."""


def matches(gold: Shape, answer: Shape, algebra: Algebra) -> bool:
    """Whether the answer is the gold answer."""
    if isinstance(gold, Relation):
        return _relation(gold, answer, algebra)
    if isinstance(answer, Relation):
        return _stated(gold, answer, algebra)
    if isinstance(answer, Quantity) and not isinstance(gold, Quantity):
        return _measured(gold, answer, algebra)
    if isinstance(gold, Listing) or (isinstance(answer, Listing) and answer.kind == "set"):
        return _listing(gold, answer, algebra)
    if isinstance(gold, Interval | Combination):
        return _interval(gold, answer, algebra)
    if isinstance(answer, Listing) and answer.joint == "or":  # 3/2 or 1.5: one value, written twice
        return len(answer.items) < 5 and all(_one_value(gold, item, algebra) for item in answer.items)
    return _one_value(gold, answer, algebra)


def _one_value(gold: Shape, answer: Shape, algebra: Algebra) -> bool:
    match gold, answer:
        case Quantity(), _:
            return _quantity(gold, answer, algebra)
        case Number(), Number():
            return gold.value == answer.value
        case Leaf(), Number() | Leaf():
            left, right = latex_of(gold), latex_of(answer)
            infinite = "\\infty" in left + right
            return left == right or (not infinite and algebra.equal(left, right, finished=True))
        case Words() | Leaf(), Words() | Leaf():
            return bool(said(gold)) and said(gold) == said(answer)
        case Based(), _:
            return _based(gold, answer)
        case Number(), Based():
            return answer.base == "10" and Fraction(answer.digits) == gold.value
        case Matrix(), Matrix():
            return _matrix(gold, answer, algebra)
        case Ratio(), Ratio():
            return gold == answer
    return False


def latex_of(value: Shape) -> str:
    """A number or expression as canonical LaTeX; "" for every other shape."""
    if isinstance(value, Number):
        return f"\\frac{{{value.value.numerator}}}{{{value.value.denominator}}}"
    return value.latex if isinstance(value, Leaf) else ""


def said(value: Shape) -> str:
    """Words, or letters that may be a word; the case of a single letter counts."""
    text = value.text if isinstance(value, Words) else value.letters if isinstance(value, Leaf) else ""
    text = " ".join(text.split())
    text = _SAYS_NOTHING.sub("", text)
    return text.casefold() if len(text) > 1 else text


_SAYS_NOTHING = re.compile(r"(?:the|an?) +(?=\w)|(?:option|choice) +(?=\(?[A-Z]\)?$)", re.IGNORECASE)


def _based(gold: Based, answer: Shape) -> bool:
    if isinstance(answer, Based):
        return (gold.digits.upper(), gold.base) == (answer.digits.upper(), answer.base)
    if isinstance(answer, Number):
        return str(answer.value) == gold.digits
    return said(answer) == gold.digits.casefold()


def _matrix(gold: Matrix, answer: Matrix, algebra: Algebra) -> bool:
    sizes = [len(row) for row in gold.rows], [len(row) for row in answer.rows]
    if gold.kind != answer.kind or sizes[0] != sizes[1]:
        return False
    pairs = zip(sum(gold.rows, ()), sum(answer.rows, ()), strict=True)
    return all(matches(left, right, algebra) for left, right in pairs)


# Units


def _measured(gold: Shape, answer: Quantity, algebra: Algebra) -> bool:
    """A gold answer without a unit: "%" is a hundredth, a plain unit is left out."""
    unit = unit_of(answer.unit)
    if unit == "%":
        if not isinstance(gold, Number) or not isinstance(answer.value, Number):
            return False
        return gold.value * 100 == answer.value.value
    if unit.startswith("mod "):
        return matches(gold, answer.value, algebra)
    words = answer.unit.lower().split()
    if len(words) > 1 and words[-1] in ("squared", "cubed"):
        words.pop()
    parts = [part for word in words for part in word.split("/")]  # m/s
    return len(words) <= 4 and all(map(is_unit, parts)) and matches(gold, answer.value, algebra)


def _quantity(gold: Quantity, answer: Shape, algebra: Algebra) -> bool:
    """A gold answer with a unit: the same unit, or none."""
    if isinstance(answer, Quantity):
        return unit_of(gold.unit) == unit_of(answer.unit) and matches(gold.value, answer.value, algebra)
    return matches(gold.value, answer, algebra)


# Lists, tuples, sets, intervals


def _listing(gold: Shape, answer: Shape, algebra: Algebra) -> bool:
    if (interval := _endless(gold)) is not None:
        return _interval(interval, answer, algebra)
    if not isinstance(gold, Listing):  # {2} for 2
        single = isinstance(answer, Listing) and len(answer.items) == 1 and not isinstance(gold, Interval | Combination)
        return single and not isinstance(answer.items[0], Listing) and matches(gold, answer.items[0], algebra)  # type: ignore[union-attr]
    if gold.kind == "tuple" and isinstance(answer, Listing) and answer.kind == "list":
        values = _by_name(answer.items)
        return len(values) == len(gold.items) and all(
            matches(*pair, algebra) for pair in zip(gold.items, values, strict=True)
        )
    if not isinstance(answer, Listing):
        return gold.kind == "set" and len(gold.items) == 1 and matches(gold.items[0], answer, algebra)
    if gold.kind != "tuple" and answer.kind == "set" and len(gold.items) < len(answer.items) <= 2 * len(gold.items):
        return _same_set(gold.items, answer.items, algebra)
    if (gold.kind == "tuple") != (answer.kind == "tuple") or len(gold.items) != len(answer.items):
        return False
    if gold.kind == "tuple":
        return all(matches(*pair, algebra) for pair in zip(gold.items, answer.items, strict=True))
    return _same_members(gold.items, answer.items, algebra)


def _same_members(gold: Sequence[Shape], answer: Sequence[Shape], algebra: Algebra) -> bool:
    """Each gold member is found once; equality is transitive, so the first partner is as good as any."""
    left = list(answer)
    for member in gold:
        partner = next((i for i, other in enumerate(left) if matches(member, other, algebra)), None)
        if partner is None:
            return False
        left.pop(partner)
    return True


def _same_set(gold: Sequence[Shape], answer: Sequence[Shape], algebra: Algebra) -> bool:
    """In braces a repeated member says nothing: \\{1, 2, 2\\} is \\{1, 2\\}."""
    found = [next((i for i, member in enumerate(gold) if matches(member, other, algebra)), None) for other in answer]
    return None not in found and len(set(found)) == len(gold)


def _by_name(items: Sequence[Shape]) -> list[Shape]:
    """The values of x = 1, y = 2 in the order of the letters, which is that of a tuple; none for other lists."""
    named: dict[str, Shape] = {}
    for item in items:
        if not isinstance(item, Relation) or item.signs != ("=",) or len(said(item.sides[0])) != 1:
            return []
        named[said(item.sides[0])] = item.sides[1]
    return [named[name] for name in sorted(named)] if len(named) == len(items) else []


def _endless(shape: Shape) -> Interval | None:
    """(a, \\infty) is an interval and no point."""
    if isinstance(shape, Listing) and shape.kind == "tuple" and len(shape.items) == 2:
        low, high = shape.items
        if any("\\infty" in latex_of(end) for end in (low, high)):
            return Interval("()", (low, high))
    return None


def _open_interval(shape: Shape) -> Shape:
    if isinstance(shape, Listing) and shape.kind == "tuple" and len(shape.items) == 2:
        return Interval("()", (shape.items[0], shape.items[1]))
    return shape


def _interval(gold: Interval | Combination, answer: Shape, algebra: Algebra) -> bool:
    answer = _open_interval(answer)
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        same_ends = (matches(*pair, algebra) for pair in zip(gold.ends, answer.ends, strict=True))
        return gold.brackets == answer.brackets and all(same_ends)
    sets = _set(gold), _set(answer)
    return sets[0] is not None and sets[1] is not None and algebra.same_set(sets[0], sets[1])


def _set(shape: Shape) -> Set | None:
    shape = _open_interval(shape)
    if isinstance(shape, Interval):
        ends = [latex_of(end) for end in shape.ends]
        return ("interval", shape.brackets, *ends) if all(ends) else None
    if isinstance(shape, Listing) and shape.kind == "set":
        points = [latex_of(item) for item in shape.items]
        return ("points", *points) if all(points) else None
    if isinstance(shape, Relation):
        region = _region(shape)
        return None if region is None else _set(region)
    if isinstance(shape, Combination):
        parts = [_set(part) for part in shape.parts]
        return (shape.operator, *parts) if all(parts) else None
    return None


# Equations and inequalities

_NAME = re.compile(r"\\variable\{\w+\}(\\cdot \(\\variable\{\w+\}\))?")
_REVERSED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_ORDER = {"<": ("(", ")"), "<=": ("[", "]")}


def _named(side: Shape) -> bool:
    """x, x_1, f(x), AB, words or (x, y): something that stands for the value."""
    if isinstance(side, Listing):
        return side.kind == "tuple" and all(_named(item) for item in side.items)
    if isinstance(side, Words):
        return not denies(side.text)
    return isinstance(side, Leaf) and _NAME.fullmatch(side.latex) is not None


def _stated(gold: Shape, answer: Relation, algebra: Algebra) -> bool:
    """x = 2, 6/8 = 3/4, sqrt 2 ~ 1.41 or x <= 3 for a gold answer that is no relation."""
    signs, sides, names = answer.signs, answer.sides, answer.names
    if any(sign in _REVERSED and sign != "=" for sign in signs):
        region = _region(answer)
        known = _open_interval(gold)  # 1 < x < 2 says that (1, 2) is no point
        return region is not None and isinstance(known, Interval | Combination) and _interval(known, region, algebra)
    if signs == ("=",) and _named(sides[1]) and not _named(sides[0]):
        sides = sides[::-1]
    elif "variable{" not in repr(gold) and any(names):  # a + b = 5, f(2) = 5: a name of what has no letters
        if names[-1] and not names[0]:
            signs, sides, names = signs[::-1], sides[::-1], names[::-1]
        while len(sides) > 1 and names[0]:
            signs, sides, names = signs[1:], sides[1:], names[1:]
    if signs and _named(sides[0]):
        signs, sides = signs[1:], sides[1:]
    if not signs:
        return matches(gold, sides[0], algebra)
    if signs == ("~",) and isinstance(sides[1], Number):
        close = algebra.rounds(latex_of(sides[0]), sides[1].value, sides[1].places) if latex_of(sides[0]) else False
        return close and any(matches(gold, side, algebra) for side in sides)
    if set(signs) != {"="}:
        return False
    value = latex_of(gold)
    written = [matches(gold, side, algebra) for side in sides]
    steps = [latex_of(side) for side, right in zip(sides, written, strict=True) if not right]
    return any(written) and all(bool(step and value) and algebra.equal(value, step, finished=False) for step in steps)


def _region(relation: Relation) -> Interval | Combination | Listing | None:
    """-1 < x <= 3 as (-1, 3], x > 2 as (2, infinity), x != 1 as all reals without 1, x = 1 as {1}."""
    signs, sides = relation.signs, relation.sides
    everything = Interval("()", (Leaf("-\\infty"), Leaf("\\infty")))
    if signs == ("!=",) and _named(sides[0]):
        return Combination("\\setminus", (everything, Listing("set", (sides[1],))))
    if signs == ("=",) and _named(sides[0]):
        return Listing("set", (sides[1],))
    if signs == ("in",) and _named(sides[0]) and isinstance(sides[1], Interval | Combination | Listing):
        return sides[1]
    if any(sign in (">", ">=") for sign in signs):
        signs, sides = tuple(_REVERSED.get(sign, sign) for sign in signs[::-1]), sides[::-1]
    if not all(sign in _ORDER for sign in signs) or len(signs) > 2:
        return None
    if len(signs) == 2 and _named(sides[1]):
        return Interval(_ORDER[signs[0]][0] + _ORDER[signs[1]][1], (sides[0], sides[2]))
    if len(signs) == 1 and _named(sides[0]):
        return Interval("(" + _ORDER[signs[0]][1], (Leaf("-\\infty"), sides[1]))
    if len(signs) == 1 and _named(sides[1]):
        return Interval(_ORDER[signs[0]][0] + ")", (sides[0], Leaf("\\infty")))
    return None


def _relation(gold: Relation, answer: Shape, algebra: Algebra) -> bool:
    signs, sides = gold.signs, gold.sides
    if signs == ("in",):
        return matches(sides[1], answer, algebra)
    if set(signs) <= {"=", "~"}:
        return _equation(gold, answer, algebra)
    if not isinstance(answer, Relation) or answer.signs == ("in",):
        region = _region(gold)
        return isinstance(region, Interval | Combination) and _interval(region, answer, algebra)
    for other_signs, other in (
        (answer.signs, answer.sides),
        (tuple(_REVERSED.get(sign, sign) for sign in answer.signs[::-1]), answer.sides[::-1]),
    ):
        if signs == other_signs:
            if all(matches(*pair, algebra) for pair in zip(sides, other, strict=True)):
                return True
            if len(signs) == 1 and _proportional(sides, other, algebra, positive=signs != ("!=",)):
                return True
    return False


def _equation(gold: Relation, answer: Shape, algebra: Algebra) -> bool:
    sides = gold.sides
    if _named(sides[0]):
        if isinstance(answer, Relation) and gold.signs == ("=",):
            return _same_name(sides, answer, algebra)
        return matches(sides[-1], answer, algebra)
    if gold.signs == ("=",) and not all(isinstance(side, Number | Quantity) for side in sides):
        single = isinstance(answer, Relation) and answer.signs == ("=",)
        return single and _proportional(sides, answer.sides, algebra, positive=False)  # type: ignore[union-attr]
    said_sides = answer.sides if isinstance(answer, Relation) and set(answer.signs) <= {"=", "~"} else (answer,)
    return all(any(matches(side, other, algebra) for side in sides) for other in said_sides)


def _same_name(sides: Sequence[Shape], answer: Relation, algebra: Algebra) -> bool:
    others = answer.sides
    if len(others) == 2 and _named(others[1]) and not _named(others[0]):
        answer = Relation(answer.signs, others[::-1])
    name = answer.sides[0]
    same = (said(sides[0]) and said(sides[0]) == said(name)) or sides[0] == name
    return bool(same) and _named(name) and _stated(sides[1], answer, algebra)


def _proportional(gold: Sequence[Shape], answer: Sequence[Shape], algebra: Algebra, *, positive: bool) -> bool:
    texts = [latex_of(side) for side in (*gold, *answer)]
    if not all(texts):
        return False
    return algebra.proportional((texts[0], texts[1]), (texts[2], texts[3]), positive=positive)
