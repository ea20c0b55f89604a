r"""What the grader knows by name (`vocabulary.toml`), and how an answer's text is cut into tokens.

A command or sign that is in none of the tables is Unreadable (`latex.py`): it must not be guessed at.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOCABULARY: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_LATEX = VOCABULARY["latex"]


def known(section: str, name: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(VOCABULARY[section][name].split())


def ways(table: Mapping[str, str]) -> dict[str, str]:
    """All ways to write something, with what they mean."""
    return {way: meant for meant, listed in table.items() for way in listed.split()}


MONEY: dict[str, str] = VOCABULARY["units"]["money"]
SYMBOLS = known("latex", "symbols") | known("latex", "greek")
FUNCTIONS = known("latex", "functions")
OPAQUE = known("latex", "opaque")
LOOKS = known("latex", "looks")
"""How its argument looks and not what it is."""
ARGUMENTS = dict.fromkeys(known("latex", "one_argument"), 1) | dict.fromkeys(known("latex", "two_arguments"), 2)
SAME = ways(_LATEX["same"])
SIGNS = ways(_LATEX["signs"]) | {sign: sign for sign in MONEY}
RELATIONS = ways(_LATEX["relations"])
OPENING = {opening: tuple(closing.split()) for opening, closing in _LATEX["brackets"].items()}
CLOSING = frozenset(closing for several in OPENING.values() for closing in several)
NAMES = {"pi": "\\pi", "sqrt": "\\surd", **{name[1:]: name for name in FUNCTIONS if name != "\\sec"}}
"""What is typed without its backslash and is no product of letters."""
UNICODE = {sign: command for command, signs in _LATEX["characters"].items() for sign in signs} | {
    letter: f"\\{name} " for letter, name in zip(_LATEX["greek_letters"], _LATEX["greek_names"].split(), strict=True)
}

SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
STRINGS = tuple((re.compile(pattern), meant) for pattern, meant in (
    (r"\\degree(?![A-Za-z])|\^\s*\{\s*\\degree\s*\}|\^\s*\\degree(?![A-Za-z])", r"^\\circ "),
    (r">=", r"\\geq "), (r"<=", r"\\leq "), (r"\.\.\.", r"\\ldots "), (r":=", "="),
    (r"\\dot\s*\{?([0-9])\}?([0-9]*)\\dot\s*\{?([0-9])\}?", r"\\overline{\1\2\3}"),  # dots at the ends of a period
    (r"\{([-:])\}", r"\1"), (r"\\not\s*=", r"\\neq "), (r"\\textsuperscript\s*\{([a-z]+)\}", r"^{\\text{\1}}"),
    (r"(?<=[0-9])\s*([AaPp])\.\s?[Mm]\.?(?![A-Za-z])", r"\\text{\1m}"),
    (r"\\([RZNQ])(?![A-Za-z])", r"\\mathbb{\1}"),
    (r"(?<![A-Za-z\\])Rs\.?\s*(?=[0-9\\])", r"\\rupee "),
    (r"(?<![A-Za-z])(?:US|HK|NZ|[ACS])\s*\\\$\s*(?=[0-9])", r"\\$"),
    (r"(?<![\u3400-\u9fff])\s*(?:或者|或|或\s*者)\s*(?![\u3400-\u9fff])", " or "),
    (r"(?<![\u3400-\u9fff])\s*[和与及]\s*(?![\u3400-\u9fff])", " and "),
    (r"(?:答案)[是为]?[::]?\s*(?=.)", ""),
))  # fmt: skip
NO_INK = (
    r"\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\math(?:rm|bf|it|sf)\s+(?=[0-9A-Za-z])|\\(?:left|right)\s*\.(?![0-9])"
    r"|\\(?:textcolor|color|hspace|vspace)\*?\s*\{[^{}]*\}"
    r"|\\(?:quad|qquad|displaystyle|textstyle|limits|left|right|middle|[bB]igg?[lrm]?|strut|bf|rm|it|sf|tt|boldmath"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|nobreak|hfill|newline|allowbreak)(?![A-Za-z])"
    r"|\\[,;:! >()\[\]]|(?:\\)+\s*\Z|[$~\s]"
)
TEXT = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|[mh]box|math(?:rm|bf|it|sf)|operatorname\*?)\s*"
    r"\{(?P<words>(?:[^{}\\]|\\[$%&#_ ,;:!]|\\[a-z]+ )*)\}"
)
OTHER_SCRIPT = r"[^\W\d_a-zA-Z][^\W\d_]*"
TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:(?:(?:\{,\}|,\{\}|\\text\{,\})(?:\\[!,;: ]|~| )*|,\s?(?:\\!\s*)+|\\[,;: ]|~| )[0-9]{3})+"
    r"(?![0-9]|\s*(?:/|\\[dtc]?frac)|[ ~][0-9])(?:\.[0-9]+)?"
    r"|[0-9]*\.[0-9]*(?=\\(?:overline|bar|dot)(?![a-z]))|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    rf"|(?P<blank>(?:{NO_INK})+)|(?P<text>{TEXT})"
    r"|(?P<begin>\\begin\s*\{(?P<environment>[pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?)"
    r"|(?P<end>\\end\s*\{(?:[pbBvV]?(?:small)?matrix|array)\})"
    r"|(?P<line>\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])"
    rf"|(?P<foreign>{OTHER_SCRIPT})|(?P<hyphened>[A-Za-z]+(?:-[A-Za-z]{{4,}})+|[A-Za-z]{{4,}}-[A-Za-z]+)"
    r"|(?P<command>\\(?:[A-Za-z]+|.)|\*\*)|(?P<letters>[A-Za-z]+)|(?P<sign>[-+*/^_=<>!|:;,.(){}\[\]&%'])",
    re.DOTALL,
)
JOINT = re.compile(r"\s*(?:(?<![0-9])[,;、]|[,;、](?![0-9])|(?:,\s*)?(?:\b(?:and|or)\b|或者|或|和(?=\s*\d)))\s*")
MEASURE = re.compile(r"([$€£¥₹₩₽₺₪₫฿₦₱]?)\s*([0-9][0-9,]*(?:\.[0-9]+)?(?::[0-9]+)*)\s*(%|[^\W\d_][^\d]*)?")
NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
