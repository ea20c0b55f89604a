r"""What may stand behind a number: a listed unit, a word that multiplies it, an ordinal's ending, or what is counted.

    5 km/h   5\,\mathrm{kg}\cdot\mathrm{m}/\mathrm{s}^2   5 square inches   5 apples   2.5 million   12th   15\text{元}

A unit is parsed into names with exponents, so that `km / h`, `kilometers per hour` and `km h^-1` are one. What is
no listed unit (`vocabulary.toml`) counts only as a plural noun, and never as a word of number, fraction, order,
direction or denial: those change the value. Units are compared, never converted.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

VOCABULARY: dict[str, Any] = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
"""What the grader knows by name."""


def known(section: str, name: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(VOCABULARY[section][name].split())


def ways(table: Mapping[str, str]) -> dict[str, str]:
    """All ways to write something, with what they mean."""
    return {way: meant for meant, listed in table.items() for way in listed.split()}


Unit = tuple[tuple[str, int], ...]
"""(name, exponent), sorted."""

_UNITS = VOCABULARY["units"]
MONEY: dict[str, str] = _UNITS["money"]
"""Commands of currency signs, and what they are called."""
_SHORT: dict[str, str] = _UNITS["short"]
_PHRASES: dict[str, str] = _UNITS["phrases"]
_NO_SYMBOL_ALONE = frozenset("KTB")
"""5 K, 5 T and 5 B may be thousands, trillions and billions."""
LETTER_UNITS = frozenset("mgshLNJWV")
"""Single letters that a plain number may carry as they are typed: 5m for 5."""
BARE = known("units", "bare")
GROUPS: dict[str, int] = _UNITS["groups"]
MULTIPLIERS = {name: 10 ** int(power) for name, power in ways(_UNITS["multipliers"]).items()}
_ADJECTIVES, _SINGULAR, _PLURAL = (known("nouns", name) for name in ("adjectives", "singular", "plural"))
_CLASSIFIERS: str = VOCABULARY["nouns"]["classifiers"]
_NO = {name: "|".join(words.split()) for name, words in VOCABULARY["no_nouns"].items()}
_NO_NOUN = rf"(?:\w+ty-?)?(?:{_NO['numbers']})s?|{_NO['numbers_in_full']}|.*(?:{_NO['endings']})|{_NO['words']}"
_DENIALS, _SHORT_WORDS = known("no_nouns", "denials"), known("no_nouns", "short_words")
_PHRASE = "(?i)" + "|".join(rf"\b{name}\b" for name in sorted(_PHRASES, key=len, reverse=True))
_WORD = (
    r"(?i)(?P<name>(?:us|r|hk)?[$€£¥₹₩₽₱₦₪₺฿₫¢%℃℉]|°\s*[CF]?|o'clock|[ap]\.\s?m\.?|(?:sq|cu)\."
    r"|[^\W\d_]+(?:['’.-](?=[^\W\d_])[^\W\d_]+)*\.?)"
    r"|\^\s*(?P<power>[-\u2212]?[0-9])|(?P<sign>[*/·⋅×()])|(?P<blank>[\s$]+)|(?P<unknown>.)"
)


def _symbols() -> dict[str, str]:
    """SI symbols with their prefixes; their case counts."""
    found: dict[str, str] = {}
    for symbol, described in _UNITS["symbols"].items():
        name, *prefixes = described.split()
        found[symbol] = name
        for prefix in prefixes:
            for way in ("μ", "u", "µ") if prefix == "μ" else (prefix,):
                found[way + symbol] = _UNITS["prefixes"][prefix] + name
    return found


def _words() -> dict[str, str]:
    """Words with their plurals; their case does not count."""
    found: dict[str, str] = {}
    for name in _UNITS["take_prefixes"].split():
        for form in {"", *_UNITS["prefixes"].values()}:
            full = form + name
            for way in (full, f"{full[:-2]}re") if name in ("meter", "liter") else (full,):
                found[way] = found[f"{way}s"] = full
    for name in _UNITS["common"].split():
        found[name] = found[f"{name}s"] = name
    for name, others in _UNITS["words"].items():
        for other in (name, *others.split()):
            found[other.lower()] = name
    return found


SYMBOLS, WORDS = _symbols(), _words()


@lru_cache(maxsize=4096)
def unit_of(text: str) -> Unit | None:
    """The unit that the text names, or what it counts; None when it is neither and may change the number."""
    text = re.sub(_PHRASE, lambda match: _PHRASES[match[0].lower()], text)
    text = re.sub(r"\$?\^\s*\{?([-\u2212]?[0-9])\}?\$?", r"^\1", " ".join(text.strip().strip(",;").split()))
    if not text:
        return None
    found = _parsed(text)
    if found is not None:
        return tuple(sorted((name, power) for name, power in found.items() if power))
    phrase = counted(text)
    return None if phrase is None else ((phrase, 1),)


def said_short(unit: Unit) -> Unit:
    """The unit as it may be said for short: degrees for degrees Celsius."""
    return tuple((_SHORT.get(name, name), power) for name, power in unit)


def _parsed(text: str) -> Counter[str] | None:
    """A sum of exponents by name. A slash or `per` turns the next factor round; brackets hold several."""
    total: Counter[str] = Counter()
    depth, ahead, last, sign, turn = 0, 0, "", 1, 1
    for match in re.finditer(_WORD, text):
        kind, piece = str(match.lastgroup), match[str(match.lastgroup)]
        word = piece.lower().rstrip(".")
        if kind == "power" and last:
            total[last] += (int(piece.replace("\u2212", "-")) - 1) * turn
            last = ""
        elif kind == "sign" or word == "per" or (word in ("a", "an") and total):
            depth += (piece == "(") - (piece == ")")
            if depth < 0:
                return None
            sign = {"*": sign, "·": sign, "⋅": sign, "×": sign, "(": sign, ")": 1}.get(piece, -1)
            last = ""
        elif word in _AHEAD:
            ahead = _AHEAD[word]
        elif kind != "blank":
            name = _unit_name(piece, compound=bool(total) or match.end() < len(text)) if kind == "name" else None
            if name is None and (sign < 0 or " per " in text):
                name = counted(word)
            if name is None:
                return None
            last, power = (name[:-1], int(name[-1])) if name[-1].isdigit() else (name, 1)
            total[last] += sign * (ahead or power)
            turn, ahead, sign = sign, 0, sign if depth else 1
    turned = total["degree"] > 0 and any(power > 0 for name, power in total.items() if name != "degree")
    return None if depth or ahead or turned or not total else total  # 5 degrees N is a place


_AHEAD = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


def _unit_name(name: str, *, compound: bool) -> str | None:
    symbol, word = name.rstrip("."), re.sub(r"\s", "", name.lower())
    if symbol in SYMBOLS and (compound or symbol not in _NO_SYMBOL_ALONE):
        return SYMBOLS[symbol]
    return WORDS.get(word) or WORDS.get(word.rstrip("."))


def counted(text: str) -> str | None:
    """The noun of what is counted, one spelling for singular and plural; None for every other word."""
    if text and text[0] in _CLASSIFIERS and len(text) <= 6:  # 个, 个苹果, 种方法
        return None if re.search(rf"{_NO['chinese']}|[\s\d]", text) else text
    *before, noun = text.strip("() .").split(" ")
    if len(before) > 2 or not _ADJECTIVES.issuperset(before) or not re.fullmatch(r"[A-Za-z][a-z]+(-[a-z]+)?", noun):
        return None
    noun = noun.lower()
    found = next((way for way in (noun, noun.removesuffix("s"), noun.removesuffix("es")) if way in _SINGULAR), None)
    if found is None and noun.endswith("s") and len(noun) > 3:
        found = noun[:-1] if noun in _PLURAL or not re.fullmatch(_NO_NOUN, noun) else None
    return None if found is None else " ".join([*before, found])


def measure_of(text: str) -> tuple[int, Unit] | None:
    """(factor, unit) where words may stand behind a number: million, miles, dozen eggs; None where they may not."""
    if (unit := unit_of(text)) is not None:
        return 1, unit
    factor, rest = _multiplied(text)
    head, _, behind = rest.lower().partition(" ")
    group = [(name, 1) for name in {head, re.sub(r"(?<=n|d|e)s$|es$", "", head)} if name in GROUPS]
    rest = behind if group else rest
    unit = unit_of(rest) if rest else ()
    return None if unit is None or (factor, unit, group) == (1, (), []) else (factor, tuple(sorted((*unit, *group))))


def _multiplied(words: str) -> tuple[int, str]:
    """(factor, the words behind it) where words begin with million, hundred thousand, 万, ...; else the factor 1."""
    factor, rest = 1, words.strip()
    while rest:
        head, _, tail = rest.partition(" ")
        name = head.lower()
        known = MULTIPLIERS.get(name) or MULTIPLIERS.get(name.removesuffix("s"))
        if known is None and not head.isascii() and head[:1] in MULTIPLIERS:
            known, tail = MULTIPLIERS[head[:1]], f"{head[1:]} {tail}"
        if known is None:
            break
        factor, rest = factor * known, tail.strip()
    return factor, rest


def ordinal_ending(number: str, ending: str) -> bool:
    """Whether the letters make the digits an ordinal: 12th, 21st, 2nd, 3rd."""
    if not number.isdigit():
        return False
    last = "th" if number[-2:] in ("11", "12", "13") else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return ending.strip(" -").lower() == last


def is_prose(text: str) -> bool:
    """Whether letters are words: a run of three or more, or a short word of English, and no product of letters."""
    runs = re.findall(r"[^\W\d_]+", text)
    return any(len(run) > 2 or not run.isascii() or run.lower() in _SHORT_WORDS for run in runs)


def is_word(text: str) -> bool:
    """Whether a run of letters is a word, and no product: it is listed, or has a constant (e, i) among its letters."""
    listed = text in _ADJECTIVES or text in _SINGULAR or text in _DENIALS or re.fullmatch(_NO_NOUN, text) is not None
    return listed or "e" in text or "i" in text


def denies(text: str) -> bool:
    """Whether words take back what stands beside them: "not x" is no name for a value."""
    return not _DENIALS.isdisjoint(re.findall(r"[a-z']+", text.lower()))
