"""Claims on the shared label sets and labelled responses; skipped where they are not at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.records import Verdict
from headwater.verifiers.expression import is_readable
from headwater.verifiers.grading import Grading, make_verifier

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
EXPRESSION = Grading(answer_type="expression")
INTEGER = Grading(answer_type="integer")


def rows(name: str) -> list[dict[str, Any]]:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    return [json.loads(line) for line in path.read_text().split("\n") if line]  # not splitlines: U+2028 in a problem


def graded(grading: Grading, responses: dict[str, tuple[str, str]]) -> dict[str, Verdict]:
    verifier = make_verifier(grading)
    try:
        return verifier.grade(responses)
    finally:
        verifier.close()


@pytest.mark.parametrize(
    ("name", "grading"),
    [
        ("aime24", INTEGER),
        ("dapo_math_17k_en", INTEGER),
        ("dapo_math_17k_zh", INTEGER),
        ("gsm8k_train", INTEGER),
        ("gsm8k_test_even", INTEGER),
        ("math_train", EXPRESSION),
        ("math500_even", EXPRESSION),
    ],
)
def test_every_gold_answer_is_right_against_itself(name: str, grading: Grading) -> None:
    verifier = make_verifier(grading)
    verifier.check_golds({row["id"]: row["answer"] for row in rows(name)})
    verifier.close()


def test_every_gold_answer_of_math_has_a_reading() -> None:
    golds = {row["answer"] for name in ("math_train", "math500_even") for row in rows(name)}
    assert [gold for gold in golds if not is_readable(gold)] == []


def test_the_integer_sets_are_graded_alike_as_expressions() -> None:
    golds = [row["answer"] for name in ("aime24", "gsm8k_test_even") for row in rows(name)]
    same = {str(i): (gold, f"\\boxed{{{int(gold):,}}}") for i, gold in enumerate(golds)}
    other = {str(i): (gold, f"\\boxed{{{int(gold) + 1}}}") for i, gold in enumerate(golds)}
    assert set(graded(EXPRESSION, same).values()) == {Verdict.CORRECT}
    assert set(graded(EXPRESSION, other).values()) == {Verdict.WRONG}


def test_labelled_gsm8k_outputs_are_decided_as_labelled() -> None:
    outputs = rows("verifier/gsm8k_model_outputs_even")
    for answer_type in ("integer", "expression"):
        grading = Grading.model_validate({"answer_type": answer_type, "extractor": "marker", "marker": "A:"})
        verdicts = graded(grading, {row["id"]: (row["answer"], row["response"]) for row in outputs})
        assert [r["id"] for r in outputs if (verdicts[r["id"]] is Verdict.CORRECT) != r["label"]] == []


def test_labelled_math_outputs_are_decided_as_labelled() -> None:
    outputs = rows("verifier/math_cot_even")
    verdicts = graded(EXPRESSION, {row["id"]: (row["answer"], row["response"]) for row in outputs})
    assert [r["id"] for r in outputs if (verdicts[r["id"]] is Verdict.CORRECT) != r["label"]] == []
    assert Verdict.UNGRADED not in verdicts.values()


MARKED = {
    "eq-076": Grading(answer_type="expression", extractor="marker"),
    "eq-078": Grading(answer_type="expression", extractor="tag"),
    "eq-080": Grading(answer_type="expression", extractor="marker", marker="answer is"),
    "adv-001": Grading(answer_type="expression", extractor="marker", marker="answer is"),
    "fmt-013": Grading(answer_type="expression", extractor="marker", marker="answer is:"),
    "fmt-015": Grading(answer_type="expression", extractor="marker"),
    "fmt-017": Grading(answer_type="expression", extractor="marker"),
}
"""The cases that declare another format than a box."""

POLICY = {
    "eq-012": False,  # 50% without a box, for 50
    "eq-024": False,  # 1,2 for (1,2): the brackets are part of the answer, unless the type is tuple
    "eq-046": True,  # evelyn for Evelyn: the case of a word says nothing
    "eq-060": False,  # 3.14159265 for pi
    "eq-090": False,  # two for 2
    "eq-096": False,  # 1.5e3 for 1500
    "eq-102": False,  # 1+1 for 2
    "eq-104": False,  # a sum for 6
    "fmt-011": False,  # a box inside <think> only
    "fmt-021": False,  # 33.33 % for 1/3
    "fmt-023": False,  # the model went on to another question, and its last box answers that
}
"""docs/grading.md says so in words."""


def response(row: dict[str, Any]) -> str:
    build = row.get("build")
    if not build:
        return str(row["response"])
    inside = build["repeat"] * build["times"] + build["middle"] + (build["close"] or "") * build["times"]
    return str(build["template"].replace("@", inside))


def test_every_hand_written_case_is_decided_as_written_or_by_the_stated_policy() -> None:
    cases = rows("verifier/cases_even")
    found = {}
    for grading in {EXPRESSION, *MARKED.values()}:
        mine = {r["id"]: (r["gold"], response(r)) for r in cases if MARKED.get(r["id"], EXPRESSION) == grading}
        found |= graded(grading, mine)
    expected = {row["id"]: POLICY[row["id"]] if row["expect"] is None else row["expect"] for row in cases}
    assert {name for name, verdict in found.items() if verdict is Verdict.UNGRADED} == set()
    assert {name: verdict is Verdict.CORRECT for name, verdict in found.items()} == expected


def test_a_tuple_may_lack_its_brackets_and_a_choice_its_case_where_the_type_says_so() -> None:
    cases = {row["id"]: (row["gold"], response(row)) for row in rows("verifier/cases_even")}
    tuples = graded(Grading(answer_type="tuple"), {name: cases[name] for name in ("eq-024", "eq-026")})
    assert tuples == {"eq-024": Verdict.CORRECT, "eq-026": Verdict.WRONG}
    choices = graded(Grading(answer_type="choice"), {name: cases[name] for name in ("eq-042", "eq-044")})
    assert choices == {"eq-042": Verdict.CORRECT, "eq-044": Verdict.WRONG}
