"""The numbers of a recipe's stages, and of its measurements."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from headwater.models.choice import Count
from headwater.optimiser import Optimiser
from headwater.value import Value


class StageSettings(Value):
    """The numbers of one stage."""

    epochs: Count = Field(1, description="passes over the stage's pool, each with rollouts of its own")
    problems: Count = Field(8, description="problems an update (optimiser step)")
    rollout_problems: Count | None = Field(None, description="problems a rollout batch; null: those of an update")
    passes: Count = Field(1, description="passes over each rollout batch")
    samples: Count = Field(8, description="responses to each problem of an update")
    max_prompt_tokens: Count | None = Field(
        None, description="a pool with a longer prompt is refused; null: any length"
    )
    optimiser: Optimiser = Field(Optimiser(), description="AdamW and its schedule")
    sampler: dict[str, Any] = Field(
        {}, description="of the table's sampler, what to set otherwise; kind or own: another"
    )
    signal: dict[str, Any] = Field({}, description="of the table's signal, what to set otherwise; kind or own: another")


class Stages(Value):
    """The six stages' numbers."""

    teacher_rl: StageSettings = Field(StageSettings(epochs=10), description="GRPO on the teacher")
    teacher_sft: StageSettings = Field(StageSettings(), description="the teacher imitates its right responses")
    warm_up: StageSettings = Field(StageSettings(), description="forward KL on the teacher's rollouts")
    on_policy_distillation: StageSettings = Field(StageSettings(), description="reverse KL on the student's")
    teacher_sample_sft: StageSettings = Field(StageSettings(), description="hard tokens of the teacher's rollouts")
    student_rl: StageSettings = Field(StageSettings(epochs=10), description="GRPO on the student")


class Evaluation(Value):
    """How arms are measured."""

    samples: Count = Field(16, description="k of avg@k")
    temperature: float = Field(1.0, ge=0, description="of sampling in evaluation; 0 takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus of sampling in evaluation")
    closeness_problems: Count = Field(64, description="pool prompts on which C2 is measured")
