r"""Math-Verify as it ships, on the answer alone, as the second opinion of an audit; runs in a worker only.

It is more lenient than this package: it drops every unit, rounds to six places and takes a tuple for a set.
Its LaTeX path is used and never its expression path, which ends in `parse_expr` and so in `eval`; and its
numbers, which the LaTeX path too hands to `sympify`, are made here from digits.
"""

from __future__ import annotations

import re

import sympy
from latex2sympy2_extended import latex2sympy2
from math_verify import LatexExtractionConfig, parse, verify

_TARGETS = [LatexExtractionConfig(boxed_match_priority=0)]


def number_of(text: str) -> sympy.Number:
    """Digits with at most one point as sympy's integer or float; raises ValueError for everything else."""
    text = text.replace(",", "")
    if not re.fullmatch(r"[0-9]+|[0-9]*\.[0-9]+|[0-9]+\.", text):
        raise ValueError(f"{text[:20]!r} is no number")
    return sympy.Integer(int(text)) if text.isdigit() else sympy.Float(text)


# Both call Number(text) in the original, which calls sympify(text), which calls eval.
latex2sympy2._Latex2Sympy.parse_number = lambda self, text: number_of(text)
latex2sympy2.convert_number = lambda text: number_of(text.replace(" ", ""))


def stock_math_verify(gold: str, answer: str) -> bool:
    """Math-Verify's own verdict on an answer in a box."""
    texts = (f"$\\boxed{{{text}}}$" for text in (gold, answer))
    right, given = (parse(text, extraction_config=_TARGETS, parsing_timeout=None) for text in texts)
    return bool(verify(right, given, timeout_seconds=None))
