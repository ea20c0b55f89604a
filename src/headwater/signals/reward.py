"""The sparse signal: a verifier's reward for a whole response, centred within its group (GRPO).

    A_i  = (R_i - mean R) / (std R + epsilon)                            one advantage a response
    loss = -min(ratio A, clip(ratio, 1 - low, 1 + high) A) + c k3        per token
    ratio = exp(logprob - old logprob);   k3 = exp(d) - d - 1 with d = reference logprob - logprob

GRPO: arXiv 2402.03300 eq. 3 (objective) and eq. 4 (k3, from Schulman, "Approximating KL divergence");
without the std and with a constant normaliser: Dr. GRPO, arXiv 2503.20783. A clip_high of its own: DAPO,
arXiv 2503.14476. Left out: whitening over the batch, length penalties, resampling of zero-variance groups.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Literal, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from headwater.batch import Scored, ScoredRollout, Target, token_mean_weights
from headwater.errors import InputError, NumericError, ObjectiveError
from headwater.interfaces import LOSS, At, Measured, Need, Signal, Watch, Workers
from headwater.records import Grade, Group, Rollout, Verdict, rollouts_of
from headwater.signals import closed_form
from headwater.signals.responses import entropy, response_metrics
from headwater.verifiers.answers import UNGRADED_LIMIT, refuse_ungraded


def group_advantages(rewards: Sequence[float | None], *, divide_by_std: bool, epsilon: float = 1e-4) -> list[float]:
    """Advantages of one group of responses: reward minus the group's mean, optionally over its std.

    None marks a response without a verdict: left out of mean and std, advantage 0. A group whose rewards
    are all equal (max - min == 0 on the raw rewards) has advantage exactly 0. The std is the sample std
    (n - 1), in units of reward. Raises NumericError for a reward that is not finite.
    Source: GRPO, arXiv 2402.03300 section 4.1.2; without the std: Dr. GRPO, arXiv 2503.20783.
    """
    graded = [reward for reward in rewards if reward is not None]
    if not all(math.isfinite(reward) for reward in graded):
        raise NumericError(f"reward: {graded} holds a value that is not finite; check the verifier")
    if not has_variance(rewards):
        return [0.0] * len(rewards)
    mean = statistics.fmean(graded)
    scale = 1.0 / (statistics.stdev(graded) + epsilon) if divide_by_std else 1.0
    return [0.0 if reward is None else (reward - mean) * scale for reward in rewards]


def has_variance(rewards: Sequence[float | None]) -> bool:
    """Whether the graded rewards of a group differ at all; False for a group without any verdict."""
    graded = {reward for reward in rewards if reward is not None}
    return len(graded) > 1


def k3(logprobs: Float[Tensor, " token"], reference_logprobs: Float[Tensor, " token"]) -> Float[Tensor, " token"]:
    """exp(d) - d - 1, an estimate of KL(policy to reference) in nats, d = reference logprob - logprob.

    Never negative; unbiased for tokens drawn from the policy. Source: Schulman, "Approximating KL
    divergence"; GRPO, arXiv 2402.03300 eq. 4.
    """
    difference = reference_logprobs - logprobs
    return torch.expm1(difference) - difference


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyTarget(Target):
    """What a policy gradient needs of each response token; the reference is None when the KL term is off."""

    advantage: Float[Tensor, " token"]
    old_logprobs: Float[Tensor, " token"]
    reference_logprobs: Float[Tensor, " token"] | None = None


class Reward(Signal):
    """GRPO: clipped policy gradient on group-centred verifier rewards, with a KL to the reference."""

    divide_by_std: bool = Field(default=True, description="divide advantages by the group's reward std")
    clip_low: float = Field(default=0.2, ge=0, le=1, description="the ratio is clipped below 1 - this")
    clip_high: float = Field(default=0.2, ge=0, description="the ratio is clipped above 1 + this")
    normalisation: Literal["token-mean", "sequence-mean", "constant"] = Field(
        default="token-mean",
        description="1/tokens of the batch, 1/(rollouts x own length), or 1/(rollouts x constant_length)",
    )
    constant_length: int | None = Field(
        default=None, gt=0, description="tokens; the longest allowed response, for normalisation 'constant'"
    )
    kl_coefficient: float = Field(default=5e-4, ge=0, description="weight of k3 to the reference; 0 never asks it")
    zero_variance: Literal["keep", "drop"] = Field(
        default="drop",
        description="groups with equal rewards: keep in the pass, or drop (their tokens still normalise)",
    )
    ungraded_limit: float = Field(
        default=UNGRADED_LIMIT, ge=0, le=1, description="largest share of a step's rollouts that may go ungraded"
    )

    @model_validator(mode="after")
    def _length_is_known(self) -> Self:
        if self.normalisation == "constant" and self.constant_length is None:
            raise ValueError("normalisation 'constant' needs constant_length (the longest allowed response)")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """Answers and verdicts on them, and the reference where the KL term is on."""
        asked = frozenset({Need.ANSWERS, Need.VERIFIER})
        return asked | {Need.REFERENCE} if self.kl_coefficient > 0 else asked

    @property
    def least_samples(self) -> int:
        """An advantage is a reward less its group's mean: of one response it is always 0."""
        return 2

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The mean reward."""
        return (Watch("reward", "reward"), LOSS)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Grade every response, centre rewards by group, and fix each token's weight.

        Weights count every rollout of the step, dropped ones too. When every group is dropped,
        `Scored.rollouts` is empty: the gradient is zero and the learner makes no step.
        Raises GraderError when more than `ungraded_limit` of the rollouts have no verdict.
        """
        rollouts = rollouts_of(groups)
        verdicts = self._grade(groups, workers)
        rewards = [[verdicts[rollout.rollout_id].reward for rollout in group.rollouts] for group in groups]
        mixed = [has_variance(of_group) for of_group in rewards]
        advantages = [group_advantages(of_group, divide_by_std=self.divide_by_std) for of_group in rewards]
        keep = [self.zero_variance == "keep" or has_variance(of_group) for of_group in rewards for _ in of_group]
        members = zip(rollouts, chain.from_iterable(advantages), self._weights(rollouts), strict=True)
        kept = list(compress(members, keep))
        targets = self._targets([(rollout, advantage) for rollout, advantage, _ in kept], workers)
        graded = [reward for reward in chain.from_iterable(rewards) if reward is not None]
        metrics = response_metrics(rollouts) | {
            "mixed_groups": sum(mixed) / max(len(groups), 1),
            "zero_variance_groups": float(len(groups) - sum(mixed)),
            "ungraded": float(len(rollouts) - len(graded)),
            "dropped_rollouts": float(len(rollouts) - len(kept)),
        }
        if graded:  # without one verdict there is no mean to report, and 0 would be a lie
            metrics["reward"] = statistics.fmean(graded)
        scored = (
            ScoredRollout(rollout=rollout, target=target, weight=weight)
            for (rollout, _, weight), target in zip(kept, targets, strict=True)
        )
        return Scored(rollouts=tuple(scored), metrics=metrics)

    def _grade(self, groups: Sequence[Group], workers: Workers) -> dict[str, Verdict | Grade]:
        """Rollout id -> verdict or grade; the answer is read once a group."""
        responses: dict[str, tuple[str, str]] = {}
        for group in groups:
            gold = workers.answers.read(group.problem.problem_id, "answer")
            for rollout in group.rollouts:
                asked = (gold, rollout.response_text)
                if responses.setdefault(rollout.rollout_id, asked) != asked:
                    raise InputError(f"reward: two different rollouts have the id {rollout.rollout_id}")
        graded = workers.verifier.grade(responses)
        verdicts = {name: graded.get(name, Verdict.UNGRADED) for name in responses}
        refuse_ungraded(verdicts, self.ungraded_limit, "reward")
        return verdicts

    def _weights(self, rollouts: Sequence[Rollout]) -> list[Float[Tensor, " token"]]:
        """Each token's share of the batch loss under `normalisation`."""
        if self.normalisation == "token-mean":
            return token_mean_weights(rollouts)
        lengths = [len(rollout.response_ids) for rollout in rollouts]
        if self.normalisation == "sequence-mean":
            return [torch.full((length,), 1.0 / (len(rollouts) * max(length, 1))) for length in lengths]
        assert self.constant_length is not None  # noqa: S101  held by the validator
        share = 1.0 / (len(rollouts) * self.constant_length)
        return [torch.full((length,), share) for length in lengths]

    def _targets(self, kept: Sequence[tuple[Rollout, float]], workers: Workers) -> list[PolicyTarget]:
        """One target a kept rollout; the reference is asked only when its coefficient is not 0."""
        references: Sequence[Tensor | None] = [None] * len(kept)
        if kept and self.kl_coefficient > 0:
            references = workers.reference.logprobs([rollout for rollout, _ in kept], workers.temperature)
        return [
            PolicyTarget(
                advantage=torch.full((len(rollout.response_ids),), advantage),
                old_logprobs=torch.tensor(rollout.logprobs, dtype=torch.float32),
                reference_logprobs=reference,
            )
            for (rollout, advantage), reference in zip(kept, references, strict=True)
        ]

    def loss(
        self,
        logits: Float[Tensor, "token vocab"],
        response_ids: Int[Tensor, " token"],
        target: Target,
    ) -> Float[Tensor, " token"]:
        """-min(ratio A, clip(ratio) A) + kl_coefficient k3, per token; GRPO eq. 3 without its mean."""
        return self._loss(_logprobs(logits, response_ids), _policy(target))

    def _loss(self, logprobs: Float[Tensor, " token"], policy: PolicyTarget) -> Float[Tensor, " token"]:
        ratio = torch.exp(logprobs - policy.old_logprobs)
        clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high)
        loss = -torch.minimum(ratio * policy.advantage, clipped * policy.advantage)
        if self.kl_coefficient == 0:
            return loss
        if policy.reference_logprobs is None:
            raise ObjectiveError("reward: kl_coefficient is not 0 but the target has no reference logprobs")
        return loss + self.kl_coefficient * k3(logprobs, policy.reference_logprobs)

    @torch.no_grad()
    def diagnostics(
        self,
        logits: Float[Tensor, "token vocab"],
        response_ids: Int[Tensor, " token"],
        target: Target,
    ) -> dict[str, Float[Tensor, " token"]]:
        """entropy, ratio, clip_fraction, reference_kl (k3); in nats."""
        distribution = torch.log_softmax(logits, dim=-1)
        logprobs = distribution.gather(-1, response_ids[:, None])[:, 0]
        return {"entropy": entropy(distribution), **self._watched(logprobs, _policy(target))}

    def _watched(self, logprobs: Float[Tensor, " token"], policy: PolicyTarget) -> dict[str, Float[Tensor, " token"]]:
        ratio = torch.exp(logprobs - policy.old_logprobs)
        outside = torch.where(
            policy.advantage > 0,
            ratio > 1.0 + self.clip_high,
            (policy.advantage < 0) & (ratio < 1.0 - self.clip_low),
        )
        measured = {"ratio": ratio, "clip_fraction": outside.to(ratio.dtype)}
        if policy.reference_logprobs is not None:
            measured["reference_kl"] = k3(logprobs, policy.reference_logprobs)
        return measured

    def differentiate(
        self,
        logits: Float[Tensor, "token vocab"],
        response_ids: Int[Tensor, " token"],
        target: Target,
        weight: Float[Tensor, " token"],
    ) -> Measured:
        """In closed form, diagnostics included."""
        policy = _policy(target)
        found = closed_form.token_loss(logits, response_ids, weight, lambda said: self._loss(said, policy))
        return Measured(loss=found.loss, watched={"entropy": found.entropy, **self._watched(found.logprobs, policy)})


def _logprobs(logits: Float[Tensor, "token vocab"], response_ids: Int[Tensor, " token"]) -> Float[Tensor, " token"]:
    """The recorded token's logprob; cross_entropy is its negative, fused."""
    return -torch.nn.functional.cross_entropy(logits, response_ids, reduction="none")


def _policy(target: Target) -> PolicyTarget:
    if not isinstance(target, PolicyTarget):
        raise ObjectiveError(f"reward: needs a PolicyTarget, was given a {type(target).__name__}")
    return target
