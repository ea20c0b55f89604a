"""On-policy distillation in its literal form: the teacher's word on each sampled token is a reward (score function).

    r_t = beta (log T - log S)(y_t | s_t), a constant;   loss_t = -A_t log S(y_t | s_t)
    A_t = sum over u >= t of gamma^(u - t) clip(r_u, -c, c)  (+ beta KL(S to T)(s_t))

gamma 0: the expected gradient at each visited state is that of reverse KL, as `divergence` takes it exactly.
gamma 1: returns to go, the gradient of the whole sequence's KL (arXiv 2605.12483 eq. 2), which also counts how a
token leads to states where the student is far. The baseline in brackets is the mean of -r_t in its state, so that A_t
has mean 0 there: unbiased, with less variance (arXiv 2605.07865). Left out: a baseline for the terms after t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from headwater.batch import (
    Logits,
    PerToken,
    Scored,
    ScoredRollout,
    Target,
    TeacherDistribution,
    TokenIds,
    TopKDistribution,
    token_mean_weights,
)
from headwater.errors import ObjectiveError
from headwater.interfaces import LOSS, At, Measured, Need, Watch, Workers
from headwater.late import Tensor, no_grad, torch
from headwater.records import Group, Rollout, rollouts_of
from headwater.signals.divergence import on_one_support, reverse_kl
from headwater.signals.policy import Policy, PolicyTarget, policy_of
from headwater.signals.responses import response_metrics


def token_rewards(rollouts: Sequence[Rollout], workers: Workers, teacher: str) -> list[Tensor]:
    """log T - log S of each sampled token [token] of each rollout, in nats; S is the policy that drew it."""
    said = workers.teacher(teacher).logprobs(rollouts, workers.temperature) if rollouts else []
    return [logprobs.cpu() - torch.tensor(rollout.logprobs) for logprobs, rollout in zip(said, rollouts, strict=True)]


def returns_to_go(rewards: PerToken, gamma: float) -> PerToken:
    """sum over u >= t of gamma^(u - t) r_u, for each t."""
    if gamma == 0:
        return rewards
    found, total = rewards.clone(), rewards.new_zeros(())
    for t in range(len(rewards) - 1, -1, -1):
        total = rewards[t] + gamma * total
        found[t] = total
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledTarget(PolicyTarget):
    """With the teacher's distributions, which the baseline is taken over; None without it."""

    teacher: TeacherDistribution | None = None


class Sampled(Policy):
    """Reverse KL by the score function of the sampled token, with returns to go and a baseline."""

    teacher: str = Field(default="teacher", description="the model that is followed, by name")
    beta: float = Field(default=1.0, gt=0, description="scale of the reward")
    limit: float | None = Field(
        default=None, gt=0, description="a token's scaled reward is clipped to this; null: it is not"
    )
    gamma: float = Field(default=0.0, ge=0, le=1, description="discount of the rewards after a token; 0: its own alone")
    baseline: bool = Field(default=False, description="add KL(S to T) of the state, the mean of a token's -reward")

    @property
    def needs(self) -> frozenset[Need]:
        """A teacher; no label."""
        return super().needs | {Need.TEACHER}

    @property
    def teachers(self) -> tuple[str, ...]:
        """The one that is followed."""
        return (self.teacher,)

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The mean reward of a token, which is minus an estimate of the KL."""
        return (Watch("teacher_reward", "log T - log S, nats per token"), LOSS)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Ask the teacher for the sampled tokens, and for the baseline its distributions; tokens weigh the same."""
        rollouts = rollouts_of(groups)
        rewards = token_rewards(rollouts, workers, self.teacher)
        limit = math.inf if self.limit is None else self.limit
        advantages = [returns_to_go((self.beta * r).clamp(-limit, limit), self.gamma) for r in rewards]
        targets: Sequence[Target] = self.targets(rollouts, advantages, workers)
        if self.baseline and rollouts:
            said = workers.teacher(self.teacher).distributions(rollouts, workers.temperature)
            targets = [self._with(target, of) for target, of in zip(targets, said, strict=True)]
        tokens = sum(len(reward) for reward in rewards)
        found = {"teacher_reward": float(sum(reward.sum() for reward in rewards)) / tokens} if tokens else {}
        return Scored(
            rollouts=tuple(
                ScoredRollout(rollout=rollout, target=target, weight=weight)
                for rollout, target, weight in zip(rollouts, targets, token_mean_weights(rollouts), strict=True)
            ),
            metrics={**response_metrics(rollouts), **found},
        )

    def _with(self, target: Target, teacher: TeacherDistribution) -> SampledTarget:
        if isinstance(teacher, TopKDistribution):
            raise ObjectiveError("sampled: the baseline is a sum over the vocabulary; use an exact teacher")
        policy = policy_of(target)
        return SampledTarget(
            advantage=policy.advantage,
            old_logprobs=policy.old_logprobs,
            reference_logprobs=policy.reference_logprobs,
            teacher=teacher,
        )

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """The policy's, with the baseline in the advantage."""
        return super().loss(logits, response_ids, self._based(logits, target))

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """In closed form: the baseline is a constant."""
        return super().differentiate(logits, response_ids, self._based(logits, target), weight)

    @no_grad
    def _based(self, logits: Logits, target: Target) -> PolicyTarget:
        """The target with the baseline added to the advantage, from the student's logits as they are now."""
        policy = policy_of(target)
        if not isinstance(policy, SampledTarget) or policy.teacher is None:
            return policy
        student, teacher = on_one_support(torch.log_softmax(logits.detach(), dim=-1), policy.teacher)
        return replace(policy, advantage=policy.advantage + self.beta * reverse_kl(student, teacher))
