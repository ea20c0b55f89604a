r"""What kind of thing an answer is: a number, an expression, words, a tuple, a set, an interval, an equation.

    1,000   Number            (1, 2)   Listing "tuple"     x = 2        Relation
    2\pi    Leaf              1, 2     Listing "list"      -1 < x \le 3 Relation
    \text{no} Words           \{1, 2\} Listing "set"       10\%, 5\text{ cm}  Quantity
    1011_2  Based             [0, 1)   Interval            \begin{pmatrix}..  Matrix

The brackets are a part of the answer: (2, 1) is not \{1, 2\}. Only a comma between digits has two readings,
1,000 or 1, 000; `separators` asks for the second one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.verifiers.canonical import canonical, index_text, is_degree, whole_number
from headwater.verifiers.latex import Node, Nodes, Unreadable, parse_latex
from headwater.verifiers.units import denies
from headwater.verifiers.written import Number, join_thousands, written_number


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression in canonical LaTeX; `letters` when it is nothing but letters."""

    latex: str
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text, without the spaces and dots around it."""

    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Several answers: a "list" without brackets, a "tuple" or a "set"; `joint` is the word between all of a list."""

    kind: str
    items: tuple[Shape, ...]
    joint: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """`brackets` are the two as written, such as "[)"."""

    brackets: str
    ends: tuple[Shape, Shape]


@dataclass(frozen=True, slots=True)
class Combination:
    r"""Sets joined by "\\cup" or "\\cap", or the first without the others by "\\setminus"."""

    operator: str
    parts: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; "v" for a determinant."""

    kind: str
    rows: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides and the signs between them: = < > <= >= != ~ in. `names` tells which sides only stand for a value."""

    signs: tuple[str, ...]
    sides: tuple[Shape, ...]
    names: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its unit: "%", "degree", "$", or the words behind it."""

    value: Shape
    unit: str


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base that is named."""

    digits: str
    base: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """Parts with colons between them, such as a time."""

    parts: tuple[str, ...]


_REALS = Interval("()", (Leaf("-\\infty"), Leaf("\\infty")))
_ALL_REALS = frozenset({"all real numbers", "all reals", "all real x", "the real numbers", "real numbers"})
_ANNOUNCED = re.compile(r"(?:the )?(?:final )?answer(?: is)?:?", re.IGNORECASE)
_CURRENCIES = {"\\$": "$", "\\pounds": "pounds", "\\euro": "euro"}
_BASES = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16",
}  # fmt: skip

Shape = Number | Leaf | Words | Listing | Interval | Combination | Matrix | Relation | Quantity | Based | Ratio


def read(text: str, *, separators: bool = False) -> Shape:
    """The shape of an answer. Raises Unreadable for what has none."""
    return _read(parse_latex(text), separators)


def _read(nodes: Nodes, separators: bool) -> Shape:
    while nodes and (nodes[-1].kind == "stop" or nodes[-1].text in (",", ";")):
        nodes = nodes[:-1]
    if not nodes:
        raise Unreadable("nothing")
    if len(nodes) == 1 and nodes[0].kind == "group" and nodes[0].text in ("{}", "()"):
        inside = nodes[0].parts[0]
        if nodes[0].text == "{}" or not any(node.kind == "comma" for node in inside):
            return _read(inside, separators)
    if any(node.kind == "comma" for node in nodes):
        joined = nodes if separators else join_thousands(nodes)
        parts = _split(joined, "comma")
        if len(parts) > 1:
            return _joined(parts, {node.text for node in joined if node.kind == "comma"}, separators)
        nodes = joined
    return _relation(nodes) if any(node.kind == "relation" for node in nodes) else _single(nodes)


def _split(nodes: Nodes, kind: str, text: str = "") -> list[Nodes]:
    """The stretches between the nodes of this kind; two separators side by side (", and") are one."""
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if node.kind != kind or (text and node.text != text):
            parts[-1].append(node)
        elif parts[-1]:
            parts.append([])
        elif len(parts) == 1 or node.text not in ("or", "and"):
            raise Unreadable("a separator with nothing before it")
    if not parts[-1]:
        raise Unreadable("a separator with nothing behind it")
    return [tuple(part) for part in parts]


def _joined(parts: list[Nodes], joints: set[str], separators: bool) -> Shape:
    """A list; x < 2 or x > 3 is a union, x > 2 and x < 3 an intersection."""
    words = joints & {"or", "and"}
    signs = [{node.text for node in part if node.kind == "relation"} for part in parts]
    if len(words) == 1 and all(signs) and {"<", ">", "<=", ">="} & set[str]().union(*signs):
        operator = "\\cup" if words == {"or"} else "\\cap"
        return Combination(operator, tuple(_read(part, separators) for part in parts))
    listing = _listing("list", parts, separators)
    return Listing("list", listing.items, joints.pop() if len(joints) == 1 else "")


def _listing(kind: str, parts: list[Nodes], separators: bool) -> Listing:
    items: list[Shape] = []
    for part in parts:
        item = _read(part, separators)
        plus_minus = isinstance(item, Listing) and item.kind == "list"
        if plus_minus and kind == "tuple":
            raise Unreadable("a tuple with two values in one place")
        items += item.items if isinstance(item, Listing) and plus_minus else [item]
    return Listing(kind, tuple(items))


def _relation(nodes: Nodes) -> Shape:
    signs = tuple(node.text for node in nodes if node.kind == "relation")
    if nodes[0].kind == "relation" and signs == ("~",):
        return _single(nodes[1:])
    if len(signs) > 4:
        raise Unreadable("a long chain of relations")
    parts = _split(nodes, "relation")
    if len(parts) != len(signs) + 1:
        raise Unreadable("a relation without one of its sides")
    names = tuple(_is_name(part) for part in parts)
    return Relation(signs, tuple(_side(*both) for both in zip(parts, names, strict=True)), names)


def _side(nodes: Nodes, name: bool) -> Shape:
    try:
        return _single(nodes)
    except Unreadable:
        if not name:
            raise
        return Words("a name")


def _is_name(nodes: Nodes) -> bool:
    r"""Whether this only stands for a value: AB, f(2), a + b, \sin A, \frac{AB}{CD}, \overline{AB}, |AB|.

    A number in front of it or a power would make it an equation that is not solved: 2x = 10.
    """
    lettered = False
    for place, node in enumerate(nodes):
        before = nodes[place - 1].kind if place else ""
        if node.kind == "words" and denies(node.text):
            return False
        if node.kind in ("letters", "words", "function") or (node.kind == "symbol" and node.text != "\\pi"):
            lettered = True
        elif node.kind == "sign" and node.text in "+-" and place:
            continue
        elif node.kind == "sign" and node.text == "|":
            if place + 1 < len(nodes) and before == "" and nodes[1].kind == "letters" and len(nodes[1].text) == 1:
                return False  # |x| = 5 has two solutions
        elif node.kind == "index" or (node.kind == "group" and before in ("letters", "words", "function", "index")):
            continue
        elif node.text in ("()", "{}", "[]", "\\frac", "\\overline", "\\vec"):
            if not all(_is_name(part) for part in node.parts):
                return False
            lettered = True
        else:
            return False
    return lettered


def _single(nodes: Nodes) -> Shape:
    """One answer without relations."""
    if any(node.text == "\\mathbb" for node in nodes):  # R - {0}
        nodes = tuple(Node("sign", "\\setminus") if node.text == "-" else node for node in nodes)
    for sign in ("\\cup", "\\cap", "\\setminus"):
        if any(node.text == sign for node in nodes):
            return Combination(sign, tuple(_single(part) for part in _split(nodes, "sign", sign)))
    if len(nodes) == 1:
        if nodes[0].kind == "group" and (bracketed := _bracketed(nodes[0])) is not None:
            return bracketed
        if nodes[0].kind == "matrix":
            return _matrix(nodes[0])
        if nodes[0].text in ("\\emptyset", "\\mathbb"):
            return _named_set(nodes[0])
    if _count(nodes, "\\pm"):
        return _plus_minus(nodes)
    return _quantity(nodes)


def _bracketed(group: Node) -> Shape | None:
    inside = group.parts[0]
    if group.text == "\\{\\}" and (condition := _condition(inside)):
        return _read(condition, False)
    if group.text == "\\{\\}":
        return _listing("set", _split(inside, "comma"), True) if inside else Listing("set", ())
    if group.text == "{}" or (group.text == "()" and not any(node.kind == "comma" for node in inside)):
        if len(inside) == 1 and inside[0].kind == "matrix":
            return _matrix(inside[0])
        return _read(inside, False)
    if group.text in ("()", "\\langle\\rangle"):
        return _listing("tuple", _split(inside, "comma"), True)
    if group.text in ("[]", "[)", "(]"):
        if group.text == "[]" and len(inside) == 1 and inside[0].kind == "matrix":
            return _matrix(inside[0])
        ends = _split(inside, "comma")
        if len(ends) == 2:
            return Interval(group.text, (_read(ends[0], True), _read(ends[1], True)))
    return None


def _condition(inside: Nodes) -> Nodes:
    r"""What stands behind the bar of \{x | x > 2\}, where x is a real number; nothing for every other set."""
    bar = next((place for place, node in enumerate(inside) if node.kind == "sign" and node.text in (":", "|")), 0)
    head, tail = inside[:bar], inside[bar + 1 :]
    real = len(head) == 1 or (len(head) == 3 and head[1].text == "in" and head[2].text == "\\mathbb")
    letter = bool(head) and head[0].kind == "letters" and len(head[0].text) == 1
    return tail if real and letter and any(node.kind == "relation" for node in tail) else ()


def _matrix(node: Node) -> Matrix:
    lines: list[list[list[Node]]] = [[[]]]
    for part in node.parts[0]:
        if part.text == "\\\\":
            lines.append([[]])
        elif part.text == "&":
            lines[-1].append([])
        else:
            lines[-1][-1].append(part)
    if lines[-1] == [[]]:
        lines.pop()
    rows = tuple(tuple(_read(tuple(cell), False) for cell in line) for line in lines)
    return Matrix("v" if node.text in ("vmatrix", "Vmatrix") else "", rows)


def _named_set(node: Node) -> Shape:
    if node.text == "\\emptyset":
        return Listing("set", ())
    if [part.text for part in node.parts[0]] == ["R"]:
        return _REALS
    raise Unreadable("a set of numbers other than the reals")


def _plus_minus(nodes: Nodes) -> Shape:
    if _count(nodes, "\\pm") > 1:
        raise Unreadable("several signs of plus or minus")
    return Listing("list", tuple(_quantity(_signed(nodes, sign)) for sign in ("+", "-")))


def _count(nodes: Nodes, text: str) -> int:
    return sum((node.text == text) + sum(_count(part, text) for part in node.parts) for node in nodes)


def _signed(nodes: Nodes, sign: str) -> Nodes:
    """With this sign where there is plus or minus."""
    return tuple(
        Node("sign", sign)
        if node.text == "\\pm"
        else Node(node.kind, node.text, tuple(_signed(part, sign) for part in node.parts), node.glued)
        for node in nodes
    )


def _quantity(nodes: Nodes) -> Shape:
    """A value with what is written before or behind it as its unit."""
    if all(node.kind == "words" for node in nodes):
        text = " ".join(node.text for node in nodes).strip(" .:;!()[]")
        return _REALS if text.casefold() in _ALL_REALS else Words(text)
    if nodes[0].kind == "words" and _ANNOUNCED.fullmatch(nodes[0].text):
        return _quantity(nodes[1:])
    signed = nodes[0].kind == "sign" and nodes[0].text == "-"
    if len(nodes) > 1 + signed and nodes[signed].text in _CURRENCIES:
        return Quantity(_quantity((*nodes[:signed], *nodes[signed + 1 :])), _CURRENCIES[nodes[signed].text])
    if len(nodes) > 1 and nodes[-1].text in _CURRENCIES:
        return Quantity(_value(nodes[:-1]), _CURRENCIES[nodes[-1].text])
    if len(nodes) > 1 and nodes[-1].text == "\\pmod":
        return Quantity(_value(nodes[:-1]), f"mod {canonical(nodes[-1].parts[0])}")
    if len(nodes) > 1 and nodes[-1].kind == "sign" and nodes[-1].text == "%":
        return Quantity(_value(nodes[:-1]), "%")
    unit = ""
    while len(nodes) > 1 and (nodes[-1].kind == "words" or _unit_power(nodes) or _unit_fraction(nodes[-1])):
        if nodes[-1].kind == "macro":
            unit = "/".join(part[0].text for part in nodes[-1].parts) + unit
            nodes = nodes[:-1]
            continue
        size = 1 if nodes[-1].kind == "words" else 2
        exponent = f"^{whole_number(nodes[-1].parts[0])}" if size == 2 else ""
        unit = f"{nodes[-size].text}{exponent} {unit}".strip()
        nodes = nodes[:-size]
    if (
        len(nodes) > 1
        and (is_degree(nodes[-1]) or _small_o(nodes))
        and not any(node.kind == "function" for node in nodes)
    ):
        return Quantity(_value(nodes[:-1]), f"degree {unit}".strip())
    return Quantity(_value(nodes), unit) if unit else _value(nodes)


def _unit_fraction(node: Node) -> bool:
    return node.text == "\\frac" and all(len(part) == 1 and part[0].kind == "words" for part in node.parts)


def _small_o(nodes: Nodes) -> bool:
    """90^o, as people type it."""
    last = nodes[-1]
    return last.kind == "power" and [node.text for node in last.parts[0]] == ["o"] and nodes[-2].kind == "number"


def _unit_power(nodes: Nodes) -> bool:
    return (
        len(nodes) > 2
        and nodes[-1].kind == "power"
        and nodes[-2].kind == "words"
        and whole_number(nodes[-1].parts[0]) is not None
    )


def _value(nodes: Nodes) -> Shape:
    if len(nodes) == 1 and nodes[0].text in ("{}", "()"):
        return _read(nodes[0].parts[0], False)
    if len(nodes) == 1 and nodes[0].kind == "words":
        return _quantity(nodes)
    if (number := written_number(nodes)) is not None:
        return number
    if len(nodes) > 1 and nodes[-1].kind == "index" and (based := _based(nodes)) is not None:
        return based
    if any(node.text == ":" for node in nodes):
        return Ratio(tuple(canonical(part) for part in _split(nodes, "sign", ":")))
    if len(nodes) == 1 and nodes[0].kind == "letters" and len(nodes[0].text) > 1 and nodes[0].text.isupper():
        return Words(nodes[0].text)  # CD is a segment, not C times D
    unsigned = nodes[1:] if nodes[0].text in "+-" else nodes
    if len(unsigned) == 1 and unsigned[0].text == "\\infty":
        return Leaf("-\\infty" if nodes[0].text == "-" else "\\infty")
    letters = nodes[0].text if len(nodes) == 1 and nodes[0].kind == "letters" else ""
    return Leaf(canonical(nodes), letters)


def _based(nodes: Nodes) -> Based | None:
    sign = "-" if nodes[0].text == "-" else ""
    digits = nodes[bool(sign) : -1]
    if len(digits) == 1 and digits[0].kind == "group" and digits[0].text == "()":
        digits = digits[0].parts[0]
    text = "".join(node.text for node in digits)
    if all(node.kind in ("number", "words", "letters") for node in digits) and re.fullmatch(
        r"[0-9][0-9A-Z]*|[A-Z][0-9A-Z]*[0-9][0-9A-Z]*", text
    ):
        index = nodes[-1].parts[0]
        base = _BASES.get(index[0].text, "") if index and index[0].kind == "words" else index_text(index)
        return Based(sign + text.lstrip("0"), base) if base.isdigit() else None
    return None
