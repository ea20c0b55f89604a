r"""An expression's tree written again as LaTeX that has one reading: every product has its \cdot, every argument
its brackets, every letter its \variable{...}, every decimal its fraction.

Math-Verify's parser reads "2 (3)" and "2 3" as 5, "1/2x" as 1/(2x), "b d e" as b times de, and the digits of
1011_2 as a decimal number. Nothing of that kind can reach it from here: what has two readings is Unreadable.
"""

from __future__ import annotations

from fractions import Fraction

from headwater.verifiers.latex import Node, Nodes, Unreadable

_LARGEST_BINOMIAL = 4
"""Digits of a binomial's arguments: the parser computes it at once."""
_INVERSE = {"\\sin": "\\arcsin", "\\cos": "\\arccos", "\\tan": "\\arctan"}
_OPERANDS = frozenset({"number", "letters", "symbol", "macro", "power", "index"})


def canonical(nodes: Nodes) -> str:
    """The expression with all its brackets. Raises Unreadable for lists, words, relations and stray signs."""
    writer = _Writer(nodes)
    text = writer.sum()
    if writer.position < len(nodes):
        raise Unreadable(f"{nodes[writer.position].text or nodes[writer.position].kind} stands in no expression")
    return text


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
    if not nodes or not all(node.kind in ("number", "letters") for node in nodes):
        raise Unreadable("an index of other than letters and digits")
    return "".join(node.text for node in nodes)


def is_degree(node: Node) -> bool:
    r"""Whether the node is ^\circ."""
    return node.kind == "power" and [part.text for part in node.parts[0]] == ["\\circ"]


class _Writer:
    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        self.position = 0

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

    def sum(self) -> str:
        """Terms with their signs."""
        text = self.take().text if self.peek("sign", "+", "-") else ""
        text = text.replace("+", "") + self.term()
        while self.peek("sign", "+", "-"):
            text += self.take().text
            text += self.term()
        return text

    def term(self) -> str:
        """Factors; a number may not follow another factor without a sign, nor anything a slash's divisor."""
        text, divided = self.factor(first=True), False
        while (node := self.peek()) is not None and not self._ends(node):
            operator = self.take().text if self.peek("sign", "*", "/") else ""
            if divided and not operator:
                raise Unreadable("a slash before a product has two readings")
            factor = self.factor(first=bool(operator))
            divided = operator == "/"
            text = f"\\frac{{{text}}}{{{factor}}}" if divided else f"{text}\\cdot {factor}"
        return text

    def _ends(self, node: Node) -> bool:
        if node.kind == "sign" and node.text == "|":
            return self._closing_bar
        return node.kind in ("comma", "relation", "words", "stop", "matrix") or (
            node.kind == "sign" and node.text not in "*/"
        )

    _closing_bar = False

    def factor(self, *, first: bool) -> str:
        """One operand with its powers and factorials."""
        node = self.take()
        text, raised = self._operand(node, first), False
        while (after := self.peek()) is not None:
            if is_degree(after):
                text = f"(\\frac{{{text}\\cdot \\pi}}{{180}})"
            elif after.kind == "power" and not raised:
                raised = True
                text = f"({text})^{{{canonical(after.parts[0])}}}"
            elif after.kind == "sign" and after.text == "!":
                text = f"({text})!"
            else:
                break
            self.position += 1
        if self.peek("power"):
            raise Unreadable("a power behind a power has two readings")
        return text

    def _operand(self, node: Node, first: bool) -> str:
        if node.kind == "number":
            return self._number(node, first)
        if node.kind == "letters":
            return self._letters(node)
        if node.kind == "symbol" and node.text not in ("\\infty", "\\emptyset", "\\circ"):
            return "\\pi " if node.text == "\\pi" else self._variable(node.text[1:])
        if node.kind == "macro":
            return self._macro(node)
        if node.kind == "function":
            return self._function(node)
        if node.kind == "group" and node.text in ("()", "{}"):
            while len(node.parts[0]) == 1 and node.parts[0][0].text in ("()", "{}"):
                node = node.parts[0][0]  # the parser takes twice as long for every further pair
            return f"({canonical(node.parts[0])})"
        if node.kind == "group" and node.text[1:2] == "l":
            closing = node.text[node.text.index("\\", 1) :]
            return f"{node.text.removesuffix(closing)} {canonical(node.parts[0])} {closing} "
        if node.kind == "sign" and node.text == "|":
            return self._absolute()
        raise Unreadable(f"{node.text or node.kind} stands in no expression")

    def _number(self, node: Node, first: bool) -> str:
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
        return _rational(value)

    def _letters(self, node: Node) -> str:
        before, last = node.text[:-1], node.text[-1]
        names = [f"\\variable{{{letter}}}" for letter in before]
        text = "\\cdot ".join([*names, self._variable(last)])
        after = self.peek()
        if before and after is not None and (after.kind == "power" or after.text == "!"):
            self.position += 1  # the power belongs to the last letter alone
            power = f"^{{{canonical(after.parts[0])}}}" if after.kind == "power" else "!"
            text += power
            if is_degree(after) or self.peek("power") or self.peek("sign", "!"):
                raise Unreadable("degrees of a letter, or a power behind a power")
        return text

    def _variable(self, name: str) -> str:
        if self.peek("index"):
            name += "_" + index_text(self.take().parts[0])
        return f"\\variable{{{name}}}"

    def _macro(self, node: Node) -> str:
        if node.text == "\\frac":
            if (value := fraction_of(node)) is not None:
                return _rational(value)
            return f"\\frac{{{canonical(node.parts[0])}}}{{{canonical(node.parts[1])}}}"
        if node.text == "\\sqrt":
            root = f"[{canonical(node.parts[1])}]" if len(node.parts) > 1 else ""
            return f"\\sqrt{root}{{{canonical(node.parts[0])}}}"
        if node.text == "\\binom":
            parts = [canonical(part) for part in node.parts]
            if all(len(part) <= _LARGEST_BINOMIAL or not any(c.isdigit() for c in part) for part in parts):
                return f"\\binom{{{parts[0]}}}{{{parts[1]}}}"
        raise Unreadable(f"{node.text} stands in no expression")

    def _function(self, node: Node) -> str:
        name, base, power = node.text, "", ""
        while (after := self.peek("index") or self.peek("power")) is not None:
            self.position += 1
            inside = canonical(after.parts[0])
            if after.kind == "index" and name == "\\log" and not base:
                base = f"_{{{inside}}}"
            elif after.kind == "power" and not power:
                power = inside
            else:
                raise Unreadable(f"{name} with this index or power")
        if power == "-1":
            name, power = _INVERSE.get(name, ""), ""
        if not name:
            raise Unreadable("the inverse of this function")
        text = f"{name}{base}{{({self._function_argument()})}}"
        return f"({text})^{{{power}}}" if power else f"({text})"

    def _function_argument(self) -> str:
        if (group := self.peek("group", "()", "{}")) is not None:
            self.position += 1
            if self.peek("power") or self.peek("sign", "!"):
                raise Unreadable("a power behind a function's brackets has two readings")
            return canonical(group.parts[0])
        start = self.position
        while (node := self.peek()) is not None and node.kind in _OPERANDS:
            self.position += 1
        if start == self.position:
            raise Unreadable("a function without an argument")
        return canonical(self.nodes[start : self.position])

    def _absolute(self) -> str:
        if self._closing_bar:
            raise Unreadable("bars inside bars")
        self._closing_bar = True
        inside = self.sum()
        self._closing_bar = False
        if not self.peek("sign", "|"):
            raise Unreadable("a bar is not closed")
        self.position += 1
        return f"|{inside}|"


def _rational(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator) if value >= 0 else f"({value.numerator})"
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
