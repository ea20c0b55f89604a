"""Answers that want to hang, crash, swell, break out of or fool a grader, and wrong answers that look right.

All are made from a seed. Code in an answer, if anything ever ran it, would leave a canary: a file, a
connection to a port of ours, or the value of an environment variable.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

GOLDS = ("1", "42", r"\frac{1}{2}", r"\frac{\sqrt{3}}{2}", "x^2-1", r"\{1,2\}", "(1,2)", r"[0,1)", r"10\%", r"\text{Tuesday}",
         "y=2x+1", r"2\sin x\cos x", r"\begin{pmatrix}1\\2\end{pmatrix}", r"1\pm\sqrt{2}", "2^{100}", r"n!", "1011_2")  # fmt: skip

_ATOMS = [
    r"x",
    r"y",
    r"n",
    r"i",
    r"e",
    r"1",
    r"2",
    r"0",
    r"7",
    r"42",
    r"0.5",
    r"10",
    r"\pi",
    r"\theta",
    r"\infty",
    r"\frac",
    r"\sqrt",
    r"\binom",
    r"^",
    r"_",
    r"{",
    r"}",
    r"(",
    r")",
    r"[",
    r"]",
    r"\{",
    r"\}",
    r"|",
    r"!",
    r"+",
    r"-",
    r"*",
    r"/",
    r"=",
    r"<",
    r">",
    r"\le",
    r",",
    r";",
    r":",
    r"\cdot",
    r"\times",
    r"\pm",
    r"\cup",
    r"\setminus",
    r"\in",
    r"\approx",
    r"\sin",
    r"\cos",
    r"\tan",
    r"\log",
    r"\ln",
    r"\exp",
    r"\left(",
    r"\right)",
    r"\text{or}",
    r"\text{cm}",
    r"\%",
    r"^\circ",
    r"\$",
    r"&",
    r"\\",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"\int",
    r"\sum",
    r"\lim",
    r"\prod",
    r"\partial",
    r"\mathbb{R}",
    r"\overline",
    r"\lfloor",
    r"\rfloor",
    r"\langle",
    r"\rangle",
    r"\boxed{",
    r"'",
    r'"',
    r"~",
    r"\operatorname",
    r"\mathrm{d}",
    r"d",
    r"\emptyset",
    r"\neq",
    r".",
    r"..",
    r"...",
    r"1e9",
    r"9**9",
    r"\u0000",
    r"٣",
    r"５",
    r"½",
    r"√",
    r"∑",
    r"∞",
    r"−",
    r"²",
    r"𝟚",
    r"\ud800",
]


def code(canary: str, port: int) -> list[str]:
    """Python and TeX that would leave a trace."""
    connect = f'__import__("socket").create_connection(("127.0.0.1",{port}))'
    return [
        f'__import__("os").system("touch {canary}")',
        f'__import__("pathlib").Path("{canary}").touch()',
        f"open('{canary}','w').close()",
        connect,
        f'exec("open(\\"{canary}\\",\\"w\\")")',
        f'eval(compile("open(\'{canary}\',\'w\')","a","exec"))',
        f'().__class__.__bases__[0].__subclasses__()[0].__init__.__globals__["sys"].modules["os"].system("touch {canary}")',
        f'lambda: open("{canary}","w")',
        f"sympify('open(\"{canary}\",\"w\")')",
        f'\\operatorname{{{connect}}}(1)',
        f'\\immediate\\write18{{touch {canary}}}',
        f'\\input{{{canary}}}',
        f'\\variable{{__import__("os").system("touch {canary}")}}',
        f'\\text{{__import__("os").system("touch {canary}")}}',
        f'x_{{open("{canary}","w")}}',
        f'f(open("{canary}","w"))',
        f'2+open("{canary}","w")',
        'getattr(__builtins__,"open")',
        '__import__("os").environ["HEADWATER_CANARY"]',
        'print(__import__("os").environ)',
    ]  # fmt: skip


def _nested(r: random.Random) -> str:
    opening, closing = r.choice(
        [("{", "}"), ("(", ")"), (r"\left(", r"\right)"), (r"\sqrt{", "}"), (r"\frac{1}{1+", "}"), ("x^{", "}"), ("|", "|"),
         (r"\sin(", ")"), (r"\{", r"\}"), ("[", "]"), ("-(", ")"), (r"\lfloor ", r"\rfloor "), (r"2^{2^{", "}}"), ("x_{", "}"),
         (r"\begin{pmatrix}", r"\end{pmatrix}"), (r"\text{", "}"), (r"\binom{2}{", "}"), ("((", "))"), (r"\exp(", ")")]
    )  # fmt: skip
    depth = int(10 ** r.uniform(0, 3.5))
    return opening * depth + r.choice(["x", "1", "", "2"]) + closing * (depth + r.choice([0, 0, 0, -1, 1]))


def _long(r: random.Random) -> str:
    piece = r.choice(["1", "9", "x+", "(x+1)", "1+", "a", "2*", "1,", "x,", " ", "-", "^", "{", "$", "\\", r"\frac1", "!", "=1",
                      r"\sqrt2+", r"\sin x+", "ab", "x^", r"\pm", r"\cup(0,1)", "1/", "0.", r"\\1", "&1", r"\text{a}"])  # fmt: skip
    return (piece * int(10 ** r.uniform(1, 5)))[: r.choice([300, 990, 5_000, 100_000])]


def _huge(r: random.Random) -> str:
    big = r.choice(["10", "9", "99", "1000000", "10^{10}", "x", "2", "e", r"\pi", "0.5"])
    form = r.choice([
        "{0}^{{{0}^{{{0}}}}}", "{0}^{{{0}^{{{0}^{{{0}}}}}}}", "100000!", "10!!!!!", "{0}!!", r"\binom{{1000000000}}{{500000000}}",
        r"\binom{{{0}!}}{{2}}", "(x+1)^{{10000}}", "(x+y+z+1)^{{{0}00}}", r"\sin({0}^{{{0}}})", r"\exp(\exp(\exp({0})))",
        r"\tan(x)^{{40}}+\sin(x)^{{40}}", "x^{{{0}^{{9}}}}", r"\sqrt[{0}000]{{{0}}}", "1/({0}^{{{0}00}}-1)", "{0}^{{-{0}^{{9}}}}",
        r"\log_{{{0}}} ({0}^{{{0}^{{5}}}})", r"\cosh({0}^{{5}})", "0.{0}e{0}", r"\frac{{1}}{{0}}", r"0^{{0}}", r"\infty-\infty",
        r"\sum_{{k=1}}^{{{0}}} k", r"\int_0^{{{0}}} x^x dx", r"\prod_{{k=1}}^{{{0}}} k", r"\lim_{{x\to {0}}} x^x", r"x^{{x^{{x^x}}}}",
        r"\sqrt{{2+\sqrt{{2+\sqrt{{2+\sqrt{{2+\sqrt{{2}}}}}}}}}}", r"\sin 1^\circ\sin 2^\circ\sin 3^\circ", "[{0},{0}^{{{0}}}]",
        r"x<{0}^{{{0}}}", r"\mathbb{{R}}\setminus\{{{0}^{{9}},\sqrt{{{0}}}\}}", r"(\sqrt[7]{{{0}+\sqrt{{3}}}})^{{21}}", "y=x^{{{0}^9}}",
    ])  # fmt: skip
    return str(form.format(big))


def _soup(r: random.Random) -> str:
    return r.choice(["", " "]).join(r.choice(_ATOMS) for _ in range(r.randint(1, 40)))


def _noise(r: random.Random) -> str:
    return "".join(
        chr(r.choice([r.randrange(128), r.randrange(0x500), r.randrange(0x11000)])) for _ in range(r.randint(1, 60))
    )


def _broken_gold(r: random.Random) -> str:
    gold = r.choice(GOLDS)
    at = r.randrange(len(gold))
    return gold[:at] + r.choice(_ATOMS) * r.randint(1, 30) + gold[at:]


def hostile(seed: int, count: int, canary: str, port: int) -> Iterator[tuple[str, str]]:
    """(gold, response): `count` hostile responses, most of them with their answer in a box."""
    r = random.Random(seed)
    codes = code(canary, port)
    kinds: list[Callable[[random.Random], str]] = [
        _nested,
        _long,
        _huge,
        _soup,
        _noise,
        _broken_gold,
        lambda r: r.choice(codes),
    ]
    for _ in range(count):
        answer = r.choice(kinds)(r)
        if r.random() < 0.1:
            answer += r.choice(kinds)(r)
        frame = r.choice(
            [r"$\boxed{%s}$"] * 8
            + [r"\boxed{1}, \boxed{%s}", r"\boxed{%s", r"<think>\boxed{%s}</think> so \boxed{x^{%s}}"]
        )
        yield r.choice(GOLDS), frame.replace("%s", answer)


# Wrong answers close to the right one

VALUES = (r"\frac{\sqrt{3}}{2}", r"2\sqrt{13}", "x^2-1", "3x+7", r"\frac{5\pi}{12}", r"\sqrt{2}+\sqrt{5}", r"\frac{x+5}{6}", "4-6i", "17",
          r"\frac{3}{8}", "0.35", r"12\frac{3}{5}", r"(3,-1)", r"\{1,2,5\}", "-1, 8", r"[-2,5)", r"(-\infty,-3)\cup(4,\infty)", r"x\le 3",
          "y=-2x+3", "x+2y-2z-9=0", r"90^\circ", r"\$5.50", r"25\%", r"8\text{ cm}", "2516_8", "7:30", r"\text{Tuesday}", r"\text{(C)}",
          r"\begin{pmatrix}1&-2\\0&4\end{pmatrix}", r"3\pm2\sqrt{2}", r"2^{100}-1", r"\sin^2 x", r"\log_2 7", r"\frac{n(n+1)}{2}", "10!",
          r"\tan\frac{x}{2}", r"e^{2x}", r"\left(\frac12,\frac{2}{3}\right)", r"1008\sqrt{6}", "a^2+b^2", r"\sqrt[3]{4}", "6.2",
          r"x^4-5x^3+2x^2+x-19", r"-80\leq g(x)\leq 82", r"\frac{1}{4m}", r"9:24", "1,000", "10{,}000", r"\pi r^2", "CD")  # fmt: skip


def mutated(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """(gold, answer): `count` answers that differ from the gold answer in value, order, kind, unit or base."""
    r = random.Random(seed)
    made = 0
    while made < count:
        gold = r.choice(VALUES)
        answer = r.choice(_MUTATIONS)(gold, r)
        if answer is not None and answer != gold:
            made += 1
            yield gold, answer


def _digit(gold: str, r: random.Random) -> str | None:
    """One digit changed to another; not a leading zero, not the part of 0.350 that says nothing."""
    places = [i for i, c in enumerate(gold) if c.isdigit()]
    if not places:
        return None
    i = r.choice(places)
    other = r.choice([d for d in "123456789" if d != gold[i]])
    return gold[:i] + other + gold[i + 1 :]


def _negated(gold: str, r: random.Random) -> str | None:
    if gold[0] in "-0123456789" and not any(c in gold for c in "+-,:_=") and "\\%" not in gold:
        return "-" + gold
    return None


def _added(gold: str, r: random.Random) -> str | None:
    plain = not any(c in gold for c in ",:_=()[]{}%t\\") and gold[-1].isalnum() and not gold.isupper()
    return f"{gold}+{r.choice(['1', '2', '0.001', 'x', '10^{-9}'])}" if plain else None


def _hedged(gold: str, r: random.Random) -> str | None:
    other = r.choice(["7", r"\sqrt{7}", "x+7", r"\text{Monday}"])
    pair = [gold, other]
    r.shuffle(pair)
    return r.choice(
        [r"{} \text{{ or }} {}", "{}, {}", r"\{{{}, {}\}}", "({}, {})", r"{}\text{{ and }}{}", "{}; {}"]
    ).format(*pair)


def _tasked(gold: str, r: random.Random) -> str | None:
    task = r.choice([r"\int_0^1 {} \,dt", r"\lim_{{t\to0}} {}", r"\frac{{d}}{{dt}}\left({} t\right)", r"\sum_{{k=1}}^{{1}} {}", "({})'",
                     r"\operatorname{{solve}}({})", r"\max({})", r"\text{{not }}{}", r"\neg {}"])  # fmt: skip
    return str(task.format(gold))


def _other_kind(gold: str, r: random.Random) -> str | None:
    swaps = [("(", "["), (")", "]"), (r"\{", "("), (r"\}", ")"), ("[", "("), (r"\le ", "<"), (r"\leq", "<"), (r"\cup", r"\setminus"),
             (r"\pm", "+"), (r"\sin", r"\cos"), (r"\tan", r"\sin"), (r"\log", r"\ln"), (r"\pi", "3.14"), ("cm", "m"), ("Tuesday", "Monday"),
             ("(C)", "(D)"), (r"\sqrt", r"\sqrt[5]"), ("x", "t"), ("i", "j"), ("_8", "_9"), (r"\$", r"\text{cents}"), ("!", ""), ("=", ">"),
             ("^\\circ", "\\%"), ("\\%", "^\\circ"), ("e^", "3^"), ("n", "k"), ("CD", "DC")]  # fmt: skip
    fitting = [
        (a, b) for a, b in swaps if a in gold and not (a == "i" and "\\" in gold) and not (a == "n" and "\\" in gold)
    ]
    if not fitting:
        return None
    a, b = r.choice(fitting)
    if (a, b) in (("(", "["), (")", "]")) and any(name in gold for name in ("text", "left", "frac")):
        return None
    if a == "x" and ("matrix" in gold or "le" in gold or gold.count("=")):
        return None
    return gold.replace(a, b)


def _percent(gold: str, r: random.Random) -> str | None:
    return gold + r"\%" if gold.replace(".", "").isdigit() else None


def _rounded(gold: str, r: random.Random) -> str | None:
    values = {r"\frac{\sqrt{3}}{2}": 0.8660254037844386, r"2\sqrt{13}": 7.211102550927978, r"\sqrt[3]{4}": 1.5874010519681994,
              r"\log_2 7": 2.807354922057604, r"\frac{5\pi}{12}": 1.3089969389957472}  # fmt: skip
    return f"{values[gold]:.{r.randint(2, 15)}f}" if gold in values else None


_MUTATIONS = (_digit, _digit, _digit, _negated, _added, _hedged, _tasked, _other_kind, _other_kind, _percent, _rounded)
