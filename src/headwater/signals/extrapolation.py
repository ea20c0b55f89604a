"""Past the teacher: follow what reward made of it, further than it went (ExOPD).

    A_t = lambda (log T - log T0) - (log S - log T0)            T0 the teacher before its RL
        = log T* - log S + log Z(s_t),   T* = T (T / T0)^(lambda - 1) / Z

arXiv 2602.12125, lambda 1.25. The term Z is the same for every token of a state, so in expectation the score function
of A_t is the gradient of reverse KL to T*: this is `divergence` with T* in the teacher's place, exact or sampled.
lambda = 1 is on-policy distillation, lambda = 0 distils the raw teacher. It costs one more teacher's pass.

Pitfall: a cliff where the outputs are nearly deterministic (arXiv 2605.08737): (lambda - 1) (log T - log T0) is
clipped to `limit` nats, and the guard stops a collapse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from headwater.batch import ExactDistribution, TeacherDistribution
from headwater.interfaces import Workers
from headwater.late import Float, Tensor
from headwater.records import Group, rollouts_of
from headwater.signals.divergence import Divergence, exact


@dataclass(frozen=True, kw_only=True, eq=False)
class Extrapolated(ExactDistribution):
    """A teacher's distribution, moved on from where it came."""

    teacher: ExactDistribution
    origin: ExactDistribution
    strength: float
    limit: float

    @property
    def tokens(self) -> int:
        return self.teacher.tokens

    @property
    def width(self) -> int:
        return self.teacher.width

    def logits(self) -> Float[Tensor, "token vocab"]:
        """log T + clip((lambda - 1) (log T - log T0)), up to a constant a row."""
        teacher = self.teacher.logprobs()
        moved = (teacher - self.origin.logprobs()) * (self.strength - 1.0)
        return teacher + moved.clamp_(-self.limit, self.limit)


class Extrapolation(Divergence):
    """Distillation from the teacher extrapolated along what its own training changed."""

    reads_teachers: ClassVar[bool] = True

    direction: Literal["forward", "reverse", "jsd"] = Field(
        default="reverse", description="as in divergence; extrapolation is reverse"
    )
    origin: str = Field(default="raw teacher", description="the teacher before its RL, by name")
    strength: float = Field(default=1.25, ge=0, description="lambda: 1 is the teacher itself, above 1 past it")
    limit: float | None = Field(default=5.0, gt=0, description="nats that a logprob is moved at most; null: any")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher, and what it was."""
        return (self.teacher, self.origin)

    def asked(self, groups: Sequence[Group], workers: Workers) -> Sequence[TeacherDistribution]:
        """Both teachers' distributions, put together where they are used. Raises ObjectiveError for top-k ones."""
        rollouts = rollouts_of(groups)
        both = (workers.teacher(name).distributions(rollouts, workers.temperature) for name in self.teachers)
        return [
            Extrapolated(
                teacher=exact(teacher, "extrapolation"),
                origin=exact(origin, "extrapolation"),
                strength=self.strength,
                limit=math.inf if self.limit is None else self.limit,
            )
            for teacher, origin in zip(*both, strict=True)
        ]
