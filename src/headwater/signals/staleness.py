"""How old recorded states are: a wrapped signal that also says how much the student would still write them.

    fresh_overlap   mean over the responses of min(1, S_now(y) / S_then(y)): the mass that the two share, 0 to 1
    drift           mean per token of log S_then - log S_now, an estimate of KL(then to now), nats

For distillation on the student's own states, recorded once before the stage (Semi-OPD, arXiv 2610.11291):

    sampler: {kind: recorded, of: student}
    signal: {kind: staleness, of: {kind: divergence, direction: reverse}}

The recording holds the teacher's distributions, so no teacher is asked while the student learns. Where the overlap
stays high, fresh states would have been as cheap and are better; where it falls, the states are another student's. It
asks the present weights for their logprobs, one forward pass more at every `every`th step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from headwater.batch import Scored
from headwater.errors import ObjectiveError
from headwater.interfaces import At, Watch, Workers
from headwater.records import Group, rollouts_of
from headwater.signals.divergence import Divergence
from headwater.signals.inner import Inner, Wrapper


class Staleness(Wrapper):
    """A wrapped signal, unchanged, with the overlap of its states with fresh ones."""

    of: Inner = Field(default=Divergence(direction="reverse"), description="the signal on the recorded states")
    every: int = Field(default=16, ge=1, description="steps from one look to the next")

    @property
    def looks(self) -> float:
        """At every `every`th step."""
        return 1 / self.every

    @property
    def watch(self) -> tuple[Watch, ...]:
        """What the wrapped one shows, and the overlap."""
        return (*self.of.watch, Watch("fresh_overlap", "overlap with fresh states"))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """As the wrapped signal; with the two metrics where they are due. Raises ObjectiveError without logprobs."""
        scored, rollouts = self.of.score(groups, workers, at), rollouts_of(groups)
        if at.step % self.every or not rollouts:
            return scored
        if not all(rollout.logprobs for rollout in rollouts):
            raise ObjectiveError("staleness: these states carry no logprobs of a policy that drew them")
        now = workers.learner.present().logprobs(rollouts, workers.temperature)
        moved = [float(said.sum()) - sum(rollout.logprobs) for said, rollout in zip(now, rollouts, strict=True)]
        tokens = sum(len(rollout.response_ids) for rollout in rollouts)
        found = {
            "fresh_overlap": sum(math.exp(min(change, 0.0)) for change in moved) / len(moved),
            "drift": -sum(moved) / tokens,
        }
        return Scored(rollouts=scored.rollouts, metrics={**scored.metrics, **found})
