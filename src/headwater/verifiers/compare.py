r"""Whether an answer is the gold answer: shape by shape, and only the values at the leaves by `equality`.

A rational gold answer asks for a written number, so 1+1 is not 2. The brackets must agree, the units may be
left out but not exchanged, "%" means a hundredth, and several values in one place are no answer.
`docs/grading.md` lists the policy with examples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from headwater.verifiers.equality import Set, equal, proportional, rounds, same_set
from headwater.verifiers.formula import Formula, number
from headwater.verifiers.names import Name, renamed
from headwater.verifiers.reading import Context, read_nodes
from headwater.verifiers.shapes import (
    PERCENT,
    REALS,
    Based,
    Combination,
    Conditional,
    Infinity,
    Interval,
    Leaf,
    Listing,
    Matrix,
    Number,
    Quantity,
    Relation,
    Shape,
    Words,
    formulas_of,
)
from headwater.verifiers.tokens import is_prose
from headwater.verifiers.units import GROUPS, said_short


def matches(gold: Shape, answer: Shape) -> bool:
    """Whether the answer is the gold answer."""
    if isinstance(gold, Conditional) or isinstance(answer, Conditional):
        return _conditional(gold, answer)
    if isinstance(gold, Relation):
        return _relation(gold, answer)
    if isinstance(answer, Relation):
        return _stated(gold, answer)
    if isinstance(answer, Quantity) and not isinstance(gold, Quantity):
        return _measured(gold, answer)
    if isinstance(gold, Listing) or (isinstance(answer, Listing) and answer.kind == "set"):
        return _listing(gold, answer)
    if isinstance(gold, Interval | Combination):
        return _interval(gold, answer)
    if isinstance(answer, Listing) and answer.joint == "or":  # 3/2 or 1.5: one value, written twice
        return len(answer.items) < 5 and all(_one_value(gold, item) for item in answer.items)
    return _one_value(gold, answer)


def _one_value(gold: Shape, answer: Shape) -> bool:
    match gold, answer:
        case Quantity(), _:
            return _quantity(gold, answer)
        case Number(), Number():
            return gold.value == answer.value
        case Leaf(letters=letters), Leaf(letters=typed) if letters and typed:
            return letters == typed
        case Leaf(), Number() | Leaf():
            return equal(gold.formula, formula_of(answer) or gold.formula, finished=True)
        case Words(formula=Formula() as product), Leaf(formula=other):  # abc and a b c
            return product == other
        case Leaf(formula=other), Words(formula=Formula() as product):
            return product == other
        case Words() | Leaf(), Words() | Leaf():
            return bool(said(gold)) and said(gold) == said(answer)
        case Based(), _:
            return _based(gold, answer)
        case Number(), Based():
            return answer.base == "10" and Fraction(answer.digits) == gold.value
        case Matrix(), Matrix():
            return _matrix(gold, answer)
        case Infinity(), Infinity():
            return gold == answer
    return False


def formula_of(value: Shape) -> Formula | None:
    """A number or expression as a formula; None for every other shape."""
    if isinstance(value, Number):
        return number(value.value)
    return value.formula if isinstance(value, Leaf) else None


def said(value: Shape) -> str:
    """Words, or letters that may be a word; the case of a single letter counts, and of two."""
    text = value.text if isinstance(value, Words) else value.letters if isinstance(value, Leaf) else ""
    text = _SAYS_NOTHING.sub("", " ".join(text.replace("\u2019", "'").split()))
    return text if len(text) < 2 or (len(text) == 2 and text.isupper() and not is_prose(text)) else text.casefold()


_SAYS_NOTHING = re.compile(r"^(?:the|an?) +(?=\w)|^(?:option|choice) +(?=\(?[A-Z]\)?$)", re.IGNORECASE)


def _conditional(gold: Shape, answer: Shape) -> bool:
    """What both say of a letter must agree; one side may leave out what kind of number it is."""
    wanted = gold.condition if isinstance(gold, Conditional) else None
    given = answer.condition if isinstance(answer, Conditional) else None
    if wanted is not None and given is not None and isinstance(answer, Conditional):
        loose = "any" in (wanted.domain, given.domain)
        if wanted.domain.removeprefix("where ") != given.domain.removeprefix("where ") and not (
            loose and wanted.universal and given.universal
        ):
            return False
        if wanted.letter != given.letter:
            answer = Conditional(
                read_nodes(renamed(answer.nodes, given.letter, wanted.letter), Context()), wanted, answer.nodes
            )
    elif (given is not None and not given.universal) or (
        wanted is not None and not (wanted.universal or wanted.domain[0] in "!>")
    ):
        return False
    inner = [shape.value if isinstance(shape, Conditional) else shape for shape in (gold, answer)]
    return matches(*inner)


def _based(gold: Based, answer: Shape) -> bool:
    if isinstance(answer, Based):
        return (gold.digits.upper(), gold.base) == (answer.digits.upper(), answer.base)
    if isinstance(answer, Number):
        return str(answer.value) == gold.digits
    return said(answer).casefold() == gold.digits.casefold()


def _matrix(gold: Matrix, answer: Matrix) -> bool:
    sizes = [len(row) for row in gold.rows], [len(row) for row in answer.rows]
    if gold.kind != answer.kind or sizes[0] != sizes[1]:
        return False
    return all(matches(*pair) for pair in zip(sum(gold.rows, ()), sum(answer.rows, ()), strict=True))


# Units


def _measured(gold: Shape, answer: Quantity) -> bool:
    """A gold answer without a unit: "%" is a hundredth, a plain unit is left out, a dozen is a number."""
    if answer.unit == PERCENT:
        return isinstance(gold, Number) and isinstance(answer.value, Number) and gold.value * 100 == answer.value.value
    if any(name in GROUPS or name == "percent" for name, _ in answer.unit):
        return False
    return matches(gold, answer.value)


def _quantity(gold: Quantity, answer: Shape) -> bool:
    """A gold answer with a unit: the same unit, or none."""
    if isinstance(answer, Quantity):
        return answer.unit in (gold.unit, said_short(gold.unit)) and matches(gold.value, answer.value)
    group = next((GROUPS[name] for name, _ in gold.unit if name in GROUPS), 1)
    if group > 1:
        return matches(Number(group * gold.value.value), answer) if isinstance(gold.value, Number) else False
    return matches(gold.value, answer)


# Lists, tuples, sets, intervals


def _listing(gold: Shape, answer: Shape) -> bool:
    if (interval := _endless(gold)) is not None:
        return _interval(interval, answer)
    if not isinstance(gold, Listing):  # {2} for 2
        single = isinstance(answer, Listing) and len(answer.items) == 1 and not isinstance(gold, Interval | Combination)
        return single and not isinstance(answer.items[0], Listing) and matches(gold, answer.items[0])  # type: ignore[union-attr]
    if gold.kind == "tuple" and isinstance(answer, Listing) and answer.kind == "list":
        values = _by_name(answer.items)
        return len(values) == len(gold.items) and all(matches(*pair) for pair in zip(gold.items, values, strict=True))
    if not isinstance(answer, Listing):
        return gold.kind == "set" and len(gold.items) == 1 and matches(gold.items[0], answer)
    if gold.kind != "tuple" and answer.kind == "set" and len(gold.items) < len(answer.items) <= 2 * len(gold.items):
        return _same_set(gold.items, answer.items)
    if (gold.kind == "tuple") != (answer.kind == "tuple") or len(gold.items) != len(answer.items):
        return False
    if gold.kind == "tuple" or Words("...") in gold.items:
        return all(matches(*pair) for pair in zip(gold.items, answer.items, strict=True))
    return _same_members(gold.items, answer.items)


def _same_members(gold: Sequence[Shape], answer: Sequence[Shape]) -> bool:
    """Each gold member is found once; equality is transitive, so the first partner is as good as any."""
    left = list(answer)
    for member in gold:
        partner = next((i for i, other in enumerate(left) if matches(member, other)), None)
        if partner is None:
            return False
        left.pop(partner)
    return True


def _same_set(gold: Sequence[Shape], answer: Sequence[Shape]) -> bool:
    """In braces a repeated member says nothing: \\{1, 2, 2\\} is \\{1, 2\\}."""
    found = [next((i for i, member in enumerate(gold) if matches(member, other)), None) for other in answer]
    return None not in found and len(set(found)) == len(gold)


def _by_name(items: Sequence[Shape]) -> list[Shape]:
    """The values of x = 1, y = 2 in the order of the letters, which is that of a tuple; none for other lists."""
    named: dict[str, Shape] = {}
    for item in items:
        if not isinstance(item, Relation) or item.signs != ("=",) or len(said(item.sides[0])) != 1:
            return []
        named[said(item.sides[0])] = item.sides[1]
    return [named[name] for name in sorted(named)] if len(named) == len(items) else []


def _endless(shape: Shape) -> Interval | None:
    """(a, \\infty) is an interval and no point."""
    if isinstance(shape, Listing) and shape.kind == "tuple" and len(shape.items) == 2:
        low, high = shape.items
        if isinstance(low, Infinity) or isinstance(high, Infinity):
            return Interval("()", (low, high))
    return None


def _open_interval(shape: Shape) -> Shape:
    if isinstance(shape, Listing) and shape.kind == "tuple" and len(shape.items) == 2:
        return Interval("()", (shape.items[0], shape.items[1]))
    return shape


def _interval(gold: Interval | Combination, answer: Shape) -> bool:
    answer = _open_interval(answer)
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        return gold.brackets == answer.brackets and all(
            matches(*pair) for pair in zip(gold.ends, answer.ends, strict=True)
        )
    sets = _set(gold), _set(answer)
    return sets[0] is not None and sets[1] is not None and same_set(sets[0], sets[1])


def _set(shape: Shape) -> Set | None:
    shape = _open_interval(shape)
    if isinstance(shape, Interval):
        ends = [end.sign if isinstance(end, Infinity) else formula_of(end) for end in shape.ends]
        return None if None in ends else ("interval", shape.brackets, *ends)
    if isinstance(shape, Listing) and shape.kind == "set":
        points = [formula_of(item) for item in shape.items]
        return None if None in points else ("points", *points)
    if isinstance(shape, Relation):
        region = _region(shape)
        return None if region is None else _set(region)
    if isinstance(shape, Combination):
        parts = [_set(part) for part in shape.parts]
        return None if None in parts else (shape.operator, *parts)
    return None


# Equations and inequalities

_UNEQUAL = frozenset({"<", ">", "<=", ">=", "!="})
_ORDER = {"<": ("(", ")"), "<=": ("[", "]")}


def _stands(relation: Relation, place: int) -> bool:
    """x, x_1, f'(x), AB, words or (x, y): something that stands for the value, and is not said to hold itself."""
    side, name = relation.sides[place], relation.names[place] if relation.names else None
    if isinstance(side, Listing):
        return side.kind == "tuple" and all(_is_letter(item) for item in side.items)
    if name is None or not name.one:
        return False
    others = (other for i, other in enumerate(relation.sides) if i != place)
    return not (name.letter and any(name.letter in one.letters for other in others for one in formulas_of(other)))


def _is_letter(shape: Shape) -> bool:
    return isinstance(shape, Leaf) and bool(shape.letters or shape.formula.op == "letter")


def _stated(gold: Shape, answer: Relation) -> bool:
    """x = 2, 6/8 = 3/4, sqrt 2 ~ 1.41 or x <= 3 for a gold answer that is no relation."""
    signs = answer.signs
    if _UNEQUAL & set(signs):
        region = _region(answer)
        known = _open_interval(gold)  # 1 < x < 2 says that (1, 2) is no point
        return region is not None and isinstance(known, Interval | Combination) and _interval(known, region)
    if signs == ("=",) and _stands(answer, 1) and not _stands(answer, 0):
        answer = answer.turned()
    lettered = any(one.letters or one.has_i for one in formulas_of(gold))
    if not lettered and any(answer.names):  # a + b = 5, f(2) = 5: a name of what has no letters
        if answer.names[-1] and not answer.names[0]:
            answer = answer.turned()
        while len(answer.sides) > 1 and answer.names[0]:
            answer = _without_first(answer)
    if answer.signs and _stands(answer, 0):
        answer = _without_first(answer)
    if not answer.signs:
        return matches(gold, answer.sides[0])
    return _steps(gold, answer.signs, answer.sides)


def _steps(gold: Shape, signs: Sequence[str], sides: Sequence[Shape]) -> bool:
    """1 + 1 = 2, 0.75 = 3/4: every member is equal, and one is written as the gold answer asks."""
    if tuple(signs) == ("~",) and isinstance(sides[1], Number):
        exact = formula_of(sides[0])
        close = exact is not None and not exact.letters and rounds(exact, sides[1].value, sides[1].places)
        return close and any(matches(gold, side) for side in sides)
    if set(signs) != {"="}:
        return False
    value = formula_of(gold)
    written = [matches(gold, side) for side in sides]
    steps = [formula_of(side) for side, right in zip(sides, written, strict=True) if not right]
    return any(written) and all(
        step is not None and value is not None and equal(value, step, finished=False) for step in steps
    )


def _without_first(relation: Relation) -> Relation:
    return Relation(relation.signs[1:], relation.sides[1:], relation.names[1:])


def _region(relation: Relation) -> Interval | Combination | Listing | None:
    """-1 < x <= 3 as (-1, 3], x > 2 as (2, infinity), x != 1 as all reals without 1, x = 1 as {1}."""
    signs, sides = relation.signs, relation.sides
    if signs == ("!=",) and _stands(relation, 0):
        return Combination("\\setminus", (REALS, Listing("set", (sides[1],))))
    if signs == ("=",) and _stands(relation, 0):
        return Listing("set", (sides[1],))
    if signs == ("in",) and _stands(relation, 0) and isinstance(sides[1], Interval | Combination | Listing):
        return sides[1]
    if any(sign in (">", ">=") for sign in signs):
        relation = relation.turned()
        signs, sides = relation.signs, relation.sides
    if not all(sign in _ORDER for sign in signs) or len(signs) > 2:
        return None
    if len(signs) == 2 and _stands(relation, 1):
        return Interval(_ORDER[signs[0]][0] + _ORDER[signs[1]][1], (sides[0], sides[2]))
    if len(signs) == 1 and _stands(relation, 0):
        return Interval("(" + _ORDER[signs[0]][1], (Infinity(-1), sides[1]))
    if len(signs) == 1 and _stands(relation, 1):
        return Interval(_ORDER[signs[0]][0] + ")", (sides[0], Infinity(1)))
    return None


def _relation(gold: Relation, answer: Shape) -> bool:
    signs, sides = gold.signs, gold.sides
    if signs == ("in",):
        return matches(sides[1], answer)
    if set(signs) <= {"=", "~"}:
        return _equation(gold, answer)
    if not isinstance(answer, Relation) or answer.signs == ("in",):
        region = _region(gold)
        return isinstance(region, Interval | Combination) and _interval(region, answer)
    for other in (answer, answer.turned()):
        if signs == other.signs:
            if all(matches(*pair) for pair in zip(sides, other.sides, strict=True)):
                return True
            if len(signs) == 1 and _proportional(sides, other.sides, positive=signs != ("!=",)):
                return True
    return False


def _equation(gold: Relation, answer: Shape) -> bool:
    sides = gold.sides
    if _stands(gold, 0):
        if isinstance(answer, Relation) and gold.signs == ("=",):
            return _same_name(gold, answer)
        return matches(sides[-1], answer)
    if gold.signs == ("=",) and not all(isinstance(side, Number | Quantity) for side in sides):
        single = isinstance(answer, Relation) and answer.signs == ("=",)
        return single and _proportional(sides, answer.sides, positive=False)  # type: ignore[union-attr]
    said_sides = answer.sides if isinstance(answer, Relation) and set(answer.signs) <= {"=", "~"} else (answer,)
    return all(any(matches(side, other) for side in sides) for other in said_sides)


def _same_name(gold: Relation, answer: Relation) -> bool:
    if len(answer.sides) == 2 and _stands(answer, 1) and not _stands(answer, 0):
        answer = answer.turned()
    if not _stands(answer, 0):
        return False
    names = [_name_text(relation.sides[0], relation.names[0]) for relation in (gold, answer)]
    return names[0] == names[1] and _stated(gold.sides[1], answer)


def _name_text(side: Shape, name: Name | None) -> str:
    if isinstance(side, Words) and not side.text.startswith("the name "):
        return said(side)
    return name.text if name is not None else repr(side)


def _proportional(gold: Sequence[Shape], answer: Sequence[Shape], *, positive: bool) -> bool:
    formulas = [formula_of(side) for side in (*gold, *answer)]
    known = [one for one in formulas if one is not None]
    return len(known) == 4 and proportional(known[:2], known[2:], positive=positive)
