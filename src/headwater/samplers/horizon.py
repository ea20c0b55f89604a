"""On policy with a response limit of the stage's own, which may grow over it.

Short prefixes first: what a student says early is nearer to its teacher's ground, and cheaper (arXiv 2605.31490,
2605.27028). Below the recipe's limit an answer may never be reached, so a signal that grades is refused beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from headwater.interfaces import At, Seeds, Workers
from headwater.records import Group, Problem
from headwater.samplers.on_policy import OnPolicy


class Horizon(OnPolicy):
    """Fresh responses of at most so many tokens, from `first` at the first step to `last` at the last."""

    first: int = Field(4, ge=1, description="tokens, at the first step")
    last: int | None = Field(None, ge=1, description="tokens, at the last step; null: the recipe's limit")

    @property
    def whole(self) -> bool:
        """Whether no step cuts a response short of the recipe's limit."""
        return min(self.first, self.last or self.first) >= self.max_response_tokens

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        """`samples` fresh responses to each problem, of at most this step's length."""
        last = self.max_response_tokens if self.last is None else self.last
        limit = min(round(self.first + (last - self.first) * at.share), self.max_response_tokens)
        shorter = OnPolicy(samples=self.samples, temperature=self.temperature, max_response_tokens=limit)
        groups = shorter.sample(problems, workers, seeds, at)
        return groups if limit == self.max_response_tokens else [_cut(group) for group in groups]


def _cut(group: Group) -> Group:
    """A response that this step's limit ended was meant to end there: no sign of a policy that finds no end."""
    rollouts = (
        replace(rollout, finish_reason="horizon") if rollout.finish_reason == "length" else rollout
        for rollout in group.rollouts
    )
    return replace(group, rollouts=tuple(rollouts))
