"""Labels from Python: a plain reward function grades as well as a verifier."""

from headwater.run.assemble import Labels
from headwater.verifiers.typed import TypedVerifier


def test_a_plain_function_is_a_verifier() -> None:
    def score(completions: list[str], answer: list[str]) -> list[float]:
        return [float(gold in text) for text, gold in zip(completions, answer, strict=True)]

    grades = Labels(answers={"p": "7"}, verifier=score).grader.grade({"a": ("7", "it is 7"), "b": ("7", "it is 8")})
    assert [grades[name].reward for name in "ab"] == [1.0, 0.0]


def test_a_verifier_stays_what_it_is() -> None:
    verifier = TypedVerifier()
    assert Labels(answers={}, verifier=verifier).grader is verifier
