r"""Equality of two expressions by Math-Verify and sympy; runs in a worker process only (`worker.py`).

Expressions come as canonical LaTeX (`canonical.py`), are read by Math-Verify's LaTeX parser, and never reach
`sympify`, `parse_expr` or `eval`: the one place where the parser hands text to sympify, its numbers, is
overridden here. Two expressions are compared by their values, to 50 digits more than their size and
wording need, at points that follow from a hash of both texts; where no value can be had, Math-Verify's own
`verify` decides. Left out: anything whose value may have more than 40,000 bits, 5,000 with
letters or functions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from math_verify import verify

from headwater.verifiers.compare import Set
from headwater.verifiers.latex import Unreadable

_POINTS = 6
_LARGEST = 40_000
"""Bits of a value, roughly; so many digits are worked out, 2^2008 - 2 is not 2^2008 - 3."""
_LARGEST_FUNCTION = 5_000
"""The same where letters or functions must be worked out to so many digits."""
_CONSTANTS = {"i": sympy.I, "e": sympy.E, "pi": sympy.pi}

_TRIGONOMETRY = dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc"), "trigonometry")
_INVERSES = dict.fromkeys(("asin", "acos", "atan"), "inverse trigonometry")
_HYPERBOLIC = dict.fromkeys(("sinh", "cosh", "tanh"), "hyperbolic")
_STEEP = (sympy.Pow, sympy.exp, sympy.sinh, sympy.cosh, sympy.tanh)
_FAMILIES = _TRIGONOMETRY | _INVERSES | _HYPERBOLIC | {"exp": ""}


class _Parser(_Latex2Sympy):
    """Math-Verify's parser without its use of sympify: numbers are digits, letters are symbols."""

    def parse_number(self, text: str) -> sympy.Integer:
        """The parent hands the text to sympify, which evaluates it."""
        if not (text.isascii() and text.isdigit()):
            raise Unreadable(f"{text[:20]!r} is no integer")
        return sympy.Integer(int(text))

    def create_symbol(self, text: str, enforce_case: bool = False) -> sympy.Basic:
        """i and e are the constants; every other letter stands for itself."""
        return _CONSTANTS.get(text, sympy.Symbol(text))


@lru_cache(maxsize=512)
def parse(latex: str) -> sympy.Expr:
    """The expression, nothing in it computed. Raises Unreadable where the parser fails or the value is too large."""
    try:
        expression = _Parser(config=ConversionConfig(lowercase_symbols=False)).parse(latex)
    except (Exception, Unreadable) as error:  # noqa: BLE001  the parser raises bare Exception for any syntax error
        raise Unreadable(f"{type(error).__name__} in {latex[:40]}") from None
    if not isinstance(expression, sympy.Expr) or _bits(expression) > _most_bits(expression):
        raise Unreadable(f"no value of a bearable size: {latex[:40]}")
    return expression


def _most_bits(expression: sympy.Expr) -> int:
    functions = (node for node in expression.atoms(sympy.Function) if not isinstance(node.args[0], sympy.Integer))
    return _LARGEST_FUNCTION if expression.free_symbols or any(functions) else _LARGEST


def _bits(node: sympy.Basic) -> float:
    """A bound of log2 |value| for letters up to 8; infinity for what is not known."""
    if isinstance(node, sympy.Rational):
        return float(max(int(node.p).bit_length(), int(node.q).bit_length()))
    if not node.args:
        return 3.0
    sizes = [_bits(argument) for argument in node.args]
    if isinstance(node, sympy.Add):
        return max(sizes) + math.log2(len(sizes))
    if isinstance(node, sympy.Mul):
        return sum(sizes)
    if isinstance(node, _STEEP):
        base, exponent = sizes if isinstance(node, sympy.Pow) else [2.0, *sizes]
        if isinstance(node.args[-1], sympy.Rational) and exponent <= 20:
            return max(base, 1.0) * max(1.0, abs(float(node.args[-1])))
        return max(base, 1.0) * 2.0**exponent if exponent <= 20 else math.inf
    if isinstance(node, sympy.factorial | sympy.binomial):
        # of an integer it is exact; the gamma function of anything larger than 64 takes seconds
        most = 11 if isinstance(node.args[0], sympy.Integer) else 6
        return 2.0 ** sizes[0] * sizes[0] if sizes[0] <= most else math.inf
    if isinstance(node, sympy.Abs | sympy.floor | sympy.ceiling | sympy.log) or type(node).__name__ in _FAMILIES:
        return sizes[0] + 20
    return math.inf


def unfinished(expression: sympy.Expr) -> set[str]:
    """The kinds of operation that are left to do: sums of numbers, powers of numbers, functions, ..."""
    kinds = set()
    for node in sympy.preorder_traversal(expression):
        name = type(node).__name__
        if isinstance(node, sympy.Function):
            kinds.add(_FAMILIES.get(name, name))
        if isinstance(node, sympy.Add) and sum(isinstance(term, sympy.Rational) for term in node.args) > 1:
            kinds.add("Add")
        if isinstance(node, sympy.Mul) and max(_coefficients(node)) > 1:
            kinds.add("Mul")
        if node.args and not node.free_symbols and not _written(node) and _is_rational(node):
            kinds.add(name)
    return kinds - {""}


def _written(node: sympy.Basic) -> bool:
    """-3 and 1/3 are how numbers are written."""
    reciprocal = isinstance(node, sympy.Pow) and node.args[1] == -1 and isinstance(node.args[0], sympy.Rational)
    negative = isinstance(node, sympy.Mul) and node.args[0] == -1 and len(node.args) == 2
    return reciprocal or (negative and (isinstance(node.args[1], sympy.Rational) or _written(node.args[1])))


def _is_rational(node: sympy.Basic) -> bool:
    try:
        return node.doit().is_Rational is True
    except (ArithmeticError, TypeError, ValueError, AttributeError):
        return False


def _coefficients(product: sympy.Mul) -> tuple[int, int]:
    """How many of its factors are numbers above, and below, the fraction bar."""
    above = below = 0
    for factor in _factors(product):
        number = factor.args[0] if _written(factor) and isinstance(factor, sympy.Pow) else factor
        if isinstance(number, sympy.Rational):
            top, bottom = abs(number.p) != 1, number.q != 1
            above += bottom if number is not factor else top
            below += top if number is not factor else bottom
    return above, below


def _factors(product: sympy.Basic) -> Iterator[sympy.Basic]:
    for factor in product.args:
        if isinstance(factor, sympy.Mul):
            yield from _factors(factor)
        else:
            yield factor


def _points(names: list[sympy.Symbol], seed: str) -> Iterator[dict[sympy.Symbol, sympy.Rational]]:
    """Values in (-8, 8) for the letters; an answer would have to foresee its own hash to meet them."""
    for number in range(_POINTS if names else 1):
        point = {}
        for name in names:
            digest = hashlib.sha256(f"{seed}\0{number}\0{name}".encode()).digest()
            point[name] = sympy.Rational(int.from_bytes(digest[:4], "big") - 2**31, 2**28 + 3)
        yield point


Value = tuple[sympy.Float, sympy.Float]
"""Real and imaginary part."""


def _value(expression: sympy.Expr, point: dict[sympy.Symbol, sympy.Rational], digits: int) -> Value | None:
    try:
        value = expression.evalf(digits, subs=point, maxn=4 * digits)
        parts = value.as_real_imag()
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    floats = [sympy.Float(part, digits) for part in parts if part.is_Float or part.is_Rational]
    return (floats[0], floats[1]) if len(floats) == 2 else None


def _close(left: Value, right: Value, digits: int) -> bool:
    size = max(abs(part) for part in (*left, *right))
    return all(abs(a - b) <= size * sympy.Float(10, digits) ** (15 - digits) for a, b in zip(left, right, strict=True))


class SympyAlgebra:
    """`compare.Algebra` with sympy."""

    def equal(self, gold: str, answer: str, *, finished: bool) -> bool:
        """Whether two expressions are equal in value at every point tried."""
        first, second = parse(gold), parse(answer)
        if finished and unfinished(second) - unfinished(first):
            return False
        if first.free_symbols != second.free_symbols:
            return False
        same = _same_values(first, second, gold + "\0" + answer)
        if same is None:  # no point gave both a value
            same = bool(verify(first, second, timeout_seconds=None))
        return same

    def proportional(self, gold: tuple[str, str], answer: tuple[str, str], *, positive: bool) -> bool:
        """Whether left minus right of the two differ by a constant factor (a positive one)."""
        sides = [parse(text) for text in (*gold, *answer)]
        first = sympy.Add(sides[0], sympy.Mul(-1, sides[1], evaluate=False), evaluate=False)
        second = sympy.Add(sides[2], sympy.Mul(-1, sides[3], evaluate=False), evaluate=False)
        if first.free_symbols != second.free_symbols or unfinished(second) - unfinished(first) - {"Mul", "Pow"}:
            return False
        seed = "\0".join((*gold, *answer))
        digits = _digits(seed, first, second)
        quotient = sympy.Mul(first, sympy.Pow(second, -1, evaluate=False), evaluate=False)
        values = [_value(quotient, point, digits) for point in _points(_sorted(first), seed)]
        ratios = [value for value in values if value is not None]
        constant = len(ratios) > 2 and all(_close(a, b, digits) for a, b in pairwise(ratios))
        return constant and bool(ratios[0][0] > 0 or not (positive or ratios[0][0].is_zero))

    def same_set(self, gold: Set, answer: Set) -> bool:
        """Whether two sets of real numbers are equal."""
        first, second = _build(gold), _build(answer)
        return bool(first == second or first.symmetric_difference(second).is_empty is True)

    def rounds(self, exact: str, value: Fraction, places: int) -> bool:
        """Whether the expression, rounded to so many decimal places, is the value."""
        number = _value(parse(exact), {}, 60 + places)
        if number is None or not number[1].is_zero:
            return False
        gap = abs(number[0] - sympy.Rational(value.numerator, value.denominator))
        return bool(gap <= sympy.Rational(1, 2 * 10**places))


def _same_values(first: sympy.Expr, second: sympy.Expr, seed: str) -> bool | None:
    """None when fewer than three points (one, without letters) give both a value."""
    names, digits = _sorted(first), _digits(seed, first, second)
    met = 0
    for point in _points(names, seed):
        values = _value(first, point, digits), _value(second, point, digits)
        if values[0] is not None and values[1] is not None:
            if not _close(values[0], values[1], digits):
                return False
            met += 1
    return True if met >= (3 if names else 1) else None


def _digits(texts: str, *expressions: sympy.Expr) -> int:
    """Enough to tell two values of this size and wording apart."""
    return 50 + len(texts) + math.ceil(0.302 * max(_bits(expression) for expression in expressions))


def _sorted(expression: sympy.Expr) -> list[sympy.Symbol]:
    return sorted(expression.free_symbols, key=str)


def _build(description: Set) -> sympy.Set:
    kind, *parts = description
    if kind == "interval":
        brackets, low, high = (str(part) for part in parts)
        return sympy.Interval(_end(low), _end(high), brackets[0] == "(", brackets[1] == ")")
    if kind == "points":
        return sympy.FiniteSet(*(_end(str(part)) for part in parts))
    sets = [_build(part) for part in parts if isinstance(part, tuple)]
    if kind == "\\cap":
        return sympy.Intersection(*sets)
    return sympy.Union(*sets) if kind == "\\cup" else sympy.Complement(sets[0], sympy.Union(*sets[1:]))


def _end(latex: str) -> sympy.Expr:
    if "\\infty" in latex:
        return -sympy.oo if latex.startswith("-") else sympy.oo
    expression = parse(latex)
    value = expression.doit()
    if value.is_extended_real is not True:
        raise Unreadable(f"{latex[:40]} is no real number")
    return value
