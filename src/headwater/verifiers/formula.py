r"""An expression, or a number that is written out, as a tree with one reading.

    2\sqrt{3}x   mul(2, root(3, 2), x)     1/2x, 2 3   Unreadable: two readings

A number is written out, with nothing left to compute, in these ways; 1+1, 2^3, 6/3/2 and -(-5) are tasks:

    1,000   1\,000   1 000   -2.50   3/4   \frac{6}{8}   3\frac12   3 1/2   0.1\overline{6}   0.333...
    1.5 \times 10^3   10^6   (-1)/2

i and e are the constants, every other letter stands for itself; an index belongs to its letter. What has two
readings is refused, never guessed at.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from headwater.verifiers.latex import Node, Nodes, Unreadable, spelled, split_nodes
from headwater.verifiers.terms import Term, letter, number

_INVERSE = {"\\sin": "arcsin", "\\cos": "arccos", "\\tan": "arctan"}
_OPERANDS = frozenset({"number", "letters", "upright", "symbol", "macro", "power", "index"})
_LARGEST_EXPONENT = 100
"""Of ten, in a number written as a \\times 10^n."""
DIGITS = re.compile(r"-?[0-9.]+")
_FRACTION = re.compile(r"-?[0-9]+/-?[0-9]+")
_PERIOD = re.compile(r"([0-9]*?)(?:([0-9])\2{2,}|([0-9]{2,6}?)\3+)")
"""Digits that show their repetend: one digit three times, several twice."""


def formula(nodes: Nodes) -> Term:
    """The expression that the nodes write. Raises Unreadable for lists, words, relations and stray signs."""
    nodes = join_thousands(nodes)
    builder = _Builder(nodes)
    found = builder.sum()
    if builder.position < len(nodes):
        raise Unreadable(f"{nodes[builder.position].text or nodes[builder.position].kind} stands in no expression")
    return found


def written(term: Term) -> Term:
    r"""The expression; a \times 10^n, alone, is the number that it writes out."""
    sign, found = (-1, term.parts[1]) if term.op == "mul" and term.parts[0] == number(-1) else (1, term)
    factor, power = found.parts if found.op == "mul" and len(found.parts) == 2 else (number(1), found)
    if factor.op != "number" or power.op != "pow" or power.parts[0].text != "10":
        return term
    exponent = power.parts[1]
    whole = exponent.op == "number" and exponent.value.denominator == 1 and abs(exponent.value) <= _LARGEST_EXPONENT
    return number(sign * factor.value * Fraction(10) ** int(exponent.value)) if whole else term


def join_thousands(nodes: Nodes) -> Nodes:
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
            joined[-2:] = [replace(joined[-2], kind="number", text=joined[-2].text + "," + node.text)]
        else:
            joined.append(node)
    return tuple(
        replace(one, text=one.text.replace(",", "")) if one.kind == "number" and "," in one.text else one
        for one in joined
    )


def index_text(nodes: Nodes) -> str:
    """What an index says, letters and digits only."""
    if not nodes or not all(node.kind in ("number", "letters", "upright", "words") for node in nodes):
        raise Unreadable("an index of other than letters and digits")
    return spelled(nodes)


def is_degree(node: Node) -> bool:
    r"""Whether the node is ^\circ."""
    return node.kind == "power" and [part.text for part in node.parts[0]] == ["\\circ"]


def _quotient(top: Term, bottom: Term) -> Term:
    """A fraction of two numbers in digits is a number."""
    if all(DIGITS.fullmatch(part.text) and part.op == "number" for part in (top, bottom)) and bottom.value:
        return number(top.value / bottom.value, f"{top.text}/{bottom.text}")
    return Term("div", (top, bottom))


def _negative(term: Term) -> Term:
    """Of a negative number it is something to do: -(-5)."""
    written_out = term.op == "number" and term.value >= 0
    return number(-term.value, f"-{term.text}") if written_out else Term("mul", (number(-1), term))


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

    def sum(self) -> Term:
        """Terms with their signs."""
        terms: list[Term] = []
        while not terms or self.peek("sign", "+", "-"):
            sign = self.take().text if self.peek("sign", "+", "-") else "+"
            terms.append(_negative(self.term()) if sign == "-" else self.term())
        return terms[0] if len(terms) == 1 else Term("add", tuple(terms))

    def term(self) -> Term:
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
                found = _quotient(found, factor)
            else:
                found = Term("mul", (*(found.parts if found.op == "mul" else (found,)), factor))
        return found

    def _ends(self, node: Node) -> bool:
        if node.kind == "sign" and node.text == "|":
            return self.barred
        return node.kind in ("comma", "relation", "words", "stop", "matrix", "opaque") or (
            node.kind == "sign" and node.text not in "*/"
        )

    def factor(self, *, first: bool) -> Term:
        """One operand with its powers and factorials; behind a run of letters they belong to the last one alone."""
        node, before = self.take(), ""
        if node.kind in ("letters", "upright"):
            node, before = replace(node, text=node.text[-1]), node.text[:-1]
        found, raised = self._operand(node, first), False
        while (after := self.peek()) is not None:
            if is_degree(after):
                found = Term("div", (Term("mul", (found, letter("pi"))), number(180)))
            elif after.kind == "power" and not raised:
                raised = True
                found = Term("pow", (found, formula(after.parts[0])))
            elif after.kind == "sign" and after.text == "!":
                if found.op == "factorial":
                    raise Unreadable("a factorial behind a factorial has two readings")
                found = Term("factorial", (found,))
            else:
                break
            self.position += 1
        if self.peek("power"):
            raise Unreadable("a power behind a power has two readings")
        return Term("mul", (*map(letter, before), found)) if before else found

    def _combinations(self, node: Node) -> Term | None:
        """C(n,k), C_n^k, _nC_k and {}^nC_k as binomials; None for every other C."""
        if node.text == "C" and (group := self.peek("group", "()")) is not None:
            parts = split_nodes(group.parts[0], "comma")
            self.position += len(parts) == 2
            return Term("binomial", tuple(map(formula, parts))) if len(parts) == 2 else None
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
        return Term("binomial", tuple(formula(three[place].parts[0]) for place in order))

    def _operand(self, node: Node, first: bool) -> Term:
        if (found := self._combinations(node)) is not None:
            return found
        if node.kind == "number":
            return self._number(node, first)
        if node.kind in ("letters", "upright"):
            return self._indexed(node.text)
        if node.kind == "symbol" and node.text not in ("\\infty", "\\emptyset", "\\circ"):
            return letter("pi") if node.text == "\\pi" else self._indexed(node.text[1:])
        if node.kind == "macro":
            return self._macro(node)
        if node.kind == "function":
            return self._function(node)
        if node.kind == "group" and node.text in ("()", "{}", "[]"):
            return formula(node.parts[0])
        if node.kind == "group" and node.text[1:2] == "l":
            return Term("floor" if "floor" in node.text else "ceiling", (formula(node.parts[0]),))
        if node.kind == "sign" and node.text == "|":
            return self._absolute()
        raise Unreadable(f"{node.text or node.kind} stands in no expression")

    def _number(self, node: Node, first: bool) -> Term:
        if not first:
            raise Unreadable("a number behind another factor has two readings")
        value, after = Fraction(f"0{node.text}"), self.peek()
        if after is None:
            return number(value, node.text)
        if "." in node.text and (repeating := self._repeating(value, node.text.partition(".")[2], after)) is not None:
            return repeating
        behind = self.nodes[self.position :]
        if after.kind == "number" and not after.glued and len(behind) == 3 and behind[1].text == "/":  # 3 1/2
            part, size = formula(behind), 3
        else:
            part, size = self._macro(after) if after.text == "\\frac" else number(0), 1
        if value.denominator == 1 and _FRACTION.fullmatch(part.text):
            if not 0 < part.value < 1:
                raise Unreadable("a number before a fraction has two readings")
            self.position += size
            return number(value + part.value)
        if after.kind in ("number", "index"):
            raise Unreadable("two numbers side by side, or a number with an index")
        return number(value, node.text)

    def _repeating(self, value: Fraction, places: str, behind: Node) -> Term | None:
        r"""0.1\overline{6} and 0.1666..."""
        if behind.text == "\\overline":
            block, before = spelled(behind.parts[0]), len(places)
        elif behind.text == "\\ldots" and (shown := _PERIOD.fullmatch(places)) is not None:
            block, before = shown[2] or shown[3], len(shown[1])
            value = Fraction(int(value * 10**before), 10**before)
        else:
            return None
        if not block.isdigit():
            return None
        self.position += 1
        return number(value + Fraction(int(block), 10 ** len(block) - 1) / 10**before)

    def _indexed(self, name: str) -> Term:
        """A letter with its index; C(3) and f(-2) are unknowns of their own, and no products."""
        if self.peek("index"):
            name = f"{name}_{index_text(self.take().parts[0])}"
        group = self.peek("group", "()")
        applied = spelled(group.parts[0]) if group is not None else ""
        if DIGITS.fullmatch(applied) and letter(name).op == "letter":
            self.position += 1
            return Term("letter", name=f"{name}({applied})")
        return letter(name)

    def _macro(self, node: Node) -> Term:
        if node.text == "\\overline" and len(node.parts[0]) == 1 and node.parts[0][0].kind in ("letters", "symbol"):
            return self._indexed("bar " + node.parts[0][0].text)
        if node.text not in ("\\frac", "\\sqrt", "\\binom"):
            raise Unreadable(f"{node.text} stands in no expression")
        first, second = [*map(formula, node.parts), number(2)][:2]
        if node.text == "\\frac":
            return _quotient(first, second)
        return Term("root" if node.text == "\\sqrt" else "binomial", (first, second))

    def _function(self, node: Node) -> Term:
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
            if node.text not in _INVERSE:
                raise Unreadable("the inverse of this function")
            name, power = _INVERSE[node.text], None
        found = Term(name, (self._argument(),))
        if name == "exp":
            found = Term("pow", (letter("e"), *found.parts))
        elif name in ("log", "ln"):
            base = base or (number(10) if name == "log" else letter("e"))
            found = Term("log", (*found.parts, base))
        return found if power is None else Term("pow", (found, power))

    def _argument(self) -> Term:
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

    def _absolute(self) -> Term:
        if self.barred:
            raise Unreadable("bars inside bars")
        self.barred = True
        inside = self.sum()
        self.barred = False
        if not self.peek("sign", "|"):
            raise Unreadable("a bar is not closed")
        self.position += 1
        return Term("abs", (inside,))
