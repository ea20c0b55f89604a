"""Claims about the exact verdicts on answers that are one number."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InputError
from headwater.problems.arithmetic import problem_set
from headwater.records import Verdict
from headwater.verifiers.answers import AnswerVerifier
from headwater.verifiers.typed import TypedJudge, parse_integer, parse_number

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BOXED = AnswerVerifier(judge=TypedJudge(answer_type="integer"), extractor="boxed")
MARKED = AnswerVerifier(judge=TypedJudge(answer_type="integer"), extractor="marker", marker="#", end="<eos>")
HASHES = AnswerVerifier(judge=TypedJudge(answer_type="integer"), extractor="marker")
"""GSM8K's form: the answer behind ####."""


def verdict(verifier: AnswerVerifier, gold: str, text: str) -> Verdict:
    return verifier.grade({"r": (gold, text)})["r"]


def boxed(answer_type: str, gold: str, answer: str) -> Verdict:
    verifier = AnswerVerifier(judge=TypedJudge(answer_type=answer_type))
    return verdict(verifier, gold, f"So the answer is $\\boxed{{{answer}}}$.")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("brother in law", True),
        (" brother  in law ", True),
        ("brother", False),
        ("brother in law or sister", False),
        ("Brother in law", False),
        ("", False),
    ],
)
def test_a_text_is_right_letter_by_letter(answer: str, right: bool) -> None:
    assert (boxed("text", "brother in law", answer) is Verdict.CORRECT) is right


def test_the_lines_of_a_text_stay_apart() -> None:
    assert boxed("text", "1 2\n3 4", "1  2 \n 3 4") is Verdict.CORRECT
    assert boxed("text", "1 2\n3 4", "1 2 3 4") is Verdict.WRONG


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        (r"42\,", 42),
        (r"\mathbf 5", 5),
        ("\u22127", -7),
        ("+7", 7),
        ("- 7", -7),
        ("007", 7),
        ("1,234,567", 1234567),
        (r"1\,000", 1000),
        ("10{,}000", 10000),
        (r"10,\!000", 10000),
        ("$18$", 18),
        (r"\$18", 18),
        (r"\(18\)", 18),
        ("{18}", 18),
        (r"\text{18}", 18),
        ("18.", 18),
        ("-12345678901234567890123", -12345678901234567890123),
    ],
)
def test_one_integer_has_many_ways_of_being_written(text: str, value: int) -> None:
    assert parse_integer(text) == value


NO_INTEGER = [
    *(
        "",
        " ",
        "-",
        "1 2",
        "1,2",
        "1,00",
        "1000,000",
        "0,123",
        "1 or 2",
        "1, 2",
        "1.5",
        "1/2",
        "1e3",
        "1_000",
    ),
    *("0x10", "5%", r"5\%", "5 cm", "two", "1+1", "2*3", "9**9", "10!", "--5", "4\x003", "x=5", "()", "1\n2"),
    *(
        "𝟛",
        "²",
        "Ⅷ",
        "五",
        "½",
        "True",
        "None",
        "nan",
        "inf",
        "__import__('os')",
        r"\{5\}",
        "5\\6",
        "1\\quad2",
    ),
    "1" * 1_001,
]


@pytest.mark.parametrize("text", NO_INTEGER)
def test_what_is_not_one_ascii_integer_is_none(text: str) -> None:
    assert parse_integer(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3/4", Fraction(3, 4)),
        ("-6/8", Fraction(-3, 4)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\tfrac{6}{8}", Fraction(-3, 4)),
        (r"\dfrac{-3}{4}", Fraction(-3, 4)),
        (r"\frac34", Fraction(3, 4)),
        (r"\frac 3 {4}", Fraction(3, 4)),
        ("½", Fraction(1, 2)),
        ("-¾", Fraction(-3, 4)),
        ("5", Fraction(5)),
        ("1/0", None),
        ("1/2/3", None),
        ("1 1/2", None),
        (r"1\frac{1}{2}", None),
        ("3/-4", None),
        (r"\frac{1}{2}+1", None),
        (r"\frac{x}{2}", None),
        ("٣/4", Fraction(3, 4)),
    ],
)
def test_fractions_are_exact(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.50", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("-.5", Fraction(-1, 2)),
        ("1,000.25", Fraction(4001, 4)),
        ("5.", Fraction(5)),
        ("0.1", Fraction(1, 10)),
        (".", None),
        ("1.2.3", None),
        ("1..2", None),
        ("3,5", None),
        ("1.5e3", None),
        ("0.333...", None),
        ("1/2", None),
    ],
)
def test_decimals_are_exact(text: str, value: Fraction | None) -> None:
    assert parse_number(text, divided=False) == value


@pytest.mark.parametrize(
    ("answer_type", "gold", "answer", "right"),
    [
        ("integer", "2", "2", True),
        ("integer", "2", "{2}", True),
        ("integer", "2", "2.0", True),
        ("integer", "1000", "1,000", True),
        ("integer", "2", "-2", False),
        ("integer", "5", r"5\%", False),
        ("integer", "5", "5 %", False),
        ("integer", "3", "6/2", False),
        ("integer", "2", "1+1", False),
        ("integer", "6", r"\sum_{k=1}^{3}k", False),
        ("integer", "2", r"1 \text{ or } 2", False),
        ("integer", "2", r"\{1,2\}", False),
        ("integer", "1", "1" * 5_000, False),
        ("integer", "5", "５", True),
        ("fraction", r"\frac{3}{4}", "6/8", True),
        ("fraction", r"\frac{1}{2}", "0.5", True),
        ("fraction", r"\frac{1}{2}", "½", True),
        ("fraction", r"\frac{1}{3}", "0.33", False),
        ("decimal", "0.333", "1/3", False),
        ("decimal", "0.5", ".50", True),
        ("decimal", "0.5", r"\frac{1}{2}", True),
        ("decimal", "0.3", "0.30000000000000004", False),
    ],
)
def test_probes_of_the_policy(answer_type: str, gold: str, answer: str, right: bool) -> None:
    assert boxed(answer_type, gold, answer) is (Verdict.CORRECT if right else Verdict.WRONG)


@pytest.mark.parametrize(
    ("answer_type", "gold", "answer", "right"),
    [
        ("tuple", "(1, 2)", "(1,2)", True),
        ("tuple", "(1, 2)", "1, 2", True),
        ("tuple", "(1, 2)", r"\left( \frac{2}{2}, 2.0 \right)", True),
        ("tuple", "(1, 2)", r"\langle 1, 2\rangle", True),
        ("tuple", "(1, 2)", "(2, 1)", False),
        ("tuple", "(1, 2)", r"\{1, 2\}", False),
        ("tuple", "(1, 2)", "[1, 2]", False),
        ("tuple", "(1, 2)", "(1, 2, 3)", False),
        ("tuple", "(1, 2)", "(1, x)", False),
        ("tuple", "(1, 2)", "(1, 2", False),
        ("tuple", "(1, 2)", "", False),
        ("tuple", "(1000, 2)", "(1{,}000, 2)", True),
        ("tuple", "(1000, 2)", "(1,000, 2)", False),
        ("set", r"\{1, 2\}", r"\{2, 1\}", True),
        ("set", r"\{1, 2\}", "2, 1", True),
        ("set", r"\{1, 2\}", "2; 1", True),
        ("set", r"\{1, 2\}", r"\{1, 2, 2\}", True),
        ("set", r"\{1, 2\}", "(1, 2)", False),
        ("set", r"\{1, 2\}", r"\{1\}", False),
        ("set", r"\{1, 2\}", "1 and 2", True),
        ("set", r"\{1, 2\}", r"\{1,\,2\}", True),
        ("set", r"\{1, 2\}", "x=1 or x=2", True),
        ("set", r"\{1, 2\}", "x=1, 2", True),
        ("set", r"\{1, 2\}", "x=1, y=2", False),
        ("set", r"\{1, 2\}", "2x=1, 2", False),
        ("tuple", "(1, 2)", "1 and 2", False),
        ("integer", "#### 18", "18", True),
        ("integer", '["4"]', "4", True),
        ("integer", "6 x 3\n#### 1,800", "1800", True),
        ("integer", "6 x 3\n#### 18", "3", False),
        ("tuple", "(1, 2)", "{1, 2}", False),
        ("set", r"\emptyset", r"\{\}", True),
        ("set", r"\emptyset", r"\{0\}", False),
        ("set", "5", r"\{5\}", True),
        ("choice", "B", "B", True),
        ("choice", "B", r"\text{(B)}", True),
        ("choice", "(B)", "b", True),
        ("choice", "B", "B.", True),
        ("choice", "B", r"\text{B}.", True),
        ("choice", "B", "C", False),
        ("choice", "B", "A or B", False),
        ("choice", "B", "AB", False),
        ("choice", "B", "not B", False),
        ("choice", "B", "B) 12", True),
        ("choice", "B", r"\text{(B) Paris}", True),
        ("choice", "B", "B. a dog", True),
        ("choice", "B", "B) or C)", False),
        ("choice", "B", "(B) not (C)", False),
        ("choice", "B", "A) 12", False),
        ("choice", "B", "B) A", False),
        ("integer", "12345", "12 345", True),
        ("integer", "12345", "12, 345", False),
        ("integer", "12345", "12.345", False),
        ("integer", "43", "4 3", False),
    ],
)
def test_tuples_have_an_order_sets_have_none_and_a_choice_is_one_letter(
    answer_type: str, gold: str, answer: str, right: bool
) -> None:
    assert boxed(answer_type, gold, answer) is (Verdict.CORRECT if right else Verdict.WRONG)


@pytest.mark.parametrize(
    ("answer", "right"),
    [("3.14", True), ("3.15", True), ("3.13", True), ("3.1501", False), (r"\frac{22}{7}", True), ("3", False)],
)
def test_a_decimal_may_be_off_by_its_declared_tolerance_and_no_more(answer: str, right: bool) -> None:
    verifier = AnswerVerifier(judge=TypedJudge(answer_type="decimal", tolerance=0.01))
    assert verdict(verifier, "3.14", f"\\boxed{{{answer}}}") is (Verdict.CORRECT if right else Verdict.WRONG)


@pytest.mark.parametrize(
    ("answer_type", "gold"), [("tuple", "(1, x)"), ("tuple", ""), ("set", r"\{a\}"), ("choice", "Paris")]
)
def test_a_gold_that_is_not_of_its_type_is_ungraded(answer_type: str, gold: str) -> None:
    assert boxed(answer_type, gold, "1") is Verdict.UNGRADED


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{1} or \boxed{2}",
        r"\boxed{2} or \boxed{1}",
        r"\boxed{1, 2}",
        r"\boxed{2}. No wait, so it is \boxed{3}.",
        r"\boxed{2} and then \boxed{3",
        r"\boxed{2",
        "2",
        "the answer is 2",
        "",
        r"\boxed{1}2",
    ],
)
def test_hedging_and_broken_boxes_earn_nothing(text: str) -> None:
    assert verdict(BOXED, "2", text) is Verdict.WRONG


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("17 -8 9 *3 4 +5 9 # 9 <eos>", True),
        ("# 9", True),
        ("# 9 <eos>", True),
        ("# 3 # 9 <eos>", True),
        ("# 9 # 3 <eos>", False),
        ("# 9 9 <eos>", False),
        ("# 9 : <eos>", False),
        ("# 3 9 <eos>", False),
        ("# <eos>", False),
        ("9 <eos>", False),
        ("# +9 -2 <eos>", False),
    ],
)
def test_the_arithmetic_answer_is_the_one_number_after_the_last_mark(text: str, right: bool) -> None:
    assert verdict(MARKED, "9", text) is (Verdict.CORRECT if right else Verdict.WRONG)


@given(st.integers())
def test_gold_against_itself_is_right_and_gold_plus_one_is_wrong(gold: int) -> None:
    for verifier, form in ((BOXED, "\\boxed{{{}}}"), (MARKED, "# {}<eos>")):
        verifier.check_golds({"p": str(gold)})
        assert verdict(verifier, str(gold), form.format(gold)) is Verdict.CORRECT
        assert verdict(verifier, str(gold), form.format(f"{gold:,}")) is Verdict.CORRECT
        assert verdict(verifier, str(gold), form.format(gold + 1)) is Verdict.WRONG


@given(st.fractions(), st.integers(1, 50))
def test_a_fraction_equals_its_multiples_and_not_its_neighbour(gold: Fraction, factor: int) -> None:
    same = f"\\frac{{{gold.numerator * factor}}}{{{gold.denominator * factor}}}"
    assert boxed("fraction", str(gold), same) is Verdict.CORRECT
    assert boxed("fraction", str(gold), str(gold + Fraction(1, 10**9))) is Verdict.WRONG


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_equals_itself_with_more_zeros(gold: object) -> None:
    text = f"{gold:f}"
    assert boxed("decimal", text, text + "00") is Verdict.CORRECT
    assert boxed("decimal", text, text + "01") is Verdict.WRONG


@given(st.text(max_size=80))
def test_no_answer_raises(text: str) -> None:
    for parse in (parse_integer, parse_number):
        parse(text)
    assert verdict(BOXED, "1", f"\\boxed{{{text}") in (Verdict.CORRECT, Verdict.WRONG)


@pytest.mark.parametrize(
    "answer",
    [
        *("1" * 10**6, "1" * 999, "1," * 499, "1" + " " * 997 + "1", "{" * 499 + "1" + "}" * 499, "1/" * 499),
        *("\\frac{" * 160, "1\\," * 330, "0." + "3" * 990, "-" * 999, "$" * 999, "9" * 499 + "/" + "7" * 499),
    ],
)
def test_hostile_answers_are_graded_at_once(answer: str) -> None:
    begin = time.process_time()
    for answer_type in ("integer", "decimal", "fraction"):
        boxed(answer_type, "1", answer)
    assert time.process_time() - begin < 1


def test_verdicts_are_keyed_by_rollout_and_a_bad_gold_is_ungraded_not_wrong() -> None:
    responses = {
        "c": ("2", r"\boxed{2}"),
        "a": ("2", r"\boxed{3}"),
        "b": ("two", r"\boxed{2}"),
        "d": ("2", ""),
    }
    assert BOXED.grade(responses) == {
        "c": Verdict.CORRECT,
        "a": Verdict.WRONG,
        "b": Verdict.UNGRADED,
        "d": Verdict.WRONG,
    }
    assert BOXED.grade({}) == {}


@pytest.mark.parametrize("gold", ["", "two", "1/2", "0.5", "(1, 2)", "10\\%", "1" * 1_001])
def test_a_gold_that_is_no_integer_is_refused_before_training(gold: str) -> None:
    with pytest.raises(InputError, match=r"1 of 2 gold answers have no reading as integer \(problem bad: "):
        BOXED.check_golds({"good": "1", "bad": gold})
    assert verdict(BOXED, gold, r"\boxed{1}") is Verdict.UNGRADED


def test_unknown_settings_are_refused() -> None:
    for setting in ({"answer_type": "matrix"}, {"tolerance": 0.1}):
        with pytest.raises(InputError, match="verifier"):
            TypedJudge(**setting)
    for setting in ({"extractor": "regex"}, {"marker": ""}):
        with pytest.raises(InputError, match="verifier"):
            AnswerVerifier(judge=TypedJudge(), **setting)


def test_every_arithmetic_gold_is_right_against_itself() -> None:
    MARKED.check_golds(problem_set(500, 0)[1])


def shared_rows(name: str) -> list[dict[str, str]]:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    return [json.loads(line) for line in path.read_text().split("\n") if line]  # not splitlines: U+2028 in a problem


@pytest.mark.parametrize(
    ("name", "verifier"),
    [
        ("aime24", BOXED),
        ("dapo_math_17k_en", BOXED),
        ("dapo_math_17k_zh", BOXED),
        ("gsm8k_train", HASHES),
        ("gsm8k_test_even", HASHES),
    ],
)
def test_every_gold_of_the_integer_sets_is_right_against_itself_and_wrong_against_its_neighbour(
    name: str, verifier: AnswerVerifier
) -> None:
    rows = shared_rows(name)
    verifier.check_golds({row["id"]: row["answer"] for row in rows})
    pairs = {row["id"]: (row["answer"], f"\\boxed{{{int(row['answer']) + 1}}}") for row in rows[:1000]}
    assert set(BOXED.grade(pairs).values()) == {Verdict.WRONG}


def test_all_labelled_gsm8k_outputs_are_decided_as_labelled() -> None:
    rows = shared_rows("verifier/gsm8k_model_outputs_even")
    verifier = AnswerVerifier(judge=TypedJudge(), extractor="marker", marker="A:")
    verdicts = verifier.grade({row["id"]: (row["answer"], row["response"]) for row in rows})
    assert len(verdicts) == len(rows) == 2640
    assert [r["id"] for r in rows if (verdicts[r["id"]] is Verdict.CORRECT) != r["label"]] == []


def test_all_labelled_math_outputs_with_an_integer_gold_are_decided_as_labelled() -> None:
    rows = [row for row in shared_rows("verifier/math_cot_even") if parse_integer(row["answer"]) is not None]
    verdicts = BOXED.grade({row["id"]: (row["answer"], row["response"]) for row in rows})
    assert len(rows) > 250
    assert [r["id"] for r in rows if (verdicts[r["id"]] is Verdict.CORRECT) != r["label"]] == []


WRITTEN_IN_UNITS = {"eq-008", "eq-034", "eq-038", "eq-040", "eq-094"}
"""Right answers with a unit, a degree sign or a set: beyond a typed grader, by its stated policy."""


def test_no_wrong_case_is_accepted_and_right_ones_fail_only_by_the_stated_policy() -> None:
    accepted, refused = set(), set()
    for row in shared_rows("verifier/cases_even"):
        build = row.get("build")
        text = row.get("response") or ""
        if build:
            inside = build["repeat"] * build["times"] + build["middle"] + (build["close"] or "") * build["times"]
            text = build["template"].replace("@", inside)
        graded = verdict(AnswerVerifier(judge=TypedJudge(answer_type="fraction")), row["gold"], text)
        if graded is Verdict.CORRECT and row["expect"] is False:
            accepted.add(row["id"])
        if graded is Verdict.WRONG and row["expect"] is True and "boxed" in text:
            refused.add(row["id"])
    assert accepted == set()
    assert refused == WRITTEN_IN_UNITS
