r"""An answer's text as tokens: numbers, letters, words, commands. The names that are known are in `vocabulary.toml`.

A command or sign that is in none of its tables is Unreadable (`latex.py`): it must not be guessed at.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from headwater.verifiers.units import BARE, MONEY, VOCABULARY, group_of, known, multiplier_of, unit_of, ways

LONGEST_EXPRESSION = 1_000
"""Characters of an answer that is an expression; the longest gold answer of MATH has 159."""


class Unreadable(ValueError):
    """The text is not one of the answers that can be read; for a response that is WRONG."""


_LATEX = VOCABULARY["latex"]
SYMBOLS = known("latex", "symbols") | known("latex", "greek")
FUNCTIONS = known("latex", "functions")
OPAQUE = known("latex", "opaque")
LOOKS = known("latex", "looks")
"""How its argument looks and not what it is."""
ARGUMENTS = dict.fromkeys(known("latex", "one_argument"), 1) | dict.fromkeys(known("latex", "two_arguments"), 2)
SAME = ways(_LATEX["same"])
SIGNS = ways(_LATEX["signs"]) | {sign: sign for sign in MONEY}
RELATIONS = ways(_LATEX["relations"])
OPENING = {opening: tuple(closing.split()) for opening, closing in _LATEX["brackets"].items()}
CLOSING = frozenset(closing for several in OPENING.values() for closing in several)
NAMES = {"pi": "\\pi", "sqrt": "\\surd", **{name[1:]: name for name in FUNCTIONS if name != "\\sec"}}
"""What is typed without its backslash and is no product of letters."""
UNICODE = {sign: command for command, signs in _LATEX["characters"].items() for sign in signs} | {
    letter: f"\\{name} " for letter, name in zip(_LATEX["greek_letters"], _LATEX["greek_names"].split(), strict=True)
}

SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
_OUTWARDS = r"(?:(?<![0-9)}!a-z\s])|(?<=\\cup)|(?<=\\cap)|(?<=\\in)|(?<=\\left)|(?<=style))\s*\](?=[^\[\]]*[^\[\]\s,;])"
_ENDS = r"([^\[\],;]+[,;][^\[\],;]+?)(\\right\s*)?"
STRINGS = tuple((re.compile(pattern), meant) for pattern, meant in (
    (r"\\degree(?![A-Za-z])|\^\s*\{\s*\\degree\s*\}|\^\s*\\degree(?![A-Za-z])", r"^\\circ "),
    (r">=", r"\\geq "), (r"<=", r"\\leq "), (r"\.\.\.", r"\\ldots "), (r":=", "="),
    (r"\\dot\s*\{?([0-9])\}?([0-9]*)\\dot\s*\{?([0-9])\}?", r"\\overline{\1\2\3}"),  # dots at the ends of a period
    (rf"{_OUTWARDS}{_ENDS}\[", r"(\1\2)"), (rf"{_OUTWARDS}{_ENDS}\]", r"(\1\2]"), (rf"\[{_ENDS}\[", r"[\1\2)"),  # ]0,1[
    (r"(?:\\(?:text\w*|math\w+|mbox)\s*)?\{\s*([-:])\s*\}", r"\1"),
    (r"\\not\s*=", r"\\neq "), (r"\\textsuperscript\s*\{([a-z]+)\}", r"^{\\text{\1}}"),
    (r"(?<=[0-9])\s*([AaPp])\.\s?[Mm]\.?(?![A-Za-z])", r"\\text{\1m}"),
    (r"\\([RZNQ])(?![A-Za-z])", r"\\mathbb{\1}"),
    (r"(?<![A-Za-z\\])Rs\.?\s*(?=[0-9\\])", r"\\rupee "),
    (r"(?<![A-Za-z])(?:US|HK|NZ|[ACS])\s*\\\$\s*(?=[0-9])", r"\\$"),
    (r"(?<![\u3400-\u9fff])\s*(?:或者|或|或\s*者)\s*(?![\u3400-\u9fff])", " or "),
    (r"(?<![\u3400-\u9fff])\s*[和与及]\s*(?![\u3400-\u9fff])", " and "),
    (r"(?:答案)[是为]?[::]?\s*(?=.)", ""),
))  # fmt: skip
NO_INK = (
    r"\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\math(?:rm|bf|it|sf)\s+(?=[0-9A-Za-z])|\\(?:left|right)\s*\.(?![0-9])"
    r"|\\(?:textcolor|color|hspace|vspace)\*?\s*\{[^{}]*\}"
    r"|\\(?:quad|qquad|displaystyle|textstyle|limits|left|right|middle|[bB]igg?[lrm]?|strut|bf|rm|it|sf|tt|boldmath"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|nobreak|hfill|newline|allowbreak)(?![A-Za-z])"
    r"|\\[,;:! >()\[\]]|(?:\\)+\s*\Z|[$~\s]"
)
TEXT = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|[mh]box|math(?:rm|bf|it|sf)|operatorname\*?)\s*"
    r"\{(?P<words>(?:[^{}\\]|\\[$%&#_ ,;:!]|\\[A-Za-z]+ )*)\}"
)
OTHER_SCRIPT = r"[^\W\d_a-zA-Z][^\W\d_]*"
TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:(?:(?:\{,\}|,\{\}|\\text\{,\})(?:\\[!,;: ]|~| )*|,\s?(?:\\!\s*)+|\\[,;: ]|~| )[0-9]{3})+"
    r"(?![0-9]|\s*(?:/|\\[dtc]?frac)|[ ~][0-9])(?:\.[0-9]+)?"
    r"|[0-9]*\.[0-9]*(?=\\(?:overline|bar|dot)(?![a-z]))|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    rf"|(?P<blank>(?:{NO_INK})+)|(?P<text>{TEXT})"
    r"|(?P<begin>\\begin\s*\{(?P<environment>[pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?)"
    r"|(?P<end>\\end\s*\{(?:[pbBvV]?(?:small)?matrix|array)\})"
    r"|(?P<line>\\\\\s*\[-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\])"
    rf"|(?P<foreign>{OTHER_SCRIPT})|(?P<hyphened>[A-Za-z]+(?:-[A-Za-z]{{4,}})+|[A-Za-z]{{4,}}-[A-Za-z]+)"
    r"|(?P<command>\\(?:[A-Za-z]+|.)|\*\*)|(?P<letters>[A-Za-z]+)|(?P<sign>[-+*/^_=<>!|:;,.(){}\[\]&%'])",
    re.DOTALL,
)
JOINT = re.compile(r"\s*(?:(?<![0-9])[,;、]|[,;、](?![0-9])|(?:,\s*)?(?:\b(?:and|or)\b|或者|或|和(?=\s*\d)))\s*")
MEASURE = re.compile(
    r"([$€£¥₹₩₽₺₪₫฿₦₱]?)\s*([0-9][0-9,]*(?:\.[0-9]+)?(?::[0-9]+)*)\s*([%$€£¥₹₩₽₺₪₫฿₦₱]|[^\W\d_][^\d]*)?"
)
NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class Token(NamedTuple):
    kind: str
    text: str
    glued: bool


def tokens_of(text: str) -> list[Token]:
    """The tokens of an answer, bare words joined. Raises Unreadable for unknown signs and long texts."""
    return _with_words(_scan(text))


def ascii_digits(text: str) -> str:
    """Digits of other scripts as 0 to 9, full-width forms as ASCII; styled digits of mathematics stay as they are."""
    text = text.translate(WIDE)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if c > "\x7f" and c.isdecimal() and c < "\U0001d000" else c for c in text
    )


def _scan(text: str) -> list[Token]:
    if len(text) > LONGEST_EXPRESSION:
        raise Unreadable(f"longer than {LONGEST_EXPRESSION} characters")
    text = ascii_digits(text)
    if not text.isascii():
        text = RAISED.sub(_raised, text)
        text = "".join(UNICODE.get(character, character) for character in text)
    for pattern, meant in STRINGS:
        text = pattern.sub(meant, text)
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", text):
        raise Unreadable("a character without a LaTeX name")
    tokens: list[Token] = []
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


def _raised(match: re.Match[str]) -> str:
    """x² as x^2; a single digit needs no braces, which a text could not hold."""
    digits = match[0].translate(SUPERSCRIPTS)
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def _tokens(match: re.Match[str], glued: bool, before: Token | None) -> list[Token]:
    if match["number"] is not None:
        return [Token("number", re.sub(r"[^0-9.]", "", match[0]), glued)]
    if match["text"] is not None:
        return _spelled(match[0], _text_of(match["words"]))
    if match["foreign"] is not None or match["hyphened"] is not None:
        return [Token("words", match[0], glued)]
    if match["letters"] in ("or", "and"):
        return [Token("comma", match[0], glued)]
    if match["letters"] is not None:
        return [_letters(match[0], glued, before)]
    if match["line"] is not None:
        return [Token("command", "\\\\", glued)]
    if match["begin"] is not None:
        return [Token("begin", match["environment"], glued)]
    if match["end"] is not None:
        return [Token("end", "", glued)]
    return [Token("command", SAME.get(match[0], match[0]), glued)]


def _text_of(words: str) -> str:
    r"""What stands in \text{...}, with signs for their commands: 5\text{ π} is no 5."""
    words = _COMMAND.sub(lambda match: _WRITTEN[match[0]], words)
    words = re.sub(r"\\([%&#_])|\\(?:q?quad|[^a-zA-Z])|~", r" \1 ", words).strip()
    if "\\" in words:
        raise Unreadable("a command among words")
    return words


_WRITTEN = {command: sign for sign, command in reversed(UNICODE.items()) if "\\" in command} | {"\\$": "$"}
_COMMAND = re.compile("|".join(re.escape(command) for command in sorted(_WRITTEN, key=len, reverse=True)))


def _letters(text: str, glued: bool, before: Token | None) -> Token:
    if text in NAMES:
        return Token("command", NAMES[text], glued)
    measured = before is not None and (before.kind in ("number", "words") or before.text in ("}", ")", "\\pi"))
    known = text in BARE or text.lower() in BARE or (text == "in" and not glued)
    return Token("words" if measured and known else "letters", text, glued)


def _spelled(command: str, inside: str) -> list[Token]:
    if command.startswith("\\math") and len(inside) == 1 and inside.isalpha():
        return [Token("upright" if command.startswith("\\mathrm") else "letters", inside, False)]  # \mathrm{i}
    if command.startswith("\\operatorname"):
        inside = inside.rstrip("*")
        if "\\" + inside in FUNCTIONS or "\\" + inside in SAME:
            return [Token("command", SAME.get("\\" + inside, "\\" + inside), False)]
    return _words(inside)


def _words(text: str) -> list[Token]:
    r"""\text{2 and 3} is a list, \text{3 apples} a number with a unit, \text{October 30} only words."""
    tokens: list[Token] = []
    joints = JOINT.findall(text.strip())
    for number, piece in enumerate(JOINT.split(text.strip())):
        if number:
            joint = joints[number - 1]
            text = "and" if "and" in joint or "和" in joint else "or" if "or" in joint or "或" in joint else ","
            tokens.append(Token("comma", text, False))
        measure = MEASURE.fullmatch(piece)
        if measure is not None and measure_words(measure[3] or ""):
            tokens += _scan(f"{_SIGN_OF.get(measure[1], '')}{measure[2]}")
            tokens += [Token("words", measure[3].strip(), False)] if measure[3] else []
        elif NUMERAL.fullmatch(piece):
            tokens += _scan(piece)
        elif (ordinal := re.fullmatch(r"([0-9]+)-?(st|nd|rd|th)", piece)) is not None:
            tokens += [Token("number", ordinal[1], False), Token("words", ordinal[2], True)]
        elif piece in _SIGN_OF:
            tokens.append(Token("command", _SIGN_OF[piece], False))
        elif re.search(r"\w", piece):
            tokens.append(Token("words", piece, False))
        elif piece:
            tokens += _scan(piece)
    return tokens


_SIGN_OF = {"$": "\\$", "€": "\\euro", "£": "\\pounds", "¥": "\\yen", "₹": "\\rupee"} | {
    sign: command.strip() for sign, command in UNICODE.items() if sign in "₩₽₺₪₫฿₦₱¢"
}


def measure_words(text: str) -> bool:
    """Whether these words may stand behind a number and leave it one."""
    text = text.strip()
    return not text or unit_of(text) is not None or multiplier_of(text)[0] > 1 or group_of(text) is not None


def is_prose(text: str) -> bool:
    """Whether letters are words: a run of three or more, or a short word of English, and no product of letters."""
    runs = re.findall(r"[^\W\d_]+", text)
    return any(len(run) > 2 or not run.isascii() or run.lower() in _SHORT_WORDS for run in runs)


_SHORT_WORDS = known("no_nouns", "short_words")


def _with_words(tokens: list[Token]) -> list[Token]:
    """Runs of letters with blanks between them as words: `no solution`, and what a number counts: `6 red balls`."""
    joined: list[Token] = []
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
                run = [Token("words", text, run[0].glued)]
        elif len(run) > 1 and is_prose(text):
            run = [Token("words", text, run[0].glued)]
        joined += run or tokens[place : place + 1]
        place = max(stop, place + 1)
    return joined


def _is_typed(token: Token) -> bool:
    return token.kind == "letters" or (token.kind == "words" and token.text.lower() in BARE)
