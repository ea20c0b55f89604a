"""How a learner takes its steps, as a value: AdamW with a warm-up and a cosine, and the rate at each update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from headwater.value import Value


class Optimiser(Value):
    """How a learner takes its steps. The rate is a function of the update alone, so a resume needs no state."""

    learning_rate: float = Field(1e-6, gt=0, description="peak learning rate of AdamW")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the gradient's mean")
    beta2: float = Field(0.99, ge=0, lt=1, description="AdamW's decay of the gradient's square")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm of a step")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of the updates over which the rate rises")
    final_share: float = Field(0.3, ge=0, le=1, description="the rate's last value, as a share of its peak (cosine)")
    RETIRED: ClassVar[Mapping[str, Any]] = {"inner_steps": 1}
    """Of recipes and names of results from before a stage had `passes`."""

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, data: Any) -> Any:
        """An older recipe reads as it did."""
        old = cls.RETIRED.items()
        return {k: v for k, v in data.items() if (k, v) not in old} if isinstance(data, dict) else data

    def rate(self, update: int, updates: int) -> float:
        """The learning rate at this update (0-based) of so many."""
        warmup = math.ceil(self.warmup_share * updates)
        if update < warmup:
            return self.learning_rate * (update + 1) / warmup
        progress = (update - warmup) / max(updates - warmup, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)
