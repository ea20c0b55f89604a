"""Claims about every kind of fault that public reports name: right answers accepted, wrong ones refused by rule."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InputError
from headwater.plan.preflight import check_golds, open_thought
from headwater.problems.columns import Columns
from headwater.problems.files import FileSource, read_problems
from headwater.records import Problem, Verdict
from headwater.verifiers.answers import respelled
from headwater.verifiers.expression import ExpressionJudge, decide, unwrapped
from headwater.verifiers.extract import answer_finder
from headwater.verifiers.grading import Grading, make_verifier
from kinds import KINDS
from mutations import KINDS as MUTATED
from mutations import PLACES, misplaced, wrong

FAULTS = Path(__file__).resolve().parents[2].parent / "shared" / "faults" / "grading.jsonl"
MUTATIONS = 400


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_a_kind_are_decided_as_a_person_decided_them(kind: str) -> None:
    asked = [
        (gold, answer, right)
        for gold, both in KINDS[kind].items()
        for right in (True, False)
        for answer in both[not right]
    ]
    judge = ExpressionJudge()
    verdicts = judge.judge({str(i): (gold, answer) for i, (gold, answer, _) in enumerate(asked)})
    wanted = {True: Verdict.CORRECT, False: Verdict.WRONG}
    assert [row for i, row in enumerate(asked) if verdicts[str(i)] is not wanted[row[2]]] == []


@pytest.mark.parametrize("kind", MUTATED)
def test_no_mutated_answer_of_a_kind_is_accepted(kind: str) -> None:
    pairs = list(wrong(kind, MUTATIONS))
    assert len(pairs) == MUTATIONS
    assert [pair for pair in pairs if decide(*pair)] == []


@pytest.mark.parametrize("kind", PLACES)
def test_no_answer_is_taken_from_the_wrong_place(kind: str) -> None:
    accepted = []
    for gold, response, answer_type, settings in misplaced(kind, MUTATIONS):
        verifier = make_verifier(Grading.model_validate({"answer_type": answer_type, **settings}))
        if verifier.grade({"r": (gold, response)})["r"].verdict is not Verdict.WRONG:
            accepted.append((gold, response, answer_type))
    assert accepted == []


def test_every_gold_is_right_against_itself_spelled_again_and_wrong_against_one_more() -> None:
    golds = [gold for both in KINDS.values() for gold in both if "..." not in gold and "dots" not in gold]
    assert len(golds) > 200
    assert [gold for gold in golds if not decide(gold, gold)] == []
    numbers = [gold for gold in golds if gold.isascii() and "-" not in gold]
    assert [gold for gold in numbers if not decide(gold, respelled(unwrapped(gold)))] == []
    formulas = [gold for gold in golds if not set(gold) & set(",=<>[]{}%$") and gold.isascii() and len(gold) < 8]
    assert [gold for gold in formulas if decide(gold, f"{gold}+1")] == []


@given(st.fractions(), st.sampled_from([r"\,\mathrm{{m}}", "", r"\text{{ million}}", r"^\circ"]))
def test_a_number_is_itself_and_not_its_neighbour_whatever_stands_behind_it(value: Fraction, tail: str) -> None:
    gold, tail = rf"\frac{{{value.numerator}}}{{{value.denominator}}}", tail.replace("{{", "{").replace("}}", "}")
    more = value + 1
    assert decide(gold + tail, rf"\dfrac{{{2 * value.numerator}}}{{{2 * value.denominator}}}{tail}")
    assert not decide(gold + tail, rf"\frac{{{more.numerator}}}{{{more.denominator}}}{tail}")


def test_cases_rebuilt_from_public_reports_are_decided_rightly() -> None:
    if not FAULTS.exists():
        pytest.skip(f"no shared cases at {FAULTS}")
    bad = []
    for line in FAULTS.read_text(encoding="utf-8").split("\n"):
        row = json.loads(line) if line else None
        if row is None:
            continue
        settings = {name: row[name] for name in ("answer_type", "extractor", "marker", "end") if row[name]}
        if row["kind"].startswith("A4"):
            settings["prompt_end"] = "<think>\n"
        verdict = make_verifier(Grading.model_validate(settings)).grade({"r": (row["gold"], row["response"])})["r"]
        if verdict.verdict.value != row["expect"]:
            bad.append(row)
    assert bad == []


UNANSWERABLE = (
    "Natalia sold 48/2 = 24 clips in May.\nAltogether she sold 72.\n#### 72", "proof", "None", "See solution", "", r"\frac{1}{",
    "We have $x=2$. Therefore the answer is $4$.", r"\int_0^1 x\,dx", "n/a",
)  # fmt: skip


@pytest.mark.parametrize("gold", UNANSWERABLE)
def test_a_gold_that_nobody_can_answer_is_named_with_its_place_and_value(gold: str) -> None:
    verifier = make_verifier(Grading(answer_type="expression"))
    assert verifier.unreadable({"good": r"\frac{1}{2}", "bad": gold}) == ["bad"]
    with pytest.raises(Exception, match=r"1 of 2 gold answers have no reading as expression \(labels.jsonl, line 7: "):
        verifier.check_golds({"good": "5", "bad": gold}, {"bad": "labels.jsonl, line 7"})


def test_golds_that_data_sets_wrap_can_be_answered() -> None:
    verifier = make_verifier(Grading(answer_type="expression"))
    golds = {
        gold: gold
        for gold in ('["4"]', r"\\frac{1}{2}", r"\boxed{5}", "1e-05", "2024-05-01", "3-5", r"5\text{ lakh}", "15元")
    }
    verifier.check_golds(golds)
    make_verifier(Grading(answer_type="integer")).check_golds({"a": "4.0", "b": "1,000"})


def test_gsm8k_loads_as_it_is_when_told_where_its_golds_stand(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    rows = [
        {"question": "6 x 7?", "answer": "6 x 7 = <<6*7=42>>42\n#### 42"},
        {"question": "9 x 2?", "answer": "#### 1,800"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    for where in ("marker ####", "marker"):  # YAML takes #### for a remark
        columns = Columns(answer_from=where, demonstration="answer")
        source = FileSource(path=str(path), columns=columns)
        found = read_problems(source, answer_of=answer_finder(columns.answer_from))
        assert sorted(found.answers.values()) == ["1,800", "42"]
        assert any("6*7" in text for text in found.demonstrations.values())
        assert sorted(found.places.values()) == [f"{path}, line 1", f"{path}, line 2"]
        make_verifier(Grading()).check_golds(found.answers, found.places)
    path.write_text(path.read_text() + json.dumps({"question": "1?", "answer": "none"}) + "\n")
    with pytest.raises(InputError, match=r"line 3: 'answer' holds no answer where columns.answer_from says it stands"):
        read_problems(source, answer_of=answer_finder("marker ####"))


def test_golds_without_a_reading_may_be_kept_by_a_setting() -> None:
    golds = {"good": "5", "bad": r"\int_0^1 x\,dx"}
    verifier = make_verifier(Grading(answer_type="expression"))
    assert verifier.grade({"r": (golds["bad"], rf"\boxed{{{golds['bad']}}}")})["r"] is Verdict.CORRECT
    assert check_golds("labels", golds, {}, Grading(answer_type="expression", unreadable="keep")) == 1
    with pytest.raises(InputError, match=r"labels: verifier: 1 of 2 gold answers have no reading"):
        check_golds("labels", golds, {}, Grading(answer_type="expression"))


def test_a_template_that_opens_a_thought_is_named_unless_the_grader_is_told() -> None:
    def model(end: str) -> Any:
        text = f"user: 2+2?\nassistant: {end}"
        tokenizer = SimpleNamespace(decode=lambda ids: "".join(map(chr, ids))[-12:])
        return SimpleNamespace(encode=lambda problem: [ord(c) for c in text], tokenizer=tokenizer)

    problems = [Problem(problem_id="p", prompt="2+2?", source="s")]
    told = Grading(prompt_end="<think>")
    assert open_thought("student", model("<think>"), problems, [told]) is None
    assert open_thought("student", model("hello"), problems, [Grading()]) is None
    assert open_thought("student", model("</think>"), problems, [Grading()]) is None
    fault = open_thought("student", model("<think>"), problems, [told, Grading()])
    assert fault is not None and 'Set problems.grading.prompt_end to "<think>"' in fault
