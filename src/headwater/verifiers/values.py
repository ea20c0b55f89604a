r"""The value of a formula at a point: exact where it is rational, else as many digits as are asked for.

Rational arithmetic is Python's own; roots, logarithms, powers and functions are mpmath's, at a precision in bits.
What a value may cost is counted in operations and bits, never in time, so that every machine decides alike.

    real = True    over the real numbers: roots and logarithms of negative numbers have no value
    real = False   principal values in the complex plane
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from fractions import Fraction
from functools import partial, reduce
from operator import add, mul, truediv
from typing import Any

from mpmath import MPContext, libmp

from headwater.verifiers.terms import Term

LARGEST = 40_000
"""Bits of a rational value; so many digits are worked out: 2^2008 - 2 is not 2^2008 - 3."""
LARGEST_IRRATIONAL = 6_000
"""Bits of any value on the way to an irrational one."""
_BUDGET = 3_000_000
"""Operations of one evaluation, each counted as its words of 64 bits, a function as sixteen times as many."""
_LARGEST_FACTORIAL = 3_000
_LARGEST_GAMMA = 2_500
"""Bits of precision in which a factorial of a broken number is worked out."""

_ARITHMETIC = {"add": add, "mul": mul, "div": truediv}

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
        _local.context = MPContext()
    return _local.context


class Evaluator:
    """Values at one point with one precision. Mutable: what has been spent, and the largest size met on the way."""

    def __init__(self, point: Mapping[str, Fraction], bits: int, *, real: bool):
        self._point = point
        self._real = real
        self._spent = 0
        self._bits = bits
        self._mp = _context()
        self._mp.prec = bits
        self.widest = 0
        """bits of the largest numerator, denominator or exponent met"""
        self.exact = True
        """whether every value so far was rational"""

    def value(self, node: Term) -> Value:
        """Raises Undefined, TooLarge."""
        match node.op:
            case "number":
                return self._seen(node.value)
            case "letter":
                return self._point[node.name]
            case "constant":
                self.exact = False
                return {"pi": self._mp.pi, "e": self._mp.e, "i": self._mp.j}[node.name] * self._mp.one
            case "pow" | "root":
                return self._power(node)
            case "log":
                return self._log(*(self.value(part) for part in node.parts))
        parts = [self.value(part) for part in node.parts]
        if node.op == "div" and (not parts[1] or self._tiny(parts[1])):
            raise Undefined
        if (operation := _ARITHMETIC.get(node.op)) is not None:
            return reduce(partial(self._both, operation), parts)
        match node.op:
            case "abs":
                return abs(parts[0])
            case "floor" | "ceiling":
                return self._stepped(node.op, parts[0])
            case "factorial":
                return self._factorial(parts[0])
            case "binomial":
                return self._binomial(*parts)
        return self._function(node.op, parts[0])

    # Sizes and costs

    def _seen(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            size = max(value.numerator.bit_length(), value.denominator.bit_length())
            limit = LARGEST if self.exact else LARGEST_IRRATIONAL
        elif not self._mp.isfinite(value):
            raise Undefined
        else:
            size, limit = (abs(self._mp.mag(value)) if value and not self._tiny(value) else 0), LARGEST_IRRATIONAL
        self.widest = max(self.widest, size)
        if size > limit:
            raise TooLarge
        return value

    def _tiny(self, value: Value) -> bool:
        """Nothing but what rounding has left."""
        return not isinstance(value, Fraction) and abs(value) < self._mp.ldexp(1, -self._bits + 24)

    def _spend(self, times: int = 1) -> None:
        self._spent += times * (self._bits // 64 + self.widest // 64 + 1)
        if self._spent > _BUDGET:
            raise TooLarge

    def float(self, value: Value) -> Value:
        """An mpmath number."""
        self.exact = False
        if not isinstance(value, Fraction):
            return value
        return self._mp.make_mpf(libmp.from_rational(value.numerator, value.denominator, self._bits, "n"))

    def _both(self, operation: Any, left: Value, right: Value) -> Value:
        self._spend()
        if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
            left, right = self.float(left), self.float(right)
        return self._seen(operation(left, right))

    # Powers, roots, logarithms

    def _power(self, node: Term) -> Value:
        base = self.value(node.parts[0])
        exponent = self.value(node.parts[1])
        if node.op == "root":
            if not isinstance(exponent, Fraction) or exponent.denominator != 1 or not 1 < exponent < 1000:
                raise Undefined
            exponent = 1 / exponent
        self._spend()
        if not isinstance(exponent, Fraction):
            return self._general(base, exponent)
        if isinstance(base, Fraction):
            if exponent.denominator == 1:
                return self._whole_power(base, exponent.numerator)
            if (root := _exact_root(base, exponent.denominator)) is not None and (root > 0 or not root):
                return self._whole_power(root, exponent.numerator)
        elif exponent.denominator == 1 and abs(exponent) <= LARGEST:
            if exponent <= 0 and self._tiny(base):
                raise Undefined
            self._bounded(base, exponent)
            self._spend(8)
            return self._seen(base ** int(exponent))
        return self._rooted(base, exponent, by_sign=node.op == "root" or (self._real and not node.parts[1].letters))

    def _whole_power(self, base: Fraction, exponent: int) -> Value:
        if not base and exponent <= 0:
            raise Undefined
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base not in (0, 1, -1) and size * abs(exponent) > (LARGEST if self.exact else LARGEST_IRRATIONAL):
            raise TooLarge
        return self._seen(base ** (exponent % 2 if base in (1, -1) else exponent))

    def _rooted(self, base: Value, exponent: Fraction, *, by_sign: bool) -> Value:
        """A power with a broken exponent; by sign, an odd root of a negative number is negative."""
        negative = _is_real(base) and base < 0
        if negative and by_sign and exponent.denominator % 2:
            size = self._rooted(-base, exponent, by_sign=True)
            return -size if exponent.numerator % 2 else size
        if negative and self._real and not self._tiny(base):
            raise Undefined
        return self._general(base, exponent)

    def _general(self, base: Value, exponent: Value) -> Value:
        base, power = self.float(base), self.float(exponent)
        if not base or self._tiny(base):
            raise Undefined
        if self._real and not (_is_real(base) and base > 0):
            raise Undefined
        self._bounded(base, power)
        self._spend(16)
        if power == self._mp.mpf(1) / 2:
            return self._seen(self._mp.sqrt(base))
        return self._seen(self._mp.exp(self._mp.ln(base) * power) if base != self._mp.e else self._mp.exp(power))

    def _bounded(self, base: Value, exponent: Value) -> None:
        """Refuse what would be larger than the limit before it is worked out."""
        if self._mp.mag(exponent) > 20:
            raise TooLarge
        size = abs(self._mp.ln(abs(base))) if base else 0
        if abs(size * self.float(exponent)) > LARGEST_IRRATIONAL:
            raise TooLarge

    def _log(self, argument: Value, base: Value) -> Value:
        rational = isinstance(argument, Fraction) and isinstance(base, Fraction) and argument > 0 and base > 1
        if rational and (exact := _exact_log(argument, base)) is not None:
            return exact
        top, bottom = self._natural(argument), self._natural(base)
        if self._tiny(bottom):
            raise Undefined
        return self._seen(top / bottom)

    def _natural(self, value: Value) -> Value:
        value = self.float(value)
        if not value or self._tiny(value) or (self._real and not (_is_real(value) and value > 0)):
            raise Undefined
        self._spend(16)
        return self._mp.one if value == self._mp.e * self._mp.one else self._mp.ln(value)

    # Functions

    def _stepped(self, op: str, value: Value) -> Value:
        if isinstance(value, Fraction):
            return Fraction(math.floor(value) if op == "floor" else math.ceil(value))
        if not _is_real(value):
            raise Undefined
        near = self._mp.nint(value)
        if abs(value - near) < self._mp.ldexp(1, -self._bits // 2):
            return Fraction(int(near))
        return Fraction(int(self._mp.floor(value) if op == "floor" else self._mp.ceil(value)))

    def _factorial(self, value: Value) -> Value:
        if isinstance(value, Fraction) and value.denominator == 1:
            if value < 0:
                raise Undefined
            if value > _LARGEST_FACTORIAL:
                raise TooLarge
            self._spend(int(value))
            return self._seen(Fraction(math.factorial(int(value))))
        return self._gamma(value + 1)

    def _gamma(self, value: Value) -> Value:
        if not _is_real(value) or (value <= 0 and self._tiny(self.float(value - int(value)))):
            raise Undefined
        if abs(value) > 400 or self._bits > _LARGEST_GAMMA:
            raise TooLarge
        self._spend(200)
        return self._seen(self._mp.gamma(self.float(value)))

    def _binomial(self, top: Value, bottom: Value) -> Value:
        if isinstance(bottom, Fraction) and bottom.denominator == 1:
            if not 0 <= bottom <= 400 and not (isinstance(top, Fraction) and top.denominator == 1):
                raise TooLarge
            if isinstance(top, Fraction) and top.denominator == 1 and 0 <= bottom <= top:
                if top > _LARGEST_FACTORIAL:
                    raise TooLarge
                self._spend(int(top))
                return self._seen(Fraction(math.comb(int(top), int(bottom))))
            if bottom < 0:
                return Fraction(0)
            steps = ((top - step) / (step + 1) for step in range(int(bottom)))
            return reduce(partial(self._both, mul), steps, Fraction(1))
        below = self._both(mul, self._factorial(bottom), self._factorial(top - bottom))
        return self._both(truediv, self._factorial(top), below)

    def _function(self, name: str, value: Value) -> Value:
        number = self.float(value)
        if self._mp.mag(number) > LARGEST_IRRATIONAL or (name.endswith("h") and abs(number) > LARGEST_IRRATIONAL):
            raise TooLarge
        if name in ("arcsin", "arccos") and self._real and not (_is_real(number) and abs(number) <= 1):
            raise Undefined
        self._spend(16)
        below = {"tan": self._mp.cos, "sec": self._mp.cos, "cot": self._mp.sin, "csc": self._mp.sin}.get(name)
        if below is not None and self._tiny(below(number)):
            raise Undefined
        return self._seen(getattr(self._mp, name.replace("arc", "a"))(number))


def _is_real(value: Value) -> bool:
    return isinstance(value, Fraction) or not hasattr(value, "_mpc_")


def _exact_root(base: Fraction, degree: int) -> Fraction | None:
    """The rational root of a rational number that is not negative, or None."""
    if base < 0 or degree > 200:
        return None
    roots = [_integer_root(part, degree) for part in (base.numerator, base.denominator)]
    return None if None in roots else Fraction(*(root for root in roots if root is not None))


def _integer_root(value: int, degree: int) -> int | None:
    if value < 2:
        return value
    low = math.isqrt(value) if degree == 2 else 0
    if degree != 2:
        high = 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def _exact_log(argument: Fraction, base: Fraction) -> Fraction | None:
    """log_2 8 = 3 and log_4 8 = 3/2 for integers; None where it is irrational or not looked for."""
    if argument.denominator > 1 and argument.numerator == 1:
        found = _exact_log(1 / argument, base)
        return None if found is None else -found
    if argument.denominator != 1 or base.denominator != 1 or argument.numerator.bit_length() > 2000:
        return None
    top, bottom, value, power = int(argument), int(base), 1, 0
    while value < top:
        value, power = value * bottom, power + 1
    return Fraction(power) if value == top else None
