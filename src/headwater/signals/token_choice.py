"""A share of the tokens teach, the others weigh nothing (TIP).

    keep  entropy       tokens at which the student is least sure, H(S_t)
          kl            tokens at which it is furthest from the teacher, KL(S to T)
          both          half of them by entropy, and of the others those with the largest KL: the sure mistakes
          random        the control

arXiv 2604.14084: half of the tokens lose little. The choice is made before the update, so the present weights are
asked for their distributions: one forward pass more, and no time is saved, since the head skips nothing. The
denominator is declared: over the kept tokens each weighs more, over all of them the loss shrinks with the share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from headwater.batch import Scored
from headwater.interfaces import At, Workers
from headwater.late import Tensor, torch
from headwater.records import Group, Rollout
from headwater.signals.divergence import Divergence, exact, reverse_kl
from headwater.signals.inner import Inner, Wrapper, weighted
from headwater.signals.responses import entropy
from headwater.signals.tokens import chances, largest


class TokenChoice(Wrapper):
    """A wrapped divergence on a share of the tokens."""

    reads_teachers: ClassVar[bool] = True

    of: Inner = Field(default=Divergence(direction="reverse"), description="the signal whose tokens are chosen")
    share: float = Field(default=0.5, gt=0, le=1, description="of the step's tokens, that are kept")
    by: Literal["entropy", "kl", "both", "random"] = Field(default="both", description="which are kept")
    denominator: Literal["kept", "all"] = Field(default="kept", description="weights sum to 1 over these tokens")

    @property
    def looks(self) -> float:
        """At every step, unless tokens are chosen by lot."""
        return 0.0 if self.by == "random" else 1.0

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Score with the wrapped signal, and give the tokens that are left out weight 0."""
        scored = self.of.score(groups, workers, at)
        lengths = [len(member.rollout.response_ids) for member in scored.rollouts]
        count = max(round(self.share * sum(lengths)), 1)
        masks = self._chosen(scored, workers, count)
        scale = sum(lengths) / count if self.denominator == "kept" else 1.0
        return weighted(scored, [scale * mask for mask in masks], kept_tokens=count / max(sum(lengths), 1))

    def _chosen(self, scored: Scored, workers: Workers, count: int) -> list[Tensor]:
        rollouts = [member.rollout for member in scored.rollouts]
        if self.by == "random" or not rollouts:
            return largest(chances(rollouts, "token-choice"), count)
        unsure, apart = zip(*self._measured(scored, rollouts, workers), strict=True)
        if self.by != "both":
            return largest(unsure if self.by == "entropy" else apart, count)
        first = largest(unsure, count // 2)
        others = [values.masked_fill(mask > 0, -torch.inf) for values, mask in zip(apart, first, strict=True)]
        second = largest(others, count - count // 2)
        return [one + other for one, other in zip(first, second, strict=True)]

    def _measured(self, scored: Scored, rollouts: Sequence[Rollout], workers: Workers) -> list[tuple[Tensor, Tensor]]:
        """For each rollout the student's entropy and its KL to the teacher, at each token, in nats."""
        present = workers.learner.present().distributions(rollouts, workers.temperature)
        found = []
        for member, mine in zip(scored.rollouts, present, strict=True):
            student, teacher = exact(mine, "token-choice").logprobs(), exact(member.target, "token-choice").logprobs()
            found.append((entropy(student).cpu(), reverse_kl(student, teacher).cpu()))
        return found
