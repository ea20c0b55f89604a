r"""From the nodes of an answer to its shape: parts at commas, relations and brackets, and what stands around a number.

A comma between digits has two readings, 1,000 or 1, 000; so has a letter behind a number, five metres or five times m.
`Reader` says which one is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from headwater.verifiers.formula import formula, index_text, is_degree, join_thousands, written
from headwater.verifiers.latex import Node, Nodes, Unreadable, parse_latex, spelled, split_nodes, trimmed
from headwater.verifiers.names import CONDITION, name_of, split_condition
from headwater.verifiers.terms import (
    REALS,
    Given,
    Name,
    Quantity,
    Relation,
    Term,
    infinity,
    number,
    product_of,
    words,
)
from headwater.verifiers.units import (
    LETTER_UNITS,
    MONEY,
    VOCABULARY,
    is_prose,
    is_word,
    measure_of,
    ordinal_ending,
    unit_of,
)

_PHRASES = VOCABULARY["phrases"]
_SIGNS = {"*": "*", "/": "/", "%": "%", "\\mu": "μ", "\\Omega": "Ω", **MONEY}
"""What a unit may hold besides letters and powers."""
_ANNOUNCED = r"(?i)(?:the )?(?:final )?answer(?: is)?:?"


@dataclass(frozen=True, slots=True)
class Reader:
    """`separators`: every comma parts two answers; `measured`: a letter behind a number may be its unit."""

    separators: bool = False
    measured: bool = False

    def read(self, text: str) -> Term:
        """The shape of an answer; conditions may stand behind it. Raises Unreadable for what has none."""
        main, condition = split_condition(parse_latex(text))
        value = self._shape(main)
        return value if condition is None else Given("given", (value,), letter=condition[0], domain=condition[1])

    def _shape(self, nodes: Nodes) -> Term:
        """One answer, or several with commas between them."""
        nodes = trimmed(nodes)
        if not nodes:
            raise Unreadable("nothing")
        if len(nodes) == 1 and nodes[0].text == "{}":
            return self._shape(nodes[0].parts[0])
        nodes = nodes if self.separators else join_thousands(nodes)
        parts = split_nodes(nodes, "comma")
        if len(parts) > 1:
            return self._joined(parts, {node.text for node in nodes if node.kind == "comma"})
        return self._relation(nodes) if any(node.kind == "relation" for node in nodes) else self._single(nodes)

    def _joined(self, parts: list[Nodes], joints: set[str]) -> Term:
        """A list; x < 2 or x > 3 is a union, x > 2 and x < 3 an intersection."""
        words = joints & {"or", "and"}
        signs = [{node.text for node in part if node.kind == "relation"} for part in parts]
        if len(words) == 1 and all(signs) and {"<", ">", "<=", ">="} & set[str]().union(*signs):
            operator = "\\cup" if words == {"or"} else "\\cap"
            return Term(operator, tuple(self._shape(part) for part in parts))
        return replace(self._listing("list", parts), name=joints.pop() if len(joints) == 1 else "")

    def _listing(self, kind: str, parts: list[Nodes]) -> Term:
        items: list[Term] = []
        for part in parts:
            item = words("...") if [node.text for node in part] == ["\\ldots"] else self._shape(part)
            if item.op == "list" and kind == "tuple":
                raise Unreadable("a tuple with two values in one place")
            items += item.parts if item.op == "list" else [item]
        endless = kind == "tuple" and len(items) == 2 and any(item.op == "infinity" for item in items)
        return Term("interval", tuple(items), name="()") if endless else Term(kind, tuple(items))

    def _relation(self, nodes: Nodes) -> Term:
        signs = tuple(node.text for node in nodes if node.kind == "relation")
        if nodes[0].kind == "relation" and signs == ("~",):
            return self._single(nodes[1:])
        if len(signs) > 4:
            raise Unreadable("a long chain of relations")
        parts = split_nodes(nodes, "relation")
        if signs[0] == "=" and parts[0][0].kind == "words" and re.match(CONDITION, parts[0][0].text):
            raise Unreadable("a condition without what it is a condition of")
        names = tuple(name_of(part) for part in parts)
        if "\\equiv" in signs:
            if any(name is not None and name.letter for name in names) and parts[-1][-1].text != "\\pmod":
                raise Unreadable("a congruence without its modulus")
            signs = tuple(sign.replace("\\equiv", "=") for sign in signs)
        sides = tuple(self._side(*both) for both in zip(parts, names, strict=True))
        return Relation("relation", sides, name=" ".join(signs), names=names)

    def _side(self, nodes: Nodes, name: Name | None) -> Term:
        try:
            return self._single(nodes)
        except Unreadable:
            if name is None:
                raise
            return words(f"the name {name.text}")

    def _single(self, nodes: Nodes) -> Term:
        """One answer without relations."""
        if any(node.text == "\\mathbb" for node in nodes):  # R - {0}
            nodes = tuple(Node("sign", "\\setminus") if node.text == "-" else node for node in nodes)
        for sign in ("\\cup", "\\cap", "\\setminus"):
            if any(node.text == sign for node in nodes):
                return Term(sign, tuple(self._single(part) for part in split_nodes(nodes, "sign", sign)))
        if len(nodes) == 1:
            if nodes[0].kind == "group" and (bracketed := self._bracketed(nodes[0])) is not None:
                return bracketed
            if nodes[0].kind == "matrix":
                return self._matrix(nodes[0])
            if nodes[0].text in ("\\emptyset", "\\mathbb"):
                return _named_set(nodes[0])
        if count_of(nodes, "\\pm"):
            return self._plus_minus(nodes)
        return self._quantity(nodes)

    def _bracketed(self, group: Node) -> Term | None:
        inside = group.parts[0]
        everywhere = replace(self, separators=True)
        if group.text == "\\{\\}" and (condition := _set_builder(inside)):
            return self._shape(condition)
        if group.text == "\\{\\}":
            return everywhere._listing("set", split_nodes(inside, "comma")) if inside else Term("set")
        if group.text == "{}" or (group.text == "()" and not any(node.kind == "comma" for node in inside)):
            return self._shape(inside)
        if group.text in ("()", "\\langle\\rangle"):
            return everywhere._listing("tuple", split_nodes(inside, "comma"))
        if group.text in ("[]", "[)", "(]"):
            if group.text == "[]" and len(inside) == 1 and inside[0].kind == "matrix":
                return self._matrix(inside[0])
            ends = split_nodes(inside, "comma")
            if len(ends) == 2:
                return Term("interval", (everywhere._shape(ends[0]), everywhere._shape(ends[1])), name=group.text)
        return None

    def _matrix(self, node: Node) -> Term:
        inside = node.parts[0]
        lines = split_nodes(inside[:-1] if inside and inside[-1].text == "\\\\" else inside, "sign", "\\\\")
        rows = tuple(Term("row", tuple(map(self._shape, split_nodes(line, "sign", "&")))) for line in lines)
        return Term("matrix", rows, name="v" if node.text in ("vmatrix", "Vmatrix") else "")

    def _plus_minus(self, nodes: Nodes) -> Term:
        if count_of(nodes, "\\pm") > 1:
            raise Unreadable("several signs of plus or minus")
        return Term("list", tuple(self._quantity(_signed(nodes, sign)) for sign in ("+", "-")))

    # Numbers with what stands around them

    def _quantity(self, nodes: Nodes) -> Term:
        """A value with what is written before or behind it as its unit."""
        if all(node.kind == "words" for node in nodes):
            text = " ".join(node.text for node in nodes).strip(" .:;!()[]")
            return REALS if text.casefold() in _PHRASES["reals"] else words(text)
        if nodes[0].kind == "words" and re.fullmatch(_ANNOUNCED, nodes[0].text.strip(" :")):
            return self._quantity(nodes[1:])
        signed = nodes[0].kind == "sign" and nodes[0].text == "-"
        if len(nodes) > 1 + signed and (money := _money(nodes[signed])) is not None:
            inner = self._quantity((*nodes[:signed], *nodes[signed + 1 :]))
            value, unit = (inner.parts[0], inner.unit) if isinstance(inner, Quantity) else (inner, ())
            return Quantity("quantity", (value,), unit=tuple(sorted({*unit, (money, 1)})))
        if len(nodes) > 1 and nodes[-1].text == "\\pmod":
            modulus = f"mod {spelled(nodes[-1].parts[0])}"
            return Quantity("quantity", (self._value(nodes[:-1]),), unit=((modulus, 1),))
        if len(nodes) > 1 and _ordinal(nodes):
            return self._quantity(nodes[:-1])
        for size in range(min(len(nodes) - 1, 12), 0, -1):
            if (found := self._with_tail(nodes[:-size], nodes[-size:])) is not None:
                return found
        kinds = {node.kind for node in nodes}
        if "words" in kinds and kinds <= {"words", "letters", "number"}:
            return words(" ".join(node.text for node in nodes).strip(" .:;!()[]"))
        return self._value(nodes)

    def _with_tail(self, head: Nodes, tail: Nodes) -> Term | None:
        """The head's value where the tail is a unit or a multiplier of it; None where it is neither."""
        text = _tail_text(tail, bare=self.measured and len(head) == 1 and head[0].kind == "number")
        angle = is_degree(tail[0]) and any(node.kind == "function" for node in head)  # not that of a cosine
        measure = measure_of(text) if text and not angle else None
        if measure is None:
            return None
        factor, unit = measure
        value = self._value(head[:-1] if len(head) > 1 and head[-1].text == "*" else head)
        if factor > 1:
            if value.op != "number":
                return None
            value = number(value.value * factor)
        return Quantity("quantity", (value,), unit=unit) if unit else value

    def _value(self, nodes: Nodes) -> Term:
        if len(nodes) == 1 and nodes[0].kind == "words":
            return self._quantity(nodes)
        if (text := _stamp(nodes)) is not None:
            return words(text)
        if len(nodes) > 1 and nodes[-1].kind == "index" and (based := _based(nodes)) is not None:
            return based
        if any(node.text == ":" for node in nodes):
            return words(":".join(spelled(part) for part in split_nodes(nodes, "sign", ":")))  # a time, a ratio
        unsigned = nodes[1:] if nodes[0].text in ("+", "-") else nodes
        if len(unsigned) == 1 and unsigned[0].text == "\\infty":
            return infinity(-1 if nodes[0].text == "-" else 1)
        if len(nodes) == 1 and nodes[0].kind in ("letters", "upright"):
            return _run(nodes[0].text)
        found = written(formula(nodes))
        bracketed = found.op == "number" and nodes[0].text == "[]"  # [5] is no 5, which may be the answer to it
        return Term("mul", (found,)) if bracketed else found


def _run(text: str) -> Term:
    """A run of letters: CD is a segment, `no` and `seat` are words, xy is a product."""
    if len(text) == 1 or not (text.isupper() or is_prose(text)):
        return product_of(text)
    only_words = text.isupper() or len(text) > 6 or is_word(text.lower())
    return words(text) if only_words else words(text, product_of(text))


def _set_builder(inside: Nodes) -> Nodes:
    r"""What stands behind the bar of \{x | x > 2\}, where x is a real number; nothing for every other set."""
    bar = next((place for place, node in enumerate(inside) if node.kind == "sign" and node.text in (":", "|")), 0)
    head, tail = inside[:bar], inside[bar + 1 :]
    real = len(head) == 1 or (len(head) == 3 and head[1].text == "in" and head[2].text == "\\mathbb")
    letter = bool(head) and head[0].kind == "letters" and len(head[0].text) == 1
    return tail if real and letter and any(node.kind == "relation" for node in tail) else ()


def _named_set(node: Node) -> Term:
    if node.text == "\\emptyset":
        return Term("set")
    name = spelled(node.parts[0])
    if name == "R":
        return REALS
    if name in ("Z", "N", "Q", "C"):
        return words(f"the set {name}")
    raise Unreadable("a set of numbers that has no name")


def count_of(nodes: Nodes, text: str) -> int:
    """How often a node says this, at any depth."""
    return sum((node.text == text) + sum(count_of(part, text) for part in node.parts) for node in nodes)


def _signed(nodes: Nodes, sign: str) -> Nodes:
    """With this sign where there is plus or minus."""
    return tuple(
        Node("sign", sign)
        if node.text == "\\pm"
        else replace(node, parts=tuple(_signed(part, sign) for part in node.parts))
        for node in nodes
    )


def _money(node: Node) -> str | None:
    if node.text in MONEY:
        return MONEY[node.text]
    unit = unit_of(node.text) if node.kind == "words" else None
    return unit[0][0] if unit and len(unit) == 1 and unit[0][1] == 1 and unit[0][0] in MONEY.values() else None


def _ordinal(nodes: Nodes) -> bool:
    """Whether the last node makes the number before it an ordinal."""
    last, before = nodes[-1], nodes[-2]
    if before.kind != "number":
        return False
    inside = last.parts[0] if last.kind == "power" else (last,)
    return len(inside) == 1 and inside[0].kind in ("words", "letters") and ordinal_ending(before.text, inside[0].text)


def _tail_text(nodes: Nodes, *, bare: bool) -> str:
    """The nodes as the text of a unit; "" where one of them can be in none."""
    if not nodes:
        return ""
    pieces = []
    typed = not nodes[0].glued and [node.text for node in nodes[:3]] in (["m", "/", "s"], ["g", "/", "mol"])
    for place, node in enumerate(nodes):
        before = nodes[place - 1].text if place else ""
        scale = place > 0 and is_degree(nodes[place - 1]) and node.text in ("C", "F")
        behind = before in ("/", "*") and nodes[0].kind in ("words", "upright")
        piece = _tail_piece(node, bare=bare or scale or behind or typed)
        if piece is None or (place == 0 and piece[0] in "*^"):
            return ""
        pieces.append(piece)
    text = " ".join(pieces)
    return re.sub(r" (?=\^)|(?<=μ) |(?<=\b[kM]) (?=Ω)", "", text)


def _tail_piece(node: Node, *, bare: bool) -> str | None:
    match node.kind:
        case "words" | "upright":
            return node.text
        case "letters":
            known = node.text in LETTER_UNITS or len(node.text) > 1 or node.text in ("C", "F")
            return node.text if bare and known else None
        case "symbol" | "sign":
            return _SIGNS.get(node.text)
        case "power":
            if is_degree(node) or [part.text for part in node.parts[0]] == ["o"]:
                return "°"
            exponent = spelled(node.parts[0]).removeprefix("+")
            return f"^{exponent}" if re.fullmatch("-?[0-9]", exponent) else None
        case "group" | "macro":
            if node.text in ("{}", "()", "[]") or node.text == "\\frac":
                inner = [_tail_text(part, bare=bare) for part in node.parts]
                if all(inner):
                    return "/".join(f"({text})" for text in inner)
    return None


def _stamp(nodes: Nodes) -> str | None:
    """The text of plain numbers with hyphens between them: a date, a range, a score, a telephone number; no sum."""
    text = " ".join(node.text if node.kind == "number" or node.text in ("-", "/") else "?" for node in nodes)
    stamped = re.fullmatch(r"(?:- )?[0-9.]+(?:(?: - [0-9.]+)+|(?: / [0-9.]+){2,})", text)
    return text.replace(" ", "") if stamped else None


def _based(nodes: Nodes) -> Term | None:
    sign = "-" if nodes[0].text == "-" else ""
    digits = nodes[bool(sign) : -1]
    if len(digits) == 1 and digits[0].text == "()":
        digits = digits[0].parts[0]
    text = spelled(digits)
    if not re.fullmatch(r"[0-9][0-9A-Z]*|[A-Z][0-9A-Z]*[0-9][0-9A-Z]*", text):
        return None
    index = nodes[-1].parts[0]
    base = _PHRASES["bases"].get(index[0].text, "") if index and index[0].kind == "words" else index_text(index)
    return Term("based", (number(int(base)),), name=sign + text.lstrip("0").upper()) if base.isdigit() else None
