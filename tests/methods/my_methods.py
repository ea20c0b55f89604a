"""A user's own methods, whole in one file: a signal with a schedule, and a sampler. The package knows neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field

from headwater.batch import Scored, ScoredRollout, Target, token_mean_weights
from headwater.interfaces import At, Need, Sampler, Seeds, Signal, Watch, Workers
from headwater.records import Group, Problem, Sampling, Verdict, rollouts_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Gates(Target):
    """log T - log S of each sampled token, let through or not."""

    advantage: torch.Tensor


class Gated(Signal):
    """Distillation by the sampled token, let through where the verdict agrees; the gate closes over the stage."""

    start: float = Field(1.0, description="share of a wrong response's reward that passes at the first step")
    end: float = Field(0.0, description="the same at the last step")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.TEACHER, Need.ANSWERS, Need.VERIFIER})

    @property
    def watch(self) -> tuple[Watch, ...]:
        return (Watch("gate", "share let through"),)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        rollouts = rollouts_of(groups)
        gate = self.start + (self.end - self.start) * at.share
        golds = {group.problem.problem_id: workers.answers.read(group.problem.problem_id) for group in groups}
        verdicts = workers.verifier.grade({r.rollout_id: (golds[r.problem_id], r.response_text) for r in rollouts})
        said = workers.teacher("teacher").logprobs(rollouts, workers.temperature)
        passed = [1.0 if _right(verdicts[r.rollout_id]) else gate for r in rollouts]
        targets = [
            Gates(advantage=share * (teacher - torch.tensor(rollout.logprobs)))
            for rollout, teacher, share in zip(rollouts, said, passed, strict=True)
        ]
        return Scored(
            rollouts=tuple(
                ScoredRollout(rollout=rollout, target=target, weight=weight)
                for rollout, target, weight in zip(rollouts, targets, token_mean_weights(rollouts), strict=True)
            ),
            metrics={"gate": gate},
        )

    def loss(self, logits: torch.Tensor, response_ids: torch.Tensor, target: Target) -> torch.Tensor:
        assert isinstance(target, Gates)
        return -target.advantage * torch.log_softmax(logits, -1).gather(-1, response_ids[:, None])[:, 0]


def _right(verdict: object) -> bool:
    return getattr(verdict, "verdict", verdict) is Verdict.CORRECT


class Horizon(Sampler):
    """Fresh responses that may grow over the stage."""

    first: int = Field(2, description="tokens at the first step")
    max_response_tokens: int = Field(14, description="tokens at the last step")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        limit = round(self.first + (self.max_response_tokens - self.first) * at.share)
        sampling = Sampling(temperature=self.temperature, max_response_tokens=limit)
        return workers.generator.generate(problems, self.samples, sampling, seeds)
