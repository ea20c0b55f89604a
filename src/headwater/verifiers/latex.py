r"""An answer's LaTeX as a tree: numbers, letters, words, brackets, fractions, powers. Nothing is computed here.

Reading takes one pass over at most 1,000 characters and nests at most 12 deep. A command that is not in the tables
below raises `Unreadable`: it must not be guessed at. Integrals, sums, limits and the like are read as `opaque`
nodes: they may name a value (\lim f(x) = 5) and never are one, since an answer is a value, not a task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater.verifiers.tokens import (
    ARGUMENTS,
    CLOSING,
    FUNCTIONS,
    LOOKS,
    OPAQUE,
    OPENING,
    RELATIONS,
    SIGNS,
    SYMBOLS,
    Token,
    Unreadable,
    tokens_of,
)

DEEPEST = 12
"""Brackets and arguments inside each other."""


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an answer.

    kind      text                                  parts
    number    digits, "." and nothing else
    letters   a run of letters                      (words are letters inside \\text)
    upright   one letter of \\mathrm: a unit or a letter
    words     what stands inside \\text, or letters of other scripts
    symbol    "\\pi", "\\alpha", "\\infty", ...
    function  "\\sin", "\\log", ...
    opaque    "\\int", "\\lim", "\\det", "'", ...   (names values; never computed)
    sign      + - * / ! | : \\pm ...
    relation  = < > <= >= != ~ in
    comma     "," or ";"; "or" and "and" for the words
    group     the two brackets, "()" or "[)"        what stands between
    matrix    the environment                       what stands between
    macro     "\\frac", "\\binom", "\\sqrt", ...    its arguments
    power, index                                    its argument
    """

    kind: str
    text: str = ""
    parts: tuple[tuple[Node, ...], ...] = ()
    glued: bool = False
    """no space before it"""


Nodes = tuple[Node, ...]


def parse_latex(text: str) -> Nodes:
    """The tree of an answer. Raises Unreadable for what has no reading."""
    reader = _Reader(tokens_of(text))
    nodes = reader.run(frozenset())
    if reader.position < len(reader.tokens):
        raise Unreadable("a bracket closes that was never opened")
    return nodes


def split_nodes(nodes: Nodes, kind: str, text: str = "") -> list[Nodes]:
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


class _Reader:
    """A recursive descent over the tokens; `position` moves forward only."""

    def __init__(self, tokens: list[Token]):
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    def run(self, closing: frozenset[str]) -> Nodes:
        """Nodes up to (not with) a token of `closing`, or to any closing bracket."""
        self._deeper()
        nodes: list[Node] = []
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if token.text in closing or token.kind == "end" or (token.kind == "command" and token.text in CLOSING):
                break
            self.position += 1
            if token.text in ("\\over", "\\choose"):
                name = "\\frac" if token.text == "\\over" else "\\binom"
                nodes = [Node("macro", name, (tuple(nodes), self.run(closing)))]
                break
            nodes.append(self._node(token))
        self.depth -= 1
        return tuple(nodes)

    def _node(self, token: Token) -> Node:
        kind, text, glued = token
        if kind == "begin":
            inside = self.run(frozenset())
            self._take(lambda closing: closing.kind == "end")
            return Node("matrix", text, (inside,), glued)
        if kind != "command":
            return Node(kind, text, (), glued)
        if text in OPENING:
            return self._group(text, glued)
        if text in ARGUMENTS:
            return self._macro(text, glued)
        if text in LOOKS:
            inside = self._argument(whole=False)
            return Node("group", "{}", (_uprighted(inside) if text == "\\mathrm" else inside,), glued)
        if text in ("^", "_"):
            return Node("power" if text == "^" else "index", "", (self._argument(whole=True),), glued)
        if text in (",", ";"):
            return Node("comma", text, (), glued)
        for kind, table in (("sign", SIGNS), ("relation", RELATIONS)):
            if text in table:
                return Node(kind, table[text], (), glued)
        for kind, names in (("symbol", SYMBOLS), ("function", FUNCTIONS), ("opaque", OPAQUE)):
            if text in names:
                return Node(kind, text, (), glued)
        if text == ".":
            return Node("stop", text, (), glued)
        if len(text) == 1 and text.isalpha():
            return Node("letters", text, (), glued)
        raise Unreadable(f"{text!r}")

    def _take(self, wanted: Callable[[Token], bool]) -> Token:
        if self.position >= len(self.tokens) or not wanted(self.tokens[self.position]):
            raise Unreadable("a bracket is not closed")
        self.position += 1
        return self.tokens[self.position - 1]

    def _group(self, opening: str, glued: bool) -> Node:
        inside = self.run(frozenset())
        closing = self._take(lambda token: token.text in OPENING[opening])
        return Node("group", opening + closing.text, (inside,), glued)

    def _macro(self, name: str, glued: bool) -> Node:
        parts: list[Nodes] = []
        if name == "\\sqrt" and self.position < len(self.tokens) and self.tokens[self.position].text == "[":
            self.position += 1
            root = self.run(frozenset("]"))
            self._take(lambda token: token.text == "]")
            parts = [root]
        whole = name == "\\surd"
        arguments = [self._argument(whole=whole) for _ in range(ARGUMENTS[name])]
        return Node("macro", "\\sqrt" if whole else name, (*arguments, *parts), glued)

    def _argument(self, *, whole: bool) -> Nodes:
        """What TeX takes as an argument: a {group} or one character; `whole`: all digits of a number."""
        if self.position >= len(self.tokens):
            raise Unreadable("an argument is missing")
        token = self.tokens[self.position]
        if len(token.text) > 1 and (token.kind == "letters" or (token.kind == "number" and not whole)):
            first, rest = token._replace(text=token.text[0]), token._replace(text=token.text[1:], glued=True)
            self.tokens[self.position : self.position + 1] = [first, rest]
            token = first
        self.position += 1
        self._deeper()
        if whole and token.text == "-":  # x^-1, as people type it
            nodes = (Node("sign", "-"), *self._argument(whole=True))
        else:
            node = self._node(token)
            group = node.kind == "group" and (node.text == "{}" or (whole and node.text == "()" and _one(node)))
            nodes = node.parts[0] if group else (node,)
        self.depth -= 1
        return nodes

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST}")


def _one(group: Node) -> bool:
    """Whether brackets hold one expression: x^(n+1), as people type it."""
    return bool(group.parts[0]) and not any(node.kind in ("comma", "relation") for node in group.parts[0])


def _uprighted(nodes: Nodes) -> Nodes:
    r"""Letters of \mathrm{m \cdot s^{-1}} as words: they are units."""
    return tuple(
        Node(
            "words" if node.kind == "letters" else node.kind, node.text, tuple(map(_uprighted, node.parts)), node.glued
        )
        for node in nodes
    )
