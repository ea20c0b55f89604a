r"""Verdicts on answers that are expressions: \frac{\sqrt{3}}{2}, (-\infty, 3], x^2 - 1, \text{Tuesday}.

Read both, compare shape by shape. Nothing is evaluated as code, no process is started and no clock is looked at:
what a verdict may cost is counted in operations, so that an idle and a loaded machine say the same.
`docs/grading.md` states the policy.
"""

from __future__ import annotations

import re
from functools import lru_cache

from headwater.records import Verdict
from headwater.verifiers.answers import Judge, respelled, unwrapped
from headwater.verifiers.compare import matches, said
from headwater.verifiers.latex import LONGEST_EXPRESSION, Unreadable, ascii_digits
from headwater.verifiers.reading import Context, read
from headwater.verifiers.terms import Term
from headwater.verifiers.values import TooLarge

EXPRESSION_VERSION = "5"
"""Changes with every change of a verdict; what was made with an older one is then made again."""

_INK = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|\\[,;:! ]|[\s$]")
_DRESS = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|textrm)\s*\{([^{}\\]*)\}")
_LONGEST_TEXT = 12
"""Words of a gold answer that is text; more of them are a solution, which nobody repeats word by word."""
_SENTINELS = frozenset({
    "proof", "prove", "proven", "see proof", "see solution", "solution", "answer", "no answer", "none", "null", "nan",
    "n/a", "na", "todo", "tbd", "unknown", "-", "?", "...",
})  # fmt: skip
"""What stands in a data set where it has no answer."""
_SOLUTION = re.compile(r"####|\\boxed|\n\s*\n|\n[^\n]*=|[a-z]{3,}[.!?]\s+[A-Z]")


def decide(gold: str, answer: str) -> bool:
    """Whether the answer is the gold answer. A gold answer that has no reading is compared as text."""
    if len(answer) > LONGEST_EXPRESSION:
        return False
    bare = unwrapped(gold)
    if _inked(answer) in (_inked(gold), _inked(bare)):
        return True
    gold = bare
    right = _shape(gold, Context())
    if _undressed(gold) == _undressed(answer) and (right is None or right.op == "words"):
        return True  # April 10, without its \\text
    if right is None:
        return False
    listed = right.op == "list"
    number = "number" in (right.op, right.op == "quantity" and right.parts[0].op)
    contexts = [Context(separators=listed), *([Context(measured=True)] if number else [])]
    return any(_matches(right, answer, context) for context in contexts)


def _matches(right: Term, answer: str, context: Context) -> bool:
    try:
        return matches(right, read(answer, context))
    except (Unreadable, TooLarge):
        return False


@lru_cache(maxsize=8192)
def _shape(gold: str, context: Context) -> Term | None:
    try:
        return read(gold, context)
    except Unreadable:
        return None


def is_readable(gold: str) -> bool:
    """Whether the gold answer has a reading, so that other ways to write it are found equal."""
    whole, gold = gold.strip(), unwrapped(gold)
    right = _shape(gold, Context())
    if right is None or "\n" in whole or _SOLUTION.search(gold) or gold.strip().casefold() in _SENTINELS:
        return False
    if right.op == "words":
        return len(right.name.split()) <= _LONGEST_TEXT and said(right).strip(" .") not in _SENTINELS
    return _matches(right, respelled(gold), Context(separators=right.op == "list"))


def _inked(text: str) -> str:
    """The text without bracket sizes and blanks, but for one between digits or letters; control characters stay."""
    bare = _INK.sub(" ", re.sub(r"(?<!\.)\.$|\\!\s*", "", text.strip()))
    return re.sub(r"(?<![0-9A-Za-z,]) +| +(?![0-9A-Za-z,])|(?<= ) +", "", bare)


def _undressed(text: str) -> str:
    r"""Words without their \text, capitals and blanks; what is left of commands and braces stays, and so counts."""
    plain = " ".join(_DRESS.sub(r" \1 ", ascii_digits(text)).replace("$", " ").split()).rstrip(".!")
    plain = re.sub(r"\s+(?=[,.!?;:])", "", plain)
    return plain.casefold() if re.search(r"[^\W\d_]{3}", plain) and "\\" not in plain else plain


class ExpressionJudge(Judge):
    """A `Judge` of expressions."""

    @property
    def name(self) -> str:
        """Version of the rules."""
        return f"expression/decide/{EXPRESSION_VERSION}"

    def verdict(self, gold: str, answer: str | None) -> Verdict:
        """CORRECT or WRONG; UNGRADED for a fault of ours, which is never taken for a wrong answer."""
        try:
            return Verdict.CORRECT if answer is not None and decide(gold, answer) else Verdict.WRONG
        except Exception:  # noqa: BLE001
            return Verdict.UNGRADED

    def readable(self, gold: str) -> bool:
        """Whether the gold answer has a reading, and is right against itself spelled in another way."""
        return is_readable(gold)

    def several(self, gold: str) -> bool:
        """Whether the gold answer is a list or a set."""
        right = _shape(unwrapped(gold), Context())
        return right is not None and right.op in ("list", "set")
