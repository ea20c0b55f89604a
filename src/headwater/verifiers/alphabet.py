r"""The alphabet of answers: which commands, signs and characters are read, what they are called, and how text is cut.

What is in none of these tables is Unreadable (`latex.py`): a command must not be guessed at.
"""

from __future__ import annotations

import re

from headwater.verifiers.units import SIGNS_OF_MONEY

# fmt: off
GREEK = (
    "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\varepsilon", "\\zeta", "\\eta", "\\theta", "\\vartheta",
    "\\iota", "\\kappa", "\\lambda", "\\mu", "\\nu", "\\xi", "\\rho", "\\sigma", "\\tau", "\\upsilon", "\\phi",
    "\\varphi", "\\chi", "\\psi", "\\omega", "\\Gamma", "\\Delta", "\\Theta", "\\Lambda", "\\Xi", "\\Sigma",
    "\\Upsilon", "\\Phi", "\\Psi", "\\Omega", "\\ell",
)
SYMBOLS = frozenset({"\\pi", "\\infty", "\\emptyset", "\\circ", "\\angle", "\\triangle", *GREEK})
FUNCTIONS = frozenset({
    "\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc", "\\arcsin", "\\arccos", "\\arctan", "\\sinh", "\\cosh",
    "\\tanh", "\\log", "\\ln", "\\exp",
})
OPAQUE = frozenset({
    "\\int", "\\iint", "\\oint", "\\sum", "\\prod", "\\lim", "\\limsup", "\\liminf", "\\max", "\\min", "\\sup", "\\inf", "\\det",
    "\\dim", "\\ker", "\\deg", "\\arg", "\\gcd", "\\Re", "\\Im", "\\Pr", "\\partial", "\\nabla", "\\to", "\\prime",
    "\\forall", "\\exists", "\\perp", "\\parallel", "\\dagger", "\\bigcup", "\\square", "\\#",
})
ARGUMENTS = {
    "\\frac": 2, "\\binom": 2, "\\sqrt": 1, "\\surd": 1, "\\overline": 1, "\\mathbb": 1, "\\pmod": 1, "\\vec": 1, "\\hat": 1,
}
LOOKS = frozenset({"\\boldsymbol", "\\bm", "\\underline", "\\ensuremath", "\\smash", "\\mathrm"})
"""How its argument looks and not what it is."""
SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom", "\\tbinom": "\\binom",
    "\\varnothing": "\\emptyset", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]",
    "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\mid": "|", "\\lVert": "\\|", "\\rVert": "\\|", "\\Vert": "\\|",
    "\\bar": "\\overline", "\\dot": "\\overline", "\\colon": ":", "\\nicefrac": "\\frac", "\\sfrac": "\\frac",
    "\\tilde": "\\hat", "\\widehat": "\\hat", "\\widetilde": "\\hat", "\\ddot": "\\hat", "\\check": "\\hat",
    "\\mathcal": "\\hat", "\\mathscr": "\\hat", "\\mathfrak": "\\hat", "\\star": "\\ast", "\\rightarrow": "\\to",
    "\\Bbb": "\\mathbb", "\\dots": "\\ldots", "\\cdots": "\\ldots", "\\dotsc": "\\ldots", "\\cr": "\\\\",
    "\\overrightarrow": "\\vec", "\\lg": "\\log", "\\tg": "\\tan", "\\ctg": "\\cot", "\\cosec": "\\csc", "\\arctg": "\\arctan",
    "**": "^", "'": "\\prime", "\\imath": "i", "\\texteuro": "\\euro", "\\textdollar": "\\$", "\\textsterling": "\\pounds",
}
NAMES = {
    "pi": "\\pi", "sqrt": "\\surd", **{name[1:]: name for name in FUNCTIONS if name != "\\sec"},
}
"""What is typed without its backslash and is no product of letters."""
SIGNS = {
    "+": "+", "-": "-", "*": "*", "/": "/", "!": "!", "|": "|", ":": ":", "\\cdot": "*", "\\times": "*", "\\ast": "*",
    "\\div": "/", "\\pm": "\\pm", "\\cup": "\\cup", "\\cap": "\\cap", "\\setminus": "\\setminus", "\\|": "\\|",
    "\\backslash": "\\setminus", "%": "%", "\\%": "%", "&": "&", "\\\\": "\\\\", "\\ldots": "\\ldots",
    **{sign: sign for sign in SIGNS_OF_MONEY},
}
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "\\approx": "~", "\\in": "in", "\\equiv": "=",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=",
    "\\ne": "!=", "\\neq": "!=",
}
OPENING = {
    "(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",), "\\langle": ("\\rangle",),
    "\\lfloor": ("\\rfloor",), "\\lceil": ("\\rceil",),
}
CLOSING = frozenset({")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"})

UNICODE = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "\\times ", "\u00b7": "\\cdot ", "\u22c5": "\\cdot ", "\u00f7": "/",
    "\u03c0": "\\pi ", "\u221e": "\\infty ", "\u00b0": "^\\circ ", "\u2264": "\\leq ", "\u2265": "\\geq ",
    "\u2260": "\\neq ", "\u222a": "\\cup ", "\u2208": "\\in ", "\u2205": "\\emptyset ", "\u00b1": "\\pm ",
    "\u221a": "\\surd ", "\u211d": "\\mathbb{R}", "\u2124": "\\mathbb{Z}", "\u2115": "\\mathbb{N}", "\u211a": "\\mathbb{Q}",
    "\u2248": "\\approx ", "\u03b8": "\\theta ", "\u00a0": " ", "\u2103": "^\\circ C", "\u2109": "^\\circ F",
    "\u2009": " ", "\u202f": " ", "\u00ba": "^\\circ ", "\u2044": "/", "\u20ac": "\\euro ", "\u00a3": "\\pounds ",
    "\u20b9": "\\rupee ", "\u00a5": "\\yen ", "\uffe5": "\\yen ", "\u00a2": "\\cent ", "\u2032": "'", "\u2019": "'",
    **dict(zip("₩₽₺₪₫฿₦₱", ("\\won ", "\\ruble ", "\\lira ", "\\shekel ", "\\dong ", "\\baht ", "\\naira ", "\\peso "), strict=True)),
    "\u2220": "\\angle ", "\u2229": "\\cap ", "\u2026": "\\ldots ", "\u2236": ":", "\u00bc": "\\frac{1}{4}",
    "\u00bd": "\\frac{1}{2}", "\u00be": "\\frac{3}{4}", "\u2153": "\\frac{1}{3}", "\u2154": "\\frac{2}{3}",
    "\u3001": ",", "\u060c": ",", "\u3002": ".", "\u066b": ".", "\u066c": "{,}", "\u066a": "%", "\u2200": "\\forall ",
    "\u3000": " ",
}
# fmt: on
LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
)
UNICODE |= {
    letter: f"\\{name} " for letter, name in zip("αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΣΦΨΩ", LETTERS.split(), strict=True)
}
SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
"""Full-width forms, as Chinese text has them, are the same characters; some characters have no width at all."""
STRINGS = tuple((re.compile(pattern), meant) for pattern, meant in (
    (r"\\degree(?![A-Za-z])|\^\s*\{\s*\\degree\s*\}|\^\s*\\degree(?![A-Za-z])", r"^\\circ "),
    (r">=", r"\\geq "), (r"<=", r"\\leq "), (r"\.\.\.", r"\\ldots "), (r":=", "="),
    (r"\\dot\s*\{?([0-9])\}?([0-9]*)\\dot\s*\{?([0-9])\}?", r"\\overline{\1\2\3}"),  # the dots mark the ends of a period
    (r"\{([-:])\}", r"\1"), (r"\\not\s*=", r"\\neq "), (r"\\textsuperscript\s*\{([a-z]+)\}", r"^{\\text{\1}}"), (r"(?<=[0-9])\s*([AaPp])\.\s?[Mm]\.?(?![A-Za-z])", r"\\text{\1m}"),
    (r"\\([RZNQ])(?![A-Za-z])", r"\\mathbb{\1}"),
    (r"(?<![A-Za-z\\])Rs\.?\s*(?=[0-9\\])", r"\\rupee "), (r"(?<![A-Za-z])(?:US|HK|NZ|[ACS])\s*\\\$\s*(?=[0-9])", r"\\$"),
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
    r"\{(?P<words>(?:[^{}\\]|\\[$%&#_ ,;:!]|\\[a-z]+ )*)\}"
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
MEASURE = re.compile(r"([$€£¥₹₩₽₺₪₫฿₦₱]?)\s*([0-9][0-9,]*(?:\.[0-9]+)?(?::[0-9]+)*)\s*(%|[^\W\d_][^\d]*)?")
NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
