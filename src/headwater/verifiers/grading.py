"""How a label set is graded, as a value that a recipe can hold, and the verifier and judges that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.verifiers.answers import AnswerType, AnswerVerifier, Extractor, Judge
from headwater.verifiers.expression import EXPRESSION_VERSION, ExpressionJudge
from headwater.verifiers.function import FunctionAgain, FunctionVerifier, digest_of, load_function
from headwater.verifiers.typed import TYPED_VERSION, TypedJudge


class Grading(BaseModel):
    """Declared once for a whole label set, never guessed from an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    answer_type: AnswerType = Field(default="integer", description="what every gold answer of the set is")
    extractor: Extractor = Field(
        default="boxed",
        description=r"the answer is in the last \boxed{}, after a marker, in <answer>, or its last number",
    )
    marker: str = Field(default="####", min_length=1, description="what stands before the answer (extractor marker)")
    end: str = Field(default="", description="what stands behind it; the end of the response if empty")
    prompt_end: str = Field(
        default="", description="how the rendered prompt ends, where a response goes on from there: <think>"
    )
    unreadable: Literal["refuse", "keep"] = Field(
        default="refuse", description="gold answers without a reading end the run, or are compared as text"
    )
    tolerance: float = Field(default=0.0, ge=0, description="largest distance of a right decimal, in its own unit")
    function: str | None = Field(
        default=None, description="a reward function of your own in TRL's form, path.py:name, instead of all of these"
    )
    full_marks: float = Field(default=1.0, description="reward from which its response counts as correct")

    @property
    def packed(self) -> bool:
        """Whether a label is a whole row: a function of the user's own sees all of it."""
        return self.function is not None

    @model_validator(mode="after")
    def _function_is_named(self) -> Self:
        if self.function is None:
            if self.full_marks != 1.0:
                raise ValueError("full_marks is of a reward function; name it with function, or leave full_marks out")
            return self
        path, _, name = self.function.rpartition(":")
        if not (path.endswith(".py") and name.isidentifier()):
            raise ValueError(f"function {self.function!r:.80}: write path.py:name, such as rewards.py:score")
        return self

    @model_validator(mode="after")
    def _tolerance_has_a_use(self) -> Self:
        if self.tolerance and self.answer_type != "decimal":
            raise ValueError(f"tolerance is for decimals; answers of type {self.answer_type} are exact")
        return self


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
