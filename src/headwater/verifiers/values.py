r"""The value of a formula at a point: exact where it is rational, else as many digits as are asked for.

Rational arithmetic is Python's own; roots, logarithms, powers and functions are mpmath's, at a precision in bits.
What a value may cost is counted in operations and bits, never in time, so that every machine decides alike.

    real = True    over the real numbers: roots and logarithms of negative numbers have no value
    real = False   principal values in the complex plane
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import cached_property, reduce
from operator import add, mul
from typing import Any

from headwater.verifiers.terms import Term

LARGEST = 40_000
"""Bits of a rational value; so many digits are worked out: 2^2008 - 2 is not 2^2008 - 3."""
LARGEST_IRRATIONAL = 6_000
"""Bits of any value on the way to an irrational one."""
_BUDGET = 3_000_000
"""Operations of one evaluation, each counted as its words of 64 bits."""
_SIMPLE = frozenset({"add", "mul", "div", "abs", "floor", "ceiling"})
_FUNCTION, _GAMMA = 16, 200
"""As how many operations a function and a gamma function are counted."""
_LARGEST_FACTORIAL = 3_000
_LONGEST_PRODUCT = 400
"""Factors of a binomial that is multiplied out."""
_LARGEST_GAMMA = 2_500
"""Bits of precision in which a factorial of a broken number is worked out."""
_HAVE_POLES = frozenset({"tan", "sec", "cot", "csc"})

Value = Any
"""Fraction, or mpmath's mpf or mpc."""


class Undefined(ArithmeticError):
    """The formula has no value here: a division by zero, a root of a negative number over the reals."""


class TooLarge(ArithmeticError):
    """The value, or the way to it, has more bits or operations than are allowed."""


_local = threading.local()


def _context() -> Any:
    """This thread's own mpmath, so that nobody else's precision is touched."""
    if not hasattr(_local, "context"):
        from mpmath import MPContext  # noqa: PLC0415  most verdicts need no irrational number

        _local.context = MPContext()
    return _local.context


def is_real(value: Value) -> bool:
    """Whether it is no complex number."""
    return isinstance(value, Fraction) or not hasattr(value, "_mpc_")


def alike(left: Value, right: Value, bits: int) -> tuple[Value, Value]:
    """Both as fractions where they are, else both as mpmath's numbers, a fraction to this precision."""
    if isinstance(left, Fraction) == isinstance(right, Fraction):
        return left, right
    with _context().workprec(bits):
        return _context().convert(left), _context().convert(right)


def ratio(left: Value, right: Value, bits: int) -> Value:
    """left / right."""
    left, right = alike(left, right, bits)
    return left / right if isinstance(left, Fraction) else _context().fdiv(left, right, prec=bits)


def close(left: Value, right: Value, bits: int) -> bool:
    """Whether two values agree to so many bits; where one is irrational, a small one is nothing."""
    left, right = alike(left, right, 2 * bits)
    if isinstance(left, Fraction):
        return bool(left == right)
    size, gap = max(abs(left), abs(right)), abs(_context().fsub(left, right, prec=2 * bits))
    least = _context().ldexp(1, -bits)
    return bool(gap <= size * least or size <= least)


class Evaluator:
    """Values at one point with one precision. Mutable: what has been spent, and the largest size met on the way."""

    def __init__(self, point: Mapping[str, Fraction], bits: int, *, real: bool):
        self._point = point
        self._real = real
        self._spent = 0
        self._bits = bits
        self._exact = True  # whether every value so far was rational
        self.widest = 0
        """bits of the largest numerator, denominator or exponent met"""

    @cached_property
    def _mp(self) -> Any:
        context = _context()
        context.prec = self._bits
        return context

    def value(self, node: Term) -> Value:
        """Raises Undefined, TooLarge."""
        if node.op == "number":
            return self._seen(node.value)
        if node.op == "letter":
            return self._point[node.name]
        if node.op == "constant":
            return self._seen(+getattr(self._mp, {"i": "j"}.get(node.name, node.name)))
        parts = [self.value(part) for part in node.parts]
        self._spend(len(parts) if node.op in _SIMPLE else _FUNCTION)
        match node.op:
            case "add" | "mul":
                found = self._folded(add if node.op == "add" else mul, parts)
            case "div":
                found = self._quotient(*parts)
            case "pow" | "root":
                found = self._power(node, *parts)
            case "log":
                found = self._log(*parts)
            case "abs":
                found = abs(parts[0])
            case "floor":
                found = self._floor(parts[0])
            case "ceiling":
                found = -self._floor(-parts[0])
            case "factorial":
                found = self._factorial(parts[0])
            case "binomial":
                found = self._binomial(*parts)
            case _:
                found = self._function(node.op, self._mp.convert(parts[0]))
        return self._seen(found)

    # Sizes and costs

    def _seen(self, value: Value) -> Value:
        self._exact &= isinstance(value, Fraction)
        if isinstance(value, Fraction):
            size = _size(value)
        elif not self._mp.isfinite(value):
            raise Undefined
        else:
            size = 0 if self._tiny(value) else abs(self._mp.mag(value))
        self.widest = max(self.widest, size)
        self._bounded(size)
        return value

    def _bounded(self, size: float) -> None:
        """Refuse what is larger than the limit."""
        if size > (LARGEST if self._exact else LARGEST_IRRATIONAL):
            raise TooLarge

    def _tiny(self, value: Value) -> bool:
        """Nothing, or nothing but what rounding has left."""
        return not value or (not isinstance(value, Fraction) and abs(value) < self._mp.ldexp(1, 24 - self._bits))

    def _spend(self, times: int) -> None:
        self._spent += times * (self._bits // 64 + self.widest // 64 + 1)
        if self._spent > _BUDGET:
            raise TooLarge

    # Sums, quotients, powers, logarithms

    def _folded(self, operation: Callable[[Value, Value], Value], parts: Iterable[Value]) -> Value:
        """Over all parts, no number on the way too large."""
        return reduce(lambda left, right: self._seen(operation(left, right)), parts)

    def _quotient(self, top: Value, bottom: Value) -> Value:
        if self._tiny(bottom):
            raise Undefined
        exact = isinstance(top, Fraction) and isinstance(bottom, Fraction)
        return top / bottom if exact else self._mp.convert(top) / self._mp.convert(bottom)

    def _power(self, node: Term, base: Value, exponent: Value) -> Value:
        if node.op == "root":
            if not _is_whole(exponent) or not 1 < exponent < 1000:
                raise Undefined
            exponent = 1 / exponent
        if self._tiny(base) and not (isinstance(exponent, Fraction) and exponent > 0):
            raise Undefined
        sign = 1
        if is_real(base) and base < 0 and not _is_whole(exponent):
            by_sign = node.op == "root" or (self._real and not node.parts[1].letters)
            if by_sign and isinstance(exponent, Fraction) and exponent.denominator % 2:  # an odd root has the sign
                sign, base = -1 if exponent.numerator % 2 else 1, -base
            elif self._real:
                raise Undefined
        if isinstance(exponent, Fraction) and isinstance(base, Fraction):
            root = _exact_root(base, exponent.denominator)
            if root is not None:
                self._bounded(_size(root) * abs(exponent.numerator) if root not in (0, 1, -1) else 0)
                return sign * root**exponent.numerator
        return sign * self._general(base, exponent)

    def _general(self, base: Value, exponent: Value) -> Value:
        base, power = self._mp.convert(base), self._mp.convert(exponent)
        if self._real and not (is_real(base) and (base > 0 or _is_whole(exponent))):
            raise Undefined
        self._exact = False
        if self._mp.mag(power) > 20:
            raise TooLarge
        self._bounded(abs(self._mp.ln(abs(base)) * power))
        return self._mp.power(base, int(exponent) if _is_whole(exponent) else power)

    def _log(self, argument: Value, base: Value) -> Value:
        if isinstance(argument, Fraction) and isinstance(base, Fraction) and argument > 0 and base > 1:
            power = round(self._mp.ln(argument) / self._mp.ln(base))
            if abs(power) * _size(base) < 2 * LARGEST and base**power == argument:
                return Fraction(power)
        return self._quotient(self._natural(argument), self._natural(base))

    def _natural(self, value: Value) -> Value:
        if self._tiny(value) or (self._real and not (is_real(value) and value > 0)):
            raise Undefined
        return self._mp.ln(value)

    # Functions

    def _floor(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            return Fraction(math.floor(value))
        if not is_real(value):
            raise Undefined
        near = self._mp.nint(value)
        return Fraction(int(near if abs(value - near) < self._mp.ldexp(1, -self._bits // 2) else self._mp.floor(value)))

    def _factorial(self, value: Value) -> Value:
        if not _is_whole(value):
            return self._gamma(value + 1)
        if value < 0:
            raise Undefined
        if value > _LARGEST_FACTORIAL:
            raise TooLarge
        self._spend(int(value))
        return Fraction(math.factorial(int(value)))

    def _gamma(self, value: Value) -> Value:
        if not is_real(value) or (value <= 0 and self._tiny(value - int(value))):
            raise Undefined
        if abs(value) > _LONGEST_PRODUCT or self._bits > _LARGEST_GAMMA:
            raise TooLarge
        self._spend(_GAMMA)
        return self._mp.gamma(value)

    def _binomial(self, top: Value, bottom: Value) -> Value:
        if not _is_whole(bottom):
            below = self._factorial(bottom) * self._factorial(-bottom + top)
            return self._quotient(self._factorial(top), below)
        if _is_whole(top) and 0 <= top <= _LARGEST_FACTORIAL and bottom >= 0:
            self._spend(int(top))
            return Fraction(math.comb(int(top), int(bottom)))
        if bottom > _LONGEST_PRODUCT:
            raise TooLarge
        steps = ((top - step) / (step + 1) for step in range(int(bottom)))
        return self._folded(mul, (Fraction(bottom >= 0), *steps))

    def _function(self, name: str, value: Value) -> Value:
        if self._mp.mag(value) > LARGEST_IRRATIONAL or (name.endswith("h") and abs(value) > LARGEST_IRRATIONAL):
            raise TooLarge
        if name in ("arcsin", "arccos") and self._real and not (is_real(value) and abs(value) <= 1):
            raise Undefined
        found = getattr(self._mp, name.replace("arc", "a"))(value)
        if name in _HAVE_POLES and found and self._tiny(1 / found):
            raise Undefined
        return found


def _size(value: Fraction) -> int:
    """Bits of the numerator or denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _is_whole(value: Value) -> bool:
    return isinstance(value, Fraction) and value.denominator == 1


def _exact_root(base: Fraction, degree: int) -> Fraction | None:
    """The rational root of a rational number, or None."""
    if degree == 1 or not base:
        return base
    if base < 0 or degree > 200:
        return None
    root = Fraction(_integer_root(base.numerator, degree), _integer_root(base.denominator, degree))
    return root if root**degree == base else None


def _integer_root(value: int, degree: int) -> int:
    """The largest integer whose power is not larger, by Newton's method from above."""
    root = 1 << -(-value.bit_length() // degree)
    while (nearer := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
        root = nearer
    return root
