"""On policy: the learner's own states. Fresh responses from the current weights at every step."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from headwater.interfaces import Sampler, Seeds, Workers
from headwater.records import Group, Problem, Sampling


class OnPolicy(Sampler):
    """Samples whole: top-p 1 and no top-k, because truncated sampling biases importance ratios."""

    samples: int = Field(8, ge=1, description="responses to each problem of a step")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it, in sampling and in scoring alike")
    max_response_tokens: int = Field(16384, ge=1, description="a response is cut there and marked as truncated")

    @property
    def reads_labels(self) -> bool:
        """Sampling needs no answer."""
        return False

    def sample(self, problems: Sequence[Problem], workers: Workers, seeds: Seeds) -> list[Group]:
        """`samples` fresh responses to each problem."""
        sampling = Sampling(temperature=self.temperature, max_response_tokens=self.max_response_tokens)
        return workers.generator.generate(problems, self.samples, sampling, seeds)
