"""The score function: a number for every sampled token says whether it should be likelier, and by how much.

    loss = -min(ratio A, clip(ratio, 1 - low, 1 + high) A) + c k3                per token
    ratio = exp(logprob - old logprob);   k3 = exp(d) - d - 1 with d = reference logprob - logprob

What the advantage A is made of is the signal's own: a verifier's reward (`reward`), a teacher's (`sampled`,
`gated`), or both (`mixture`). At one optimiser step a batch the ratio is 1 and nothing is clipped; the gradient is
then that of -A log p of the sampled token. GRPO: arXiv 2402.03300 eq. 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from headwater.batch import Logits, PerToken, Target, TokenIds
from headwater.errors import ObjectiveError
from headwater.interfaces import Measured, Need, Signal, Workers
from headwater.late import Tensor, no_grad, torch
from headwater.records import Rollout
from headwater.signals import closed_form
from headwater.signals.responses import entropy


def k3(logprobs: PerToken, reference_logprobs: PerToken) -> PerToken:
    """exp(d) - d - 1, an estimate of KL(policy to reference) in nats, d = reference logprob - logprob.

    Never negative; unbiased for tokens drawn from the policy. As a loss its expected gradient is that of
    KL(reference to policy): `reward_k2` has the other. Source: Schulman, "Approximating KL divergence"; GRPO,
    arXiv 2402.03300 eq. 4.
    """
    difference = reference_logprobs - logprobs
    return torch.expm1(difference) - difference


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyTarget(Target):
    """What a policy gradient needs of each response token; the reference is None when the KL term is off."""

    advantage: PerToken
    old_logprobs: PerToken
    reference_logprobs: PerToken | None = None


class Policy(Signal):
    """Base of the signals that are a score function: clipped policy gradient, with a KL to the reference."""

    clip_low: float = Field(default=0.2, ge=0, le=1, description="the ratio is clipped below 1 - this")
    clip_high: float = Field(default=0.2, ge=0, description="the ratio is clipped above 1 + this")
    kl_coefficient: float = Field(default=0.0, ge=0, description="weight of k3 to the reference; 0 never asks it")

    @property
    def needs(self) -> frozenset[Need]:
        """The reference where the KL term is on; what the advantage is made of is the signal's own."""
        return frozenset({Need.REFERENCE}) if self.kl_coefficient > 0 else frozenset()

    def targets(
        self, rollouts: Sequence[Rollout], advantages: Sequence[Tensor], workers: Workers
    ) -> list[PolicyTarget]:
        """One target a rollout, given each token's advantage; the reference is asked only where the KL term is on."""
        references: Sequence[Tensor | None] = [None] * len(rollouts)
        if rollouts and self.kl_coefficient > 0:
            references = workers.reference.logprobs(rollouts, workers.temperature)
        return [
            PolicyTarget(
                advantage=advantage,
                old_logprobs=torch.tensor(rollout.logprobs),
                reference_logprobs=reference,
            )
            for rollout, advantage, reference in zip(rollouts, advantages, references, strict=True)
        ]

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """-min(ratio A, clip(ratio) A) + kl_coefficient k3, per token; GRPO eq. 3 without its mean."""
        return self._loss(_logprobs(logits, response_ids), policy_of(target))

    def surrogate(self, logprobs: PerToken, policy: PolicyTarget) -> PerToken:
        """-min(ratio A, clip(ratio) A) of the sampled tokens' logprobs."""
        ratio = torch.exp(logprobs - policy.old_logprobs)
        clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high)
        return -torch.minimum(ratio * policy.advantage, clipped * policy.advantage)

    def penalty(self, logprobs: PerToken, policy: PolicyTarget) -> PerToken:
        """How far the policy is from the reference at the sampled tokens: k3, in nats, never negative."""
        return k3(logprobs, reference_of(policy))

    def _loss(self, logprobs: PerToken, policy: PolicyTarget) -> PerToken:
        loss = self.surrogate(logprobs, policy)
        return loss if self.kl_coefficient == 0 else loss + self.kl_coefficient * self.penalty(logprobs, policy)

    @no_grad
    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """entropy, ratio, clip_fraction, reference_kl (`penalty`); in nats."""
        distribution = torch.log_softmax(logits, dim=-1)
        logprobs = distribution.gather(-1, response_ids[:, None])[:, 0]
        return {"entropy": entropy(distribution), **self.watched(logprobs, policy_of(target))}

    def watched(self, logprobs: PerToken, policy: PolicyTarget) -> dict[str, PerToken]:
        """ratio, clip_fraction and, with a reference, reference_kl, of the sampled tokens' logprobs."""
        ratio = torch.exp(logprobs - policy.old_logprobs)
        outside = torch.where(
            policy.advantage > 0,
            ratio > 1.0 + self.clip_high,
            (policy.advantage < 0) & (ratio < 1.0 - self.clip_low),
        )
        measured = {"ratio": ratio, "clip_fraction": outside.to(ratio.dtype)}
        if policy.reference_logprobs is not None:
            measured["reference_kl"] = self.penalty(logprobs, policy)
        return measured

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """In closed form, diagnostics included."""
        policy = policy_of(target)
        found = closed_form.token_loss(logits, response_ids, weight, lambda said: self._loss(said, policy))
        return Measured(loss=found.loss, watched={"entropy": found.entropy, **self.watched(found.logprobs, policy)})


def _logprobs(logits: Logits, response_ids: TokenIds) -> PerToken:
    """The recorded token's logprob; cross_entropy is its negative, fused."""
    return -torch.nn.functional.cross_entropy(logits, response_ids, reduction="none")


def policy_of(target: Target) -> PolicyTarget:
    """The target as a policy gradient's. Raises ObjectiveError for another signal's."""
    if not isinstance(target, PolicyTarget):
        raise ObjectiveError(f"policy: needs a PolicyTarget, was given a {type(target).__name__}")
    return target


def reference_of(policy: PolicyTarget) -> PerToken:
    """The reference's logprobs of the sampled tokens. Raises ObjectiveError where the target has none."""
    if policy.reference_logprobs is None:
        raise ObjectiveError("policy: kl_coefficient is not 0 but the target has no reference logprobs")
    return policy.reference_logprobs
