"""From a declared `Grading` to the verifier that does it, and to the judge that checks its work."""

from __future__ import annotations

from pathlib import Path

from headwater.verifiers.answers import AnswerVerifier, Judge
from headwater.verifiers.cached import CachedJudge
from headwater.verifiers.expression import ExpressionJudge
from headwater.verifiers.grading import Grading
from headwater.verifiers.typed import TypedJudge


def make_verifier(grading: Grading, *, workers: int = 1, cache: Path | None = None) -> AnswerVerifier:
    """The verifier of a label set. Close it when done: answers of type expression hold `workers` processes.

    Verdicts on expressions are cached, in memory and in the file `cache` if there is one; a typed verdict is
    cheaper than its look-up.
    """
    judge = make_judge(grading, workers=workers)
    if grading.answer_type == "expression":
        judge = CachedJudge(judge, path=cache)
    return AnswerVerifier(judge=judge, extractor=grading.extractor, marker=grading.marker, end=grading.end)


def make_judge(grading: Grading, *, workers: int = 1) -> Judge:
    """The judge of a label set's answer type."""
    if grading.answer_type == "expression":
        return ExpressionJudge(workers=workers)
    return TypedJudge(answer_type=grading.answer_type, tolerance=grading.tolerance)


def second_judge(grading: Grading) -> Judge:
    """Another grader for the same answers: expressions for the typed ones, Math-Verify as it ships for those.

    Both are more lenient than the first one (units, for example); what they disagree on is for a person to see.
    """
    if grading.answer_type == "expression":
        return ExpressionJudge(kind="second")
    return ExpressionJudge()
