r"""What is said of its letters behind an answer: `, k \in \mathbb{Z}`, `\text{ for all } n \ge 1`.

A condition says which values a letter takes. It is cut off, and compared apart from the answer itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from headwater.verifiers.latex import Node, Nodes

_KEYWORD = re.compile(
    r"(?:,\s*)?\b(?:for|where|with|when|at|if|such that|provided(?: that)?|given(?: that)?|as long as)\b", re.IGNORECASE
)
_SAYS = {
    "integer": "Z", "integers": "Z", "real": "R", "reals": "R", "natural": "N", "rational": "Q", "constant": "any",
    "constants": "any", "整数": "Z", "常数": "any",
}  # fmt: skip
_PLAIN = frozenset(
    "for all any every each some where with is an a are be arbitrary number numbers and the in of if when such "
    "that".split()
)
_UNIVERSAL = re.compile(r"any|[ZRNQC][+*]?|(?:where )?>=-?[0-9]+|=.*|where (?:>|!=)-?[0-9]+|all of .*")


@dataclass(frozen=True, slots=True)
class Condition:
    """The letter, and the values that it takes: "Z", "any", ">=1", "!=0", ..."""

    letter: str
    domain: str

    @property
    def universal(self) -> bool:
        """Whether it only names a kind of number, and may be left out."""
        return _UNIVERSAL.fullmatch(self.domain) is not None


def split_condition(nodes: Nodes) -> tuple[Nodes, Condition | None]:
    """An answer, and what is said of its letter behind it; None where nothing is."""
    for cut in range(len(nodes) - 1, 0, -1):
        node = nodes[cut]
        found: Condition | None = None
        if node.kind == "comma":
            found = _condition(nodes[cut + 1 :])
        elif node.kind == "group" and node.text == "()" and cut == len(nodes) - 1:
            inside = node.parts[0]
            set_named = any(part.text == "in" for part in inside) or any(part.kind == "words" for part in inside)
            found = _condition(inside) if set_named or not node.glued else None
        elif (node.kind == "words" and _KEYWORD.match(node.text)) or node.text == "\\forall":
            found = _condition(nodes[cut:])
        if found is not None:
            main = nodes[:cut]
            while main and main[-1].kind == "comma" and main[-1].text in (",", ";"):
                main = main[:-1]
            if found.domain[:1] == "=":  # 5 for x = 2; and x = 3 or x = 5 is a list
                fits = node.kind == "words" and "if" not in node.text and not _says_of(main, found.letter)
            else:
                fits = _says_of(main, found.letter) and not _inequality(main)
            if main and fits:
                if node.kind == "words" and found.domain[0] in ">!" and "if" not in node.text:
                    found = replace(found, domain=f"where {found.domain}")
                return main, found
    return nodes, None


def renamed(nodes: Nodes, old: str, new: str) -> Nodes:
    """The nodes with another name for a letter."""
    return tuple(
        Node(
            node.kind,
            node.text.replace(old, new) if node.kind in ("letters", "upright") else node.text,
            tuple(renamed(part, old, new) for part in node.parts),
            node.glued,
        )
        for node in nodes
    )


def _says_of(main: Nodes, letter: str) -> bool:
    """Whether the letter is in the answer."""
    return any(
        (node.kind in ("letters", "symbol", "upright") and (letter in node.text))
        or any(_says_of(part, letter) for part in node.parts)
        for node in main
    )


def _inequality(main: Nodes) -> bool:
    """An answer that is itself a range is no value with a condition."""
    return any(node.kind == "relation" and node.text not in ("=", "~") for node in main)


def _condition(nodes: Nodes) -> Condition | None:
    """The condition that the nodes state, whole; None where they say anything else."""
    words = " ".join(node.text if node.kind == "words" else " " for node in nodes)
    rest = tuple(node for node in nodes if node.kind != "words" and node.text != "\\forall" and node.kind != "stop")
    letter, domain = "", "any" if words.strip() or any(node.text == "\\forall" for node in nodes) else ""
    for word in re.findall(r"[^\W\d_]+", words):
        lower = word.lower()
        if lower in _SAYS:
            domain = _SAYS[lower] if domain in ("any", "") or lower not in ("real",) else domain
        elif len(word) == 1 and lower != "a" and not letter:
            letter = word
        elif lower in ("positive", "nonnegative", "non"):
            domain = "Z+" if lower == "positive" else "N0"
        elif lower not in _PLAIN and not _KEYWORD.fullmatch(word):
            return None
    if "positive" in words.lower() and "integer" in words.lower():
        domain = "Z+"
    elif "negative" in words.lower() and "integer" in words.lower():
        domain = "N0"
    if not rest:
        return Condition(letter, domain) if letter and domain else None
    if rest[0].kind == "relation" and letter:
        rest = (Node("letters", letter), *rest)
    if rest[0].kind not in ("letters", "symbol") or (rest[0].kind == "letters" and len(rest[0].text) > 1):
        return None
    letter = rest[0].text
    if len(rest) == 1:
        return Condition(letter, domain) if domain else None
    stated = _stated(rest[1:])
    return None if stated is None else Condition(letter, stated)


def _stated(rest: Nodes) -> str | None:
    r"""What a relation says of the letter before it: `in \mathbb{Z}`, `>= 1`, `= 0, 1, 2, ...`."""
    sign, values = rest[0], rest[1:]
    if sign.kind != "relation" or not values:
        return None
    if sign.text == "in" and (values[0].text == "\\mathbb" or values[0].kind == "letters"):
        name = "".join(part.text for part in values[0].parts[0]) if values[0].parts else values[0].text
        marks = "".join(part.text for node in values[1:] for inside in node.parts for part in inside)
        if len(values) > 1 and not marks:
            return None
        return name + marks if name in ("Z", "N", "R", "Q", "C") and marks in ("", "+", "*") else None
    texts = [node.text for node in values]
    if sign.text == "=" and "\\ldots" in texts and all(node.kind in ("number", "comma", "sign") for node in values):
        return "all of " + "".join(texts)
    number = texts[-1] if values[-1].kind == "number" and texts[:-1] in ([], ["-"]) else None
    known = number is not None and sign.text in (">=", ">", "!=", "<", "<=", "=")
    return f"{sign.text}{''.join(texts)}" if known else None
