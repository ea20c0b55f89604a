"""Several teachers: each problem has the one of its source, or all of them are asked and their distributions mixed.

    by source    T(. | s_t) = T_k(. | s_t),  k the teacher that the recipe names for the problem's source
    mixed        T(. | s_t) = sum over k of w_k T_k(. | s_t)

MOPD, arXiv 2606.30406. With a sparse part beside it, `alpha A_i`, it is the dense end of a `mixture`. A batch asks each
teacher for its own rollouts alone; `served_NAME` is the share of responses that it was asked for.

Pitfall: teachers of different sharpness pull with different strength (arXiv 2609.35347); look at the KL by teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from headwater.batch import ExactDistribution, Scored, TeacherDistribution
from headwater.errors import InputError
from headwater.interfaces import At, Workers
from headwater.late import Float, Tensor, torch
from headwater.records import Group, Rollout, rollouts_of
from headwater.signals.divergence import Divergence, exact


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed(ExactDistribution):
    """A mixture of distributions, with weights of its own at every token."""

    parts: tuple[ExactDistribution, ...]
    weights: Float[Tensor, "token part"]

    @property
    def tokens(self) -> int:
        return self.parts[0].tokens

    @property
    def width(self) -> int:
        return self.parts[0].width

    def logits(self) -> Float[Tensor, "token vocab"]:
        """log sum w_k T_k; a part of weight 0 adds nothing."""
        logs = self.weights.log()
        found = self.parts[0].logprobs() + logs[:, :1]
        for k, part in enumerate(self.parts[1:], start=1):
            found = torch.logaddexp(found, part.logprobs() + logs[:, k : k + 1])
        return found


class SeveralTeachers(Divergence):
    """Distillation from the teacher of each problem's source, or from a mixture of teachers."""

    reads_teachers: ClassVar[bool] = True

    direction: Literal["forward", "reverse", "jsd"] = Field(default="reverse", description="as in divergence")
    by_source: dict[str, str] = Field(
        default={}, description="source of a problem: the teacher that serves it, by name"
    )
    weights: dict[str, float] = Field(default={}, description="teacher: its share of a mixture, for every problem")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.by_source) == bool(self.weights):
            raise ValueError("by_source or weights: give one of them, which says who teaches")
        if self.weights and (min(self.weights.values()) <= 0 or abs(sum(self.weights.values()) - 1) > 1e-6):
            raise ValueError("weights: shares above 0 that sum to 1")
        return self

    @property
    def teachers(self) -> tuple[str, ...]:
        """Every one that may be asked."""
        return tuple(dict.fromkeys(self.weights or self.by_source.values()))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """As a divergence; with the share of responses that each teacher served."""
        found = super().score(groups, workers, at)
        names = [name for group in groups for _ in group.rollouts for name in self._serving(group)]
        rollouts = max(len(rollouts_of(groups)), 1)
        served = {f"served_{name}".replace(" ", "_"): names.count(name) / rollouts for name in self.teachers}
        return Scored(rollouts=found.rollouts, metrics={**found.metrics, **served})

    def _serving(self, group: Group) -> Mapping[str, float]:
        """The teachers of a problem, with their weights."""
        if self.weights:
            return self.weights
        source = group.problem.source
        if source not in self.by_source:
            raise InputError(
                f"several-teachers: problem {group.problem.problem_id} is of the source {source!r:.60}, which "
                f"by_source does not name; it names {', '.join(self.by_source)}"
            )
        return {self.by_source[source]: 1.0}

    def asked(self, groups: Sequence[Group], workers: Workers) -> Sequence[TeacherDistribution]:
        """Each teacher's distributions of the rollouts that it serves, put together where they are used."""
        served = [(rollout, self._serving(group)) for group in groups for rollout in group.rollouts]
        named = [name for name in self.teachers if any(name in weights for _, weights in served)]
        said = {name: self._said(name, served, workers) for name in named}
        return [
            Mixed(
                parts=tuple(said[name][i] for name in named),
                weights=torch.tensor([[weights.get(name, 0.0) for name in named]]).repeat(len(rollout.response_ids), 1),
            )
            for i, (rollout, weights) in enumerate(served)
        ]

    def _said(
        self, name: str, served: Sequence[tuple[Rollout, Mapping[str, float]]], workers: Workers
    ) -> list[ExactDistribution]:
        """A teacher's distributions of its rollouts; in place of the others, which weigh 0, its first token's again."""
        own = [rollout for rollout, weights in served if name in weights]
        answers = workers.teacher(name).distributions(own, workers.temperature)
        exactly = iter([exact(one, "several-teachers") for one in answers])
        blank = exact(answers[0], "several-teachers")

        def filled(rollout: Rollout) -> ExactDistribution:
            return blank.at(torch.zeros(len(rollout.response_ids), dtype=torch.long))

        return [next(exactly) if name in weights else filled(rollout) for rollout, weights in served]
