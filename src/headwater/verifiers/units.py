"""Units: one spelling for the common ways to write them, and which words behind a number are one at all."""

from __future__ import annotations

import re

_BARE = """
    cm mm km ft inch inches foot feet yard yards mile miles meter meters metre metres centimeter centimeters kilometer
    kilometers kg gram grams kilogram kilograms pound pounds lb lbs ounce ounces oz liter liters litre litres ml gallon
    gallons hour hours hr hrs minute minutes mins second seconds sec secs day days week weeks month months year years
    dollar dollars cent cents usd percent degree degrees radian radians rad unit units square sq cubic mph kmh people
    persons students children boys girls ways points apples oranges books coins cards balls marbles games pages tickets
    tiles cubes pieces sides solutions pairs triangles
"""
UNITS = frozenset(_BARE.split())
"""Behind a number these letters are no product, also without \\text."""

_ALIASES = {
    **dict.fromkeys(("in", "inche", "inches"), "inch"),
    **dict.fromkeys(("ft", "feet"), "foot"),
    **dict.fromkeys(("cm", "centimetre"), "centimeter"),
    **dict.fromkeys(("m", "metre"), "meter"),
    **dict.fromkeys(("mm", "millimetre"), "millimeter"),
    **dict.fromkeys(("km", "kilometre"), "kilometer"),
    **dict.fromkeys(("s", "sec"), "second"),
    **dict.fromkeys(("min", "mins"), "minute"),
    **dict.fromkeys(("h", "hr"), "hour"),
    **dict.fromkeys(("lb",), "pound"),
    **dict.fromkeys(("usd", "dollar"), "$"),
    **dict.fromkeys(("mi",), "mile"),
    **dict.fromkeys(("deg",), "degree"),
    **dict.fromkeys(("percent",), "%"),
    **dict.fromkeys(("hrs",), "hour"),
    **dict.fromkeys(("yr", "yrs"), "year"),
    **dict.fromkeys(("secs",), "second"),
    **dict.fromkeys(("lbs",), "pound"),
}
# fmt: off
_NO_UNITS = frozenset({
    "about", "all", "approximately", "at", "base", "billion", "bn", "cubed", "dozen", "else", "factorial",
    "fewer", "fifths", "fourths", "greater", "gross", "half", "halves", "hundred", "hundreds", "hundredths",
    "infinite", "is", "k", "least", "less", "maybe", "mil", "million", "millions", "minus", "mod", "modulo", "more",
    "most", "negative", "no", "none", "not", "nothing", "over", "pct", "percentage", "pi", "plus", "root", "score",
    "sixths", "sqrt", "squared", "tens", "tenths", "than", "theta", "thirds", "thousand", "thousands", "thousandths",
    "times", "to", "trillion", "wrong",
})
# fmt: on
"""Words behind a number that change its value, or say something else than a unit."""
_LETTER_UNITS = frozenset("cfghlms$")
"""Letters that are units; others may be variables."""


def unit_of(text: str) -> str:
    """One spelling for the common ways to write a unit: "sq. cm", "square centimeters" and "cm^2" are one."""
    spelled = re.sub(r"\b([ap])\.?\s*m\b", r"\1m", text.lower().replace("per cent", "percent").rstrip(". "))
    words = ["$"] if text == "$" else re.sub(r"\s+(?=\^)", "", re.sub(r"[.$]", " ", spelled)).split()
    power = {"square": "2", "sq": "2", "cubic": "3", "cu": "3"}.get(words[0], "") if len(words) > 1 else ""
    names = [_unit_word(word, power) for word in words[bool(power) :]]
    return " ".join(names)


def _unit_word(word: str, power: str) -> str:
    name, _, exponent = word.partition("^")
    name = _ALIASES.get(name, name)
    if len(name) > 3 and name.endswith("s"):
        name = _ALIASES.get(name[:-1], name[:-1])
    return name + (f"^{exponent or power}" if exponent or power else "")


def denies(text: str) -> bool:
    """Whether words take back what stands beside them: "not x" is no name for a value."""
    return not _DENIALS.isdisjoint(re.findall(r"[a-z']+", text.lower()))


_DENIALS = frozenset({"not", "no", "never", "wrong", "except", "without", "isn't", "cannot", "or"})


def is_unit(word: str) -> bool:
    """Whether a word behind a number leaves the number as it is."""
    name = word.partition("^")[0].strip(".()")
    known = name not in _NO_UNITS and (len(name) > 1 or name in _LETTER_UNITS)
    return known and re.fullmatch(r"\(?[a-z$][a-z.$^0-9-]*\)?", word) is not None
