r"""An answer's LaTeX as a tree: numbers, letters, words, brackets, fractions, powers. Nothing is computed here.

Reading takes one pass over at most 1,000 characters and nests at most 12 deep. A command that `vocabulary.toml`
does not name raises `Unreadable`: it must not be guessed at. Integrals, sums, limits and the like are read as
`opaque` nodes: they may name a value (\lim f(x) = 5) and never are one, since an answer is a value, not a task.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from headwater.verifiers.units import BARE, MONEY, VOCABULARY, group_of, known, multiplier_of, unit_of, ways

LONGEST_EXPRESSION = 1_000
"""Characters of an answer that is an expression; the longest gold answer of MATH has 159."""
DEEPEST = 12
"""Brackets and arguments inside each other."""

_LATEX = VOCABULARY["latex"]
_FUNCTIONS = known("latex", "functions")
_LOOKS = known("latex", "looks")
"""How its argument looks and not what it is."""
_ARGUMENTS = dict.fromkeys(known("latex", "one_argument"), 1) | dict.fromkeys(known("latex", "two_arguments"), 2)
_OPENING = {opening: tuple(closing.split()) for opening, closing in _LATEX["brackets"].items()}
_CLOSING = frozenset(closing for several in _OPENING.values() for closing in several)
_SAME = ways(_LATEX["same"])
_KINDS = {
    **{sign: ("sign", meant) for sign, meant in (ways(_LATEX["signs"]) | {sign: sign for sign in MONEY}).items()},
    **{sign: ("relation", meant) for sign, meant in ways(_LATEX["relations"]).items()},
    **{name: ("symbol", name) for name in known("latex", "symbols") | known("latex", "greek")},
    **{name: ("function", name) for name in _FUNCTIONS},
    **{name: ("opaque", name) for name in known("latex", "opaque")},
    ".": ("stop", "."), ",": ("comma", ","), ";": ("comma", ";"),
}  # fmt: skip
"""What a command is, and what it means."""
_TYPED = {"pi": "\\pi", "sqrt": "\\surd", **{name[1:]: name for name in _FUNCTIONS if name != "\\sec"}}
"""What is typed without its backslash and is no product of letters."""
_REWRITES = [(re.compile(pattern), meant) for pattern, meant in _LATEX["rewrites"]]
_UNICODE = {sign: command for command, signs in _LATEX["characters"].items() for sign in signs} | {
    letter: f"\\{name} " for letter, name in zip(_LATEX["greek_letters"], _LATEX["greek_names"].split(), strict=True)
}
_SHORT_WORDS = known("no_nouns", "short_words")

_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(
    (0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)
)
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
_NO_INK = (
    r"\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\math(?:rm|bf|it|sf)\s+(?=[0-9A-Za-z])|\\(?:left|right)\s*\.(?![0-9])"
    r"|\\(?:textcolor|color|hspace|vspace)\*?\s*\{[^{}]*\}"
    r"|\\(?:quad|qquad|displaystyle|textstyle|limits|left|right|middle|[bB]igg?[lrm]?|strut|bf|rm|it|sf|tt|boldmath"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|nobreak|hfill|newline|allowbreak)(?![A-Za-z])"
    r"|\\[,;:! >()\[\]]|(?:\\)+\s*\Z|[$~\s]"
)
_TEXT = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|[mh]box|math(?:rm|bf|it|sf)|operatorname\*?)\s*"
    r"\{(?P<inside>(?:[^{}\\]|\\[$%&#_ ,;:!]|\\[A-Za-z]+ )*)\}"
)
_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:(?:(?:\{,\}|,\{\}|\\text\{,\})(?:\\[!,;: ]|~| )*|,\s?(?:\\!\s*)+|\\[,;: ]|~| )[0-9]{3})+"
    r"(?![0-9]|\s*(?:/|\\[dtc]?frac)|[ ~][0-9])(?:\.[0-9]+)?"
    r"|[0-9]*\.[0-9]*(?=\\(?:overline|bar|dot)(?![a-z]))|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    rf"|(?P<blank>(?:{_NO_INK})+)|(?P<text>{_TEXT})"
    r"|(?P<begin>\\begin\s*\{(?P<environment>[pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?)"
    r"|(?P<end>\\end\s*\{(?:[pbBvV]?(?:small)?matrix|array)\})"
    r"|(?P<line>\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])"
    r"|(?P<words>[^\W\d_a-zA-Z][^\W\d_]*|[A-Za-z]+(?:-[A-Za-z]{4,})+|[A-Za-z]{4,}-[A-Za-z]+)"
    r"|(?P<command>\\(?:[A-Za-z]+|.)|\*\*)|(?P<letters>[A-Za-z]+)|(?P<sign>[-+*/^_=<>!|:;,.(){}\[\]&%'])",
    re.DOTALL,
)
_JOINT = re.compile(r"\s*(?:(?<![0-9])[,;、]|[,;、](?![0-9])|(?:,\s*)?(?:\b(?:and|or)\b|或者|或|和(?=\s*\d)))\s*")
_MEASURE = re.compile(
    r"([$€£¥₹₩₽₺₪₫฿₦₱]?)\s*([0-9][0-9,]*(?:\.[0-9]+)?(?::[0-9]+)*)\s*([%$€£¥₹₩₽₺₪₫฿₦₱]|[^\W\d_][^\d]*)?"
)
_NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_SIGN_OF = {"$": "\\$"} | {sign: command.strip() for sign, command in _UNICODE.items() if sign in "€£¥₹₩₽₺₪₫฿₦₱¢"}
_WRITTEN = {command: sign for sign, command in reversed(_UNICODE.items()) if "\\" in command} | {"\\$": "$"}
_COMMAND = re.compile("|".join(re.escape(command) for command in sorted(_WRITTEN, key=len, reverse=True)))


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
    relation  = < > <= >= != ~ in \\equiv
    comma     "," or ";"; "or" and "and" for the words
    stop      "."
    group     the two brackets, "()" or "[)"        what stands between
    matrix    the environment                       what stands between
    macro     "\\frac", "\\binom", "\\sqrt", ...    its arguments
    power, index                                    its argument

    Before it is read it may be a command, or the begin or end of a matrix.
    """

    kind: str
    text: str = ""
    parts: tuple[tuple[Node, ...], ...] = ()
    glued: bool = False
    """no space before it"""


Nodes = tuple[Node, ...]


def parse_latex(text: str) -> Nodes:
    """The tree of an answer. Raises Unreadable for what has no reading."""
    reader = _Reader(_with_words(_scan(text)))
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


def ascii_digits(text: str) -> str:
    """Digits of other scripts as 0 to 9, full-width forms as ASCII; styled digits of mathematics stay as they are."""
    text = text.translate(_WIDE)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if c > "\x7f" and c.isdecimal() and c < "\U0001d000" else c for c in text
    )


def is_prose(text: str) -> bool:
    """Whether letters are words: a run of three or more, or a short word of English, and no product of letters."""
    runs = re.findall(r"[^\W\d_]+", text)
    return any(len(run) > 2 or not run.isascii() or run.lower() in _SHORT_WORDS for run in runs)


# From characters to tokens


def _scan(text: str) -> list[Node]:
    if len(text) > LONGEST_EXPRESSION:
        raise Unreadable(f"longer than {LONGEST_EXPRESSION} characters")
    text = ascii_digits(text)
    if not text.isascii():
        text = _RAISED.sub(_superscript, text)
        text = "".join(_UNICODE.get(character, character) for character in text)
    for pattern, meant in _REWRITES:
        text = pattern.sub(meant, text) if pattern.search(text) else text  # a search is cheaper
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise Unreadable("a character without a LaTeX name")
    tokens: list[Node] = []
    position, glued = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{text[position]!r}")
        if match["blank"] is None:
            before = tokens[-2:-1] if tokens and tokens[-1].text == "{" else tokens[-1:]
            tokens.extend(_tokens(match, glued, before[0] if before else None))
        glued = match["blank"] is None
        position = match.end()
    return tokens


def _superscript(match: re.Match[str]) -> str:
    """x² as x^2; a single digit needs no braces, which a text could not hold."""
    digits = unicodedata.normalize("NFKC", match[0]).replace("\u2212", "-")
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def _tokens(match: re.Match[str], glued: bool, before: Node | None) -> list[Node]:
    text = match[0]
    if match["number"] is not None:
        return [Node("number", re.sub(r"[^0-9.]", "", text), (), glued)]
    if match["text"] is not None:
        return _text(text, match["inside"])
    if match["letters"] in ("or", "and"):
        return [Node("comma", text, (), glued)]
    if match["letters"] in _TYPED:
        return [Node("command", _TYPED[text], (), glued)]
    if match["letters"] is not None:
        measured = before is not None and (before.kind in ("number", "words") or before.text in ("}", ")", "\\pi"))
        unit = text in BARE or text.lower() in BARE or (text == "in" and not glued)
        return [Node("words" if measured and unit else "letters", text, (), glued)]
    if match["words"] is not None or match["end"] is not None:
        return [Node("words" if match["words"] else "end", text, (), glued)]
    if match["begin"] is not None:
        return [Node("begin", match["environment"], (), glued)]
    return [Node("command", "\\\\" if match["line"] else _SAME.get(text, text), (), glued)]


def _text(command: str, inside: str) -> list[Node]:
    r"""The tokens of \text{...} and the like, with signs for their commands: 5\text{ π} is no 5."""
    inside = _COMMAND.sub(lambda match: _WRITTEN[match[0]], inside)
    inside = re.sub(r"\\([%&#_])|\\(?:q?quad|[^a-zA-Z])|~", r" \1 ", inside).strip()
    if "\\" in inside:
        raise Unreadable("a command among words")
    if command.startswith("\\math") and len(inside) == 1 and inside.isalpha():
        return [Node("upright" if command.startswith("\\mathrm") else "letters", inside)]  # \mathrm{i}
    name = "\\" + inside.rstrip("*")
    if command.startswith("\\operatorname") and (name in _FUNCTIONS or name in _SAME):
        return [Node("command", _SAME.get(name, name))]
    return _words(inside.rstrip("*") if command.startswith("\\operatorname") else inside)


def _words(text: str) -> list[Node]:
    r"""\text{2 and 3} is a list, \text{3 apples} a number with a unit, \text{October 30} only words."""
    tokens: list[Node] = []
    joints = _JOINT.findall(text)
    for place, piece in enumerate(_JOINT.split(text)):
        if place:
            joint = joints[place - 1]
            tokens.append(
                Node("comma", "and" if re.search("and|和", joint) else "or" if re.search("or|或", joint) else ",")
            )
        measure = _MEASURE.fullmatch(piece)
        if measure is not None and _is_measure(measure[3] or ""):
            tokens += _scan(f"{_SIGN_OF.get(measure[1], '')}{measure[2]}")
            tokens += [Node("words", measure[3].strip())] if measure[3] else []
        elif (ordinal := re.fullmatch(r"([0-9]+)-?(st|nd|rd|th)", piece)) is not None:
            tokens += [Node("number", ordinal[1]), Node("words", ordinal[2], (), True)]
        elif piece in _SIGN_OF:
            tokens.append(Node("command", _SIGN_OF[piece]))
        elif re.search(r"\w", piece) and not _NUMERAL.fullmatch(piece):
            tokens.append(Node("words", piece))
        elif piece:
            tokens += _scan(piece)
    return tokens


def _is_measure(text: str) -> bool:
    """Whether these words may stand behind a number and leave it one."""
    text = text.strip()
    return not text or unit_of(text) is not None or multiplier_of(text)[0] > 1 or group_of(text) is not None


def _with_words(tokens: list[Node]) -> list[Node]:
    """Runs of letters with blanks between them as words: `no solution`, and what a number counts: `6 red balls`."""
    joined: list[Node] = []
    place = 0
    while place < len(tokens):
        stop = place
        while stop < len(tokens) and _is_typed(tokens[stop]) and not (tokens[stop].glued and stop > place):
            stop += 1
        run = tokens[place:stop]
        text = " ".join(token.text for token in run)
        if run and joined and joined[-1].kind == "number":
            long = all(len(token.text) > 2 or token.kind == "words" for token in run) and not run[0].text.isupper()
            if any(token.kind == "letters" for token in run) and long and _is_measure(text):
                run = [Node("words", text, (), run[0].glued)]
        elif len(run) > 1 and is_prose(text):
            run = [Node("words", text, (), run[0].glued)]
        joined += run or tokens[place : place + 1]
        place = max(stop, place + 1)
    return joined


def _is_typed(token: Node) -> bool:
    return token.kind == "letters" or (token.kind == "words" and token.text.lower() in BARE)


# From tokens to the tree


class _Reader:
    """A recursive descent over the tokens; `position` moves forward only."""

    def __init__(self, tokens: list[Node]):
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    def run(self, closing: frozenset[str]) -> Nodes:
        """Nodes up to (not with) a token of `closing`, or to any closing bracket."""
        self._deeper()
        nodes: list[Node] = []
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if token.text in closing or token.kind == "end" or (token.kind == "command" and token.text in _CLOSING):
                break
            self.position += 1
            if token.text in ("\\over", "\\choose"):
                name = "\\frac" if token.text == "\\over" else "\\binom"
                nodes = [Node("macro", name, (tuple(nodes), self.run(closing)))]
                break
            nodes.append(self._node(token))
        self.depth -= 1
        return tuple(nodes)

    def _node(self, token: Node) -> Node:
        text = token.text
        if token.kind == "begin":
            inside = self.run(frozenset())
            self._take(lambda closing: closing.kind == "end")
            return replace(token, kind="matrix", parts=(inside,))
        if token.kind != "command":
            return token
        if text in _KINDS:
            kind, meant = _KINDS[text]
            return replace(token, kind=kind, text=meant)
        if text in _OPENING:
            inside = self.run(frozenset())
            closing = self._take(lambda closing: closing.text in _OPENING[text])
            return replace(token, kind="group", text=text + closing.text, parts=(inside,))
        if text in _ARGUMENTS:
            return self._macro(token)
        if text in _LOOKS:
            inside = self._argument(whole=False)
            return replace(
                token, kind="group", text="{}", parts=(_uprighted(inside) if text == "\\mathrm" else inside,)
            )
        if text in ("^", "_"):
            return replace(
                token, kind="power" if text == "^" else "index", text="", parts=(self._argument(whole=True),)
            )
        if len(text) == 1 and text.isalpha():
            return replace(token, kind="letters")
        raise Unreadable(f"{text!r}")

    def _take(self, wanted: Callable[[Node], bool]) -> Node:
        if self.position >= len(self.tokens) or not wanted(self.tokens[self.position]):
            raise Unreadable("a bracket is not closed")
        self.position += 1
        return self.tokens[self.position - 1]

    def _macro(self, token: Node) -> Node:
        degree: tuple[Nodes, ...] = ()
        if token.text == "\\sqrt" and self.position < len(self.tokens) and self.tokens[self.position].text == "[":
            self.position += 1
            degree = (self.run(frozenset("]")),)
            self._take(lambda closing: closing.text == "]")
        whole = token.text == "\\surd"
        arguments = [self._argument(whole=whole) for _ in range(_ARGUMENTS[token.text])]
        return replace(token, kind="macro", text="\\sqrt" if whole else token.text, parts=(*arguments, *degree))

    def _argument(self, *, whole: bool) -> Nodes:
        """What TeX takes as an argument: a {group} or one character; `whole`: all digits of a number."""
        if self.position >= len(self.tokens):
            raise Unreadable("an argument is missing")
        token = self.tokens[self.position]
        if len(token.text) > 1 and (token.kind == "letters" or (token.kind == "number" and not whole)):
            rest = replace(token, text=token.text[1:], glued=True)
            token = replace(token, text=token.text[0])
            self.tokens[self.position : self.position + 1] = [token, rest]
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
        replace(node, kind="words" if node.kind == "letters" else node.kind, parts=tuple(map(_uprighted, node.parts)))
        for node in nodes
    )
