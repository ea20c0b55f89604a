r"""An answer's LaTeX as a tree: numbers, letters, words, brackets, fractions, powers. Nothing is computed here.

Reading takes one pass over at most 1,000 characters and nests at most 12 deep. What is not in the tables
below (integrals, sums, limits, derivatives, macros, characters outside ASCII without a LaTeX name) raises
`Unreadable`: an answer is a value, not a task, and an unknown command must not be guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from headwater.verifiers.units import UNITS

LONGEST_EXPRESSION = 1_000
"""Characters of an answer that is an expression; the longest gold answer of MATH has 159."""
DEEPEST = 12
"""Brackets and arguments inside each other."""

MOST_BARS = 8
"""Of absolute values: Math-Verify's parser tries both readings of each, opening and closing."""


class Unreadable(ValueError):
    """The text is not one of the answers that can be read; for a response that is WRONG."""


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an answer.

    kind      text                                  parts
    number    digits, "." and nothing else
    letters   a run of letters                      (words are letters inside \\text)
    words     what stands inside \\text
    symbol    "\\pi", "\\alpha", "\\infty", ...
    function  "\\sin", "\\log", ...
    sign      + - * / ! | : \\pm ' ...
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

# fmt: off
_GREEK = (
    "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\varepsilon", "\\zeta", "\\eta", "\\theta", "\\vartheta",
    "\\iota", "\\kappa", "\\lambda", "\\mu", "\\nu", "\\xi", "\\rho", "\\sigma", "\\tau", "\\upsilon", "\\phi",
    "\\varphi", "\\chi", "\\psi", "\\omega", "\\Gamma", "\\Delta", "\\Theta", "\\Lambda", "\\Xi", "\\Sigma",
    "\\Upsilon", "\\Phi", "\\Psi", "\\Omega", "\\ell",
)
SYMBOLS = frozenset({"\\pi", "\\infty", "\\emptyset", "\\circ", "\\angle", "\\triangle", *_GREEK})
FUNCTIONS = frozenset({
    "\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc", "\\arcsin", "\\arccos", "\\arctan", "\\sinh", "\\cosh",
    "\\tanh", "\\log", "\\ln", "\\exp",
})
_ARGUMENTS = {
    "\\frac": 2, "\\binom": 2, "\\sqrt": 1, "\\surd": 1, "\\overline": 1, "\\mathbb": 1, "\\pmod": 1, "\\vec": 1,
}
_LOOKS = frozenset({"\\boldsymbol", "\\bm", "\\underline", "\\ensuremath", "\\smash"})
"""How its argument looks and not what it is."""
_SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom", "\\tbinom": "\\binom",
    "\\varnothing": "\\emptyset", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]",
    "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\mid": "|",
    "\\bar": "\\overline", "\\dot": "\\overline", "\\colon": ":", "\\nicefrac": "\\frac", "\\sfrac": "\\frac",
    "\\Bbb": "\\mathbb", "\\dots": "\\ldots", "\\cdots": "\\ldots", "\\cr": "\\\\", "\\overrightarrow": "\\vec",
}
_NAMES = {
    "pi": "\\pi", "sqrt": "\\surd", **{name[1:]: name for name in FUNCTIONS if name != "\\sec"},
}
"""What is typed without its backslash and is no product of letters."""
_SIGNS = {
    "+": "+", "-": "-", "*": "*", "/": "/", "!": "!", "|": "|", ":": ":", "\\cdot": "*", "\\times": "*", "\\ast": "*",
    "\\div": "/", "\\pm": "\\pm", "\\cup": "\\cup", "\\cap": "\\cap", "\\setminus": "\\setminus",
    "\\backslash": "\\setminus",
    "%": "%", "\\%": "%", "\\$": "\\$", "\\pounds": "\\pounds", "\\euro": "\\euro", "&": "&", "\\\\": "\\\\",
    "\\ldots": "\\ldots",
}
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "\\approx": "~", "\\in": "in", "\\equiv": "=",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=",
    "\\ne": "!=", "\\neq": "!=",
}
_OPENING = {
    "(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",), "\\langle": ("\\rangle",),
    "\\lfloor": ("\\rfloor",), "\\lceil": ("\\rceil",),
}
_CLOSING = frozenset({")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"})

_UNICODE = {
    "\u2212": "-", "\u2013": "-", "\u00d7": "\\times ", "\u00b7": "\\cdot ", "\u22c5": "\\cdot ", "\u00f7": "/",
    "\u03c0": "\\pi ", "\u221e": "\\infty ", "\u00b0": "^\\circ ", "\u2264": "\\leq ", "\u2265": "\\geq ",
    "\u2260": "\\neq ", "\u222a": "\\cup ", "\u2208": "\\in ", "\u2205": "\\emptyset ", "\u00b1": "\\pm ",
    "\u221a": "\\surd ", "\u211d": "\\mathbb{R}", "\u2248": "\\approx ", "\u03b8": "\\theta ", "\u00a0": " ",
    "\u2009": " ", "\u202f": " ", "\u00ba": "^\\circ ", "\u2044": "/", "\u20ac": "\\euro ", "\u00a3": "\\pounds ",
    "\u2220": "\\angle ", "\u2229": "\\cap ", "\u2026": "\\ldots ", "\u2236": ":", "\u00bc": "\\frac{1}{4}",
    "\u00bd": "\\frac{1}{2}", "\u00be": "\\frac{3}{4}", "\u2153": "\\frac{1}{3}", "\u2154": "\\frac{2}{3}",
}
# fmt: on
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
)
_UNICODE |= {
    letter: f"\\{name} " for letter, name in zip("αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΣΦΨΩ", _LETTERS.split(), strict=True)
}
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
_DEGREE = re.compile(r"\^?\s*\\degree(?![A-Za-z])|\^\s*\{\s*\\degree\s*\}")
_TYPED = ((">=", "\\geq "), ("<=", "\\leq "), ("...", "\\ldots "))
_NO_INK = (
    r"\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\math(?:rm|bf|it|sf)\s+(?=[0-9A-Za-z])|\\(?:left|right)\s*\.(?![0-9])"
    r"|\\(?:textcolor|color|hspace|vspace)\*?\s*\{[^{}]*\}"
    r"|\\(?:quad|qquad|displaystyle|textstyle|limits|left|right|middle|[bB]igg?[lrm]?|strut|bf|rm|it|sf|tt|boldmath"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|nobreak|hfill|newline|allowbreak)(?![A-Za-z])"
    r"|\\[,;:! >()\[\]]|(?:\\)+\s*\Z|[$~\s]"
)
_TEXT = r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|[mh]box|math(?:rm|bf|it|sf)|operatorname)\s*\{(?P<words>[^{}\\]*)\}"
_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:(?:\{,\}|,\\!|\\[,;: ]|~| )[0-9]{3})+(?![0-9]|\s*(?:/|\\[dtc]?frac)|[ ~][0-9])"
    r"(?:\.[0-9]+)?"
    r"|[0-9]*\.[0-9]*(?=\\(?:overline|bar|dot)(?![a-z]))|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    rf"|(?P<blank>(?:{_NO_INK})+)|(?P<text>{_TEXT})"
    r"|(?P<begin>\\begin\s*\{(?P<environment>[pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?)"
    r"|(?P<end>\\end\s*\{(?:[pbBvV]?(?:small)?matrix|array)\})"
    r"|(?P<line>\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])"
    r"|(?P<command>\\(?:[A-Za-z]+|.))|(?P<letters>[A-Za-z]+)|(?P<sign>[-+*/^_=<>!|:;,.(){}\[\]&%'])",
    re.DOTALL,
)
_JOINT = re.compile(r"\s*(?:,|;|(?:,\s*)?\b(?:and|or)\b)\s*")
_MEASURE = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?)\s+([A-Za-z][A-Za-z. ]*)")
_NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class _Token(NamedTuple):
    kind: str
    text: str
    glued: bool


def parse_latex(text: str) -> Nodes:
    """The tree of an answer. Raises Unreadable for what has no reading."""
    tokens = _scan(text)
    if sum(token.text == "|" for token in tokens) > MOST_BARS:
        raise Unreadable(f"more than {MOST_BARS} bars")
    reader = _Reader(tokens)
    nodes = reader.run(frozenset())
    if reader.position < len(reader.tokens):
        raise Unreadable("a bracket closes that was never opened")
    return nodes


def _scan(text: str) -> list[_Token]:
    if len(text) > LONGEST_EXPRESSION:
        raise Unreadable(f"longer than {LONGEST_EXPRESSION} characters")
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text.translate(WIDE))
    text = "".join(_UNICODE.get(character, character) for character in text)
    text = _DEGREE.sub(r"^\\circ ", text)
    for typed, meant in _TYPED:
        text = text.replace(typed, meant)
    if not text.isascii() or re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text):
        raise Unreadable("a character without a LaTeX name")
    tokens: list[_Token] = []
    position, glued = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{text[position]!r}")
        if match["blank"] is None:
            tokens.extend(_tokens(match, glued, tokens[-1] if tokens else None))
        glued = match["blank"] is None
        position = match.end()
    return tokens


def _tokens(match: re.Match[str], glued: bool, before: _Token | None) -> list[_Token]:
    if match["number"] is not None:
        return [_Token("number", re.sub(r"[^0-9.]", "", match[0]), glued)]
    if match["text"] is not None:
        return _spelled(match[0], match["words"].strip())
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
    return [_Token("command", _SAME.get(match[0], match[0]), glued)]


def _letters(text: str, glued: bool, before: _Token | None) -> _Token:
    if text in _NAMES:
        return _Token("command", _NAMES[text], glued)
    measured = before is not None and (before.kind in ("number", "words") or before.text in ("}", ")", "\\pi"))
    return _Token("words" if measured and text.lower() in UNITS else "letters", text, glued)


def _spelled(command: str, inside: str) -> list[_Token]:
    if command.startswith("\\math") and len(inside) == 1 and inside.isalpha():
        return [_Token("letters", inside, False)]  # \mathrm{i}
    if command.startswith("\\operatorname") and "\\" + inside in FUNCTIONS:
        return [_Token("command", "\\" + inside, False)]
    return _words(inside)


def _words(text: str) -> list[_Token]:
    r"""\text{2 and 3} is a list, \text{3 apples} a number with a unit, \text{October 30} only words."""
    tokens: list[_Token] = []
    joints = _JOINT.findall(text.strip())
    for number, piece in enumerate(_JOINT.split(text.strip())):
        if number:
            tokens.append(_Token("comma", "and" if "and" in joints[number - 1] else "or", False))
        if (measure := _MEASURE.fullmatch(piece)) is not None:
            tokens += [*_scan(measure[1]), _Token("words", measure[2], False)]
        elif _NUMERAL.fullmatch(piece):
            tokens += _scan(piece)
        elif piece:
            tokens.append(_Token("words", piece, False))
    return tokens


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
            if token.text in closing or token.kind == "end" or (token.kind == "command" and token.text in _CLOSING):
                break
            self.position += 1
            if token.text == "\\over":
                nodes = [Node("macro", "\\frac", (tuple(nodes), self.run(closing)))]
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
        if text in _OPENING:
            return self._group(text, glued)
        if text in _ARGUMENTS:
            return self._macro(text, glued)
        if text in _LOOKS:
            return Node("group", "{}", (self._argument(whole=False),), glued)
        if text in ("^", "_"):
            return Node("power" if text == "^" else "index", "", (self._argument(whole=True),), glued)
        if text in (",", ";"):
            return Node("comma", text, (), glued)
        for kind, table in (("sign", _SIGNS), ("relation", _RELATIONS)):
            if text in table:
                return Node(kind, table[text], (), glued)
        if text in SYMBOLS or text in FUNCTIONS:
            return Node("function" if text in FUNCTIONS else "symbol", text, (), glued)
        if text == ".":
            return Node("stop", text, (), glued)
        raise Unreadable(f"{text!r}")

    def _take(self, wanted: Callable[[_Token], bool]) -> _Token:
        if self.position >= len(self.tokens) or not wanted(self.tokens[self.position]):
            raise Unreadable("a bracket is not closed")
        self.position += 1
        return self.tokens[self.position - 1]

    def _group(self, opening: str, glued: bool) -> Node:
        inside = self.run(frozenset())
        closing = self._take(lambda token: token.text in _OPENING[opening])
        return Node("group", opening + closing.text, (inside,), glued)

    def _macro(self, name: str, glued: bool) -> Node:
        parts: list[Nodes] = []
        if name == "\\sqrt" and self.position < len(self.tokens) and self.tokens[self.position].text == "[":
            self.position += 1
            root = self.run(frozenset("]"))
            self._take(lambda token: token.text == "]")
            parts = [root]
        whole = name == "\\surd"
        arguments = [self._argument(whole=whole) for _ in range(_ARGUMENTS[name])]
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
            nodes = node.parts[0] if node.kind == "group" and node.text == "{}" else (node,)
        self.depth -= 1
        return nodes

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST}")
