r"""Wrong answers by the hundred for every kind of fault, made from a seed: each differs from its gold in what it says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Pair = tuple[str, str]
_WORDS = (
    "east west north south left right true false even odd yes never convergent divergent isosceles scalene equilateral parabola ellipse "
    "circle hyperbola Monday Tuesday Friday Evelyn Navin orange listen silent stop spot tops angel glance triangle square prime rational "
    "increasing decreasing concave bounded infinite empty none undefined symmetric acute obtuse red blue green August seat"
).split()
_PHRASES = (
    "no solution",
    "infinitely many",
    "the sequence converges",
    "isosceles triangle",
    "all real numbers except zero",
    "not enough information",
)
_CHANGES = (
    "crore,lakh,myriad,eighths,ninths,sixteenths,halves,half,third,quarters,ppm,per mille,percent,basis points,quadrillion,zillion,tn,bn,mn,k,M,B,"
    "kilo,mega,below zero,twice,dozens,dozen,grosses,score,false,nope,no,not,wrong,too many,too few,more,less,or more,or so,at least,doubled,"
    "tripled,halved,squared,times,fold,plus one,minus one,negative,north,upwards,downwards,backwards,or 6,and a half,approximately,maybe,hundred,"
    "thousand,million,billion,hundreds,tens,ones,mod 7,base 2,factorial,root,pi,below,under,ago,short,nothing,never,infinity,reciprocal,reversed,"
    "power,decimal places,thousand apples,million dollars,dozen eggs,half apples,fewer apples,zero apples,per thousand,parts per million,tithe,"
    "quintuple,steps backwards,in debt,remainder 2,tenfold,sevenths,score years,lakh rupees,万,亿,倍,成,分之一"
).split(",")
_MULTIPLIERS = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "lakh": 10**5,
    "crore": 10**7,
}
_UNITS = (
    r"\,\mathrm{m}", r"\text{ N}", r"\ \mathrm{kg}", r"\mathrm{km}/\mathrm{h}", r" \mathrm{~m} / \mathrm{s}^{2}", r"\text{ J/K}", r"\ \Omega", r"^\circ\text{C}",
    r"\text{ cm}^2", " cm", " km/h", " hours", r"\text{ dollars}", r"\text{ ml}", r"\text{ W}", r"\text{ days}", r"\text{ apples}", r"\text{ square feet}",
    r"\text{ g/mol}", r"\ \mathrm{kg\cdot m/s^2}", r"\text{ miles}", r"\text{ rad}", r"\text{ kWh}", r"\text{ people}",
)  # fmt: skip
_NAMES = (
    "f'(x)", r"f^{-1}(3)", r"\det A", r"\frac{dy}{dx}", r"\hat{x}", "x^*", r"\|v\|", r"f(x)_{\max}", r"\lim_{x\to0}f(x)", "a+b", "AB", r"\angle ABC", "S_{10}",
    r"\gcd(a,b)", r"P(A)", r"\text{Area}", r"\log_2 x", r"E(X)", r"\max f", r"\sum_{k} a_k",
)  # fmt: skip
_TASKS = (
    "2x",
    "x^2",
    "|x|",
    "-x",
    "x+1",
    r"\frac{x}{2}",
    r"\sqrt{x}",
    r"x^{-1}",
    "3a",
    r"\frac{1}{x}",
    "x-3",
    "2^x",
    r"\pi",
    "4x+1",
)
_FORMULAS = (
    (r"\frac{1}{\sqrt{n}}", "n"), (r"\sqrt{\frac{a}{b}}", "a"), (r"\ln a+\ln b", "a"), (r"2\pi\sqrt{\frac{l}{g}}", "g"), (r"\log_2 x", "x"), (r"\sqrt{xy}", "x"),
    (r"\frac{\ln x}{x}", "x"), (r"\sqrt[3]{x}", "x"), (r"\sqrt{x-1}", "x"), (r"e^{x\ln 2}", "x"), (r"n^{\log_2 3}", "n"), (r"x^{\ln x}", "x"), (r"2^{\sin x}", "x"),
    (r"e^{-\frac{x^2}{2}}", "x"), (r"\frac{(2n)!}{n!(n+1)!}", "n"), (r"\binom{2n}{n}", "n"), ("n!", "n"), (r"\binom{n}{k}", "k"), (r"(n+1)!-1", "n"), (r"\frac{n!}{2}", "n"),
)  # fmt: skip
_TWISTS = (
    "{f}+{c}",
    "{f}-{c}",
    "{c}({f})",
    r"\frac{{{f}}}{{{c}}}",
    "{f}+{x}^{{{c}}}",
    "-({f})",
    "({f})^2",
    "{f}+{x}",
    "{x}({f})",
    r"\frac{{{f}}}{{2}}",
    r"\frac{{{f}}}{{{x}}}",
    "{f}+0.001",
    r"\frac{{1}}{{{f}}}",
    "{f}+10^{{-12}}",
)


def _digit(text: str, r: random.Random) -> str:
    places = [i for i, c in enumerate(text) if c in "0123456789"]
    place = r.choice(places)
    return text[:place] + r.choice([d for d in "123456789" if d != text[place]]) + text[place + 1 :]


def words(r: random.Random) -> Pair:
    gold = r.choice(_PHRASES if r.random() < 0.25 else _WORDS)
    parts = gold.split()
    if len(parts) > 1:
        shuffled = parts[1:] + parts[:1] if r.random() < 0.5 else [parts[1], parts[0], *parts[2:]]
        return gold, r.choice(
            [
                " ".join(shuffled),
                " ".join(parts[:-1]),
                f"not {gold}",
                rf"\text{{{' '.join(shuffled)}}}",
                f"{gold} or zero",
            ]
        )
    letters = gold
    while letters.casefold() == gold.casefold():
        letters = "".join(r.sample(gold, len(gold)))
    other = r.choice([word for word in _WORDS if word != gold])
    answer = r.choice(
        [
            letters,
            letters,
            letters.lower(),
            rf"\text{{{letters}}}",
            gold[:-1],
            gold + "x",
            other,
            f"not {gold}",
            f"{gold} or {other}",
            " ".join(letters),
        ]
    )
    return gold, answer


def dates(r: random.Random) -> Pair:
    a, b, c = r.randint(1, 28), r.randint(1, 12), r.randint(1900, 2030)
    if r.random() < 0.4:
        gold = f"{c}-{b:02d}-{a:02d}"
        return gold, r.choice(
            [str(c - b - a), str(c), _digit(gold, r), f"{a:02d}-{b:02d}-{c}", str(c + a + b), f"{c}-{b:02d}"]
        )
    gold = r.choice([f"{a}-{b}", f"{a}\u2013{b}", f"{a} - {b}"]) if a != b else f"{a}-{b + 1}"
    return gold, r.choice(
        [
            str(a - b),
            f"{b}-{a + 30}",
            _digit(gold, r),
            str(a),
            f"({a},{b})",
            f"{a},{b}",
            str(a + b + 50),
            str(a * b + 100),
        ]
    )


def thousands(r: random.Random) -> Pair:
    value = r.randint(10**4, 10**10)
    groups = f"{value:,}".split(",")
    other = f"{int(_digit(str(value), r)):,}"
    joint = r.choice([r",\! ", r",\!", r"{,}\!", "{,}", r"\,", " ", ","])
    turned = groups[::-1] if groups != groups[::-1] else [*groups, "000"]
    return r.choice([str(value), r",\! ".join(groups)]), r.choice(
        [other.replace(",", joint), joint.join(groups[:-1]), joint.join([*groups, "000"]), ", ".join(turned)]
    )


def changed(r: random.Random) -> Pair:
    number, word = str(r.randint(2, 99)), r.choice(_CHANGES)
    answer = r.choice(
        [rf"{number}\text{{ {word}}}", f"{number} {word}", rf"\text{{{number} {word}}}", rf"{number}~\text{{{word}}}"]
    )
    return (number, answer) if r.random() < 0.7 or word == "percent" else (answer, number)


def multipliers(r: random.Random) -> Pair:
    number, word = r.choice(["2.5", "5", "12", "1.25", "30"]), r.choice(list(_MULTIPLIERS))
    value = int(float(number) * _MULTIPLIERS[word])
    other = r.choice([name for name in _MULTIPLIERS if name != word])
    gold = r.choice([rf"{number}\text{{ {word}}}", f"{number} {word}", rf"\${number}\text{{ {word}}}"])
    wrong = r.choice(
        [
            number,
            f"{value * 10}",
            f"{value + 1}",
            f"{number} {other}",
            rf"{number}\text{{ {other}}}",
            rf"\${number}",
            _digit(str(value), r),
            f"{number} dozen",
        ]
    )
    return gold, wrong


def units(r: random.Random) -> Pair:
    unit, number = r.choice(_UNITS), r.randint(2, 999)
    if r.random() < 0.5:
        return str(number), f"{number + r.choice([-1, 1, 7])}{unit}"
    other = r.choice([one for one in _UNITS if one != unit])
    return f"{number}{unit}", r.choice(
        [
            f"{number + 1}{unit}",
            f"{number}{other}",
            rf"{number}\%",
            f"{number}{unit}^3" if unit[-1] not in "}2" else f"{number}x",
        ]
    )


def scripts(r: random.Random) -> Pair:
    number = str(r.randint(10, 999))
    digits = r.choice(["0123456789", "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "۰۱۲۳۴۵۶۷۸۹"])
    other = _digit(number, r)
    tail = r.choice(["", "元", "厘米", "个", "人", "平方米", r"\text{元}"])
    right = number.translate(str.maketrans("0123456789", digits))
    bad = r.choice(["万", "亿", "倍", "成", "折", "分之一", "％", "或" + other, "多", "半"])
    wrong = other.translate(str.maketrans("0123456789", digits)) + tail
    return number, r.choice([wrong, right + bad, r.choice(["无解", "不是", "约"]) + right])


def money(r: random.Random) -> Pair:
    signs = (r"\$", "€", "£", "₹", "¥", r"\text{Rs. }", "₩")
    sign, number = r.choice(signs), r.randint(2, 9999)
    if r.random() < 0.5:
        return str(number), f"{sign}{number + r.choice([1, -1, 100])}"
    other = r.choice([one for one in signs if one != sign and {one, sign} != {"₹", r"\text{Rs. }"}])
    return f"{sign}{number}", r.choice(
        [f"{other}{number}", f"{sign}{number + 1}", rf"{sign}{number}\text{{ million}}", rf"{number}\%"]
    )


def ordinals(r: random.Random) -> Pair:
    number = r.randint(1, 130)
    right = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    ending = r.choice([e for e in ("st", "nd", "rd", "th") if e != right])
    frame = r.choice(["{}{}", r"{}^{{\text{{{}}}}}", r"{}\text{{{}}}", "{}^{{{}}}"])
    wrong = frame.format(number + 10, right) if r.random() < 0.5 else frame.format(number, ending)
    return str(number), wrong


def names(r: random.Random) -> Pair:
    value = r.randint(2, 99)
    pick = r.random()
    if pick < 0.4:
        return str(value), f"{r.choice(_NAMES)}={value + r.choice([-1, 1, 5])}"
    if pick < 0.7:
        return str(value), f"{r.choice(_TASKS)}={value}"
    one, other = r.sample(["f(x)", "f'(x)", "g(x)", "y", "f^{-1}(x)", r"\frac{dy}{dx}", "f''(x)"], 2)
    return f"{one}={value}x", r.choice(
        [f"{other}={value}x", f"{one}={value + 1}x", f"{value + 1}x", f"{one}={value}x^2"]
    )


def conditions(r: random.Random) -> Pair:
    step, shift = r.randint(2, 9), r.randint(2, 9)
    stated = r.choice(
        [
            r", k\in\mathbb{Z}",
            r"\text{ for all integers }k",
            r"\ (k\in\mathbb{Z})",
            r"\text{, where }k\text{ is an integer}",
            "",
        ]
    )
    gold = rf"\frac{{\pi}}{{{shift}}}+{step}k\pi{stated}"
    wrong = r.choice(
        [
            rf"\frac{{\pi}}{{{shift + 1}}}+{step}k\pi",
            rf"-\frac{{\pi}}{{{shift}}}+{step}k\pi",
            rf"\frac{{\pi}}{{{shift}}}+{step + 1}k\pi",
            rf"\frac{{\pi}}{{{shift}}}",
        ]
    )
    kept = rf"\frac{{\pi}}{{{shift}}}+{step}k\pi"
    narrowed = (
        [kept + r", k\in\mathbb{N}", kept + r", k>0", kept + r"\text{ for }k<3", kept + r", k\ge 1"]
        if stated
        else [kept + ", k>0", kept + r"\text{ for }k<3"]
    )
    return gold, r.choice([wrong + stated, wrong, *narrowed])


def wrapped(r: random.Random) -> Pair:
    top, bottom = r.randint(2, 30), r.randint(31, 99)
    gold = r.choice(
        [
            rf"\\frac{{{top}}}{{{bottom}}}",
            rf"\boxed{{\frac{{{top}}}{{{bottom}}}}}",
            rf'["\\frac{{{top}}}{{{bottom}}}"]',
            f'["{top}"]',
            rf"{top}, {bottom}, \ldots, n",
            f"{top}e-05",
        ]
    )
    return gold, r.choice(
        [
            rf"\frac{{{bottom}}}{{{top}}}",
            rf"\frac{{{top + 1}}}{{{bottom}}}",
            str(top + bottom),
            rf"{top}, {bottom}, \ldots, m",
            rf"{top}, {bottom}, n",
            str(-top),
        ]
    )


def formulas(r: random.Random) -> Pair:
    gold, letter = r.choice(_FORMULAS)
    return gold, r.choice(_TWISTS).format(f=gold, x=letter, c=r.randint(2, 40))


def notations(r: random.Random) -> Pair:
    a, b = sorted(r.sample(range(-20, 20), 2))
    gold, spelled = r.choice([(f"({a},{b})", f"]{a},{b}["), (f"[{a},{b})", f"[{a},{b}["), (f"({a},{b}]", f"]{a},{b}]")])
    repeating = rf"0.\dot{{{abs(a) % 9 + 1}}}\dot{{{abs(b) % 8}}}"
    number = 10 * (abs(a) % 9 + 1) + abs(b) % 8
    pick = r.random()
    if pick < 0.5:
        ends = {"]": "[", "[": "]"}
        return gold, r.choice(
            [ends[spelled[0]] + spelled[1:], spelled[:-1] + ends[spelled[-1]], f"]{a},{b + 1}[", f"]{a - 1},{b}["]
        )
    if pick < 0.75:
        return rf"\frac{{{number + 1}}}{{99}}", repeating
    hour, minute = r.randint(1, 11), r.randint(10, 58)
    return rf"{hour}:{minute}\text{{ a.m.}}", r.choice(
        [
            f"{hour}:{minute} PM",
            f"{hour}:{minute + 1} AM",
            f"{hour + 12}:{minute}",
            f"{hour}.{minute}",
            f"{hour + 1}:{minute}am",
        ]
    )


KINDS: dict[str, Callable[[random.Random], Pair]] = {
    "words": words, "dates and ranges": dates, "thousands": thousands, "words that change a number": changed, "multipliers": multipliers, "units": units,
    "other scripts": scripts, "money": money, "ordinals": ordinals, "names": names, "conditions": conditions, "wrapped golds": wrapped,
    "roots, logarithms, exponents, factorials": formulas, "notations": notations,
}  # fmt: skip


def wrong(kind: str, count: int) -> Iterator[Pair]:
    """`count` different (gold, answer) of a kind, every answer wrong."""
    r, seen = random.Random(kind), set[Pair]()
    while len(seen) < count:
        pair = KINDS[kind](r)
        if pair not in seen and pair[0].casefold() != pair[1].casefold():
            seen.add(pair)
            yield pair


# Where the answer stands: (gold, response, type, settings)

Response = tuple[str, str, str, dict[str, str]]


def misplaced(kind: str, count: int) -> Iterator[Response]:
    """`count` responses whose answer, found in the declared place, is wrong."""
    r = random.Random(kind)
    for _ in range(count):
        yield PLACES[kind](r)


def _bold(r: random.Random) -> Response:
    number = r.randint(10, 999)
    frame = r.choice(
        [
            "**Answer:** {}",
            "**Answer: {}**",
            "**Answer**: {}",
            "Answer: **{}**.",
            "*Answer:* {}",
            "**Answer:** ${}$",
            "Answer: **" + str(number) + "** or **{}**",
        ]
    )
    return (
        str(number),
        "Thinking " + str(number) + "\n" + frame.format(number + r.randint(1, 9)),
        "integer",
        {"extractor": "marker", "marker": "Answer:"},
    )


def _boxed(r: random.Random) -> Response:
    number = r.randint(10, 999)
    frame = r.choice(
        [r"\boxed{{{}}}", r"$\boxed{{{}}}$", r"\[ {} \]", "$${}$$", r"\boxed{{{}}} or \boxed{{" + str(number) + "}}"]
    )
    inside = frame.format(number + r.randint(1, 9))
    if r.random() < 0.5:
        return str(number), f"<think>{number}</think><answer>{inside}</answer>", "expression", {"extractor": "tag"}
    return str(number), f"It is {number}. Answer: {inside}", "expression", {"extractor": "marker", "marker": "Answer:"}


def _ended(r: random.Random) -> Response:
    number = r.randint(10, 999)
    text = f"{number}\nAnswer: {number}\nAnswer: {number + r.randint(1, 9)}\n{number}"
    return str(number), text, "integer", {"extractor": "marker", "marker": "Answer:", "end": "\n"}


def _several(r: random.Random) -> Response:
    members = r.sample(range(2, 60), 3)
    kept = r.choice([members[:2], [*members, 99], [*members[:2], 98], [members[0], *members]])
    joint = r.choice([", ", " and ", " or ", r"\quad "])
    text = joint.join(rf"\boxed{{{member}}}" for member in kept)
    gold, kind = r.choice([(", ".join(map(str, members)), "expression"), (rf"\{{{', '.join(map(str, members))}\}}", "expression"), (str(members[0]), "integer"),
                           (f"({members[0]}, {members[1]})", "tuple"), ("".join(map(str, members)), "integer"), (str(members[1]), "expression")])  # fmt: skip
    return gold, text, kind, {}


def _thinking(r: random.Random) -> Response:
    number = str(r.randint(2, 999))
    text = r.choice(
        [
            rf"Perhaps \boxed{{{number}}}? Let me check",
            rf"\boxed{{{number}}}",
            rf"so \boxed{{{number}}} and \boxed{{{number}}}",
            rf"\boxed{{{number}}}</think> I do not know",
        ]
    )
    return (
        number,
        text,
        r.choice(["integer", "expression"]),
        {"prompt_end": r.choice(["<think>", "<think>\n", "assistant\n<think>\n\n"])},
    )


def _chosen(r: random.Random) -> Response:
    right, other = r.sample("ABCDE", 2)
    frame = r.choice(["{o}) 5 N", "Option {o}", "{o} - 12", r"\text{{{o}) vitamin C}}" if other != "C" else "{o}", "{o}) F = ma", "{r} or {o}", "{r}) not {o}", "({r}) or ({o})", "{r}, {o}",
                      "{r}) 12, {o}) 13", "{r}) so the answer is {o}", "not {r}", "neither {r} nor {o}", "Option {r} or {o}", "{r} is wrong, {o}", "{r}) {o}", "{r} and {o}"])  # fmt: skip
    return right, rf"\boxed{{{frame.format(r=right, o=other)}}}", "choice", {}


PLACES: dict[str, Callable[[random.Random], Response]] = {
    "bold marks": _bold, "boxes behind a marker": _boxed, "the end of an answer": _ended, "several boxes": _several, "open thoughts": _thinking, "choices": _chosen,
}  # fmt: skip
