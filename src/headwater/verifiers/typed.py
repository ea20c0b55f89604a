r"""Exact verdicts on answers that are one number: an integer, a fraction or a decimal. Nothing is evaluated.

Policy, so that nobody has to guess:

    right     1,000 = 1\,000 = 10^3 written out; 2.0 = 2; .5 = 0.5; \tfrac{6}{8} = 3/4; a leading $ or +
    wrong     5% for 5, 5 cm for 5, 1.5e3, 1 or 2, 1+1, 1/3 for 0.333, "two", 6/2 for an integer answer,
              digits other than 0-9, mixed numbers, answers longer than 1,000 characters
    ungraded  only a gold answer that is no number of its type (`check_golds` finds those before training)

Left out: units, percent signs in the gold and symbolic equality, which need another verifier.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from headwater.errors import InputError
from headwater.records import Verdict
from headwater.verifiers.extract import final_marker, last_box

LONGEST_NUMBER = 1_000
"""Characters; int() takes quadratic time, so a longer number is refused before it is converted."""

_WHOLE = r"(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+)"
_INTEGER = re.compile(rf"([+-]?)({_WHOLE})")
_DECIMAL = re.compile(rf"([+-]?)({_WHOLE}?)(?:\.([0-9]+))?")
_SLASH = re.compile(rf"([+-]?)({_WHOLE})/({_WHOLE})")
_LATEX = re.compile(rf"([+-]?)\\frac(?:\{{([+-]?{_WHOLE})\}}|([0-9]))(?:\{{({_WHOLE})\}}|([0-9]))")

_VULGAR = re.compile("([+-]?)([\u00bc-\u00be\u2150-\u215e])")  # one half, three quarters, ... as one sign

_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")
_THIN_SPACE = re.compile(r"(?<=[0-9])(?:\\[,;: ]|\{,\})(?=[0-9])")
_NO_INK = re.compile(r"\\[,;:!() ]|\\(?:left|right|displaystyle)(?![A-Za-z])")
_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")


def parse_integer(text: str) -> int | None:
    r"""The integer that the text writes ("-1,000", "1\,000", "{7}"), or None when it writes none."""
    match = _INTEGER.fullmatch(_plain(text))
    return None if match is None else _signed(match[1], match[2])


def parse_decimal(text: str) -> Fraction | None:
    """The value of an integer or decimal numeral ("0.50", ".5", "1,000.5"), exactly, or None."""
    match = _DECIMAL.fullmatch(_plain(text))
    if match is None or not (match[2] or match[3]):
        return None
    places = match[3] or ""
    value = _signed(match[1], (match[2] or "0") + places)
    return Fraction(value, 10 ** len(places))


def parse_fraction(text: str) -> Fraction | None:
    r"""The value of an integer, "a/b", \frac{a}{b} or a sign such as ½, exactly, or None (b = 0 too)."""
    text = _plain(text)
    if (match := _INTEGER.fullmatch(text)) is not None:
        return Fraction(_signed(match[1], match[2]))
    if (match := _SLASH.fullmatch(text)) is not None:
        numerator, denominator = _signed(match[1], match[2]), _signed("", match[3])
    elif (match := _LATEX.fullmatch(text)) is not None:
        numerator = _signed("", match[2] or match[3]) * (-1 if match[1] == "-" else 1)
        denominator = _signed("", match[4] or match[5])
    else:
        return None
    return Fraction(numerator, denominator) if denominator else None


def _signed(sign: str, digits: str) -> int:
    value = int(digits.replace(",", ""))
    return -value if sign == "-" else value


def _plain(text: str) -> str:
    """The numeral without what leaves no ink or no meaning; "" (which no numeral matches) when too long."""
    text = text.strip()
    if len(text) > LONGEST_NUMBER:
        return ""
    text = text.replace("\u2212", "-").replace("\\!", "")
    text = text.strip("$").removeprefix("\\$")
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    if (wrapped := _TEXT.fullmatch(text)) is not None:
        text = wrapped[1]
    text = _SPACE.sub("", _NO_INK.sub("", _THIN_SPACE.sub(",", text)))
    while text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    if (vulgar := _VULGAR.fullmatch(text)) is not None:
        return vulgar[1] + unicodedata.normalize("NFKC", vulgar[2]).replace("\u2044", "/")
    return text.removesuffix(".") if text[-2:-1].isdigit() else text


def _value_of_integer(text: str) -> Fraction | None:
    value = parse_decimal(text)
    return value if value is not None and value.denominator == 1 else None


def _value(text: str) -> Fraction | None:
    value = parse_fraction(text)
    return parse_decimal(text) if value is None else value


_VALUES = {"integer": _value_of_integer, "decimal": _value, "fraction": _value}
"""How a response is read, by answer type: 2.0 may stand for 2 and 1/2 for 0.5, but 6/2 not for 3."""
_GOLDS = {"integer": parse_integer, "decimal": parse_decimal, "fraction": _value}


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedVerifier:
    r"""A `Verifier` for one answer type, with the answer after a marker or in the last \boxed{...}.

    `answer_type` is "integer", "decimal" or "fraction"; `extractor` "marker" (with `marker` and `end`) or
    "boxed". Raises InputError for anything else.
    """

    answer_type: str = "integer"
    extractor: str = "marker"
    marker: str = "#"
    end: str = "<eos>"

    def __post_init__(self) -> None:
        if self.answer_type not in _VALUES or self.extractor not in ("marker", "boxed") or not self.marker:
            raise InputError(
                f"verifier: answer_type {self.answer_type!r} (allowed: {', '.join(_VALUES)}), extractor "
                f"{self.extractor!r} (allowed: marker, boxed), marker {self.marker!r} (must not be empty)"
            )

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict]:
        """From rollout id -> (gold answer, response text) to rollout id -> verdict, for every id given.

        A malformed response is WRONG; UNGRADED is only a gold answer that cannot be read.
        """
        return {rollout_id: self._verdict(gold, text) for rollout_id, (gold, text) in responses.items()}

    def check_golds(self, golds: Mapping[str, str]) -> None:
        """Raise InputError unless every gold answer (by problem id) is read, and is right against itself."""
        verdicts = self.grade({name: (gold, self._written(gold)) for name, gold in golds.items()})
        bad = [name for name, verdict in verdicts.items() if verdict is not Verdict.CORRECT]
        if bad:
            more = ", ..." if len(bad) > 10 else ""
            raise InputError(
                f"verifier: {len(bad)} of {len(golds)} gold answers are not of type {self.answer_type} "
                f"(problems {', '.join(bad[:10])}{more}). Drop these problems or choose another answer type"
            )

    def _written(self, gold: str) -> str:
        return f"\\boxed{{{gold}}}" if self.extractor == "boxed" else f"{self.marker} {gold}{self.end}"

    def _verdict(self, gold: str, text: str) -> Verdict:
        right = _GOLDS[self.answer_type](gold)
        if right is None:
            return Verdict.UNGRADED
        answer = last_box(text) if self.extractor == "boxed" else final_marker(text, self.marker, self.end)
        value = None if answer is None else _VALUES[self.answer_type](answer)
        return Verdict.CORRECT if value == right else Verdict.WRONG
