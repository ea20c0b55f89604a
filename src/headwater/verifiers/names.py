r"""What stands around an answer and is no part of its value: a name before its equals sign, a condition behind it.

    f'(x) = 2x   \det A = 5   \frac{dy}{dx} = 2x   \|v\| = 5      2k\pi, k \in \mathbb{Z}   n^2 \text{ for all } n \ge 1

A number in front of a letter, or a power of it, makes an equation that is not solved: 2x = 10 names nothing. A
condition says which values a letter takes; it is cut off, and compared apart from the answer itself.
"""

from __future__ import annotations

import re

from headwater.verifiers.latex import Node, Nodes, spelled, trimmed
from headwater.verifiers.terms import Name
from headwater.verifiers.units import VOCABULARY, denies, is_prose, known, ways

_MARKS = frozenset({"\\angle", "\\triangle", "\\Delta"})
"""They say what the letters behind them are."""
_BIG = frozenset({"\\int", "\\iint", "\\oint", "\\sum", "\\prod", "\\lim", "\\max", "\\min", "\\sup", "\\inf"})
"""What stands behind one of these is a part of its name, whatever it is."""
_DECORATED = frozenset({"\\overline", "\\vec", "\\hat", "\\mathbb"})


def name_of(nodes: Nodes) -> Name | None:
    """The name that the nodes are, or None."""
    things = _things(nodes)
    if things is None:
        return None
    bare = nodes[0].kind in ("letters", "symbol") and all(node.kind == "index" for node in nodes[1:])
    return Name(spelled(nodes), things <= 1, spelled(nodes) if bare else "")


def _things(nodes: Nodes) -> int | None:
    """How many things the nodes name, a sign between them counted too; None where they are anything but names."""
    if len(nodes) == 3 and nodes[1].text == "/" and _differential(nodes[:1]) and _differential(nodes[2:]):
        return 1
    count, before, operator = 0, "", False
    for place, node in enumerate(nodes):
        if node.text in _BIG:
            return count + 1 + (place > 0)
        if (found := _thing(nodes, place, before)) is None:
            return None
        count += 0 if operator and node.kind in ("words", "letters", "upright", "symbol") else found
        before = node.kind if node.text != "\\prime" else "letters"
        operator |= before == "opaque" or _is_derivative(node)
    return count if count > 0 or (nodes and nodes[-1].text in _MARKS) else None


def _thing(nodes: Nodes, place: int, before: str) -> int | None:
    """How many things one node adds, where it may be part of a name."""
    node, text = nodes[place], nodes[place].text
    match node.kind:
        case "words":
            return None if denies(text) else 1
        case "letters" | "upright":
            return 1 + (len(text) > 1 and not text.isupper() and not is_prose(text))
        case "symbol" if text == "\\circ":
            return -1 if place else None  # f after g is one function
        case "symbol":
            return None if text in ("\\pi", "\\infty", "\\emptyset") else int(text not in _MARKS)
        case "function":
            return 2
        case "opaque" if text != "\\prime":
            return int(place == 0)
        case "index" | "opaque" | "power":
            return 0 if place and (node.kind != "power" or _decorates(nodes, place)) else None
        case "sign" if text in ("+", "-", "*", "/", ":", "\\cup", "\\cap", "\\setminus"):
            return 1 if 0 < place < len(nodes) - 1 else None
        case "sign" if text == "|":  # |x| = 5 has two solutions; |A| is a size
            inside = nodes[place + 1] if place == 0 and len(nodes) > 1 else Node("")
            return None if inside.kind == "symbol" or inside.text in ("x", "y", "t") else 0
        case "sign":
            return 0 if text == "\\|" else None
    if node.kind == "group" and text in ("()", "[]") and before not in ("", "sign", "relation"):
        return 0
    if _is_derivative(node):
        return 1
    if text not in ("()", "{}", "[]", "\\frac") and text not in _DECORATED:
        return None
    inner = [_things(part) for part in node.parts]
    several = text not in _DECORATED and any(one is not None and one > 1 for one in inner)
    return None if None in inner else 1 + (text == "\\frac") + several


def _decorates(nodes: Nodes, place: int) -> bool:
    """x^*, f^{-1}(x), f^{(n)}(x): the power is a part of the name."""
    inside = spelled(nodes[place].parts[0])
    if re.fullmatch(r"(?:[*T+]|\\prime|\\dagger|\\perp)+", inside):
        return True
    if nodes[place - 1].text in ("\\sigma", "\\chi"):
        return inside == "2"
    applied = [node.text for node in nodes[place + 1 : place + 2]] == ["()"]
    return applied and re.fullmatch(r"-1|\(\{[^{}]*\}", inside) is not None


def _is_derivative(node: Node) -> bool:
    return node.text == "\\frac" and all(_differential(part) for part in node.parts)


def _differential(nodes: Nodes) -> bool:
    r"""dy, d^2y, dx, \partial f: a half of a derivative."""
    first = nodes[0] if nodes else Node("")
    return first.text == "\\partial" or (first.kind in ("letters", "upright") and first.text[0] == "d")


CONDITION = r"(?i)(?:,\s*)?\b(?:for|where|with|when|at|if|such that|provided(?: that)?|given(?: that)?|as long as)\b"
"""The words that a condition begins with."""
_KINDS = ways(VOCABULARY["conditions"]["kinds"])
_PLAIN = known("conditions", "plain")
_UNIVERSAL = r"any|[ZRNQC][+*]?|(?:where )?>=-?[0-9]+|=.*|where (?:>|!=)-?[0-9]+|all of .*"


Condition = tuple[str, str]
"""A letter and its domain, as in `Given`."""


def is_universal(domain: str) -> bool:
    """Whether it only names a kind of number, and may be left out."""
    return re.fullmatch(_UNIVERSAL, domain) is not None


def split_condition(nodes: Nodes) -> tuple[Nodes, Condition | None]:
    """An answer, and what is said of its letter behind it; None where nothing is."""
    for cut in range(len(nodes) - 1, 0, -1):
        node, found = nodes[cut], None
        in_words = node.kind == "words" and re.match(CONDITION, node.text) is not None
        if node.kind == "comma":
            found = _condition(nodes[cut + 1 :])
        elif node.kind == "group" and node.text == "()" and cut == len(nodes) - 1:
            inside = node.parts[0]
            named = any(part.text == "in" or part.kind == "words" for part in inside)
            found = _condition(inside) if named or not node.glued else None
        elif in_words or node.text == "\\forall":
            found = _condition(nodes[cut:])
        main = trimmed(nodes[:cut])
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
    if not all(word in _PLAIN or word in _KINDS or re.fullmatch(CONDITION, word) for word in said):
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
    text = spelled(rest) if rest[0].kind == "relation" else ""  # x! = 5 says something else
    if (domain := re.fullmatch(r"in(?:\\mathbb\{)?([ZNRQC])\}?(?:[_^]\{([+*])\})?", text)) is not None:
        return "".join(filter(None, domain.groups()))
    if re.fullmatch(r"=[-+*/|!:0-9.,;]*\\ldots[-+*/|!:0-9.,;]*", text):
        return f"all of {text[1:]}"
    return text if re.fullmatch(r"([<>!]?=|[<>])-?[0-9.]+", text) else None


def _says_of(main: Nodes, letter: str) -> bool:
    """Whether the letter is in the answer."""
    return any(
        (node.kind in ("letters", "symbol", "upright") and (letter in node.text))
        or any(_says_of(part, letter) for part in node.parts)
        for node in main
    )
