"""The six stages by name: what a route is made of before a recipe gives it numbers."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from headwater.value import Value

StageName = Literal[
    "teacher-rl", "teacher-sft", "warm-up", "on-policy-distillation", "teacher-sample-sft", "student-rl"
]
Pool = Literal["pool", "1H", "2H", "prompts"]


class Step(Value):
    """One stage of a route: which row of the table, on whose problems, how long."""

    stage: StageName = Field(description="row of the loop's table")
    pool: Pool = Field("pool", description="the labelled pool, a half of it, or prompts without labels")
    budget: int = Field(1, ge=0, description="multiple of the recipe's updates; 0: those of `replaces` alone")
    replaces: tuple[StageName, ...] = Field((), description="stages left out whose updates this one makes as well")
    learner: str | None = Field(None, description="the model that learns, by name; null takes the table's")
    settings: dict[str, Any] = Field({}, description="of the stage's numbers and methods, what this arm sets otherwise")

    @model_validator(mode="after")
    def _makes_updates(self) -> Self:
        if not self.budget and not self.replaces:
            raise ValueError("budget 0 leaves no update; name the stages whose updates it makes under replaces")
        return self


def teacher_rl(pool: Pool) -> Step:
    """GRPO on the teacher: reads labels."""
    return Step(stage="teacher-rl", pool=pool)


def teacher_sft(pool: Pool) -> Step:
    """The teacher imitates its own right responses: reads labels."""
    return Step(stage="teacher-sft", pool=pool)


def warm_up(pool: Pool) -> Step:
    """Forward KL to the teacher's distributions on the teacher's cached rollouts: no label."""
    return Step(stage="warm-up", pool=pool)


def on_policy_distillation(pool: Pool) -> Step:
    """Reverse KL to the frozen teacher on the student's own rollouts: no label."""
    return Step(stage="on-policy-distillation", pool=pool)


def teacher_sample_sft(pool: Pool) -> Step:
    """The student imitates the teacher's cached rollouts token by token: no label."""
    return Step(stage="teacher-sample-sft", pool=pool)


def student_rl(pool: Pool, budget: int = 1) -> Step:
    """GRPO on the student: reads labels."""
    return Step(stage="student-rl", pool=pool, budget=budget)
