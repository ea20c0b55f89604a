"""GRPO with the other penalty to the reference: k2, whose gradient is that of KL(policy to reference).

    k2 = d^2 / 2,   d = logprob - reference logprob       in place of k3

As an estimate of a number k3 is the better one. As a loss under the score function's states k2 has in expectation the
gradient of KL(policy to reference), and k3 that of KL(reference to policy) (arXiv 2510.01555): the directions differ
where the policy has moved far, and agree close to the reference.
"""

from __future__ import annotations

from headwater.batch import PerToken
from headwater.signals.policy import PolicyTarget, reference_of
from headwater.signals.reward import Reward


class RewardK2(Reward):
    """GRPO whose KL to the reference is k2; every setting is `reward`'s."""

    def penalty(self, logprobs: PerToken, policy: PolicyTarget) -> PerToken:
        """Half the square of the log ratio, in nats squared."""
        return 0.5 * (logprobs - reference_of(policy)).square()
