r"""An expression as a tree with one reading: which letters multiply, how far a slash or a power reaches.

    2\sqrt{3}x   mul(2, root(3), x)        1/2x, 2 3, 2(3)   Unreadable: two readings

i and e are the constants, every other letter stands for itself; an index belongs to its letter. What has two
readings is refused, never guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from headwater.verifiers.latex import Node, Nodes
from headwater.verifiers.tokens import Unreadable

_INVERSE = {"\\sin": "arcsin", "\\cos": "arccos", "\\tan": "arctan"}
_OPERANDS = frozenset({"number", "letters", "upright", "symbol", "macro", "power", "index"})
_CONSTANTS = frozenset({"i", "e", "pi"})


@dataclass(frozen=True, slots=True)
class Formula:
    """`op` is number, letter, constant, add, mul, div, pow, root, or a function's name."""

    op: str
    parts: tuple[Formula, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""

    @property
    def letters(self) -> frozenset[str]:
        """The letters that stand for anything."""
        if self.op == "letter":
            return frozenset({self.name})
        return frozenset[str]().union(*(part.letters for part in self.parts))

    @property
    def has_i(self) -> bool:
        """Whether the imaginary unit is in it."""
        return any(node.op == "constant" and node.name == "i" for node in self.nodes())

    def nodes(self) -> list[Formula]:
        """The tree's nodes, the root first."""
        found = [self]
        for node in found:
            found.extend(node.parts)
        return found


def number(value: Fraction | int) -> Formula:
    """A rational number."""
    return Formula("number", value=Fraction(value))


def product_of(word: str) -> Formula:
    """The letters of a run, multiplied."""
    letters = tuple(_letter(letter) for letter in word)
    return letters[0] if len(letters) == 1 else Formula("mul", letters)


def formula(nodes: Nodes) -> Formula:
    """The expression that the nodes write. Raises Unreadable for lists, words, relations and stray signs."""
    builder = _Builder(nodes)
    found = builder.sum()
    if builder.position < len(nodes):
        raise Unreadable(f"{nodes[builder.position].text or nodes[builder.position].kind} stands in no expression")
    return found


def whole_number(nodes: Nodes) -> int | None:
    """The integer that these nodes are ("12", "-3"), or None."""
    sign = 1
    if nodes and nodes[0].kind == "sign" and nodes[0].text in "+-":
        sign = -1 if nodes[0].text == "-" else 1
        nodes = nodes[1:]
    if len(nodes) == 1 and nodes[0].kind == "number" and nodes[0].text.isdigit():
        return sign * int(nodes[0].text)
    return None


def fraction_of(node: Node) -> Fraction | None:
    r"""The value of \frac{a}{b} with integers a and b, or None."""
    if node.kind != "macro" or node.text != "\\frac":
        return None
    top, bottom = whole_number(node.parts[0]), whole_number(node.parts[1])
    return Fraction(top, bottom) if top is not None and bottom else None


def decimal(text: str) -> Fraction:
    """The exact value of digits with at most one point."""
    whole, _, places = text.partition(".")
    return Fraction(int(whole + places or "0"), 10 ** len(places))


def index_text(nodes: Nodes) -> str:
    """What an index says, letters and digits only."""
    if not nodes or not all(node.kind in ("number", "letters", "upright", "words") for node in nodes):
        raise Unreadable("an index of other than letters and digits")
    return "".join(node.text for node in nodes)


def is_degree(node: Node) -> bool:
    r"""Whether the node is ^\circ."""
    return node.kind == "power" and [part.text for part in node.parts[0]] == ["\\circ"]


def _letter(name: str) -> Formula:
    return Formula("constant" if name in _CONSTANTS else "letter", name=name)


class _Builder:
    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        self.position = 0
        self.barred = False

    def peek(self, kind: str = "", *texts: str) -> Node | None:
        """The next node, if it is of this kind and text."""
        if self.position >= len(self.nodes):
            return None
        node = self.nodes[self.position]
        return node if not kind or (node.kind == kind and (not texts or node.text in texts)) else None

    def take(self) -> Node:
        """The next node, and go on behind it."""
        if self.position >= len(self.nodes):
            raise Unreadable("an operand is missing")
        self.position += 1
        return self.nodes[self.position - 1]

    def sum(self) -> Formula:
        """Terms with their signs."""
        sign = self.take().text if self.peek("sign", "+", "-") else "+"
        terms = [self._signed(sign)]
        while self.peek("sign", "+", "-"):
            terms.append(self._signed(self.take().text))
        return terms[0] if len(terms) == 1 else Formula("add", tuple(terms))

    def _signed(self, sign: str) -> Formula:
        term = self.term()
        if sign == "+":
            return term
        return number(-term.value) if term.op == "number" else Formula("mul", (number(-1), term))

    def term(self) -> Formula:
        """Factors; a number may not follow another factor without a sign, nor anything a slash's divisor."""
        found, divided = self.factor(first=True), False
        while (node := self.peek()) is not None and not self._ends(node):
            operator = self.take().text if self.peek("sign", "*", "/") else ""
            if divided and not operator:
                raise Unreadable("a slash before a product has two readings")
            behind_factorial = self.nodes[self.position - 1].text == "!"  # n! 2^n
            factor = self.factor(first=bool(operator) or behind_factorial)
            divided = operator == "/"
            if divided:
                found = Formula("div", (found, factor))
            else:
                found = Formula("mul", (*(found.parts if found.op == "mul" else (found,)), factor))
        return found

    def _ends(self, node: Node) -> bool:
        if node.kind == "sign" and node.text == "|":
            return self.barred
        return node.kind in ("comma", "relation", "words", "stop", "matrix", "opaque") or (
            node.kind == "sign" and node.text not in "*/"
        )

    def factor(self, *, first: bool) -> Formula:
        """One operand with its powers and factorials."""
        found, raised = self._operand(self.take(), first), False
        while (after := self.peek()) is not None:
            if is_degree(after):
                found = Formula("div", (Formula("mul", (found, _letter("pi"))), number(180)))
            elif after.kind == "power" and not raised:
                raised = True
                found = self._raised(found, after)
            elif after.kind == "sign" and after.text == "!":
                if found.op == "factorial":
                    raise Unreadable("a factorial behind a factorial has two readings")
                found = Formula("factorial", (found,))
            else:
                break
            self.position += 1
        if self.peek("power"):
            raise Unreadable("a power behind a power has two readings")
        return found

    @staticmethod
    def _raised(base: Formula, power: Node) -> Formula:
        return Formula("pow", (base, formula(power.parts[0])))

    def _combinations(self, node: Node) -> Formula | None:
        """C(n,k), C_n^k, _nC_k and {}^nC_k as binomials; None for every other C."""
        if node.text == "C" and (group := self.peek("group", "()")) is not None:
            parts = [part for part in group.parts[0] if part.kind == "comma"]
            if len(parts) == 1:
                place = group.parts[0].index(parts[0])
                self.position += 1
                return Formula("binomial", (formula(group.parts[0][:place]), formula(group.parts[0][place + 1 :])))
            return None
        start = self.position - 1
        if node.text == "{}" and not node.parts[0] and (head := self.peek("index") or self.peek("power")) is not None:
            start, node = start + 1, head
        elif node.text != "C" and node.kind != "index":
            return None
        three = self.nodes[start : start + 3]
        order = {"Cip": (1, 2), "iCi": (0, 2), "pCi": (0, 2)}.get("".join(one.text[:1] or one.kind[0] for one in three))
        if order is None:
            return None
        self.position = start + 3
        top, bottom = (formula(three[place].parts[0]) for place in order)
        return Formula("binomial", (top, bottom))

    def _operand(self, node: Node, first: bool) -> Formula:
        if (found := self._combinations(node)) is not None:
            return found
        if node.kind == "number":
            return self._number(node, first)
        if node.kind in ("letters", "upright"):
            return self._letters(node)
        if node.kind == "symbol" and node.text not in ("\\infty", "\\emptyset", "\\circ"):
            return _letter("pi") if node.text == "\\pi" else self._indexed(node.text[1:])
        if node.kind == "macro":
            return self._macro(node)
        if node.kind == "function":
            return self._function(node)
        if node.kind == "group" and node.text in ("()", "{}", "[]"):
            return formula(node.parts[0])
        if node.kind == "group" and node.text[1:2] == "l":
            return Formula("floor" if "floor" in node.text else "ceiling", (formula(node.parts[0]),))
        if node.kind == "sign" and node.text == "|":
            return self._absolute()
        raise Unreadable(f"{node.text or node.kind} stands in no expression")

    def _number(self, node: Node, first: bool) -> Formula:
        if not first:
            raise Unreadable("a number behind another factor has two readings")
        after = self.peek()
        if after is not None and after.kind in ("number", "index"):
            raise Unreadable("two numbers side by side, or a number with an index")
        value = decimal(node.text)
        part = None if after is None else fraction_of(after)
        if part is not None and value.denominator == 1:
            if not 0 < part < 1:
                raise Unreadable("a number before a fraction has two readings")
            self.position += 1
            value += part
        return number(value)

    def _letters(self, node: Node) -> Formula:
        """A product; a power or a factorial behind it belongs to the last letter alone."""
        before, last = node.text[:-1], node.text[-1]
        factors = [_letter(letter) for letter in before] + [self._indexed(last)]
        after = self.peek()
        if before and after is not None and (after.kind == "power" or after.text == "!"):
            if is_degree(after):
                raise Unreadable("degrees of a letter")
            self.position += 1
            raised = after.kind == "power"
            factors[-1] = self._raised(factors[-1], after) if raised else Formula("factorial", (factors[-1],))
            if self.peek("power") or self.peek("sign", "!"):
                raise Unreadable("a power behind a power")
        return factors[0] if len(factors) == 1 else Formula("mul", tuple(factors))

    def _indexed(self, name: str) -> Formula:
        if self.peek("index"):
            return Formula("letter", name=f"{name}_{index_text(self.take().parts[0])}")
        return _letter(name)

    def _macro(self, node: Node) -> Formula:
        if node.text == "\\frac":
            if (value := fraction_of(node)) is not None:
                return number(value)
            return Formula("div", (formula(node.parts[0]), formula(node.parts[1])))
        if node.text == "\\sqrt":
            degree = formula(node.parts[1]) if len(node.parts) > 1 else number(2)
            return Formula("root", (formula(node.parts[0]), degree))
        if node.text == "\\binom":
            return Formula("binomial", (formula(node.parts[0]), formula(node.parts[1])))
        if node.text == "\\overline" and len(node.parts[0]) == 1 and node.parts[0][0].kind in ("letters", "symbol"):
            return self._indexed("bar " + node.parts[0][0].text)
        raise Unreadable(f"{node.text} stands in no expression")

    def _function(self, node: Node) -> Formula:
        name, base, power = node.text[1:], None, None
        while (after := self.peek("index") or self.peek("power")) is not None:
            self.position += 1
            if after.kind == "index" and name == "log" and base is None:
                base = formula(after.parts[0])
            elif after.kind == "power" and power is None:
                power = formula(after.parts[0])
            else:
                raise Unreadable(f"{name} with this index or power")
        if power is not None and power.op == "number" and power.value == -1:
            name, power = _INVERSE.get(node.text, ""), None
        if not name:
            raise Unreadable("the inverse of this function")
        argument = self._argument()
        if name == "exp":
            found = Formula("pow", (_letter("e"), argument))
        elif name in ("log", "ln"):
            ten = number(10) if name == "log" else _letter("e")
            found = Formula("log", (argument, ten if base is None else base))
        else:
            found = Formula(name, (argument,))
        return found if power is None else Formula("pow", (found, power))

    def _argument(self) -> Formula:
        if (group := self.peek("group", "()", "{}", "[]")) is not None:
            self.position += 1
            if self.peek("power") or self.peek("sign", "!"):
                raise Unreadable("a power behind a function's brackets has two readings")
            return formula(group.parts[0])
        if self.peek("sign", "|") and not self.barred:
            self.position += 1
            return self._absolute()
        start = self.position
        while (node := self.peek()) is not None and node.kind in _OPERANDS:
            self.position += 1
        if start == self.position:
            raise Unreadable("a function without an argument")
        return formula(self.nodes[start : self.position])

    def _absolute(self) -> Formula:
        if self.barred:
            raise Unreadable("bars inside bars")
        self.barred = True
        inside = self.sum()
        self.barred = False
        if not self.peek("sign", "|"):
            raise Unreadable("a bar is not closed")
        self.position += 1
        return Formula("abs", (inside,))
