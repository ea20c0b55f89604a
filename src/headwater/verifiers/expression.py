r"""Verdicts on answers that are expressions: \frac{\sqrt{3}}{2}, (-\infty, 3], x^2 - 1, \text{Tuesday}.

Read both, compare node by node; only the values at the leaves are worked out (`equality`). A rational gold answer
asks for a written number, so 1+1 is not 2. The brackets must agree, the units may be left out but not exchanged, "%"
means a hundredth, and several values in one place are no answer. `docs/grading.md` lists the policy with examples.

Nothing is evaluated as code, no process is started and no clock is looked at: what a verdict may cost is counted in
operations, so that an idle and a loaded machine say the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from headwater.records import Verdict
from headwater.verifiers.answers import Judge, respelled, unwrapped
from headwater.verifiers.equality import equal, proportional, rounds, same_set
from headwater.verifiers.latex import LONGEST_EXPRESSION, NO_INK, Unreadable, ascii_digits
from headwater.verifiers.names import is_universal
from headwater.verifiers.reading import Reader
from headwater.verifiers.terms import PERCENT, REALS, Given, Quantity, Relation, Term, infinity, number, words
from headwater.verifiers.units import GROUPS, VOCABULARY, is_prose, said_short
from headwater.verifiers.values import TooLarge

EXPRESSION_VERSION = "6"
"""Changes with every change of a verdict; what was made with an older one is then made again."""

_DRESS = r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|textrm)\s*\{([^{}\\]*)\}"
_LONGEST_TEXT = 12
"""Words of a gold answer that is text; more of them are a solution, which nobody repeats word by word."""
_SENTINELS = frozenset(VOCABULARY["phrases"]["sentinels"])
_SOLUTION = r"####|\\boxed|[a-z]{3,}[.!?]\s+[A-Z]"
_REGIONS = frozenset({"interval", "\\cup", "\\cap", "\\setminus"})
_LISTS = frozenset({"list", "tuple", "set"})
_UNEQUAL = frozenset({"<", ">", "<=", ">=", "!="})
_CLOSED = {"<": "()", "<=": "[]"}
_SAYS_NOTHING = r"(?i)^(?:the|an?) +(?=\w)|^(?:option|choice) +(?=\(?[A-Z]\)?$)"


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
        right = _shape(unwrapped(gold))
        return right is not None and right.op in ("list", "set")


def decide(gold: str, answer: str) -> bool:
    """Whether the answer is the gold answer. A gold answer that has no reading is compared as text."""
    if len(answer) > LONGEST_EXPRESSION:
        return False
    bare = unwrapped(gold)
    if _inked(answer) in map(_inked, {gold, bare}):
        return True
    right = _shape(bare)
    if (right is None or right.op == "words") and _undressed(bare) == _undressed(answer):
        return True  # April 10, without its \\text
    if right is None:
        return False
    value = right.parts[0] if right.op == "quantity" else right
    readers = [Reader(separators=right.op == "list"), Reader(measured=True)]
    return any(_matches(right, answer, reader) for reader in readers[: 1 + (value.op == "number")])


def _matches(right: Term, answer: str, reader: Reader) -> bool:
    try:
        return matches(right, reader.read(answer))
    except (Unreadable, TooLarge):
        return False


@lru_cache(maxsize=8192)
def _shape(gold: str) -> Term | None:
    try:
        return Reader().read(gold)
    except Unreadable:
        return None


def is_readable(gold: str) -> bool:
    """Whether the gold answer has a reading, so that other ways to write it are found equal."""
    whole, gold = gold.strip(), unwrapped(gold)
    right = _shape(gold)
    if right is None or "\n" in whole or re.search(_SOLUTION, gold) or gold.strip().casefold() in _SENTINELS:
        return False
    if right.op == "words":
        return len(right.name.split()) <= _LONGEST_TEXT and said(right).strip(" .") not in _SENTINELS
    return _matches(right, respelled(gold), Reader(separators=right.op == "list"))


def _inked(text: str) -> str:
    """The text without bracket sizes and blanks, but for one between digits or letters; control characters stay."""
    bare = re.sub(NO_INK, " ", re.sub(r"(?<!\.)\.$|\\!\s*", "", text.strip()))
    return re.sub(r"(?<![0-9A-Za-z,]) | (?![0-9A-Za-z,])", "", bare)


def _undressed(text: str) -> str:
    r"""Words without their \text, capitals and blanks; what is left of commands and braces stays, and so counts."""
    plain = " ".join(re.sub(_DRESS, r" \1 ", ascii_digits(text)).replace("$", " ").split()).rstrip(".!")
    plain = re.sub(r" (?=[,.!?;:])", "", plain)
    return plain.casefold() if re.search(r"[^\W\d_]{3}", plain) and "\\" not in plain else plain


# Node by node


def matches(gold: Term, answer: Term) -> bool:
    """Whether the answer is the gold answer. Raises TooLarge."""
    if isinstance(gold, Given) or isinstance(answer, Given):
        return _conditional(gold, answer)
    if isinstance(gold, Relation):
        return _relation(gold, answer)
    if isinstance(answer, Relation):
        return _stated(gold, answer)
    if isinstance(answer, Quantity) and not isinstance(gold, Quantity):
        return _measured(gold, answer)
    if gold.op in _REGIONS:
        return _same_region(gold, answer)
    if gold.op in _LISTS or answer.op == "set":
        return _listing(gold, answer)
    if answer.op == "list" and answer.name == "or":  # 3/2 or 1.5: one value, written twice
        return all(matches(gold, item) for item in answer.parts)
    return _quantity(gold, answer) if isinstance(gold, Quantity) else _one_value(gold, answer)


def _one_value(gold: Term, answer: Term) -> bool:
    if gold.op == "number" and answer.op == "based":
        return answer.parts[0].value == 10 and answer.name == str(gold.value)
    if gold.op in ("number", "infinity"):
        return gold == answer
    if gold.op == "based":
        digits = str(answer.value) if answer.op == "number" else said(answer).upper()
        return gold == answer or gold.name == digits
    one, other = (term.parts[0] if term.op == "words" and term.parts else term for term in (gold, answer))
    if one.is_expression and other.is_expression:
        if gold.op == answer.op == "words":
            return said(gold) == said(answer)
        if "words" in (gold.op, answer.op):  # abc and a b c
            return one == other
        typed = gold.text and answer.text and answer.op != "number"
        return gold.text == answer.text if typed else equal(gold, answer, finished=True)
    if said(gold) and said(answer):
        return said(gold) == said(answer)
    return _same_parts(gold, answer)


def _same_parts(gold: Term, answer: Term) -> bool:
    alike = (gold.op, gold.name, len(gold.parts)) == (answer.op, answer.name, len(answer.parts))
    return alike and gold.op != "words" and _in_order(gold.parts, answer.parts)


def _in_order(gold: Sequence[Term], answer: Sequence[Term]) -> bool:
    return len(gold) == len(answer) and all(map(matches, gold, answer))


def said(term: Term) -> str:
    """Words, or letters that may be a word; the case of a single letter counts, and of two."""
    text = term.name if term.op == "words" else term.text if term.op != "number" else ""
    text = re.sub(_SAYS_NOTHING, "", " ".join(text.replace("\u2019", "'").split()))
    return text if len(text) < 2 or (len(text) == 2 and text.isupper() and not is_prose(text)) else text.casefold()


def _conditional(gold: Term, answer: Term) -> bool:
    """What both say of a letter must agree; one side may leave out what kind of number it is."""
    inner = [term.parts[0] if isinstance(term, Given) else term for term in (gold, answer)]
    if isinstance(gold, Given) and isinstance(answer, Given):
        loose = "any" in (gold.domain, answer.domain) and is_universal(gold.domain) and is_universal(answer.domain)
        if not loose and gold.domain.removeprefix("where ") != answer.domain.removeprefix("where "):
            return False
        inner[1] = inner[1].renamed(answer.letter, gold.letter)
    elif isinstance(gold, Given):
        if not (is_universal(gold.domain) or gold.domain[0] in "!>"):
            return False
    elif isinstance(answer, Given) and not is_universal(answer.domain):
        return False
    return matches(*inner)


# Units


def _measured(gold: Term, answer: Quantity) -> bool:
    """A gold answer without a unit: "%" is a hundredth, a plain unit is left out, a dozen is a number."""
    value = answer.parts[0]
    if answer.unit == PERCENT:
        return gold.op == value.op == "number" and gold.value * 100 == value.value
    if any(name in GROUPS or name == "percent" for name, _ in answer.unit):
        return False
    return matches(gold, value)


def _quantity(gold: Quantity, answer: Term) -> bool:
    """A gold answer with a unit: the same unit, or none."""
    value = gold.parts[0]
    if isinstance(answer, Quantity):
        return answer.unit in (gold.unit, said_short(gold.unit)) and matches(value, answer.parts[0])
    group = next((GROUPS[name] for name, _ in gold.unit if name in GROUPS), 1)
    if group > 1:
        return value.op == "number" and matches(number(group * value.value), answer)
    return matches(value, answer)


# Lists, tuples, sets, intervals


def _listing(gold: Term, answer: Term) -> bool:
    if gold.op not in _LISTS:  # {2} for 2
        return len(answer.parts) == 1 and answer.parts[0].op not in _LISTS and matches(gold, answer.parts[0])
    if gold.op == "tuple":
        members = _by_name(answer) if answer.op == "list" else answer.parts
        return answer.op in ("list", "tuple") and _in_order(gold.parts, members)
    if answer.op not in ("list", "set"):
        return gold.op == "set" and answer.op != "tuple" and len(gold.parts) == 1 and matches(gold.parts[0], answer)
    if words("...") in gold.parts:
        return _in_order(gold.parts, answer.parts)
    repeated = answer.op == "set" and len(gold.parts) < len(answer.parts) <= 2 * len(gold.parts)
    if len(gold.parts) != len(answer.parts) and not repeated:
        return False
    left = dict(enumerate(gold.parts))
    for other in answer.parts:  # equality is transitive, so the first partner is as good as any
        found = next((place for place, member in left.items() if matches(member, other)), None)
        if found is not None:
            del left[found]
        elif not (repeated and any(matches(member, other) for member in gold.parts)):  # {1, 2, 2} is {1, 2}
            return False
    return not left


def _by_name(answer: Term) -> tuple[Term, ...]:
    """The values of x = 1, y = 2 in the order of the letters, which is that of a tuple; none for other lists."""
    named: dict[str, Term] = {}
    for item in answer.parts:
        if not isinstance(item, Relation) or item.name != "=" or len(said(item.parts[0])) != 1:
            return ()
        named[said(item.parts[0])] = item.parts[1]
    return tuple(named[name] for name in sorted(named)) if len(named) == len(answer.parts) else ()


def _same_region(gold: Term, answer: Term) -> bool:
    one, other = region(gold), region(answer)
    if one is None or other is None:
        return False
    if one.op == other.op == "interval":
        return _same_parts(one, other)
    return same_set(one, other)


def region(term: Term) -> Term | None:
    """A set of real numbers as intervals, points and what joins them: (1, 2) and 1 < x < 2 too; None for the rest."""
    if term.op == "tuple" and len(term.parts) == 2:
        return Term("interval", term.parts, name="()")
    if isinstance(term, Relation):
        return _solutions(term)
    if term.op in ("\\cup", "\\cap", "\\setminus"):
        parts = tuple(part for side in term.parts if (part := region(side)) is not None)
        return Term(term.op, parts) if len(parts) == len(term.parts) else None
    return term if term.op in ("interval", "set") else None


# Equations and inequalities


def _stands(relation: Relation, place: int) -> bool:
    """x, x_1, f'(x), AB, words or (x, y): something that stands for the value, and is not said to hold itself."""
    side, name = relation.parts[place], relation.names[place]
    if side.op in _LISTS:
        return side.op == "tuple" and all(
            item.op == "letter" or (item.text and item.op != "number") for item in side.parts
        )
    if name is None or not name.one:
        return False
    return not any(name.letter in other.letters for i, other in enumerate(relation.parts) if i != place and name.letter)


def _named(relation: Relation) -> Relation:
    """With its name in front: 2 = x is x = 2."""
    turn = relation.name == "=" and _stands(relation, 1) and not _stands(relation, 0)
    return relation.turned() if turn else relation


def _solutions(relation: Relation) -> Term | None:
    """-1 < x <= 3 as (-1, 3], x > 2 as (2, infinity), x != 1 as all reals without 1, x = 1 as {1}."""
    if {">", ">="} & set(relation.signs):
        relation = relation.turned()
    signs, sides = relation.signs, relation.parts
    place = int(len(signs) > 1 or not _stands(relation, 0))
    if not _stands(relation, place):
        return None
    if set(signs) <= _CLOSED.keys() and len(signs) < 3:
        low, high = (infinity(-1), *sides, infinity(1))[place : place + 3 : 2]
        before, behind = ("<", *signs, "<")[place : place + 2]
        return Term("interval", (low, high), name=_CLOSED[before][0] + _CLOSED[behind][1])
    match (place, *signs):
        case (0, "!="):
            return Term("\\setminus", (REALS, Term("set", sides[1:])))
        case (0, "="):
            return Term("set", sides[1:])
        case (0, "in"):
            return region(sides[1])
    return None


def _stated(gold: Term, answer: Relation) -> bool:
    """x = 2, 6/8 = 3/4, sqrt 2 ~ 1.41 or x <= 3 for a gold answer that is no relation."""
    if _UNEQUAL & set(answer.signs):  # 1 < x < 2 says that (1, 2) is no point
        return gold.op != "set" and _same_region(gold, answer)
    answer = _named(answer)
    if not (gold.letters or gold.has_i):  # a + b = 5, f(2) = 5: a name of what has no letters
        if answer.names[-1] and not answer.names[0]:
            answer = answer.turned()
        while len(answer.parts) > 1 and answer.names[0]:
            answer = answer.without_first()
    if answer.signs and _stands(answer, 0):
        answer = answer.without_first()
    if not answer.signs:
        return matches(gold, answer.parts[0])
    if answer.name == "~" and answer.parts[1].op == "number":
        exact, decimal = answer.parts
        close = exact.is_expression and not exact.letters and rounds(exact, decimal)
        return close and any(matches(gold, side) for side in answer.parts)
    if set(answer.signs) != {"="}:
        return False
    # 1 + 1 = 2, 0.75 = 3/4: every member is equal, and one is written as the gold answer asks
    steps = [side for side in answer.parts if not matches(gold, side)]
    return len(steps) < len(answer.parts) and all(
        gold.is_expression and step.is_expression and equal(gold, step, finished=False) for step in steps
    )


def _relation(gold: Relation, answer: Term) -> bool:
    signs, sides = gold.signs, gold.parts
    if signs == ("in",):
        return matches(sides[1], answer)
    if set(signs) <= {"=", "~"}:
        return _equation(gold, answer)
    if not isinstance(answer, Relation) or answer.name == "in":
        return _same_region(gold, answer)
    alike = [other.parts for other in (answer, answer.turned()) if other.name == gold.name]
    if any(_in_order(sides, other) for other in alike):
        return True
    return len(signs) == 1 and any(_proportional(sides, other, positive=signs != ("!=",)) for other in alike)


def _equation(gold: Relation, answer: Term) -> bool:
    sides = gold.parts
    equation = isinstance(answer, Relation) and answer.name == "="
    if _stands(gold, 0):
        if isinstance(answer, Relation) and gold.name == "=":
            return _same_name(gold, _named(answer))
        return matches(sides[-1], answer)
    if gold.name == "=" and not all(side.op in ("number", "quantity") for side in sides):
        return equation and _proportional(sides, answer.parts, positive=False)
    members = answer.parts if isinstance(answer, Relation) and set(answer.signs) <= {"=", "~"} else (answer,)
    return all(any(matches(side, other) for side in sides) for other in members)


def _same_name(gold: Relation, answer: Relation) -> bool:
    def text(relation: Relation) -> str:
        side, name = relation.parts[0], relation.names[0]
        if side.op == "words" and not side.name.startswith("the name "):
            return said(side)
        return name.text if name is not None else repr(side)

    return _stands(answer, 0) and text(gold) == text(answer) and _stated(gold.parts[1], answer)


def _proportional(gold: Sequence[Term], answer: Sequence[Term], *, positive: bool) -> bool:
    return all(side.is_expression for side in (*gold, *answer)) and proportional(gold, answer, positive=positive)
