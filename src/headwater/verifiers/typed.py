r"""Exact verdicts on answers made of written numbers, on choices and on words. Nothing is evaluated.

Policy, so that nobody has to guess:

    right     1,000 = 1\,000 = 1 000 = 10^3 written out; 2.0 = 2; .5 = 0.5; \tfrac{6}{8} = 3/4; a leading $ or +;
              (1, 2) without its brackets where the type is tuple; sets in any order; (B), b, \text{B} and B) 12
              and "Option B" for B; digits of other scripts; 1 and 2 for a set
    wrong     5% for 5, 5 cm for 5, 1.5e3, 1 or 2, 1+1, 1/3 for 0.333, "two", 6/2 for an integer answer,
              1.000 for 1,000, mixed numbers, answers longer than 1,000 characters
    ungraded  only a gold answer that is none of its type (`check_golds` finds those before training)

Left out: units, percent signs in the gold and symbolic equality, which need `expression`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from headwater.errors import InputError
from headwater.records import Verdict
from headwater.verifiers.answers import Judge, respelled, unwrapped
from headwater.verifiers.formula import formula
from headwater.verifiers.latex import (
    LONGEST_EXPRESSION,
    Nodes,
    Unreadable,
    ascii_digits,
    parse_latex,
    split_nodes,
    trimmed,
)

TYPED_VERSION = "5"
"""Changes with every change of a verdict; old verdicts in a cache are then not found."""


def parse_number(text: str, *, divided: bool = True) -> Fraction | None:
    r"""The value of an integer or decimal ("-1,000", "1\,000", ".5"); if `divided`, also of 3/4 and \frac{3}{4}."""
    nodes = _nodes(text)
    return _numeral(nodes, divided=divided) if nodes else None


def parse_integer(text: str) -> Fraction | None:
    """The value of an integer, which may have zeros behind its point, or None."""
    value = parse_number(text, divided=False)
    return value if value is not None and value.denominator == 1 else None


def _nodes(text: str) -> Nodes:
    """The answer's nodes without the stop behind them; none where it has no reading."""
    try:
        nodes = trimmed(parse_latex(text.strip()))
    except Unreadable:
        return ()
    while len(nodes) == 1 and nodes[0].text == "{}" and not any(part.kind == "comma" for part in nodes[0].parts[0]):
        nodes = nodes[0].parts[0]
    return nodes


def _numeral(nodes: Nodes, *, divided: bool) -> Fraction | None:
    if nodes[0].text == "\\$":
        nodes = nodes[1:]
    try:
        found = formula(nodes) if all(node.kind in ("number", "sign", "macro", "comma") for node in nodes) else None
    except Unreadable:
        return None
    forms = _FRACTION if divided else _DECIMAL
    return found.value if found is not None and found.op == "number" and re.fullmatch(forms, found.text) else None


_DECIMAL = r"-?[0-9.]+"
_FRACTION = r"-?[0-9.]+|-?[0-9]+/-?[0-9]+"
_BRACKETS = {"tuple": ("()", "\\langle\\rangle"), "set": ("\\{\\}", "{}", "\\emptyset")}


def parse_numbers(text: str, kind: str) -> tuple[Fraction, ...] | frozenset[Fraction] | None:
    """The numbers of a "tuple" or a "set", with its brackets or without any, or None.

    A comma always parts two numbers here; a thousand may be marked by a thin space or {,}.
    """
    nodes = _nodes(text)
    if len(nodes) == 1 and nodes[0].text in _BRACKETS[kind]:
        nodes = next(iter(nodes[0].parts), ())
        if not nodes and kind == "set":
            return frozenset()
    if kind == "tuple" and any(node.kind == "comma" and node.text in ("and", "or") for node in nodes):
        return None
    try:
        parts = split_nodes(nodes, "comma")
    except Unreadable:
        return None
    named = {part[0].text for part in parts if len(part) > 2 and (part[0].kind, part[1].text) == ("letters", "=")}
    if kind == "set" and len(named) == 1:  # x = 1 or x = 2
        parts = [part[2:] if part[0].text in named else part for part in parts]
    numbers = [number for part in parts if (number := _numeral(part, divided=True)) is not None]
    if len(numbers) < len(parts):
        return None
    return tuple(numbers) if kind == "tuple" else frozenset(numbers)


_CHOICE = r"\(?\s*([A-Za-z])\s*\)?[.,:;]*"
_DRESS = (
    r"\\(?:text|mathrm|mathbf|textbf|mbox|boldsymbol)(?=\s*\{)|\\(?:left|right|displaystyle)(?![A-Za-z])"
    r"|\\[,;:!()\[\] ]|\\q?quad|[{}$]"
)
_SAID = (
    r"(?i)\s*(?:the\s+)?(?:(?:final|correct|best|right)\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*"
    r"|选项?|答案[是为]?[::]?"
)
_SHOWN = r"(?s)\s*(?:\(([A-Za-z])\)\s*[.:]?|([A-Za-z])(?:[).:、]|\s+[-\u2013\u2014](?=\s)))\s*(\S.*)"
_LETTER = (
    r"\([A-Za-z]\)|(?:^|(?<=\s))[A-Za-z][).:](?=\s|$)|(?<![A-Za-z\\'])[B-HJ-Z](?![A-Za-z'_^0-9])|(?<![A-Za-z\\'])A$"
)
_JOINS = (
    r"(?i)(?:^|[^A-Za-z])(?:or|not|and|nor|neither|either|but|so|is|be|to|then|option|choice|answer|maybe|perhaps)\s*\W*$"
    r"|[.,;:/&]\s*$|^\W*$"
)


def _names_another(text: str) -> bool:
    """Whether what stands behind an option's letter names another option, and is not only about vitamin C or F = ma."""
    formula = "=" in text
    for match in re.finditer(_LETTER, text):
        before, behind = text[: match.start()], text[match.end() :]
        marked, bracketed = not match[0][-1].isalpha(), match[0][0] == "("
        if bracketed and not formula:
            return True
        if marked and not bracketed and (behind.strip() or not before.strip()):
            return True  # a mark with its own text, or nothing else
        in_formula = formula and not marked and (behind.lstrip()[:1] in tuple("=+*/^_-") or before.rstrip()[-1:] == "=")
        if re.search(_JOINS, before) and not in_formula:
            return True
    return False


def parse_choice(text: str) -> str | None:
    r"""The letter of a choice, as a capital: "B", "(b)", "B.", "\text{(B)}", "B) 12"; or None.

    What stands behind the letter may say what it stands for, but name no other letter.
    """
    bare = re.sub(_DRESS, "", ascii_digits(text.strip()[: LONGEST_EXPRESSION + 1])).strip()
    if (said := re.match(_SAID, bare)) is not None and said[0].strip():
        bare = bare[said.end() :]
    if (match := re.fullmatch(_CHOICE, bare)) is not None:
        return match[1].upper()
    shown = re.fullmatch(_SHOWN, bare)
    return None if shown is None or _names_another(shown[3].rstrip(".")) else (shown[1] or shown[2]).upper()


def parse_text(text: str) -> str:
    """The text letter by letter, but for spaces around and between the words of a line; lines stay apart."""
    return "\n".join(" ".join(line.split()) for line in text.strip().split("\n"))


_Value = Fraction | tuple[Fraction, ...] | frozenset[Fraction] | str
_VALUES: dict[str, Callable[[str], _Value | None]] = {
    "integer": parse_integer,
    "decimal": parse_number,
    "fraction": parse_number,
    "tuple": partial(parse_numbers, kind="tuple"),
    "set": partial(parse_numbers, kind="set"),
    "choice": parse_choice,
    "text": parse_text,
}
"""How a response is read, by answer type: 2.0 may stand for 2 and 1/2 for 0.5, but 6/2 not for 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedJudge(Judge):
    """A `Judge` for one answer type; `tolerance` is the largest distance of a right decimal, in its own unit.

    Raises InputError for a type that is not integer, decimal, fraction, tuple, set, choice or text.
    """

    answer_type: str = "integer"
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.answer_type not in _VALUES or self.tolerance < 0 or (self.tolerance and self.answer_type != "decimal"):
            raise InputError(
                f"verifier: answer_type {self.answer_type!r} (allowed: {', '.join(_VALUES)}), tolerance "
                f"{self.tolerance} (0, or for decimals a positive number)"
            )

    @property
    def name(self) -> str:
        """Type, tolerance and version."""
        return f"{self.answer_type}/{self.tolerance}/typed {TYPED_VERSION}"

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """Exact; UNGRADED is a gold answer that is not of the type."""
        right = _VALUES[self.answer_type](gold if self.answer_type == "text" else unwrapped(gold))
        if right is None:
            return Verdict.UNGRADED
        value = None if answer is None else _VALUES[self.answer_type](answer)
        if isinstance(value, Fraction) and isinstance(right, Fraction) and self.tolerance:
            # str: 0.01 is meant as a hundredth and not as the nearest binary fraction
            return Verdict.CORRECT if abs(value - right) <= Fraction(str(self.tolerance)) else Verdict.WRONG
        return Verdict.CORRECT if value == right else Verdict.WRONG

    def readable(self, gold: str) -> bool:
        """Whether the gold answer is of the type, and is right against itself spelled in another way."""
        read = _VALUES[self.answer_type]
        if self.answer_type == "text":
            return True
        inside = unwrapped(gold)
        return read(inside) is not None and read(respelled(inside)) == read(inside) and "\n" not in gold.strip()

    def several(self, gold: str) -> bool:
        """Whether the gold answer is a set."""
        return self.answer_type == "set"
