"""On policy: the learner's own states. Fresh responses from the current weights at every step."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from headwater.interfaces import At, Need, Sampler, Seeds, Workers
from headwater.records import Group, Problem, Sampling


class OnPolicy(Sampler):
    """Samples whole: top-p 1 and no top-k, because truncated sampling biases importance ratios."""

    max_response_tokens: int = Field(16384, ge=1, description="a response is cut there and marked as truncated")

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing but the learner's own generator."""
        return frozenset()

    @property
    def longest(self) -> int:
        """Its own limit."""
        return self.max_response_tokens

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds, at: At) -> list[Group]:
        """`samples` fresh responses to each problem."""
        sampling = Sampling(temperature=self.temperature, max_response_tokens=self.max_response_tokens)
        return workers.generator.generate(problems, self.samples, sampling, seeds)
