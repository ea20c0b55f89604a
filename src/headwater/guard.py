"""Stops a stage that is collapsing, by its own diagnostics and thresholds that can be set.

A guard changes no result: it only ends, with its reason, a run that nobody would want to finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import Field

from headwater.errors import NumericError
from headwater.interfaces import Value
from headwater.records import StepRecord


class Guard(Value):
    """Limits on what a step measures; a limit that is broken for `patience` steps in a row stops the stage."""

    reference_kl: float | None = Field(10.0, gt=0, description="most KL to the reference, nats a token; null is off")
    entropy: float | None = Field(None, ge=0, description="least entropy of the learner, nats a token; null is off")
    truncated: float | None = Field(0.95, ge=0, le=1, description="most responses cut at the length limit; null is off")
    repetition: float | None = Field(0.9, ge=0, le=1, description="most 4-grams said before in a response; null is off")
    mixed_groups: float | None = Field(
        None, ge=0, le=1, description="least share of groups that reward can learn from; null is off"
    )
    patience: int = Field(20, ge=1, description="steps in a row")

    def check(self, stage: str, records: Sequence[StepRecord]) -> None:
        """Raises NumericError with the reason when the last `patience` steps all break one limit."""
        last = records[-self.patience :]
        if len(last) < self.patience:
            return
        self._above(stage, last, "reference_kl", self.reference_kl)
        self._above(stage, last, "truncated", self.truncated)
        self._above(stage, last, "repetition", self.repetition)
        self._below(stage, last, "entropy", self.entropy)
        self._below(stage, last, "mixed_groups", self.mixed_groups)

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
