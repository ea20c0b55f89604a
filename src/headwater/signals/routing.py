"""Routed by the outcome: right responses are reinforced, wrong ones are taught (SRPO).

    loss = GRPO on the tokens of right responses + dense on those of wrong ones, each with its own denominator

arXiv 2604.02288. The advantages are of the whole group, so a right response counts only where another is wrong. A
response without a verdict goes nowhere. It is `mixture` with a share of 1 or 0 by response. Control: `inverse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from headwater.batch import Scored
from headwater.interfaces import At, Need, Signal, Watch, Workers
from headwater.records import Group
from headwater.signals.divergence import Divergence
from headwater.signals.grades import right
from headwater.signals.inner import READ, WRITTEN, Inner, weighted
from headwater.signals.reward import Reward
from headwater.signals.summed import Summed, summed


class Routing(Summed):
    """A reward signal for right responses, a dense one for wrong ones."""

    sparse: Annotated[Reward, READ, WRITTEN] = Field(default=Reward(), description="what right responses get")
    dense: Inner = Field(default=Divergence(direction="reverse"), description="what wrong responses get")
    inverse: bool = Field(default=False, description="the control: wrong ones are reinforced, right ones taught")

    @property
    def parts(self) -> tuple[Signal, Signal]:
        """Sparse, dense."""
        return self.sparse, self.dense

    @property
    def needs(self) -> frozenset[Need]:
        """What both need, and verdicts."""
        return super().needs | {Need.ANSWERS, Need.VERIFIER}

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The reward, and what the dense one shows."""
        return tuple(dict.fromkeys((*self.sparse.watch, *self.dense.watch)))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Score with both, and let each response weigh in one of them alone."""
        verdicts = right(groups, workers, self.sparse.ungraded_limit, "routing")
        sparse = self.sparse.score_all(groups, workers, at)
        dense = self.dense.score(groups, workers, at)
        ids = [member.rollout.rollout_id for member in sparse.rollouts]
        reinforced = [float(verdicts.get(name) is (not self.inverse)) for name in ids]
        taught = [float(verdicts.get(name) is self.inverse) for name in ids]
        share = sum(reinforced) / max(len(reinforced), 1)
        both = summed(weighted(sparse, reinforced, empty=False), weighted(dense, taught, empty=False))
        return Scored(rollouts=both.rollouts, metrics={**both.metrics, "reinforced": share})
