r"""An answer's LaTeX as a tree: numbers, letters, words, brackets, fractions, powers. Nothing is computed here.

Reading takes one pass over at most 1,000 characters and nests at most 12 deep. A command that `vocabulary.toml`
does not name raises `Unreadable`: it must not be guessed at. Integrals, sums, limits and the like are read as
`opaque` nodes: they may name a value (\lim f(x) = 5) and never are one, since an answer is a value, not a task.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import cache

from headwater.verifiers.units import BARE, MONEY, VOCABULARY, is_prose, known, measure_of, ways

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
_CLOSING = frozenset({"\\end"}.union(*_OPENING.values()))
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
_UNICODE = {sign: command for command, signs in _LATEX["characters"].items() for sign in signs} | {
    letter: f"\\{name} " for letter, name in zip(_LATEX["greek_letters"], _LATEX["greek_names"].split(), strict=True)
}

_RAISED = "[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+"
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(
    (0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)
)
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
NO_INK = (
    r"(?:\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\math(?:rm|bf|it|sf)\s+(?=[0-9A-Za-z])|\\(?:left|right)\s*\.(?![0-9])"
    r"|\\(?:textcolor|color|hspace|vspace)\*?\s*\{[^{}]*\}"
    r"|\\(?:quad|qquad|displaystyle|textstyle|limits|left|right|middle|[bB]igg?[lrm]?|strut|bf|rm|it|sf|tt|boldmath"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|nobreak|hfill|newline|allowbreak)(?![A-Za-z])"
    r"|\\[,;:! >()\[\]]|(?:\\)+\s*\Z|[$~\s])+"
)
"""What leaves nothing on the page but a blank."""
_TEXT = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|[mh]box|math(?:rm|bf|it|sf)|operatorname\*?)\s*"
    r"\{(?P<inside>(?:[^{}\\]|\\[$%&#_ ,;:!]|\\[A-Za-z]+ )*)\}"
)
_PIECE = (
    r"(?s)"
    r"(?P<number>[0-9]{1,3}(?:(?:(?:\{,\}|,\{\}|\\text\{,\})(?:\\[!,;: ]|~| )*|,\s?(?:\\!\s*)+|\\[,;: ]|~| )[0-9]{3})+"
    r"(?![0-9]|\s*(?:/|\\[dtc]?frac)|[ ~][0-9])(?:\.[0-9]+)?"
    r"|[0-9]*\.[0-9]*(?=\\(?:overline|bar|dot)(?![a-z]))|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    rf"|(?P<blank>{NO_INK})|(?P<text>{_TEXT})"
    r"|(?P<begin>\\begin\s*\{(?P<environment>[pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?)"
    r"|(?P<end>\\end\s*\{(?:[pbBvV]?(?:small)?matrix|array)\})"
    r"|(?P<line>\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])"
    r"|(?P<words>[^\W\d_a-zA-Z][^\W\d_]*|[A-Za-z]+(?:-[A-Za-z]{4,})+|[A-Za-z]{4,}-[A-Za-z]+)"
    r"|(?P<letters>[A-Za-z]+)|(?P<command>\\(?:[A-Za-z]+|.)|\*\*|[-+*/^_=<>!|:;,.(){}\[\]&%'])|(?P<unknown>.)"
)
_JOINT = r"(\s*(?:(?<![0-9])[,;、]|[,;、](?![0-9])|(?:,\s*)?(?:\b(?:and|or)\b|或者|或|和(?=\s*\d)))\s*)"
_JOINTS = {"and": "and", "和": "and", "or": "or", "或": "or", "或者": "or"}
_MEASURE = r"([$€£¥₹₩₽₺₪₫฿₦₱]?\s*[0-9][0-9,]*(?:\.[0-9]+)?(?::[0-9]+)*)\s*([%$€£¥₹₩₽₺₪₫฿₦₱]|-?[^\W\d_][^\d]*)?"
_WRITTEN = {command: sign for sign, command in reversed(_UNICODE.items()) if "\\" in command} | {"\\$": "$"}
_COMMAND = "|".join(re.escape(command) for command in sorted(_WRITTEN, key=len, reverse=True))


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
    nodes = reader.run()
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


def trimmed(nodes: Nodes) -> Nodes:
    """Without the stops and commas behind them."""
    while nodes and (nodes[-1].kind == "stop" or nodes[-1].text in (",", ";")):
        nodes = nodes[:-1]
    return nodes


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


def ascii_digits(text: str) -> str:
    """Digits of other scripts as 0 to 9, full-width forms as ASCII; styled digits of mathematics stay as they are."""
    text = text.translate(_WIDE)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if c > "\x7f" and c.isdecimal() and c < "\U0001d000" else c for c in text
    )


# From characters to tokens


@cache
def _rewrites() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), meant) for pattern, meant in _LATEX["rewrites"]]


def _scan(text: str) -> list[Node]:
    if len(text) > LONGEST_EXPRESSION:
        raise Unreadable(f"longer than {LONGEST_EXPRESSION} characters")
    text = ascii_digits(text)
    if not text.isascii():
        text = re.sub(_RAISED, _superscript, text).translate(str.maketrans(_UNICODE))
    for pattern, meant in _rewrites():
        text = pattern.sub(meant, text) if pattern.search(text) else text  # a search is cheaper
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise Unreadable("a character without a LaTeX name")
    tokens: list[Node] = []
    glued = False
    for match in re.finditer(_PIECE, text):
        inked = match.lastgroup != "blank"
        if inked:
            before = tokens[-2:-1] if tokens and tokens[-1].text == "{" else tokens[-1:]
            tokens += _tokens(match, glued, before[0] if before else Node(""))
        glued = inked
    return tokens


def _superscript(match: re.Match[str]) -> str:
    """x² as x^2; a single digit needs no braces, which a text could not hold."""
    digits = unicodedata.normalize("NFKC", match[0]).replace("\u2212", "-")
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def _tokens(match: re.Match[str], glued: bool, before: Node) -> list[Node]:
    kind, text = match.lastgroup, match[0]
    match kind:
        case "text":
            return _text(text, match["inside"])
        case "letters" if text in ("or", "and"):
            kind = "comma"
        case "letters" if text in _TYPED:
            kind, text = "command", _TYPED[text]
        case "letters":
            measured = before.kind in ("number", "words") or before.text in ("}", ")", "\\pi")
            unit = text in BARE or text.lower() in BARE or (text == "in" and not glued)
            kind = "words" if measured and unit else kind
        case "number":
            text = re.sub(r"[^0-9.]", "", text)
        case "begin":
            text = match["environment"]
        case "command":
            text = _SAME.get(text, text)
        case "unknown":
            raise Unreadable(f"{text!r}")
        case "end" | "line":
            kind, text = "command", "\\end" if kind == "end" else "\\\\"
    return [Node(str(kind), text, (), glued)]


def _text(command: str, inside: str) -> list[Node]:
    r"""The tokens of \text{...} and the like, with signs for their commands: 5\text{ π} is no 5."""
    inside = re.sub(_COMMAND, lambda match: _WRITTEN[match[0]], inside)
    inside = re.sub(r"\\([%&#_])|\\(?:q?quad|[^a-zA-Z])|~", r" \1 ", inside).strip()
    if "\\" in inside:
        raise Unreadable("a command among words")
    if command.startswith("\\math") and len(inside) == 1 and inside.isalpha():
        return [Node("upright" if command.startswith("\\mathrm") else "letters", inside)]  # \mathrm{i}
    name = _SAME.get(f"\\{inside}", f"\\{inside}")
    return [Node("command", name)] if command.startswith("\\operator") and name in _KINDS else _words(inside)


def _words(text: str) -> list[Node]:
    r"""\text{2 and 3} is a list, \text{3 apples} a number with a unit, \text{October 30} only words."""
    tokens: list[Node] = []
    for place, piece in enumerate(re.split(_JOINT, text)):
        if place % 2:
            tokens.append(Node("comma", _JOINTS.get(re.sub(r"[\s,]", "", piece), ",")))
            continue
        measure = re.fullmatch(_MEASURE, piece)
        if measure is not None and (measure[2] is None or _is_measure(measure[2])):
            tokens += _scan(measure[1].replace("$", "\\$"))
            tokens += [Node("words", measure[2].strip())] if measure[2] else []
        elif re.search(r"\w", piece) and not re.fullmatch(r"-?[0-9.]+", piece):
            tokens.append(Node("words", piece))
        elif piece:
            tokens += _scan(piece.replace("$", "\\$"))
    return tokens


def _is_measure(text: str) -> bool:
    """Whether these words may stand behind a number and leave it one."""
    return text.strip(" -") in ("st", "nd", "rd", "th") or measure_of(text) is not None


def _with_words(tokens: list[Node]) -> list[Node]:
    """Runs of letters with blanks between them as words: `no solution`, and what a number counts: `6 red balls`."""
    joined: list[Node] = []
    for run in _runs(tokens):
        text = " ".join(token.text for token in run)
        if _is_typed(run[0]) and joined and joined[-1].kind == "number":
            long = all(len(token.text) > 2 or token.kind == "words" for token in run) and not run[0].text.isupper()
            one = long and any(token.kind == "letters" for token in run) and _is_measure(text)
        else:
            one = len(run) > 1 and is_prose(text)
        joined += [Node("words", text, (), run[0].glued)] if one else run
    return joined


def _runs(tokens: list[Node]) -> list[list[Node]]:
    """Letters with blanks between them, together; every other token for itself."""
    runs: list[list[Node]] = []
    for token in tokens:
        if runs and not token.glued and _is_typed(token) and _is_typed(runs[-1][-1]):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _is_typed(token: Node) -> bool:
    return token.kind == "letters" or (token.kind == "words" and token.text.lower() in BARE)


# From tokens to the tree


class _Reader:
    """A recursive descent over the tokens; `position` moves forward only."""

    def __init__(self, tokens: list[Node]):
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    def run(self) -> Nodes:
        """Nodes up to (not with) any closing bracket."""
        self._deeper()
        nodes: list[Node] = []
        while self.position < len(self.tokens) and self.tokens[self.position].text not in _CLOSING:
            token = self._take()
            if token.text in ("\\over", "\\choose"):
                name = "\\frac" if token.text == "\\over" else "\\binom"
                nodes = [Node("macro", name, (tuple(nodes), self.run()))]
            else:
                nodes.append(self._node(token))
        self.depth -= 1
        return tuple(nodes)

    def _node(self, token: Node) -> Node:
        text = token.text
        if text in _OPENING:
            inside, closing = self.run(), self._take(_OPENING[text]).text
            return Node("group", text + closing, (inside,), token.glued)
        if token.kind == "begin":
            inside = self.run()
            self._take(("\\end",))
            return Node("matrix", text, (inside,), token.glued)
        if token.kind != "command":
            return token
        if text in _KINDS:
            return Node(*_KINDS[text], (), token.glued)
        if text in _ARGUMENTS:
            return self._macro(token)
        if text in _LOOKS:
            inside = self._argument(whole=False)
            return Node("group", "{}", (_uprighted(inside) if text == "\\mathrm" else inside,), token.glued)
        if text in ("^", "_"):
            return Node("power" if text == "^" else "index", "", (self._argument(whole=True),), token.glued)
        if len(text) == 1 and text.isalpha():
            return replace(token, kind="letters")
        raise Unreadable(f"{text!r}")

    def _take(self, wanted: Container[str] | None = None) -> Node:
        """The next token, which must be one of these."""
        if self.position >= len(self.tokens) or (wanted and self.tokens[self.position].text not in wanted):
            raise Unreadable("a bracket is not closed, or an argument is missing")
        self.position += 1
        return self.tokens[self.position - 1]

    def _macro(self, token: Node) -> Node:
        degree: tuple[Nodes, ...] = ()
        if token.text == "\\sqrt" and self.position < len(self.tokens) and self.tokens[self.position].text == "[":
            self.position += 1
            degree = (self.run(),)
            self._take("]")
        whole = token.text == "\\surd"
        arguments = [self._argument(whole=whole) for _ in range(_ARGUMENTS[token.text])]
        return Node("macro", "\\sqrt" if whole else token.text, (*arguments, *degree), token.glued)

    def _argument(self, *, whole: bool) -> Nodes:
        """What TeX takes as an argument: a {group} or one character; `whole`: all digits of a number."""
        token = self._take()
        if len(token.text) > 1 and (token.kind == "letters" or (token.kind == "number" and not whole)):
            self.position -= 1
            self.tokens[self.position] = replace(token, text=token.text[1:], glued=True)
            token = replace(token, text=token.text[0])
        self._deeper()
        if whole and token.text == "-":  # x^-1, as people type it
            nodes = (Node("sign", "-"), *self._argument(whole=True))
        else:
            node = self._node(token)
            group = node.text == "{}" or (whole and node.text == "()")  # x^(n+1), as people type it
            nodes = node.parts[0] if group else (node,)
        self.depth -= 1
        return nodes

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST}")


def _uprighted(nodes: Nodes) -> Nodes:
    r"""Letters of \mathrm{m \cdot s^{-1}} as words: they are units."""
    return tuple(
        replace(node, kind="words" if node.kind == "letters" else node.kind, parts=tuple(map(_uprighted, node.parts)))
        for node in nodes
    )
