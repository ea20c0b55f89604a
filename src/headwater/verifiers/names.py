r"""What stands before an equals sign and only names the value: x, AB, f'(x), \det A, \frac{dy}{dx}, \|v\|, a + b.

A number in front of a letter, or a power of it, makes an equation that is not solved: 2x = 10 names nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.verifiers.latex import Node, Nodes, is_prose
from headwater.verifiers.units import denies

_MARKS = frozenset({"\\angle", "\\triangle", "\\Delta"})
"""They say what the letters behind them are."""
_BIG = frozenset({"\\int", "\\iint", "\\oint", "\\sum", "\\prod", "\\lim", "\\max", "\\min", "\\sup", "\\inf"})
"""What stands behind one of these is a part of its name, whatever it is."""
_STARS = frozenset({"*", "\\prime", "\\dagger", "T", "+", "\\perp"})
_DECORATED = frozenset({"\\overline", "\\vec", "\\hat", "\\mathbb"})


@dataclass(frozen=True, slots=True)
class Name:
    """`text` is the same for the same name; `one` for a single thing (x, f'(x)) and not several (a + b)."""

    text: str
    one: bool
    letter: str = ""
    """the letter, where the name is nothing else"""


def name_of(nodes: Nodes) -> Name | None:
    """The name that the nodes are, or None."""
    found = _Names()
    if not found.read(nodes):
        return None
    bare = nodes[0].kind in ("letters", "symbol") and all(node.kind == "index" for node in nodes[1:])
    return Name(spelled(nodes), found.heads <= 1 and not found.joined, spelled(nodes) if bare else "")


def spelled(nodes: Nodes) -> str:
    """The nodes as a text without blanks, one for all ways to write the same."""
    return "".join(_spelled_node(node) for node in nodes)


def _spelled_node(node: Node) -> str:
    inside = "".join(f"{{{spelled(part)}}}" for part in node.parts)
    if node.kind == "power" and node.parts[0] and all(part.text == "\\prime" for part in node.parts[0]):
        return "\\prime" * len(node.parts[0])
    if node.kind == "group":
        return f"{node.text[:1]}{inside}" if node.text != "{}" else inside
    return {"power": "^", "index": "_"}.get(node.kind, node.text) + inside


class _Names:
    """Reads nodes from left to right; `heads` counts things, `joined` says whether a sign stands between them."""

    def __init__(self) -> None:
        self.heads = 0
        self.joined = False

    def read(self, nodes: Nodes) -> bool:
        """Whether all of the nodes only name."""
        if len(nodes) == 3 and nodes[1].text == "/" and _differential(nodes[:1]) and _differential(nodes[2:]):
            self.heads = 1
            return True
        before, operator = "", False
        for place, node in enumerate(nodes):
            if node.text in _BIG:
                self.heads += 1
                self.joined |= place > 0
                return True
            if node.kind == "opaque" and node.text != "\\prime":
                operator = True
                self.heads += place == 0
            elif not self._is_one(nodes, place, before, operator=operator):
                return False
            before = node.kind if node.text != "\\prime" else "letters"
            operator |= _is_derivative(node)
        return self.heads > 0 or bool(nodes and nodes[-1].text in _MARKS)

    def _is_one(self, nodes: Nodes, place: int, before: str, *, operator: bool) -> bool:
        node = nodes[place]
        match node.kind:
            case "words":
                self.heads += not operator
                return not denies(node.text)
            case "letters" | "upright":
                several = len(node.text) > 1 and not node.text.isupper() and not is_prose(node.text)
                self.heads += 0 if operator else 1 + several
                return True
            case "symbol" if node.text == "\\circ":
                self.heads -= 1  # f after g is one function
                return place > 0
            case "symbol":
                self.heads += node.text not in _MARKS and not operator
                return node.text not in ("\\pi", "\\infty", "\\emptyset")
            case "function":
                self.joined = True
                self.heads += 1
                return True
            case "index" | "opaque":
                return place > 0
            case "power":
                return place > 0 and _decorates(nodes, place)
            case "sign":
                return self._is_sign(nodes, place)
            case "group" | "macro":
                return self._is_part(node, before)
        return False

    def _is_sign(self, nodes: Nodes, place: int) -> bool:
        text = nodes[place].text
        if text in ("+", "-", "*", "/", ":", "\\cup", "\\cap", "\\setminus"):
            self.joined = True
            return 0 < place < len(nodes) - 1
        if text == "|":  # |x| = 5 has two solutions; |A| is a size
            inside = nodes[place + 1] if place == 0 and len(nodes) > 1 else Node("")
            return inside.kind != "symbol" and inside.text not in ("x", "y", "t")
        return text == "\\|"

    def _is_part(self, node: Node, before: str) -> bool:
        if node.kind == "group" and node.text in ("()", "[]") and before not in ("", "sign", "relation"):
            return True
        if _is_derivative(node):
            self.heads += 1
            return True
        if node.text in ("()", "{}", "[]", "\\frac") or node.text in _DECORATED:
            inner = [_Names() for _ in node.parts]
            if not all(reader.read(part) for reader, part in zip(inner, node.parts, strict=True)):
                return False
            self.heads += 1
            self.joined |= node.text == "\\frac"
            self.joined |= node.text not in _DECORATED and any(reader.joined or reader.heads > 1 for reader in inner)
            return True
        return False


def _decorates(nodes: Nodes, place: int) -> bool:
    """x^*, f^{-1}(x), f^{(n)}(x): the power is a part of the name."""
    inside = nodes[place].parts[0]
    if inside and all(part.text in _STARS for part in inside):
        return True
    if nodes[place - 1].text in ("\\sigma", "\\chi"):
        return [part.text for part in inside] == ["2"]
    applied = place + 1 < len(nodes) and nodes[place + 1].kind == "group" and nodes[place + 1].text == "()"
    return applied and [part.text for part in inside] in (["-", "1"], ["()"])


def _is_derivative(node: Node) -> bool:
    return node.text == "\\frac" and all(_differential(part) for part in node.parts)


def _differential(nodes: Nodes) -> bool:
    r"""dy, d^2y, dx, \partial f: a half of a derivative."""
    first = nodes[0] if nodes else Node("")
    return first.text == "\\partial" or (first.kind in ("letters", "upright") and first.text[0] == "d")
