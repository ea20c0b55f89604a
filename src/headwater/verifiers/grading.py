"""How a label set is graded, as a value that a recipe can hold, and the verifier and judges that follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.verifiers.answers import AnswerType, AnswerVerifier, Extractor, Judge
from headwater.verifiers.expression import EXPRESSION_VERSION, ExpressionJudge
from headwater.verifiers.function import FunctionAgain, FunctionVerifier, digest_of, load_functions
from headwater.verifiers.typed import TYPED_VERSION, TypedJudge

T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]
"""A list of a recipe, also where it comes as Python's and not as JSON's: a strict tuple would refuse it."""


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
    function: str | Listed[str] | None = Field(
        default=None,
        description="reward functions of your own in TRL's form, path.py:name or a list, instead of all these",
    )
    reward_weights: Listed[float] = Field(default=(), description="of several functions, in their order; 1 each")
    full_marks: float = Field(default=1.0, description="reward from which its response counts as correct")

    @property
    def packed(self) -> bool:
        """Whether a label is a whole row: a function of the user's own sees all of it."""
        return self.function is not None

    @property
    def functions(self) -> tuple[str, ...]:
        """The reward functions, path.py:name each."""
        return (self.function,) if isinstance(self.function, str) else self.function or ()

    @model_validator(mode="after")
    def _function_is_named(self) -> Self:
        if self.function is None:
            given = [name for name in ("full_marks", "reward_weights") if name in self.model_fields_set]
            if self.full_marks != 1.0 or self.reward_weights:
                raise ValueError(f"{given[0]} is of a reward function; name it with function, or leave {given[0]} out")
            return self
        for function in self.functions:
            path, _, name = function.rpartition(":")
            if not (path.endswith(".py") and name.isidentifier()):
                raise ValueError(f"function {function!r:.80}: write path.py:name, such as rewards.py:score")
        names = [function.rpartition(":")[2] for function in self.functions]
        if len(set(names)) < len(names) or not names:
            raise ValueError("function: a list names one function or more, each with a name of its own")
        if self.reward_weights and len(self.reward_weights) != len(names):
            raise ValueError(
                f"reward_weights: {len(self.reward_weights)} for {len(names)} functions; give one for each"
            )
        return self

    @model_validator(mode="after")
    def _tolerance_has_a_use(self) -> Self:
        if self.tolerance and self.answer_type != "decimal":
            raise ValueError(f"tolerance is for decimals; answers of type {self.answer_type} are exact")
        return self


def make_verifier(grading: Grading) -> AnswerVerifier | FunctionVerifier:
    """The verifier of a label set. A user's function is loaded here, and this runs its file."""
    if grading.function is not None:
        return load_functions(grading.functions, reward_weights=grading.reward_weights, full_marks=grading.full_marks)
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

    Of a user's functions, their names, the hashes of their files and their weights; else the settings, and the version
    of our rules.
    """
    named = [{"function": one.rpartition(":")[2], "sha256": digest_of(one)} for one in grading.functions]
    if named:
        several = {"functions": named, "reward_weights": grading.reward_weights or (1.0,) * len(named)}
        return {**(named[0] if len(named) == 1 else several), "full_marks": grading.full_marks}
    own = {"function", "reward_weights", "full_marks"}
    settings = grading.model_dump(exclude={*own, "unreadable", *(() if grading.prompt_end else ("prompt_end",))})
    version = EXPRESSION_VERSION if grading.answer_type == "expression" else TYPED_VERSION
    return {**settings, "version": version}


def own_code(gradings: Iterable[Grading]) -> list[str]:
    """What a report must say of graders that are the user's own code: a note each."""
    named = [function for grading in gradings for function in grading.functions]
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
