"""Stops a stage that is collapsing, by its own diagnostics and thresholds that can be set.

A guard changes no result: it only ends, with its reason, a run that nobody would want to finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from pydantic import Field

from headwater.errors import NumericError
from headwater.records import ENDS, StepRecord, measured
from headwater.value import Value


class Guard(Value):
    """Limits on what a step measures; a limit that is broken for `patience` steps in a row stops the stage.

    KL, truncation and repetition are signs of a collapse, and no sign is believed against the reward itself: a stage
    that is far from its reference, or whose responses are cut, goes on while its reward holds. A sampler that is not
    the learner's policy is no collapse but a fault, and stops it at once.
    """

    reference_kl: float | None = Field(10.0, gt=0, description="most KL to the reference, nats a token; null is off")
    entropy: float | None = Field(None, ge=0, description="least entropy of the learner, nats a token; null is off")
    truncated: float | None = Field(0.95, ge=0, le=1, description="most responses cut at the length limit; null is off")
    repetition: float | None = Field(0.9, ge=0, le=1, description="most 4-grams said before in a response; null is off")
    mixed_groups: float | None = Field(
        None, ge=0, le=1, description="least share of groups that reward can learn from; null is off"
    )
    sampler_gap: float | None = Field(
        0.05, gt=0, description="most mean gap of sampled and trained logprobs, nats, at any one step; null is off"
    )
    patience: int = Field(20, ge=1, description="steps in a row")

    def check(self, stage: str, records: Sequence[StepRecord]) -> None:
        """Raises NumericError with the reason when the last `patience` steps all break one limit."""
        self._same_policy(stage, records[-1:])
        last = records[-self.patience :]
        if len(last) < self.patience:
            return
        if not _holds(measured(records, "reward")):
            self._above(stage, last, "reference_kl", self.reference_kl)
            self._above(stage, last, "truncated", self.truncated)
            self._above(stage, last, "repetition", self.repetition)
        self._below(stage, last, "entropy", self.entropy)
        self._below(stage, last, "mixed_groups", self.mixed_groups)

    def _same_policy(self, stage: str, last: Sequence[StepRecord]) -> None:
        gap = last[0].metrics.get("sampler_gap", 0.0) if last else 0.0
        if self.sampler_gap is not None and not gap <= self.sampler_gap:
            raise NumericError(
                f"{stage}, step {last[0].step}: sampled logprobs are {gap:.4g} nats from the learner's own, allowed "
                f"{self.sampler_gap:g}: the sampler is another policy. With engine.precision bfloat16 try float32, or "
                "set guard.sampler_gap (null turns it off); the last commit is kept."
            )

    def _above(self, stage: str, last: Sequence[StepRecord], name: str, limit: float | None) -> None:
        self._stop(stage, last, name, limit, lambda value, bound: value > bound)

    def _below(self, stage: str, last: Sequence[StepRecord], name: str, limit: float | None) -> None:
        self._stop(stage, last, name, limit, lambda value, bound: value < bound)

    def _stop(
        self,
        stage: str,
        last: Sequence[StepRecord],
        name: str,
        limit: float | None,
        beyond: Callable[[float, float], bool],
    ) -> None:
        if limit is None or not all(name in r.metrics and beyond(r.metrics[name], limit) for r in last):
            return
        raise NumericError(
            f"{stage}, step {last[-1].step}: {name} is {last[-1].metrics[name]:.4g} and has been beyond its limit "
            f"{limit:g} for {self.patience} steps: the run is collapsing. Lower the learning rate, or set "
            f"guard.{name} (null turns it off); the last commit is kept."
        )


def _holds(rewards: Sequence[float]) -> bool:
    """Whether the last steps' reward is more than half of the best that as many steps in a row had."""
    runs = [fmean(rewards[end - ENDS : end]) for end in range(ENDS, len(rewards) + 1)]
    return bool(runs) and runs[-1] > max(runs) / 2
