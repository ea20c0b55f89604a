r"""What stands around an answer and is no part of its value: a name before its equals sign, a condition behind it.

    f'(x) = 2x   \det A = 5   \frac{dy}{dx} = 2x   \|v\| = 5      2k\pi, k \in \mathbb{Z}   n^2 \text{ for all } n \ge 1

A number in front of a letter, or a power of it, makes an equation that is not solved: 2x = 10 names nothing. A
condition says which values a letter takes; it is cut off, and compared apart from the answer itself.
"""

from __future__ import annotations

import re

from headwater.verifiers.latex import Node, Nodes, is_prose
from headwater.verifiers.terms import Name
from headwater.verifiers.units import VOCABULARY, denies, known, ways

_MARKS = frozenset({"\\angle", "\\triangle", "\\Delta"})
"""They say what the letters behind them are."""
_KEYWORD = re.compile(
    r"(?:,\s*)?\b(?:for|where|with|when|at|if|such that|provided(?: that)?|given(?: that)?|as long as)\b", re.IGNORECASE
)
_BIG = frozenset({"\\int", "\\iint", "\\oint", "\\sum", "\\prod", "\\lim", "\\max", "\\min", "\\sup", "\\inf"})
"""What stands behind one of these is a part of its name, whatever it is."""
_STARS = frozenset({"*", "\\prime", "\\dagger", "T", "+", "\\perp"})
_DECORATED = frozenset({"\\overline", "\\vec", "\\hat", "\\mathbb"})


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
                return not (denies(node.text) or (place == 0 and _KEYWORD.match(node.text)))
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


_KINDS = ways(VOCABULARY["conditions"]["kinds"])
_PLAIN = known("conditions", "plain")
_UNIVERSAL = re.compile(r"any|[ZRNQC][+*]?|(?:where )?>=-?[0-9]+|=.*|where (?:>|!=)-?[0-9]+|all of .*")


Condition = tuple[str, str]
"""A letter and its domain, as in `Given`."""


def is_universal(domain: str) -> bool:
    """Whether it only names a kind of number, and may be left out."""
    return _UNIVERSAL.fullmatch(domain) is not None


def split_condition(nodes: Nodes) -> tuple[Nodes, Condition | None]:
    """An answer, and what is said of its letter behind it; None where nothing is."""
    for cut in range(len(nodes) - 1, 0, -1):
        node, found = nodes[cut], None
        in_words = node.kind == "words" and _KEYWORD.match(node.text) is not None
        if node.kind == "comma":
            found = _condition(nodes[cut + 1 :])
        elif node.kind == "group" and node.text == "()" and cut == len(nodes) - 1:
            inside = node.parts[0]
            named = any(part.text == "in" or part.kind == "words" for part in inside)
            found = _condition(inside) if named or not node.glued else None
        elif in_words or node.text == "\\forall":
            found = _condition(nodes[cut:])
        main = nodes[:cut]
        while main and main[-1].text in (",", ";"):
            main = main[:-1]
        if found is None or not main:
            continue
        plain = in_words and "if" not in node.text
        letter, domain = found
        if domain[0] == "=":  # 5 for x = 2; and x = 3 or x = 5 is a list
            fits = plain and not _says_of(main, letter)
        else:
            fits = _says_of(main, letter) and not any(
                node.kind == "relation" and node.text not in ("=", "~") for node in main
            )  # an answer that is itself a range is no value with a condition
        if fits:
            return main, (letter, ("where " if plain and domain[0] in ">!" else "") + domain)
    return nodes, None


def _condition(nodes: Nodes) -> Condition | None:
    """The condition that the nodes state, whole; None where they say anything else."""
    text = " ".join(node.text if node.kind == "words" else " " for node in nodes)
    words = re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text)
    rest = tuple(node for node in nodes if node.kind not in ("words", "stop") and node.text != "\\forall")
    letter = next((word for word in words if len(word) == 1 and word.lower() != "a"), "")
    said = [word.lower() for word in words if len(word) > 1]
    if not all(word in _PLAIN or word in _KINDS or _KEYWORD.fullmatch(word) for word in said):
        return None
    kinds = [_KINDS[word] for word in said if word in _KINDS]
    domain = next((kind for kind in ("Z+", "N0", "Z", "N", "Q", "R") if kind in kinds), "any")
    if not rest:
        return (letter, domain) if letter and text.strip() else None
    if rest[0].kind == "relation" and letter:
        rest = (Node("letters", letter), *rest)
    if rest[0].kind not in ("letters", "symbol") or (rest[0].kind == "letters" and len(rest[0].text) > 1):
        return None
    if len(rest) == 1:
        return (rest[0].text, domain) if len(nodes) > 1 else None
    stated = _stated(rest[1:])
    return None if stated is None else (rest[0].text, stated)


def _stated(rest: Nodes) -> str | None:
    r"""What a relation says of the letter before it: `in \mathbb{Z}`, `>= 1`, `= 0, 1, 2, ...`."""
    sign, values = rest[0], rest[1:]
    if sign.kind != "relation" or not values:
        return None
    texts = [node.text for node in values]
    if sign.text == "in":
        first = spelled(values[0].parts[0]) if values[0].text == "\\mathbb" else texts[0]
        marks = [spelled(node.parts[0]) for node in values[1:] if node.parts]
        plain = first in ("Z", "N", "R", "Q", "C") and marks in ([], ["+"], ["*"]) and len(values) == 1 + len(marks)
        return "".join([first, *marks]) if plain else None
    if sign.text == "=" and "\\ldots" in texts and all(node.kind in ("number", "comma", "sign") for node in values):
        return "all of " + "".join(texts)
    number = values[-1].kind == "number" and texts[:-1] in ([], ["-"])
    return sign.text + "".join(texts) if number and sign.text in (">=", ">", "!=", "<", "<=", "=") else None


def _says_of(main: Nodes, letter: str) -> bool:
    """Whether the letter is in the answer."""
    return any(
        (node.kind in ("letters", "symbol", "upright") and (letter in node.text))
        or any(_says_of(part, letter) for part in node.parts)
        for node in main
    )
