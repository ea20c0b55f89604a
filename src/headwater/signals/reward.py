"""The sparse signal: a verifier's reward for a whole response, centred within its group (GRPO).

    A_i  = (R_i - mean R) / (std R + epsilon)                            one advantage a response

The loss of a token is that of `policy`. GRPO: arXiv 2402.03300 section 4.1.2;
without the std and with a constant normaliser: Dr. GRPO, arXiv 2503.20783. A clip_high of its own: DAPO,
arXiv 2503.14476. Left out: whitening over the batch, length penalties, resampling of zero-variance groups.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import chain, compress
from typing import Literal, Self

from pydantic import Field, model_validator

from headwater.batch import PerToken, Scored, ScoredRollout, token_mean_weights
from headwater.errors import NumericError
from headwater.interfaces import LOSS, At, Need, Watch, Workers
from headwater.late import torch
from headwater.records import Grade, Group, Rollout, Verdict, rollouts_of
from headwater.signals.grades import answers_of, graded, parts_of
from headwater.signals.inner import weighted
from headwater.signals.policy import Policy, policy_of
from headwater.signals.responses import response_metrics
from headwater.verifiers.answers import UNGRADED_LIMIT


def group_advantages(rewards: Sequence[float | None], *, divide_by_std: bool, epsilon: float = 1e-4) -> list[float]:
    """Advantages of one group of responses: reward minus the group's mean, optionally over its std.

    None marks a response without a verdict: left out of mean and std, advantage 0. A group whose rewards
    are all equal (max - min == 0 on the raw rewards) has advantage exactly 0. The std is the sample std
    (n - 1), in units of reward. Raises NumericError for a reward that is not finite.
    Source: GRPO, arXiv 2402.03300 section 4.1.2; without the std: Dr. GRPO, arXiv 2503.20783.
    """
    known = [reward for reward in rewards if reward is not None]
    if not all(math.isfinite(reward) for reward in known):
        raise NumericError(f"reward: {known} holds a value that is not finite; check the verifier")
    if not has_variance(rewards):
        return [0.0] * len(rewards)
    mean = statistics.fmean(known)
    scale = 1.0 / (statistics.stdev(known) + epsilon) if divide_by_std else 1.0
    return [0.0 if reward is None else (reward - mean) * scale for reward in rewards]


def has_variance(rewards: Sequence[float | None]) -> bool:
    """Whether the graded rewards of a group differ at all; False for a group without any verdict."""
    return len({reward for reward in rewards if reward is not None}) > 1


class Reward(Policy):
    """GRPO: clipped policy gradient on group-centred verifier rewards, with a KL to the reference."""

    divide_by_std: bool = Field(default=True, description="divide advantages by the group's reward std")
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
        return super().needs | {Need.ANSWERS, Need.VERIFIER}

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
        advantages_of = [torch.full((len(rollout.response_ids),), advantage) for rollout, advantage, _ in kept]
        targets = self.targets([rollout for rollout, _, _ in kept], advantages_of, workers)
        known = [reward for reward in chain.from_iterable(rewards) if reward is not None]
        metrics = response_metrics(rollouts) | {
            "mixed_groups": sum(mixed) / max(len(groups), 1),
            "zero_variance_groups": float(len(groups) - sum(mixed)),
            "ungraded": float(len(rollouts) - len(known)),
            "dropped_rollouts": float(len(rollouts) - len(kept)),
        }
        if known:  # without one verdict there is no mean to report, and 0 would be a lie
            metrics["reward"] = statistics.fmean(known)
        metrics |= parts_of(verdicts)
        scored = (
            ScoredRollout(rollout=rollout, target=target, weight=weight)
            for (rollout, _, weight), target in zip(kept, targets, strict=True)
        )
        return Scored(rollouts=tuple(scored), metrics=metrics)

    def score_all(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """`score` beside another signal: every rollout stays for it, and what would be dropped weighs 0."""
        found = self.model_copy(update={"zero_variance": "keep"}).score(groups, workers, at)
        if self.zero_variance == "keep":
            return found
        members = iter(found.rollouts)
        advantages = [[policy_of(next(members).target).advantage for _ in group.rollouts] for group in groups]
        spread = [any(bool(advantage.any()) for advantage in group) for group in advantages]
        factors = [float(mixed) for mixed, group in zip(spread, groups, strict=True) for _ in group.rollouts]
        return weighted(found, factors, empty=False)

    def _grade(self, groups: Sequence[Group], workers: Workers) -> dict[str, Verdict | Grade]:
        """Rollout id -> verdict or grade; the answer is read once a group."""
        return graded(groups, answers_of(groups, workers), workers, self.ungraded_limit, "reward")

    def _weights(self, rollouts: Sequence[Rollout]) -> list[PerToken]:
        """Each token's share of the batch loss under `normalisation`."""
        if self.normalisation == "token-mean":
            return token_mean_weights(rollouts)
        lengths = [len(rollout.response_ids) for rollout in rollouts]
        if self.normalisation == "sequence-mean":
            return [torch.full((length,), 1.0 / (len(rollouts) * max(length, 1))) for length in lengths]
        assert self.constant_length is not None  # noqa: S101  held by the validator
        share = 1.0 / (len(rollouts) * self.constant_length)
        return [torch.full((length,), share) for length in lengths]
