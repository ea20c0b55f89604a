"""From a declared `Grading` to the verifier that does it, and to the judge that checks its work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headwater.verifiers.answers import AnswerVerifier, Judge
from headwater.verifiers.expression import EXPRESSION_VERSION, ExpressionJudge
from headwater.verifiers.function import FunctionAgain, FunctionVerifier
from headwater.verifiers.grading import Grading
from headwater.verifiers.own_code import digest_of, load_function
from headwater.verifiers.typed import TYPED_VERSION, TypedJudge


def make_verifier(grading: Grading) -> AnswerVerifier | FunctionVerifier:
    """The verifier of a label set. A user's function is loaded here, and this runs its file."""
    if grading.function is not None:
        return load_function(grading.function, full_marks=grading.full_marks)
    return AnswerVerifier(
        judge=make_judge(grading),
        extractor=grading.extractor,
        marker=grading.marker,
        end=grading.end,
        prompt_end=grading.prompt_end,
    )


def make_judge(grading: Grading) -> Judge:
    """The judge of a label set's answer type."""
    if grading.answer_type == "expression":
        return ExpressionJudge()
    return TypedJudge(answer_type=grading.answer_type, tolerance=grading.tolerance)


def grading_identity(grading: Grading) -> dict[str, Any]:
    """What verdicts depend on, as plain data: a part of the identity of all that is made with them.

    Of a user's function, its name and the hash of its file; else the settings, and the version of our rules.
    """
    if grading.function is not None:
        name = grading.function.rpartition(":")[2]
        return {"function": name, "sha256": digest_of(grading.function), "full_marks": grading.full_marks}
    settings = grading.model_dump(
        exclude={"function", "full_marks", "unreadable", *(() if grading.prompt_end else ("prompt_end",))}
    )
    version = EXPRESSION_VERSION if grading.answer_type == "expression" else TYPED_VERSION
    return {**settings, "version": version}


def own_code(gradings: Iterable[Grading]) -> list[str]:
    """What a report must say of graders that are the user's own code: a note each."""
    named = [grading.function for grading in gradings if grading.function is not None]
    return [
        f"responses are graded by code of the user's own, {name} (SHA-256 of the file {digest_of(name)})"
        for name in dict.fromkeys(named)
    ]


def second_judge(grading: Grading, first: AnswerVerifier | FunctionVerifier) -> Judge | FunctionAgain:
    """Another grader for the same answers: expressions for the typed ones, Math-Verify as it ships for those.

    Both are more lenient than the first one (units, for example); what they disagree on is for a person to see.
    A user's function has no second; it is asked again, which shows whether it says the same twice.
    """
    if isinstance(first, FunctionVerifier):
        return FunctionAgain(first)
    if grading.answer_type != "expression":
        return ExpressionJudge()
    from headwater.verifiers.second import MathVerify  # noqa: PLC0415  who asks no second opinion does not wait for it

    return MathVerify()
