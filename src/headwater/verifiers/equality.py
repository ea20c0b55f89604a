r"""Whether two expressions, equations or sets of real numbers are equal.

Two expressions are compared by their values at points that follow from a hash of both, to 50 digits more than their
size and wording need: an answer would have to foresee its own hash to be taken for an equal that it is not. A
letter takes both signs, unless the gold answer has no real value where it is negative (\sqrt{n}, \ln a, n!): then
it is positive. An answer must have a value wherever the gold answer has one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cmp_to_key, lru_cache

from headwater.verifiers.terms import Term, number
from headwater.verifiers.values import Evaluator, Undefined, Value, alike, close, is_real, ratio

_POINTS = 6
_FEWEST = 3
"""Points at which both must have a value."""
_SCALES = (Fraction(8), Fraction(1), Fraction(3), Fraction(1, 4), Fraction(40), Fraction(2))
_GUARD = 50
_SHORT, _LONG = 64, 400
"""Bits that say whether there is a value, and those that order the ends of intervals."""
_FAMILIES = {
    **dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc"), "trigonometry"),
    **dict.fromkeys(("arcsin", "arccos", "arctan"), "inverse trigonometry"),
    **dict.fromkeys(("sinh", "cosh", "tanh"), "hyperbolic"),
    **dict.fromkeys(("factorial", "binomial"), "factorial"),
    **{name: name for name in ("log", "abs", "floor", "ceiling")},
}
_OF_LETTERS = frozenset({"factorial", "abs", "floor", "ceiling"})
"""Operations on letters that an answer may do, and not on numbers."""
_PARTIAL = frozenset({"root", "log", "arcsin", "arccos"})
Point = Mapping[str, Fraction]


def equal(gold: Term, answer: Term, *, finished: bool) -> bool:
    """Whether two expressions are equal; `finished`: the answer leaves nothing to compute that the gold has not.

    Raises TooLarge where a value would cost too much.
    """
    if gold == answer:
        return True
    if gold.letters != answer.letters or (finished and unfinished(answer) - unfinished(gold) - _taken_over(gold)):
        return False
    seed = _text(gold) + "\0" + _text(answer)
    if not gold.letters:
        return _same_at({}, gold, answer, seed, real=False) is True
    real = not (gold.has_i or answer.has_i)
    points = _real_points(gold, seed) if real else []
    if points and _bars(answer) - _bars(gold) - {name for point in points for name in point if point[name] < 0}:
        return False  # \sqrt{|x|} says more than \sqrt{x}
    if len(points) < _FEWEST:
        points, real = _points(gold, seed), False
    met = 0
    for point in points:
        same = _same_at(point, gold, answer, seed, real=real)
        if not same and (real or same is False):
            return False
        met += same is True
    return met >= _FEWEST


def proportional(gold: Sequence[Term], answer: Sequence[Term], *, positive: bool) -> bool:
    """Whether left minus right of two equations differ by a constant factor (a positive one)."""
    first, second = (Term("add", (left, Term("mul", (number(-1), right)))) for left, right in (gold, answer))
    undone = set().union(*map(unfinished, answer)) - set().union(*map(unfinished, gold))
    if first.letters != second.letters or not first.letters or undone - {"mul", "pow", "root", "add"}:
        return False
    seed = _text(first) + "\0" + _text(second)
    ratios: list[Value] = []
    for point in _points(first, seed):
        bits, one, other = _values_at(point, first, second, seed, real=False)
        if not one or not other:
            continue
        ratios.append(ratio(one, other, bits))
        if not close(ratios[0], ratios[-1], bits - _GUARD):
            return False
    return len(ratios) >= _FEWEST and bool(not positive or ratios[0].real > 0)


def rounds(exact: Term, decimal: Term) -> bool:
    """Whether the expression, rounded to the places of the decimal, is the decimal."""
    places = len(decimal.text.partition(".")[2])
    bits = 300 + 4 * places
    found = _evaluated(exact, {}, bits, real=False)[0]
    if found is None or not is_real(found):
        return False
    one, other = alike(found, decimal.value, bits)
    return bool(abs(one - other) * (2 * 10**places) <= 1)


def same_set(gold: Term, answer: Term) -> bool:
    """Whether two sets of real numbers, of intervals and points, are equal: their ends part the line into cells."""
    values = {end: _real_value(end) for end in (*_ends(gold), *_ends(answer))}
    if any(value is None for value in values.values()):
        return False
    cells: dict[Term, int] = {}
    cell, before = -1, None

    def order(one: Term, other: Term) -> int:
        return _in_order(values[one], values[other])

    for end in sorted(values, key=cmp_to_key(order)):
        cell += 2 * (before is None or order(before, end) != 0)
        cells[end], before = cell, end
    return all(_holds(gold, cells, place) == _holds(answer, cells, place) for place in range(cell + 2))


def _ends(region: Term) -> Iterator[Term]:
    for part in region.parts:
        if region.op not in ("interval", "set"):
            yield from _ends(part)
        elif part.op != "infinity":
            yield part


def _holds(region: Term, cells: Mapping[Term, int], cell: int) -> bool:
    """Whether a set holds a cell of the line: ends have odd numbers, the gaps around them even ones."""
    if region.op == "set":
        return any(cells[part] == cell for part in region.parts)
    if region.op == "interval":
        low, high = (cells.get(end, math.inf * end.value) for end in region.parts)
        above = low <= cell if region.name[0] == "[" else low < cell
        return above and (cell <= high if region.name[1] == "]" else cell < high)
    first, *others = (_holds(part, cells, cell) for part in region.parts)
    if region.op == "\\setminus":
        return first and not any(others)
    return all((first, *others)) if region.op == "\\cap" else any((first, *others))


def _real_value(node: Term) -> Value | None:
    """The value of an expression without letters, if it is a real number."""
    found = None if node.letters or not node.is_expression else _evaluated(node, {}, _LONG, real=False)[0]
    return found if found is not None and is_real(found) else None


def _in_order(left: Value, right: Value) -> int:
    """-1, 0 or 1: which of two real values is smaller."""
    left, right = alike(left, right, _LONG)
    return 0 if close(left, right, _LONG - _GUARD) else -1 if left < right else 1


# What is left to compute


def unfinished(node: Term) -> set[str]:
    """The kinds of operation that are left to do: sums of numbers, powers of numbers, functions, ..."""
    kinds = {_FAMILIES[node.op]} if node.op in _FAMILIES else set[str]()
    if node.letters:
        kinds -= _OF_LETTERS
    if node.op == "add" and sum(part.op == "number" for part in node.parts) > 1:
        kinds.add("add")
    if node.op in ("mul", "div") and max(_coefficients(node)) > 1:
        kinds.add("mul")
    if node.parts and not node.letters and _is_rational(node):
        kinds.add("mul" if node.op == "div" else node.op)
    for part in node.parts:
        inner = unfinished(part)
        if node.op == "pow" and part is node.parts[1] and (part.letters or (node.letters and not _is_rational(part))):
            inner -= {"log"}  # e^{x ln 2} is a way to write a power, and n^{log_2 3} is one
        kinds |= inner
    return kinds


def _taken_over(gold: Term) -> set[str]:
    """What the gold answer does to its letters, an answer may do to numbers: n!/(2! (n - 2)!)."""
    return {"factorial"} if any(_FAMILIES.get(node.op) == "factorial" for node in gold.nodes()) else set()


def _bars(node: Term) -> frozenset[str]:
    """The letters inside bars."""
    return frozenset[str]().union(*(one.letters for one in node.nodes() if one.op == "abs"))


def _is_rational(node: Term) -> bool:
    """Whether an expression without letters has a rational value, as far as exact arithmetic sees."""
    return isinstance(_evaluated(node, {}, _SHORT, real=False)[0], Fraction)


def _coefficients(node: Term) -> tuple[int, int]:
    """How many factors of a product are numbers other than one, above and below the fraction bar."""
    if node.op == "number":
        return int(abs(node.value.numerator) != 1), int(node.value.denominator != 1)
    if node.op not in ("mul", "div"):
        return 0, 0
    pairs = [_coefficients(part) for part in node.parts]
    if node.op == "div":
        pairs[1] = pairs[1][::-1]
    return sum(above for above, _ in pairs), sum(below for _, below in pairs)


# Points


@lru_cache(maxsize=4096)
def _text(node: Term) -> str:
    """The tree as a text, for hashing."""
    inside = " ".join(map(_text, node.parts))
    return f"({node.op}{node.name} {inside})" if node.op != "number" else str(node.value)


def _draw(seed: str, place: object, name: str) -> Fraction:
    """A fraction between -1 and 1."""
    digest = hashlib.sha256(f"{seed}\0{place}\0{name}".encode(errors="backslashreplace")).digest()
    return Fraction(int.from_bytes(digest[:3], "big") - 2**23, 2**23 + 9)


def _points(gold: Term, seed: str) -> list[Point]:
    """Points for values in the complex plane."""
    return [{name: 8 * _draw(seed, place, name) for name in sorted(gold.letters)} for place in range(_POINTS)]


def _real_points(gold: Term, seed: str) -> list[Point]:
    """Points at which the gold answer has a real value; a letter that may be negative is, at every other one."""
    names = sorted(gold.letters)
    positive = () if _everywhere(gold) else [name for name in names if not _takes_negative(gold, name, seed)]
    found: list[Point] = []
    for place in range(30):
        scale = Fraction(8) if place < _POINTS and not positive else _SCALES[place % len(_SCALES)]
        negative = {name for turn, name in enumerate(names) if name not in positive and (place >> turn % 3) % 2}
        found += _defined(gold, seed, place, scale, negative)
        if len(found) == _POINTS:
            break
    return found


def _defined(gold: Term, seed: str, place: object, scale: Fraction, negative: Container[str]) -> list[Point]:
    """The point of this place, where the gold answer has a real value there."""
    sizes = {name: scale * abs(_draw(seed, place, name)) for name in sorted(gold.letters)}
    point = {name: -size if name in negative else size for name, size in sizes.items()}
    return [point] if _evaluated(gold, point, _SHORT, real=True)[0] is not None else []


def _everywhere(gold: Term) -> bool:
    """Whether nothing in the expression can lack a real value but a division."""
    return not any(
        node.letters and (node.op in _PARTIAL or (node.op == "pow" and not _is_whole(node.parts[1])))
        for node in gold.nodes()
    )


def _is_whole(node: Term) -> bool:
    return node.op == "number" and node.value.denominator == 1


def _takes_negative(gold: Term, name: str, seed: str) -> bool:
    """Whether the expression has a real value for some negative value of the letter, the others positive."""
    return any(_defined(gold, seed, f"sign {place}", scale, {name}) for place, scale in enumerate(_SCALES))


# Values


def _evaluated(node: Term, point: Point, bits: int, *, real: bool) -> tuple[Value | None, int]:
    """The value, None where there is none, and the bits of the widest number on the way. Raises TooLarge."""
    if not point:
        return _evaluated_constant(node, bits)
    evaluator = Evaluator(point, bits, real=real)
    try:
        return evaluator.value(node), evaluator.widest
    except (Undefined, ZeroDivisionError, ValueError, OverflowError):
        return None, evaluator.widest


@lru_cache(maxsize=4096)
def _evaluated_constant(node: Term, bits: int) -> tuple[Value | None, int]:
    return _evaluated(node, {"": Fraction(0)}, bits, real=False)


def _values_at(
    point: Point, gold: Term, answer: Term, seed: str, *, real: bool, times: int = 1
) -> tuple[int, Value | None, Value | None]:
    """The bits that tell two values of this size and wording apart, and both values to `times` as many."""
    sizes = [_evaluated(side, point, _SHORT, real=real) for side in (gold, answer)]
    bits = 200 + len(seed) + max(width for _, width in sizes)
    if any(value is None for value, _ in sizes):
        return bits, None, None
    one, other = (_evaluated(side, point, bits * times, real=real)[0] for side in (gold, answer))
    return bits, one, other


def _same_at(point: Point, gold: Term, answer: Term, seed: str, *, real: bool) -> bool | None:
    """Whether the values agree at a point; None where one of them has none."""
    for times in (1, 2, 4):  # what cancels inside a sum costs digits, which more bits bring back
        bits, left, right = _values_at(point, gold, answer, seed, real=real, times=times)
        if left is None or right is None:
            return None
        if close(left, right, bits - _GUARD):
            return True
        if not close(left, right, _GUARD):
            break
    return False
