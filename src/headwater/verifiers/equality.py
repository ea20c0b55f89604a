r"""Whether two formulas, equations or sets of real numbers are equal.

Two formulas are compared by their values at points that follow from a hash of both, to 50 digits more than their
size and wording need: an answer would have to foresee its own hash to be taken for an equal that it is not. A
letter takes both signs, unless the gold answer has no real value where it is negative (\sqrt{n}, \ln a, n!): then
it is positive. An answer must have a value wherever the gold answer has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cmp_to_key, lru_cache

from headwater.verifiers.formula import Formula, number
from headwater.verifiers.values import Evaluator, Undefined, Value

_POINTS = 6
_FEWEST = 3
"""Points at which both must have a value."""
_SCALES = (Fraction(8), Fraction(1), Fraction(3), Fraction(1, 4), Fraction(40), Fraction(2))
_GUARD = 50
_FAMILIES = {
    **dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc"), "trigonometry"),
    **dict.fromkeys(("arcsin", "arccos", "arctan"), "inverse trigonometry"),
    **dict.fromkeys(("sinh", "cosh", "tanh"), "hyperbolic"),
    **dict.fromkeys(("factorial", "binomial"), "factorial"),
    **{name: name for name in ("log", "abs", "floor", "ceiling")},
}
_PARTIAL = frozenset({"root", "log", "arcsin", "arccos"})
Point = Mapping[str, Fraction]


def equal(gold: Formula, answer: Formula, *, finished: bool) -> bool:
    """Whether two expressions are equal; `finished`: the answer leaves nothing to compute that the gold has not.

    Raises TooLarge where a value would cost too much.
    """
    if gold == answer:
        return True
    if gold.letters != answer.letters or (finished and unfinished(answer) - unfinished(gold) - _families(gold)):
        return False
    seed = _seed(gold, answer)
    if not gold.letters:
        return _same_at({}, gold, answer, seed, real=False) is True
    real = not (gold.has_i or answer.has_i)
    points = _real_points(gold, seed) if real else []
    if points and _bars(answer) - _bars(gold) - {name for point in points for name in point if point[name] < 0}:
        return False  # \sqrt{|x|} says more than \sqrt{x}
    if len(points) < _FEWEST:
        points, real = list(_complex_points(gold, seed)), False
    same = [_same_at(point, gold, answer, seed, real=real) for point in points]
    if real:
        return all(one is True for one in same)
    return False not in same and same.count(True) >= _FEWEST


def _families(gold: Formula) -> set[str]:
    """What the gold answer does to its letters, an answer may do to numbers: n!/(2! (n - 2)!)."""
    return {"factorial"} if any(_FAMILIES.get(node.op) == "factorial" for node in gold.nodes()) else set()


def _bars(node: Formula) -> frozenset[str]:
    """The letters inside bars."""
    return frozenset[str]().union(*(one.letters for one in node.nodes() if one.op == "abs"))


def proportional(gold: Sequence[Formula], answer: Sequence[Formula], *, positive: bool) -> bool:
    """Whether left minus right of two equations differ by a constant factor (a positive one)."""
    first, second = (Formula("add", (left, Formula("mul", (number(-1), right)))) for left, right in (gold, answer))
    if first.letters != second.letters or not first.letters:
        return False
    left_undone = (
        set().union(*map(unfinished, answer)) - set().union(*map(unfinished, gold)) - {"mul", "pow", "root", "add"}
    )
    if left_undone:
        return False
    seed = _seed(first, second)
    kept: tuple[Point, Fraction | Value] | None = None
    met = 0
    for point in _complex_points(first, seed):
        bits = _bits_needed(first, second, point, seed, real=False)
        if bits is None:
            continue
        one, other = (_value(side, point, bits, real=False) for side in (first, second))
        if one is None or other is None or not one or not other:
            continue
        ratio = one / other if isinstance(one, Fraction) and isinstance(other, Fraction) else _divided(one, other, bits)
        if kept is None:
            kept = point, ratio
        elif not _close(kept[1], ratio, bits):
            return False
        met += 1
    if kept is None or met < _FEWEST:
        return False
    factor = kept[1]
    return bool(factor > 0) if positive else True


def rounds(exact: Formula, value: Fraction, places: int) -> bool:
    """Whether the expression, rounded to so many decimal places, is the value."""
    found = _value(exact, {}, 300 + 4 * places, real=False)
    if found is None or hasattr(found, "_mpc_"):
        return False
    gap = found - value if isinstance(found, Fraction) else found - _as_float(value, found)
    return bool(abs(gap) * (2 * 10**places) <= 1)


def unfinished(node: Formula) -> set[str]:
    """The kinds of operation that are left to do: sums of numbers, powers of numbers, functions, ..."""
    kinds = set[str]()
    if node.op in _FAMILIES and not (node.letters and _FAMILIES[node.op] in ("factorial", "abs", "floor", "ceiling")):
        kinds.add(_FAMILIES[node.op])
    if node.op == "add" and sum(_is_number(part) for part in node.parts) > 1:
        kinds.add("add")
    if node.op in ("mul", "div") and max(_coefficients(node)) > 1:
        kinds.add("mul")
    if node.parts and not node.letters and not _written(node) and is_rational(node):
        kinds.add("mul" if node.op == "div" else node.op)
    for part in node.parts:
        inner = unfinished(part)
        if node.op == "pow" and part is node.parts[1] and (part.letters or (node.letters and not is_rational(part))):
            inner -= {"log"}  # e^{x ln 2} is a way to write a power, and n^{log_2 3} is one
        kinds |= inner
    return kinds


def is_rational(node: Formula) -> bool:
    """Whether a formula without letters has a rational value, as far as exact arithmetic sees."""
    return isinstance(_value(node, {}, 64, real=False), Fraction)


def real_value(node: Formula) -> Fraction | Value | None:
    """The value of a formula without letters, to 400 bits, if it is a real number."""
    found = None if node.letters else _value(node, {}, 400, real=False)
    return None if hasattr(found, "_mpc_") else found


def in_order(left: Fraction | Value, right: Fraction | Value) -> int:
    """-1, 0 or 1: which of two real values is smaller."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return (left > right) - (left < right)
    if _close(left, right, 400):
        return 0
    one, other = _as_float(left, right), _as_float(right, left)
    return -1 if one < other else 1


Set = tuple[object, ...]
r"""("interval", "[)", low, high), ("points", a, b, ...), ("\\cup", set, ...), ("\\cap", set, ...) or
("\\setminus", set, ...); ends are formulas, or 1 and -1 for infinity and its negative."""


def same_set(gold: Set, answer: Set) -> bool:
    """Whether two sets of real numbers are equal: their ends part the line into points and gaps."""
    values = {end: real_value(end) for end in (*_ends(gold), *_ends(answer))}
    if any(value is None for value in values.values()):
        return False
    cells: dict[Formula, int] = {}
    cell, before = -1, None

    def order(one: Formula, other: Formula) -> int:
        return in_order(values[one], values[other])

    for end in sorted(values, key=cmp_to_key(order)):
        cell += 2 * (before is None or in_order(values[before], values[end]) != 0)
        cells[end], before = cell, end
    return _cells(gold, cells, cell + 2) == _cells(answer, cells, cell + 2)


def _ends(description: Set) -> Iterator[Formula]:
    for part in description[1:]:
        if isinstance(part, Formula):
            yield part
        elif isinstance(part, tuple):
            yield from _ends(part)


def _cells(description: Set, cells: Mapping[Formula, int], count: int) -> frozenset[int]:
    """The cells of the line that a set holds: ends have odd numbers, the gaps around them even ones."""
    kind, *parts = description
    if kind == "interval":
        brackets, *ends = parts
        low, high = (cells[end] if isinstance(end, Formula) else (count if end == 1 else -1) for end in ends)
        inside = set(range(low + 1, high))
        inside |= {
            place
            for place, bracket in zip((low, high), str(brackets), strict=True)
            if bracket in "[]" and 0 <= place < count
        }
        return frozenset(inside if low <= high and (low < high or brackets == "[]") else ())
    if kind == "points":
        return frozenset(cells[part] for part in parts if isinstance(part, Formula))
    held = [_cells(part, cells, count) for part in parts if isinstance(part, tuple)]
    if kind == "\\cap":
        return frozenset.intersection(*held)
    return frozenset.union(*held) if kind == "\\cup" else held[0].difference(*held[1:])


# How numbers are written


def _is_number(node: Formula) -> bool:
    return node.op == "number" or _written(node)


def _written(node: Formula) -> bool:
    """-3 and 2/3 are how numbers are written."""
    if node.op == "div":
        return all(part.op == "number" and part.value.denominator == 1 for part in node.parts)
    return node.op == "mul" and len(node.parts) == 2 and node.parts[0] == number(-1) and _is_number(node.parts[1])


def _coefficients(node: Formula) -> tuple[int, int]:
    """How many factors of a product are numbers other than one, above and below the fraction bar."""
    if node.op == "number":
        return int(abs(node.value.numerator) != 1), int(node.value.denominator != 1)
    if node.op == "mul":
        pairs = [_coefficients(part) for part in node.parts]
        return sum(above for above, _ in pairs), sum(below for _, below in pairs)
    if node.op == "div":
        (above, below), (under, over) = map(_coefficients, node.parts)
        return above + over, below + under
    return 0, 0


# Points


def _seed(*formulas: Formula) -> str:
    return "\0".join(map(_text, formulas))


@lru_cache(maxsize=4096)
def _text(node: Formula) -> str:
    """The tree as a text, for hashing."""
    inside = " ".join(map(_text, node.parts))
    return f"({node.op}{node.name} {inside})" if node.op != "number" else str(node.value)


def _draw(seed: str, place: object, name: str) -> Fraction:
    """A fraction between -1 and 1."""
    digest = hashlib.sha256(f"{seed}\0{place}\0{name}".encode(errors="backslashreplace")).digest()
    return Fraction(int.from_bytes(digest[:3], "big") - 2**23, 2**23 + 9)


def _complex_points(gold: Formula, seed: str) -> Iterator[Point]:
    for place in range(_POINTS):
        yield {name: 8 * _draw(seed, place, name) for name in sorted(gold.letters)}


def _real_points(gold: Formula, seed: str) -> list[Point]:
    """Points at which the gold answer has a real value; a letter that may be negative is, at every other one."""
    names = sorted(gold.letters)
    positive = () if _everywhere(gold) else [name for name in names if not _takes_negative(gold, name, seed)]
    found: list[Point] = []
    for place in range(30):
        scale = Fraction(8) if place < _POINTS and not positive else _SCALES[place % len(_SCALES)]
        point = {}
        for turn, name in enumerate(names):
            value = scale * abs(_draw(seed, place, name))
            point[name] = value if name in positive or (place >> turn % 3) % 2 == 0 else -value
        if _value(gold, point, 64, real=True) is not None:
            found.append(point)
        if len(found) == _POINTS:
            break
    return found


def _everywhere(gold: Formula) -> bool:
    """Whether nothing in the formula can lack a real value but a division."""
    return not any(
        node.letters and (node.op in _PARTIAL or (node.op == "pow" and not _whole(node.parts[1])))
        for node in gold.nodes()
    )


def _whole(node: Formula) -> bool:
    return (node.op == "number" and node.value.denominator == 1) or (
        _written(node) and node.op == "mul" and _whole(node.parts[1])
    )


def _takes_negative(gold: Formula, name: str, seed: str) -> bool:
    """Whether the formula has a real value for some negative value of the letter, the others positive."""
    for place, scale in enumerate(_SCALES):
        point = {other: scale * abs(_draw(seed, f"sign {place}", other)) for other in sorted(gold.letters)}
        point[name] = -point[name]
        if _value(gold, point, 64, real=True) is not None:
            return True
    return False


# Values


@lru_cache(maxsize=4096)
def _value_of_number(node: Formula, bits: int) -> Value | None:
    return _evaluated(node, {}, bits, real=False)[0]


def _value(node: Formula, point: Point, bits: int, *, real: bool) -> Value | None:
    """None where there is no value. Raises TooLarge."""
    if not point and not real:
        return _value_of_number(node, bits)
    return _evaluated(node, point, bits, real=real)[0]


def _evaluated(node: Formula, point: Point, bits: int, *, real: bool) -> tuple[Value | None, int]:
    evaluator = Evaluator(point, bits, real=real)
    try:
        return evaluator.value(node), evaluator.widest
    except (Undefined, ZeroDivisionError, ValueError, OverflowError):
        return None, evaluator.widest


def _bits_needed(gold: Formula, answer: Formula, point: Point, seed: str, *, real: bool) -> int | None:
    """Enough to tell two values of this size and wording apart; None where one has no value."""
    widest = 0
    for side in (gold, answer):
        value, width = _evaluated(side, point, 64, real=real)
        if value is None:
            return None
        widest = max(widest, width)
    return 200 + len(seed) + widest


def _same_at(point: Point, gold: Formula, answer: Formula, seed: str, *, real: bool) -> bool | None:
    """Whether the values agree at a point; None where one of them has none."""
    bits = _bits_needed(gold, answer, point, seed, real=real)
    if bits is None:
        return None
    for more in (1, 2, 4):  # what cancels inside a sum costs digits, which more bits bring back
        left, right = (_value(side, point, bits * more, real=real) for side in (gold, answer))
        if left is None or right is None:
            return None
        if _close(left, right, bits):
            return True
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return False
        if not _close(left, right, 2 * _GUARD):
            break
    return False


def _as_float(value: Value, like: Value) -> Value:
    return like.context.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _divided(one: Value, other: Value, bits: int) -> Value:
    like = other if isinstance(one, Fraction) else one
    with like.context.workprec(bits):
        return _as_float(one, like) / _as_float(other, like)


def _close(left: Value, right: Value, bits: int) -> bool:
    """Whether two values agree to so many bits, less a guard."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    like = right if isinstance(left, Fraction) else left
    context = like.context
    with context.workprec(2 * bits):
        one, other = _as_float(left, like), _as_float(right, like)
        size, gap = max(abs(one), abs(other)), abs(one - other)
        return bool(gap <= context.ldexp(size, _GUARD - bits) or size <= context.ldexp(1, _GUARD - bits))
