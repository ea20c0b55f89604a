r"""What may stand behind a number: a listed unit, a word that multiplies it, an ordinal's ending, or what is counted.

    5 km/h   5\,\mathrm{kg}\cdot\mathrm{m}/\mathrm{s}^2   5 square inches   5 apples   2.5 million   12th   15\text{元}

A unit is parsed into names with exponents, so that `km / h`, `kilometers per hour` and `km h^-1` are one. What is
no listed unit counts only as a plural noun, and never as a word of number, fraction, order, direction or denial:
those change the value. Units are compared, never converted.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

Unit = tuple[tuple[str, int], ...]
"""(name, exponent), sorted."""

# Symbols with the prefixes that people use for them, and names that take any prefix by name.
_SYMBOLS = {
    "m": ("meter", "k c m d h μ n"), "g": ("gram", "k m μ n"), "s": ("second", "m μ n p"), "A": ("ampere", "m μ k"),
    "mol": ("mole", "m μ k"), "Hz": ("hertz", "k M G T"), "N": ("newton", "k m M"), "Pa": ("pascal", "k M G h"),
    "J": ("joule", "k M G m"), "W": ("watt", "k M G m"), "V": ("volt", "k m M"), "F": ("farad", "m μ n p"),
    "C": ("coulomb", "m μ n"), "Ω": ("ohm", "k M m"), "T": ("tesla", "m μ"), "H": ("henry", "m μ"), "K": ("kelvin", "m"),
    "S": ("siemens", "m μ"), "Wb": ("weber", "m"), "L": ("liter", "m c d k μ"), "l": ("liter", "m c d k μ"),
    "eV": ("electronvolt", "k M G"), "cal": ("calorie", "k"), "bar": ("bar", "m k"), "B": ("byte", "k K M G T"),
    "cd": ("candela", ""), "lm": ("lumen", ""), "lx": ("lux", ""), "Bq": ("becquerel", "k M"), "Sv": ("sievert", "m μ"),
    "Gy": ("gray", "m"), "rad": ("radian", "m"), "atm": ("atmosphere", ""), "dB": ("decibel", ""),
}  # fmt: skip
_PREFIXES = {
    "k": "kilo", "K": "kilo", "c": "centi", "m": "milli", "d": "deci", "h": "hecto", "μ": "micro", "n": "nano", "p": "pico",
    "M": "mega", "G": "giga", "T": "tera",
}  # fmt: skip
_NO_SYMBOL_ALONE = frozenset("KTB")
"""5 K, 5 T and 5 B may be thousands, trillions and billions."""
_NAMED = """
    meter gram second ampere kelvin mole candela hertz newton pascal joule watt coulomb volt farad ohm siemens weber tesla
    henry lumen lux becquerel gray sievert liter electronvolt bar calorie byte bit tonne ton watt-hour
"""
_COMMON = """
    inch foot yard mile ounce pound stone gallon quart pint cup teaspoon tablespoon acre hectare minute hour day week
    fortnight month year decade century degree radian revolution knot mph kph kmh rpm dollar cent euro rupee yen yuan peso
    franc ruble won penny dime nickel unit celsius fahrenheit atmosphere decibel barrel bushel furlong parsec torr mmhg arcsec arcmin arcsecond arcminute steradian
    lightyear light-year horsepower pixel person child man woman fish sheep deer mouse die foot-pound
"""
_ALIASES = {
    "inch": "in inches in.", "foot": "ft feet", "yard": "yd yds", "mile": "mi", "ounce": "oz", "pound": "lb lbs pounds",
    "gallon": "gal", "minute": "min mins", "hour": "h hr hrs", "day": "", "month": "mo mos", "year": "yr yrs",
    "second": "sec secs", "meter": "metre", "liter": "litre", "degree": "deg °", "radian": "", "ampere": "amp",
    "dollar": "usd $ us$ bucks buck 美元", "cent": "¢ cts 美分", "euro": "eur €", "pound sterling": "gbp £", "rupee": "inr rs ₹ रुपये रुपए",
    "yen": "jpy 円 日元", "yuan": "rmb cny ¥ 元 块 圆 人民币", "won": "krw ₩ 원", "ruble": "rub ₽ руб рублей рубля", "peso": "₱",
    "naira": "₦", "shekel": "₪", "lira": "₺", "baht": "฿", "dong": "₫", "real": "r$",
    "percent": "% pct", "celsius": "℃ °c °С 摄氏度", "fahrenheit": "℉ °f 华氏度", "person": "people persons 人 名 位 명",
    "child": "children kids", "man": "men", "woman": "women", "mouse": "mice", "die": "dice", "penny": "pence pennies",
    "gram": "gm gms gramme 克 г", "kilogram": "kgs kilo-gram 千克 公斤 кг", "centimeter": "cms 厘米 公分 см", "millimeter": "mms 毫米 мм",
    "kilometer": "kms 千米 公里 км", "decimeter": "分米", "ton": "吨", "milliliter": "cc mls 毫升 мл", "ohm": "Ω",
    "mph": "mi/h", "kph": "kmph kmh", "century": "centuries", "a.m.": "am a.m a.m. AM", "p.m.": "pm p.m p.m. PM", "hertz": "",
    "watt-hour": "Wh", "kilowatt-hour": "kWh kilowatt-hours", "o'clock": "o'clock 点 时",
}  # fmt: skip
_CHINESE = {
    "米": "meter", "м": "meter", "升": "liter", "л": "liter", "秒": "second", "초": "second", "с": "second", "分钟": "minute",
    "分": "minute", "분": "minute", "мин": "minute", "小时": "hour", "시간": "hour", "ч": "hour", "天": "day", "日": "day",
    "周": "week", "星期": "week", "月": "month", "年": "year", "岁": "year", "度": "degree", "角": "dime", "公顷": "hectare", "亩": "mu",
    "英尺": "foot", "英寸": "inch", "英里": "mile", "磅": "pound", "单位": "unit", "个单位": "unit", "センチ": "centimeter",
    "メートル": "meter", "平方米": "meter2", "平方厘米": "centimeter2", "平方千米": "kilometer2", "平方公里": "kilometer2",
    "立方米": "meter3", "立方厘米": "centimeter3", "平方单位": "unit2", "千米每小时": "kph", "米每秒": "m/s",
}  # fmt: skip
_CLASSIFIERS = (
    "个個只隻条條本张張种種次颗顆支枝辆輛台头頭匹件套间間棵朵块塊杯瓶袋箱盒组組对對排页頁题題道場场枚冊개권마리대名位"
)
_NUMERALS_OF_CHINESE = re.compile(
    "[一二三四五六七八九十百千万萬亿億兆零〇半倍分之成折负正不非无無第约少多两左右以内外余超欠亏]|次方|次幂|方根"
)
MULTIPLIERS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "quintillion": 10**18, "lakh": 10**5, "lac": 10**5, "crore": 10**7, "百": 10**2, "千": 10**3, "万": 10**4, "萬": 10**4,
    "亿": 10**8, "億": 10**8, "만": 10**4, "억": 10**8, "тысяч": 10**3,
}  # fmt: skip
GROUPS = {"dozen": 12, "gross": 144, "score": 20, "myriad": 10**4}
"""Ways of counting: a gold answer may count so, and its number is then right too; a plain one asks for the number."""

_ADJECTIVES = frozenset("""
    square cubic distinct different possible total ordered unordered integer real complex positive unique whole full equal
    red blue green white black yellow brown orange purple pink gray grey small large big long short round right acute obtuse
    isosceles equilateral congruent similar prime odd even rational irrational consecutive valid favorable lattice grid
    human male female fresh free adult student school additional extra linear natural perfect proper real-valued U.S. US
    American British foul home wooden plastic metal glass paper chocolate candy golf tennis soccer basketball bottle-cap
""".split())  # fmt: skip
_SINGULAR = frozenset("""
    way solution apple orange book coin card ball marble game page ticket tile cube piece side pair triangle student boy girl
    point word time-unit element term value number integer digit letter row column vertex edge face item box bag bottle
    dog cat bird car bus house tree flower egg cookie line circle square rectangle player team part factor divisor subset
    class permutation combination outcome step move turn lap trip seat table chair floor story room question problem answer ml part
""".split())  # fmt: skip
_NUMBER_WORD = re.compile(
    r"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-?)?(?:zero(?:e?s)?|one|two|three|four|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|first|second|third|fourth|fifth|sixth|seventh|eighth"
    r"|ninth|tenth|eleventh|twelfth|\w+teenth|\w+tieth|hundred|hundredth|thousand|thousandth|\w*illion|\w*illionth|half|halve|quarter"
    r"|dozen|gross|score|myriad|trio|duo|duet|quartet|quintet|sextet|octet|multiple|ream|lakh|lac|crore|arab|kharab|googol|nought|naught|thou|grand|kilo|mega|giga|milli|micro|nano|centi|deca"
    r"|deci|hecto|tera|pico|mil|ppm|ppb|bp|basi|tithe|tuple|twin|triplet|single|double|triple|quadruple|quintuple|couple|square|cube"
    r"|factorial|percent|percentage|permille|promille|negative|minu|plu|opposite|inverse|reciprocal|power|exponent|log|base|mod|time)s?"
    r"|halves|grosses|\w+fold|\w+folds|\w+tuples?|tens|teens|ones"
)
_NO_NOUN = re.compile(
    r".*(?:ss|us|is|wards|less|ways|where|ous)|(?:no|yes|as|was|has|does|its|hers|ours|theirs|yours|others|always|sometimes|perhaps|beside"
    r"|besides|besides|alas|lots|loads|heaps|lacks|needs|equals|exceeds|gives|makes|becomes|remains|means|contains|divides|fails|says"
    r"|goes|misses|differs|follows|repeats|vanishes|diverges|converges|lies|falls|rises|drops|grows|leaves|takes|comes|ends|starts|stands"
    r"|errors|mistakes|wrongs|afterwards|upstairs|downstairs|overseas|indoors|outdoors|whereas|versus|oops|whoops|alas|nulls|voids|nopes|nots|nones|nils|falses|fewers|deficits|shortfalls|debts|losses|opposites|downs|ups|lefts"
    r"|rights|norths|souths|easts|wests|backs|unders|overs|belows|aboves|mores|guesses|estimates|roots|remainders|limits|decimals|digits-off)"
)
_DENIALS = frozenset(
    "not no never wrong incorrect invalid untrue except without isn't cannot or neither nor false if unless suppose assume "
    "maybe perhaps almost".split()
)

_COMPOUND = (
    {
        "metric ton": "tonne",
        "metric tons": "tonne",
        "light year": "lightyear",
        "light years": "lightyear",
        "years old": "year",
        "year old": "year",
    }
    | {"mph": "mile/hour", "kph": "kilometer/hour", "kmh": "kilometer/hour", "kmph": "kilometer/hour"}
    | {
        f"{degree} {scale}": name
        for degree in ("degree", "degrees")
        for scale, name in (("celsius", "celsius"), ("fahrenheit", "fahrenheit"), ("c", "celsius"), ("f", "fahrenheit"))
    }
)
_COMPOUNDS = re.compile("|".join(rf"\b{name}\b" for name in sorted(_COMPOUND, key=len, reverse=True)), re.IGNORECASE)
_WORD = re.compile(
    r"(?P<name>(?:us|r|hk)?[$€£¥₹₩₽₱₦₪₺฿₫¢%℃℉]|°\s*[CF]?|o'clock|[ap]\.\s?m\.?|(?:sq|cu)\.|[^\W\d_]+(?:['’.-](?=[^\W\d_])[^\W\d_]+)*\.?)"
    r"|\^\s*(?P<power>[-\u2212]?[0-9])|(?P<sign>[*/·⋅×()])|(?P<blank>[\s$]+)",
    re.IGNORECASE,
)


def _names() -> tuple[dict[str, str], dict[str, str]]:
    """Symbols, whose case counts, and words, whose case does not."""
    symbols: dict[str, str] = {}
    for symbol, (name, prefixes) in _SYMBOLS.items():
        symbols[symbol] = name
        for prefix in prefixes.split():
            symbols[prefix + symbol] = _PREFIXES[prefix] + name
            if prefix == "μ":
                symbols["u" + symbol] = symbols["µ" + symbol] = _PREFIXES[prefix] + name
    words = {
        symbol: symbols[symbol] for symbol in ("cm", "mm", "km", "kg", "mg", "mol", "rad", "atm", "bar", "cal", "kcal")
    }
    words |= {
        "ml": "milliliter",
        "hz": "hertz",
        "khz": "kilohertz",
        "mhz": "megahertz",
        "ghz": "gigahertz",
        "kwh": "kilowatt-hour",
    }
    for name in _NAMED.split():
        for form in {"", *_PREFIXES.values()}:
            words[form + name] = words[form + name + "s"] = form + name
            if name in ("meter", "liter"):
                words[form + name[:-2] + "re"] = words[form + name[:-2] + "res"] = form + name
    for name in _COMMON.split():
        words[name] = words[name + "s"] = name
    for name, others in _ALIASES.items():
        for other in (name, *others.split()):
            words[other.lower()] = name
    words |= _CHINESE
    words |= {
        "hertz": "hertz",
        "siemens": "siemens",
        "lux": "lux",
        "inches": "inch",
        "amps": "ampere",
        "grammes": "gram",
    }
    return symbols, words


SYMBOLS, WORDS = _names()
BARE = frozenset("""
    cm mm km ft inch inches foot feet yard yards mile miles meter meters metre metres centimeter centimeters kilometer
    kilometers kg gram grams kilogram kilograms pound pounds lb lbs ounce ounces oz liter liters litre litres ml gallon
    gallons hour hours hr hrs minute minutes mins second seconds sec secs day days week weeks month months year years
    dollar dollars cent cents usd percent degree degrees radian radians rad unit units square sq cubic mph kmh people
    persons students children boys girls ways points apples oranges books coins cards balls marbles games pages tickets
    tiles cubes pieces sides solutions pairs triangles AM PM am pm rupees euros euro yen yuan
""".split())  # fmt: skip
"""Behind a number these letters are no product, in a gold answer either."""
LETTER_UNITS = frozenset("mgshLNJWV")
"""Single letters that a plain number may carry as they are typed: 5m for 5."""
SIGNS_OF_MONEY = {"\\$": "dollar", "\\pounds": "pound sterling", "\\euro": "euro", "\\yen": "yuan", "\\rupee": "rupee", "\\cent": "cent",
                  "\\won": "won", "\\ruble": "ruble", "\\lira": "lira", "\\shekel": "shekel", "\\dong": "dong", "\\baht": "baht",
                  "\\naira": "naira", "\\peso": "peso"}  # fmt: skip


@lru_cache(maxsize=4096)
def unit_of(text: str) -> Unit | None:
    """The unit that the text names, or what it counts; None when it is neither and may change the number."""
    text = _COMPOUNDS.sub(lambda match: _COMPOUND[match[0].lower()], text)
    text = re.sub(r"\$?\^\s*\{?([-\u2212]?[0-9])\}?\$?", r"^\1", " ".join(text.strip().strip(",;").split()))
    if not text:
        return None
    found = _parsed(text)
    if found is not None:
        return tuple(sorted((name, power) for name, power in found.items() if power))
    phrase = counted(text)
    return None if phrase is None else ((phrase, 1),)


_SHORT = {"celsius": "degree", "fahrenheit": "degree", "pound sterling": "pound"}


def said_short(unit: Unit) -> Unit:
    """The unit as it may be said for short: degrees for degrees Celsius."""
    return tuple((_SHORT.get(name, name), power) for name, power in unit)


def group_of(text: str) -> tuple[str, str] | None:
    """(dozen, the words behind it) where words begin with a way of counting; None without one."""
    head, _, rest = text.strip().lower().partition(" ")
    name = head if head in GROUPS else re.sub(r"(?<=n|d|e)s$|es$", "", head)
    return (name, rest) if name in GROUPS else None


def _parsed(text: str) -> Counter[str] | None:
    """A sum of exponents by name. A slash or `per` turns the next factor round; brackets hold several."""
    total: Counter[str] = Counter()
    stack: list[int] = []
    sign = turn = 1
    power, last, ahead = 1, "", 0
    text = re.sub(r"\bper cent\b", "percent", text, flags=re.IGNORECASE)
    position = 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            return None
        position = match.end()
        name, exponent, mark = match["name"], match["power"], match["sign"]
        if match["blank"]:
            continue
        if exponent is not None:
            if not last:
                return None
            total[last] += (int(exponent.replace("\u2212", "-")) - 1) * turn
            last = ""
        elif mark == "(":
            stack.append(sign)
            last = ""
        elif mark == ")":
            if not stack:
                return None
            stack.pop()
            sign, last = 1, ""
        elif mark == "/":
            sign, last = -1, ""
        elif mark:
            last = ""
        else:
            word = name.lower().rstrip(".")
            if word == "per" or (word in ("a", "an") and total):
                sign, last = -1, ""
            elif word in ("square", "sq", "cubic", "cu"):
                ahead = 2 if word[0] == "s" else 3
            elif word in ("squared", "cubed") and last:
                total[last] += turn * (1 if word[0] == "s" else 2)
                last = ""
            else:
                known = _unit_name(name, word, bool(total) or position < len(text))
                if known is None and (sign < 0 or " per " in text):
                    known = counted(word) or (word if word in _SINGULAR else None)
                if known is None:
                    return None
                last, power = (known[:-1], int(known[-1])) if known[-1].isdigit() else (known, 1)
                turn = sign
                total[last] += turn * (ahead or power)
                ahead = 0
                if not stack:
                    sign = 1
    turned = total["degree"] > 0 and any(power > 0 for name, power in total.items() if name != "degree")
    return None if stack or ahead or turned or not total else total  # 5 degrees N is a place


def _unit_name(name: str, word: str, compound: bool) -> str | None:
    bare = name.rstrip(".") if name not in ("a.m.", "p.m.") else name
    if bare in SYMBOLS and (compound or bare not in _NO_SYMBOL_ALONE):
        return SYMBOLS[bare]
    compact = re.sub(r"\s", "", name.lower())
    if compact in WORDS:
        return WORDS[compact]
    if word in WORDS and (len(word) > 1 or not word.isascii() or word in "$%h"):
        return WORDS[word]
    return None


def counted(text: str) -> str | None:
    """The noun of what is counted, one spelling for singular and plural; None for every other word."""
    if (chinese := _chinese_count(text)) is not None:
        return chinese
    *before, noun = text.strip("() .").split(" ")
    if (
        not re.fullmatch(r"[A-Za-z][a-z]+(?:-[a-z]+)?", noun)
        or len(before) > 2
        or not all(w in _ADJECTIVES for w in before)
    ):
        return None
    noun = noun.lower()
    if noun in _SINGULAR or noun.removesuffix("s") in _SINGULAR:
        noun = noun if noun in _SINGULAR else noun[:-1]
        return " ".join([*before, noun])
    if noun.endswith("es") and noun[:-2] in _SINGULAR:
        return " ".join([*before, noun[:-2]])
    if not noun.endswith("s") or len(noun) < 4 or (noun not in _FINE and is_no_noun(noun)):
        return None
    return " ".join([*before, noun[:-1]])


_FINE = frozenset({"buses", "classes", "boxes", "glasses", "squares", "cubes", "roots",    "octopuses", "passes",
                   "axes", "factors", "degrees", "kisses", "crosses", "dresses", "mattresses", "digits", "limits"})  # fmt: skip


def is_no_noun(word: str) -> bool:
    """Whether a word is of number, fraction, order, direction or denial, or no plural noun at all."""
    return _NUMBER_WORD.fullmatch(word) is not None or _NO_NOUN.fullmatch(word) is not None


def _chinese_count(text: str) -> str | None:
    """A measure word with what it measures: 个, 个苹果, 种方法."""
    if text[:1] and text[0] in _CLASSIFIERS and len(text) <= 6 and not text.isascii():
        return None if _NUMERALS_OF_CHINESE.search(text[1:]) or re.search(r"[\s\d]|次[方幂]|方根", text) else text
    return None


def multiplier_of(words: str) -> tuple[int, str]:
    """(factor, the words behind it) where words begin with million, hundred thousand, 万, ...; the factor 1 without one."""
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


def denies(text: str) -> bool:
    """Whether words take back what stands beside them: "not x" is no name for a value."""
    return not _DENIALS.isdisjoint(re.findall(r"[a-z']+", text.lower()))
