"""Between the two ends of the axis: a share lambda of the sparse signal, the rest of the dense one.

    losses      lambda GRPO + (1 - lambda) dense                          two losses, each with its own denominator
    advantage   A_t = lambda A_i + (1 - lambda) D_t, -min(ratio A, clip(ratio) A)   one advantage, one clipped ratio

lambda is a number or a `Ramp` of the stage's share done: a line, or a switch. arXiv 2605.12483 eq. 3 states the
objective and stages its two ends; KDRL (arXiv 2506.02208) trains with both at once. Where lambda is 1 a step is GRPO's
own and no teacher is asked; where it is 0 it is the dense signal's own and no label is read.

Pitfall: an advantage over its group's std is about 1, and the reward of a token is unbounded: `sampled` scales (beta)
and clips it (limit). D_t is added after the group is centred. A group without spread has no sparse part, and keeps
its dense one. GRPO's KL to the reference goes with lambda.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headwater.batch import Logits, PerToken, Scored, ScoredRollout, Target, TokenIds
from headwater.interfaces import At, Measured, Need, Signal, Watch, Workers
from headwater.late import torch
from headwater.records import Group
from headwater.signals import closed_form
from headwater.signals.divergence import Divergence
from headwater.signals.inner import READ, WRITTEN, Inner, weighted
from headwater.signals.policy import Policy, PolicyTarget, policy_of
from headwater.signals.reward import Reward
from headwater.signals.sampled import Sampled
from headwater.signals.schedule import Ramp, at_step, extremes
from headwater.signals.summed import Summed, summed


@dataclass(frozen=True, kw_only=True, eq=False)
class Blended(PolicyTarget):
    """One advantage of both; `sparse` is the sparse part's share of each token's loss, which its KL term goes with."""

    sparse: PerToken


class Mixture(Summed):
    """A share of GRPO and the rest of a teacher's signal, as two losses or as one advantage."""

    share: float | Ramp = Field(default=0.5, description="lambda, of the sparse signal: a number, or a ramp")
    form: Literal["losses", "advantage"] = Field(default="losses", description="two losses, or one advantage")
    sparse: Annotated[Reward, READ, WRITTEN] = Field(
        default=Reward(), description="the sparse end: reward, or its kind"
    )
    dense: Inner = Field(
        default=Divergence(direction="reverse"), description="the dense end; form advantage takes a score function"
    )

    @model_validator(mode="after")
    def _ends_fit(self) -> Self:
        if not 0 <= extremes(self.share)[0] <= extremes(self.share)[1] <= 1:
            raise ValueError("share: a share lies between 0 and 1")
        based = isinstance(self.dense, Sampled) and self.dense.baseline
        plain = isinstance(self.dense, Policy) and self.dense.kl_coefficient == 0 and not based
        if self.form == "advantage" and not plain:
            raise ValueError(
                "dense: one advantage is made of two; use a score function such as {kind: sampled}, without baseline "
                "and without a KL of its own, or form losses"
            )
        return self

    @property
    def parts(self) -> tuple[Signal, Signal]:
        """Sparse, dense."""
        return self.sparse, self.dense

    @property
    def _used(self) -> tuple[Signal, ...]:
        """The ends that are ever asked."""
        least, most = extremes(self.share)
        return (*((self.sparse,) if most > 0 else ()), *((self.dense,) if least < 1 else ()))

    @property
    def needs(self) -> frozenset[Need]:
        """What the ends need that the schedule ever asks."""
        return frozenset[Need]().union(*(end.needs for end in self._used))

    @property
    def teachers(self) -> tuple[str, ...]:
        """Those that the ends ask."""
        return tuple(dict.fromkeys(name for end in self._used for name in end.teachers))

    @property
    def least_samples(self) -> int:
        """As many as the ends that are asked."""
        return max(end.least_samples for end in self._used)

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The reward where it is read, and what the dense end shows."""
        return tuple(dict.fromkeys(watch for end in self._used for watch in end.watch))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Score with the ends that have a share at this step, and join them."""
        share = at_step(self.share, at)
        reward = self.sparse.score if share == 1 else self.sparse.score_all
        sparse = reward(groups, workers, at) if share > 0 else None
        dense = self.dense.score(groups, workers, at) if share < 1 else None
        if self.form == "losses":
            parts = (None if part is None else _times(part, by) for part, by in ((sparse, share), (dense, 1 - share)))
            found = summed(*parts)
        else:
            found = _blended(sparse, dense, share)
        return Scored(rollouts=found.rollouts, metrics={**found.metrics, "sparse_share": share})

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """Of a sum: both losses. Of one advantage: the clipped surrogate, and the sparse share of the KL term."""
        if not isinstance(target, Blended):
            return super().loss(logits, response_ids, target)
        said = -torch.nn.functional.cross_entropy(logits, response_ids, reduction="none")
        return self._blend(said, target)

    def _blend(self, logprobs: PerToken, target: Blended) -> PerToken:
        policy = self.sparse
        loss = policy.surrogate(logprobs, target)
        if target.reference_logprobs is None:
            return loss
        return loss + target.sparse * policy.kl_coefficient * policy.penalty(logprobs, target)

    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """Of a sum: what either end watches. Of one advantage: the policy's."""
        if isinstance(target, Blended):
            return self.sparse.diagnostics(logits, response_ids, target)
        return super().diagnostics(logits, response_ids, target)

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """Each end in its own way; one advantage in closed form."""
        if not isinstance(target, Blended):
            return super().differentiate(logits, response_ids, target, weight)
        found = closed_form.token_loss(logits, response_ids, weight, lambda said: self._blend(said, target))
        watched = self.sparse.watched(found.logprobs, target)
        return Measured(loss=found.loss, watched={"entropy": found.entropy, **watched})


def _times(scored: Scored, share: float) -> Scored:
    return weighted(scored, [share] * len(scored.rollouts), empty=False)


def _blended(sparse: Scored | None, dense: Scored | None, share: float) -> Scored:
    """One advantage of two scorings of the same rollouts; the dense one's weights, the sparse one's taken into A."""
    both = summed(sparse, dense)
    parts: list[Sequence[ScoredRollout | None]] = [
        [None] * len(both.rollouts) if part is None else part.rollouts for part in (sparse, dense)
    ]
    members = [_blend_of(one, other, share) for one, other in zip(*parts, strict=True)]
    return Scored(rollouts=tuple(members), metrics=both.metrics)


def _blend_of(sparse: ScoredRollout | None, dense: ScoredRollout | None, share: float) -> ScoredRollout:
    whole = dense or sparse
    assert whole is not None  # noqa: S101  `summed` refuses a batch without parts
    one, other = (None if part is None else policy_of(part.target) for part in (sparse, dense))
    own = torch.zeros_like(whole.weight) if sparse is None else share * sparse.weight / whole.weight
    advantage = torch.zeros_like(whole.weight)
    if one is not None:
        advantage = advantage + own * one.advantage
    if other is not None:
        advantage = advantage + (1 - share) * other.advantage
    target = Blended(
        advantage=advantage,
        old_logprobs=policy_of(whole.target).old_logprobs,
        reference_logprobs=None if one is None else one.reference_logprobs,
        sparse=own,
    )
    return ScoredRollout(rollout=whole.rollout, target=target, weight=whole.weight)
