r"""An answer's LaTeX as a tree: numbers, letters, words, brackets, fractions, powers. Nothing is computed here.

Reading takes one pass over at most 1,000 characters and nests at most 12 deep. A command that is not in the tables
below raises `Unreadable`: it must not be guessed at. Integrals, sums, limits and the like are read as `opaque`
nodes: they may name a value (\lim f(x) = 5) and never are one, since an answer is a value, not a task.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from headwater.verifiers.units import BARE, group_of, multiplier_of, unit_of
from headwater.verifiers.vocabulary import (
    ARGUMENTS,
    CLOSING,
    FUNCTIONS,
    JOINT,
    LOOKS,
    MEASURE,
    NAMES,
    NUMERAL,
    OPAQUE,
    OPENING,
    RAISED,
    RELATIONS,
    SAME,
    SIGNS,
    STRINGS,
    SUPERSCRIPTS,
    SYMBOLS,
    TOKEN,
    UNICODE,
    WIDE,
    known,
)

LONGEST_EXPRESSION = 1_000
"""Characters of an answer that is an expression; the longest gold answer of MATH has 159."""
DEEPEST = 12
"""Brackets and arguments inside each other."""


class Unreadable(ValueError):
    """The text is not one of the answers that can be read; for a response that is WRONG."""


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


class _Token(NamedTuple):
    kind: str
    text: str
    glued: bool


def parse_latex(text: str) -> Nodes:
    """The tree of an answer. Raises Unreadable for what has no reading."""
    reader = _Reader(_opened_outwards(_with_words(_scan(text))))
    nodes = reader.run(frozenset())
    if reader.position < len(reader.tokens):
        raise Unreadable("a bracket closes that was never opened")
    return nodes


def ascii_digits(text: str) -> str:
    """Digits of other scripts as 0 to 9, full-width forms as ASCII; styled digits of mathematics stay as they are."""
    text = text.translate(WIDE)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if c > "\x7f" and c.isdecimal() and c < "\U0001d000" else c for c in text
    )


def _scan(text: str) -> list[_Token]:
    if len(text) > LONGEST_EXPRESSION:
        raise Unreadable(f"longer than {LONGEST_EXPRESSION} characters")
    text = ascii_digits(text)
    if not text.isascii():
        text = RAISED.sub(lambda match: f"^{{{match[0].translate(SUPERSCRIPTS)}}}", text)
        text = "".join(UNICODE.get(character, character) for character in text)
    for pattern, meant in STRINGS:
        text = pattern.sub(meant, text)
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise Unreadable("a character without a LaTeX name")
    tokens: list[_Token] = []
    position, glued = 0, False
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{text[position]!r}")
        if match["blank"] is None:
            before = tokens[-2:-1] if tokens and tokens[-1].text == "{" else tokens[-1:]
            tokens.extend(_tokens(match, glued, before[0] if before else None))
        glued = match["blank"] is None
        position = match.end()
    return tokens


def _tokens(match: re.Match[str], glued: bool, before: _Token | None) -> list[_Token]:
    if match["number"] is not None:
        return [_Token("number", re.sub(r"[^0-9.]", "", match[0]), glued)]
    if match["text"] is not None:
        return _spelled(match[0], _text_of(match["words"]))
    if match["foreign"] is not None or match["hyphened"] is not None:
        return [_Token("words", match[0], glued)]
    if match["letters"] in ("or", "and"):
        return [_Token("comma", match[0], glued)]
    if match["letters"] is not None:
        return [_letters(match[0], glued, before)]
    if match["line"] is not None:
        return [_Token("command", "\\\\", glued)]
    if match["begin"] is not None:
        return [_Token("begin", match["environment"], glued)]
    if match["end"] is not None:
        return [_Token("end", "", glued)]
    return [_Token("command", SAME.get(match[0], match[0]), glued)]


def _text_of(words: str) -> str:
    r"""What stands in \text{...}, with signs for their commands and blanks for the rest."""
    for name, sign in _SIGN_OF.items():
        words = words.replace(f"{sign} " if sign != "\\$" else sign, name)
    return re.sub(r"\\([%&#_])|\\(?:[a-z]+|.)|~", r" \1 ", words).strip()


def _letters(text: str, glued: bool, before: _Token | None) -> _Token:
    if text in NAMES:
        return _Token("command", NAMES[text], glued)
    measured = before is not None and (before.kind in ("number", "words") or before.text in ("}", ")", "\\pi"))
    known = text in BARE or text.lower() in BARE or (text == "in" and not glued)
    return _Token("words" if measured and known else "letters", text, glued)


def _spelled(command: str, inside: str) -> list[_Token]:
    if command.startswith("\\math") and len(inside) == 1 and inside.isalpha():
        return [_Token("upright" if command.startswith("\\mathrm") else "letters", inside, False)]  # \mathrm{i}
    if command.startswith("\\operatorname"):
        inside = inside.rstrip("*")
        if "\\" + inside in FUNCTIONS or "\\" + inside in SAME:
            return [_Token("command", SAME.get("\\" + inside, "\\" + inside), False)]
    return _words(inside)


def _words(text: str) -> list[_Token]:
    r"""\text{2 and 3} is a list, \text{3 apples} a number with a unit, \text{October 30} only words."""
    tokens: list[_Token] = []
    joints = JOINT.findall(text.strip())
    for number, piece in enumerate(JOINT.split(text.strip())):
        if number:
            joint = joints[number - 1]
            text = "and" if "and" in joint or "和" in joint else "or" if "or" in joint or "或" in joint else ","
            tokens.append(_Token("comma", text, False))
        measure = MEASURE.fullmatch(piece)
        if measure is not None and measure_words(measure[3] or ""):
            tokens += _scan(f"{_SIGN_OF.get(measure[1], '')}{measure[2]}")
            tokens += [_Token("words", measure[3].strip(), False)] if measure[3] else []
        elif NUMERAL.fullmatch(piece):
            tokens += _scan(piece)
        elif (ordinal := re.fullmatch(r"([0-9]+)-?(st|nd|rd|th)", piece)) is not None:
            tokens += [_Token("number", ordinal[1], False), _Token("words", ordinal[2], True)]
        elif piece in _SIGN_OF:
            tokens.append(_Token("command", _SIGN_OF[piece], False))
        elif piece:
            tokens.append(_Token("words", piece, False))
    return tokens


_SIGN_OF = {"$": "\\$", "€": "\\euro", "£": "\\pounds", "¥": "\\yen", "₹": "\\rupee"} | {
    sign: command.strip() for sign, command in UNICODE.items() if sign in "₩₽₺₪₫฿₦₱¢"
}


def measure_words(text: str) -> bool:
    """Whether these words may stand behind a number and leave it one."""
    text = text.strip()
    return not text or unit_of(text) is not None or multiplier_of(text)[0] > 1 or group_of(text) is not None


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


def is_prose(text: str) -> bool:
    """Whether letters are words: a run of three or more, or a short word of English, and no product of letters."""
    runs = re.findall(r"[^\W\d_]+", text)
    return any(len(run) > 2 or not run.isascii() or run.lower() in _SHORT_WORDS for run in runs)


_SHORT_WORDS = known("no_nouns", "short_words")


def _with_words(tokens: list[_Token]) -> list[_Token]:
    """Runs of letters with blanks between them as words: `no solution`, and what a number counts: `6 red balls`."""
    joined: list[_Token] = []
    place = 0
    while place < len(tokens):
        stop = place
        while stop < len(tokens) and _is_typed(tokens[stop]) and not (tokens[stop].glued and stop > place):
            stop += 1
        run = tokens[place:stop]
        text = " ".join(token.text for token in run)
        behind = joined[-1] if joined else None
        if run and behind is not None and behind.kind == "number":
            long = all(len(token.text) > 2 or token.kind == "words" for token in run) and not run[0].text.isupper()
            if any(token.kind == "letters" for token in run) and long and measure_words(text):
                run = [_Token("words", text, run[0].glued)]
        elif len(run) > 1 and is_prose(text):
            run = [_Token("words", text, run[0].glued)]
        joined += run or tokens[place : place + 1]
        place = max(stop, place + 1)
    return joined


def _is_typed(token: _Token) -> bool:
    return token.kind == "letters" or (token.kind == "words" and token.text.lower() in BARE)


def _opened_outwards(tokens: list[_Token]) -> list[_Token]:
    """Intervals whose brackets open outwards, ]0,1[ and [0,1[, with the brackets that they stand for."""
    found, stack = list(tokens), list[str]()
    for place, token in enumerate(tokens):
        if token.kind != "command" or token is not found[place]:
            continue
        if token.text in ("[", "]") and (token.text == "[" or not {"[", "("} & set(stack[-1:])):
            other = _other_end(tokens, place)
            if other is not None and (token.text, tokens[other].text) != ("[", "]"):
                found[place] = token._replace(text="(" if token.text == "]" else "[")
                end = ")" if tokens[other].text == "[" else "]"
                found[other] = tokens[other]._replace(text=end)
                continue
        if token.text in OPENING:
            stack.append(token.text)
        elif token.text in CLOSING and stack:
            stack.pop()
    return found


def _other_end(tokens: list[_Token], place: int) -> int | None:
    """The square bracket that ends the pair of ends which begins here; None when there is no such pair."""
    depth = parts = 0
    for stop in range(place + 1, len(tokens)):
        text = tokens[stop].text if tokens[stop].kind == "command" else ""
        if depth == 0 and text in ("[", "]"):
            return stop if parts == 1 and stop > place + 2 else None
        parts += depth == 0 and text in (",", ";")
        depth += text in ("(", "{", "\\{")
        depth -= text in (")", "}", "\\}")
        if depth < 0:
            return None
    return None


class _Reader:
    """A recursive descent over the tokens; `position` moves forward only."""

    def __init__(self, tokens: list[_Token]):
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

    def _node(self, token: _Token) -> Node:
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

    def _take(self, wanted: Callable[[_Token], bool]) -> _Token:
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
