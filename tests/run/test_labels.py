"""Labels from Python: a grading and a plain reward function grade as well as a verifier."""

from headwater.records import Verdict
from headwater.run.assemble import Labels
from headwater.verifiers.grading import Grading, make_verifier


def test_a_plain_function_is_a_verifier() -> None:
    def score(completions: list[str], answer: list[str]) -> list[float]:
        return [float(gold in text) for text, gold in zip(completions, answer, strict=True)]

    grades = Labels(answers={"p": "7"}, verifier=score).grader.grade({"a": ("7", "it is 7"), "b": ("7", "it is 8")})
    assert [grades[name].reward for name in "ab"] == [1.0, 0.0]


def test_a_grading_is_a_verifier_and_the_answer_stands_behind_its_marker_unless_said() -> None:
    responses = {"a": ("7", r"#### 7"), "b": ("7", r"\boxed{7}")}
    assert Labels(answers={}).grader.grade(responses) == {"a": Verdict.CORRECT, "b": Verdict.WRONG}
    boxed = Labels(answers={}, verifier=Grading(extractor="boxed")).grader
    assert boxed.grade(responses) == {"a": Verdict.WRONG, "b": Verdict.CORRECT}


def test_a_verifier_stays_what_it_is() -> None:
    verifier = make_verifier(Grading())
    assert Labels(answers={}, verifier=verifier).grader is verifier
