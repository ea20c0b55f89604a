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
from fractions import Fraction

from headwater.verifiers.canonical import canonical, decimal, fraction_of, index_text, is_degree, whole_number
from headwater.verifiers.latex import Node, Nodes, Unreadable, parse_latex

_LARGEST_EXPONENT = 100
"""Of ten, in a number written as a \\times 10^n."""


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number that is written out: digits, a decimal, a fraction, a mixed number, a x 10^n."""

    value: Fraction
    places: int = 0
    """decimal places as written"""


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
    """Several answers: a "list" without brackets, a "tuple" or a "set"."""

    kind: str
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """`brackets` are the two as written, such as "[)"."""

    brackets: str
    ends: tuple[Shape, Shape]


@dataclass(frozen=True, slots=True)
class Combination:
    r"""Sets joined by "\\cup" or the first without the others by "\\setminus"."""

    operator: str
    parts: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; "v" for a determinant."""

    kind: str
    rows: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides and the signs between them: = < > <= >= != ~ in."""

    signs: tuple[str, ...]
    sides: tuple[Shape, ...]


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
        joined = nodes if separators else _join_thousands(nodes)
        parts = _split(joined, "comma")
        if len(parts) > 1:
            return _listing("list", parts, separators)
        nodes = joined
    return _relation(nodes) if any(node.kind == "relation" for node in nodes) else _single(nodes)


def _join_thousands(nodes: Nodes) -> Nodes:
    """1,000 as one number: one to three digits, then groups of a comma and three digits, without a space."""
    joined: list[Node] = []
    for node in nodes:
        if (
            len(joined) > 1
            and node.glued
            and re.fullmatch(r"[0-9]{3}(\.[0-9]+)?", node.text)
            and joined[-1].text == ","
            and joined[-1].glued
            and re.fullmatch(r"[1-9][0-9]{0,2}|[1-9][0-9]{0,2}(,[0-9]{3})+", joined[-2].text)
        ):
            joined[-2:] = [Node("number", joined[-2].text + "," + node.text, (), joined[-2].glued)]
        else:
            joined.append(node)
    return tuple(Node(n.kind, n.text.replace(",", "") if n.kind == "number" else n.text, n.parts, n.glued)
                 for n in joined)  # fmt: skip


def _split(nodes: Nodes, kind: str, text: str = "") -> list[Nodes]:
    """The stretches between the nodes of this kind; two separators side by side (", and") are one."""
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if node.kind != kind or (text and node.text != text):
            parts[-1].append(node)
        elif parts[-1]:
            parts.append([])
        elif len(parts) == 1 or node.text != "or":
            raise Unreadable("a separator with nothing before it")
    if not parts[-1]:
        raise Unreadable("a separator with nothing behind it")
    return [tuple(part) for part in parts]


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
    return Relation(signs, tuple(_single(part) for part in parts))


def _single(nodes: Nodes) -> Shape:
    """One answer without relations."""
    for sign in ("\\cup", "\\setminus"):
        if any(node.text == sign for node in nodes):
            return Combination(sign, tuple(_single(part) for part in _split(nodes, "sign", sign)))
    if len(nodes) == 1:
        if nodes[0].kind == "group" and (bracketed := _bracketed(nodes[0])) is not None:
            return bracketed
        if nodes[0].kind == "matrix":
            return _matrix(nodes[0])
        if nodes[0].text in ("\\emptyset", "\\mathbb"):
            return _named_set(nodes[0])
    if any(node.text == "\\pm" for node in nodes):
        return _plus_minus(nodes)
    return _quantity(nodes)


def _bracketed(group: Node) -> Shape | None:
    inside = group.parts[0]
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
        return Interval("()", (Leaf("-\\infty"), Leaf("\\infty")))
    raise Unreadable("a set of numbers other than the reals")


def _plus_minus(nodes: Nodes) -> Shape:
    if sum(node.text == "\\pm" for node in nodes) > 1:
        raise Unreadable("several signs of plus or minus")
    both = (
        tuple(Node("sign", sign) if node.text == "\\pm" else node for node in nodes)
        for sign in ("+", "-")
    )  # fmt: skip
    return Listing("list", tuple(_quantity(nodes) for nodes in both))


def _quantity(nodes: Nodes) -> Shape:
    """A value with what is written before or behind it as its unit."""
    if all(node.kind == "words" for node in nodes):
        return Words(" ".join(node.text for node in nodes).strip(" .:;!()[]"))
    signed = nodes[0].kind == "sign" and nodes[0].text == "-"
    if len(nodes) > 1 + signed and nodes[signed].text == "\\$":
        return Quantity(_quantity((*nodes[:signed], *nodes[signed + 1 :])), "$")
    if len(nodes) > 1 and nodes[-1].kind == "sign" and nodes[-1].text == "%":
        return Quantity(_value(nodes[:-1]), "%")
    unit = ""
    while len(nodes) > 1 and (nodes[-1].kind == "words" or _unit_power(nodes)):
        size = 1 if nodes[-1].kind == "words" else 2
        exponent = f"^{whole_number(nodes[-1].parts[0])}" if size == 2 else ""
        unit = f"{nodes[-size].text}{exponent} {unit}".strip()
        nodes = nodes[:-size]
    if len(nodes) > 1 and is_degree(nodes[-1]) and not any(node.kind == "function" for node in nodes):
        return Quantity(_value(nodes[:-1]), f"degree {unit}".strip())
    return Quantity(_value(nodes), unit) if unit else _value(nodes)


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
    if (number := _number(nodes)) is not None:
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


def _number(nodes: Nodes) -> Number | None:
    sign = -1 if nodes[0].text == "-" else 1
    nodes = nodes[1:] if nodes[0].kind == "sign" and nodes[0].text in "+-" else nodes
    number = _unsigned(nodes)
    return None if number is None else Number(sign * number.value, number.places)


def _unsigned(nodes: Nodes) -> Number | None:
    if len(nodes) == 1 and (value := fraction_of(nodes[0])) is not None:
        return Number(value)
    if not nodes or nodes[0].kind != "number":
        return None
    value = decimal(nodes[0].text)
    places = len(nodes[0].text.partition(".")[2])
    if len(nodes) == 1:
        return Number(value, places)
    if len(nodes) == 2 and value.denominator == 1 and (part := fraction_of(nodes[1])) is not None:
        return Number(value + part) if 0 < part < 1 else None
    if len(nodes) == 2 and nodes[1].text == "\\overline" and "." in nodes[0].text:
        repeated = nodes[1].parts[0]
        if len(repeated) == 1 and repeated[0].text.isdigit():
            nines = Fraction(10 ** len(repeated[0].text) - 1)
            return Number(value + int(repeated[0].text) / nines / 10**places)
    if len(nodes) == 3 and nodes[1].text == "/" and value.denominator == 1:
        divisor = whole_number(nodes[2:])
        return Number(value / divisor) if divisor else None
    if len(nodes) == 4 and nodes[1].text == "*" and nodes[2].text == "10" and nodes[3].kind == "power":
        exponent = whole_number(nodes[3].parts[0])
        if exponent is not None and abs(exponent) <= _LARGEST_EXPONENT:
            return Number(value * Fraction(10) ** exponent)
    return None


def _based(nodes: Nodes) -> Based | None:
    sign = "-" if nodes[0].text == "-" else ""
    digits = nodes[bool(sign) : -1]
    if len(digits) == 1 and digits[0].kind == "group" and digits[0].text == "()":
        digits = digits[0].parts[0]
    text = "".join(node.text for node in digits)
    if all(node.kind in ("number", "words", "letters") for node in digits) and re.fullmatch(
        r"[0-9][0-9A-Z]*|[A-Z][0-9A-Z]*[0-9][0-9A-Z]*", text
    ):
        base = index_text(nodes[-1].parts[0])
        return Based(sign + text.lstrip("0"), base) if base.isdigit() else None
    return None
