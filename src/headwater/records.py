"""The plain values that travel through headwater: problems, rollouts, groups, verdicts, step records.

None of them holds a tensor or an answer: they can be written as JSON, hashed and sent to another machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from statistics import fmean


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a chat prompt."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question without its answer. The answer is reached through `ledger.AnswerKey` alone."""

    problem_id: str
    prompt: str | tuple[Message, ...]
    source: str = ""
    asked: str | None = None
    """the text that makes the problem, where the prompt holds worked examples before it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn: logits / temperature, then optionally the top-k or top-p tokens (evaluation only)."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_response_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One sampled response. Token ids are the record; `response_text` is for grading and display only.

    `response_ids` include the end token when `finish_reason` is "stop". `logprobs` holds, per response
    token, the logprob under the distribution it was drawn from. `policy_version` counts the learner's
    updates when the rollout was drawn.
    """

    rollout_id: str
    problem_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    response_text: str
    logprobs: tuple[float, ...]
    policy_version: int
    finish_reason: str  # "stop" | "length": the recipe's limit | "horizon": a sampler's own, short of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A problem and the responses sampled for it: the unit over which GRPO centres rewards."""

    problem: Problem
    rollouts: tuple[Rollout, ...]


class Verdict(Enum):
    """What a verifier says. UNGRADED means the grader failed; it is counted and never a silent zero."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNGRADED = "ungraded"

    @property
    def reward(self) -> float | None:
        """1 for correct, 0 for wrong, None when there is no verdict."""
        return {"correct": 1.0, "wrong": 0.0, "ungraded": None}[self.value]

    @property
    def verdict(self) -> Verdict:
        """Itself, so that a verdict can stand where a `Grade` can."""
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """A verdict with a reward of its own, from a grader that gives part marks; no reward exactly when UNGRADED."""

    verdict: Verdict
    reward: float | None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """what each of several graders gave, by name and before weights; None from one that gave no verdict"""

    def __post_init__(self) -> None:
        if (self.reward is None) != (self.verdict is Verdict.UNGRADED):
            raise ValueError(f"grade: verdict {self.verdict.value} with reward {self.reward}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """What one step of the loop measured; `metrics` maps a name such as "loss" or "reward" to a number."""

    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)


ENDS = 10
"""Steps that are looked at when a beginning is compared with an end."""


def measured(records: Sequence[StepRecord], name: str) -> list[float]:
    """What was measured of it, as far as it is finite; JSON's null is not."""
    found = (record.metrics.get(name) for record in records)
    return [value for value in found if value is not None and isfinite(value)]


def ends(records: Sequence[StepRecord], name: str) -> tuple[float, float]:
    """Means of a metric over the first and over the last steps; zeros where it was not measured."""
    values = measured(records, name)
    part = max(1, min(ENDS, len(values) // 2))
    return (fmean(values[:part]), fmean(values[-part:])) if values else (0.0, 0.0)


def rollouts_of(groups: Sequence[Group]) -> list[Rollout]:
    """All rollouts of the groups, in order."""
    return [rollout for group in groups for rollout in group.rollouts]
