"""Claims about every gold answer of MATH, written in other ways; skipped where the set is not at hand."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.records import Verdict
from headwater.verifiers.expression import ExpressionJudge

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NUMBER = r"-?[\d.]+|-?\\frac\{\d+\}\{\d+\}"

# name -> (golds that can be written so, how)
WAYS: dict[str, tuple[str, Callable[[str], str]]] = {
    "dfrac": (r".*\\frac", lambda g: g.replace(r"\frac", r"\dfrac")),
    "a space behind frac": (r".*\\frac", lambda g: g.replace(r"\frac", r"\frac ")),
    "a slash": (r"-?\\frac\{\d+\}\{\d+\}$", lambda g: re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", g)),
    "no left and right": (r".*\\left", lambda g: g.replace(r"\left", "").replace(r"\right", "")),
    "left and right": (r"(?!.*(text|left)).*\(.*\)$", lambda g: g.replace("(", r"\left(").replace(")", r"\right)")),
    "spaces around signs": (r"(?!.*(text|\\,|,\\!|\d,\d{3})).*[-+=<>,]", lambda g: re.sub(r"([-+=<>,])", r" \1 ", g)),
    "no spaces": (r"[^\\]* [^\\]*$", lambda g: g.replace(" ", "")),
    "braces around it": ("", lambda g: "{" + g + "}"),
    "display style": ("", lambda g: r"\displaystyle " + g),
    "a full stop": ("", lambda g: g + "."),
    "dollars": ("", lambda g: f"${g}$"),
    "round delimiters": ("", lambda g: rf"\({g}\)"),
    "braced exponents": (r".*\^\w", lambda g: re.sub(r"\^(\w)", r"^{\1}", g)),
    "a name": (r"(?!.*([=<>,x]|\\[lg]eq?|in |text|approx|neq|mbox))", lambda g: "x = " + g),
    "a function's name": (rf"({NUMBER})$", lambda g: "f(2) = " + g),
    "units": (rf"({NUMBER}|\d*\\pi|\d*\\sqrt\{{\d+\}})$", lambda g: g + r"\text{ units}"),
    "a decimal": (r"-?\d+$", lambda g: g + ".0"),
    "thousands": (r"-?\d{4,}$", lambda g: f"{int(g):,}"),
    "thin thousands": (r"-?\d{4,}$", lambda g: f"{int(g):,}".replace(",", r"\,")),
    "a dot before a root": (r".*\d\\(sqrt|pi)", lambda g: re.sub(r"(\d)(\\(?:sqrt|pi))", r"\1 \\cdot \2", g)),
    "mathrm": (r".*\\text\{", lambda g: re.sub(r"\\text\{([^}]*)\}", r"\\mathrm{\1}", g)),
    "bare words": (r"\\text\{[^}]*\}$", lambda g: g[6:-1]),
    "the letter pi": (r".*\\pi", lambda g: g.replace(r"\pi", "π")),
    "the root sign": (r"(?!.*frac).*\\sqrt\{\d+\}(?!\d)", lambda g: re.sub(r"\\sqrt\{(\d+)\}", r"√\1", g)),
    "plus infinity": (r".*[^-]\\infty", lambda g: re.sub(r"(?<!-)\\infty", r"+\\infty", g)),
}


@pytest.fixture(scope="module")
def golds() -> list[str]:
    found: dict[str, None] = {}
    for name in ("math_train", "math500_even"):
        path = SHARED / f"{name}.jsonl"
        if not path.exists():
            pytest.skip(f"no shared data at {path}")
        rows = (json.loads(line) for line in path.read_text().split("\n") if line)
        found |= dict.fromkeys(row["answer"] for row in rows)
    return list(found)


def not_so(pairs: list[tuple[str, str]], wanted: Verdict) -> list[tuple[str, str]]:
    judge = ExpressionJudge()
    verdicts = judge.judge({str(i): pair for i, pair in enumerate(pairs)})
    judge.close()
    return [pair for i, pair in enumerate(pairs) if verdicts[str(i)] is not wanted]


def test_another_way_of_writing_it_is_right(golds: list[str]) -> None:
    pairs = [(gold, way(gold)) for fits, way in WAYS.values() for gold in golds if re.match(fits, gold)]
    print(f"torture: {len(golds)} gold answers in {len(WAYS)} ways, {len(pairs)} answers")
    assert not_so(pairs, Verdict.CORRECT) == []


def test_with_one_digit_changed_it_is_wrong(golds: list[str]) -> None:
    chance, pairs = random.Random(5), []
    for gold in [gold for gold in golds for _ in range(2) if any(c.isdigit() for c in gold)]:
        place = chance.choice([i for i, c in enumerate(gold) if c.isdigit()])
        other = chance.choice([digit for digit in "123456789" if digit != gold[place]])
        pairs.append((gold, gold[:place] + other + gold[place + 1 :]))
    print(f"torture: {len(pairs)} answers with a changed digit")
    assert not_so(pairs, Verdict.WRONG) == []
