"""How a label set is graded, as a value that a recipe can hold: the type of its answers and where they stand."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.verifiers.answers import AnswerType, Extractor


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
