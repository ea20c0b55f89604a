"""Claims about the second opinion on a stage's verdicts."""

from __future__ import annotations

import json

from headwater.records import Verdict
from headwater.verifiers.answers import AnswerVerifier
from headwater.verifiers.expression import ExpressionJudge
from headwater.verifiers.function import FunctionVerifier
from headwater.verifiers.grading import Grading, second_judge
from headwater.verifiers.second import AuditedVerifier, audit
from headwater.verifiers.typed import TypedJudge

RESPONSES = {f"r{i}": (str(i % 7), rf"\boxed{{{i % 5}}}") for i in range(1000)}


def audited(limit: int = 200, **settings: object) -> AuditedVerifier:
    return AuditedVerifier(AnswerVerifier(judge=TypedJudge()), seed="stage", limit=limit, **settings)  # type: ignore[arg-type]


def test_the_sample_is_two_hundred_verdicts_whatever_the_order_and_the_stops() -> None:
    names = list(RESPONSES)
    at_once, by_steps = audited(), audited()
    at_once.grade(RESPONSES)
    for start in range(0, 500, 50):
        by_steps.grade({name: RESPONSES[name] for name in reversed(names[start : start + 50])})
    resumed = audited(earlier=json.loads(json.dumps(by_steps.sample)))
    for start in range(500, 1000, 50):
        resumed.grade({name: RESPONSES[name] for name in names[start : start + 50]})
    assert resumed.sample == at_once.sample
    assert len(at_once.sample) == 200
    assert len({row["rollout"] for row in at_once.sample[:100]} & set(names[:500])) > 20  # from all over the stage


def test_the_audited_verdicts_are_the_verifiers_own() -> None:
    assert audited().grade(RESPONSES) == AnswerVerifier(judge=TypedJudge()).grade(RESPONSES)


def test_disagreements_are_listed_as_plain_data() -> None:
    verifier = audited(limit=10)
    verifier.grade(
        {
            "same": ("5", r"\boxed{5}"),
            "units": ("5", r"\boxed{5\text{ cm}}"),
            "wrong": ("5", r"\boxed{6}"),
            "none": ("5", "five"),
            "bad gold": ("five", r"\boxed{5}"),
        }
    )
    second = second_judge(Grading(answer_type="integer"), AnswerVerifier(judge=TypedJudge()))
    found = audit(verifier.sample, TypedJudge().name, second)
    second.close()
    assert (found["checked"], found["agreed"], found["undecided"]) == (5, 3, 1)
    assert found["disagreements"] == ["units"]
    assert {row["rollout"]: (row["verdict"], row["second"]) for row in found["sample"]}["units"] == ("wrong", "correct")
    assert json.loads(json.dumps(found)) == found
    assert found["first"].startswith("integer/")
    assert found["second"].startswith("expression/")


def test_expressions_are_audited_by_math_verify_as_it_ships() -> None:
    judge = ExpressionJudge()
    verifier = AuditedVerifier(AnswerVerifier(judge=judge), seed="stage")
    pairs = {
        "right": (r"\frac{\sqrt{3}}{2}", r"\boxed{\sqrt{\frac{3}{4}}}"),
        "wrong": ("x^2-1", r"\boxed{x^2+1}"),
        "lenient": (r"5\text{ cm}", r"\boxed{5\text{ m}}"),
    }
    verdicts = verifier.grade(pairs)
    judge.close()
    second = second_judge(Grading(answer_type="expression"), AnswerVerifier(judge=ExpressionJudge()))
    found = audit(verifier.sample, "expression", second)
    second.close()
    assert verdicts == {"right": Verdict.CORRECT, "wrong": Verdict.WRONG, "lenient": Verdict.WRONG}
    assert found["disagreements"] == ["lenient"]


def test_a_function_is_asked_again_and_part_marks_are_compared() -> None:
    calls = iter((0.5, 1.0, None, 0.25, 1.0, 0.0))

    def moody(completions: list[str], **_: object) -> list[float | None]:
        return [next(calls) for _ in completions]

    function = FunctionVerifier(function=moody)
    verifier = AuditedVerifier(function, seed="stage")
    verifier.grade({name: ("5", f"text of {name}") for name in "abc"})
    found = audit(verifier.sample, function.name, second_judge(Grading(function="own.py:moody"), function))
    assert found["disagreements"] == ["a"]
    assert found["undecided"] == 1
    assert found["sample"][0]["answer"] == "text of a"
    assert found["second"] == "reward function moody, asked again"
