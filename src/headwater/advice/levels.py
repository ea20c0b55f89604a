"""Levels that models would reach, from short pieces of training: numbers with errors. Shares are fractions of 1.

A pass rate moves along a logistic scale, so that a level near its ceiling has little left to gain. On that scale GRPO
gains fast and then slowly, as a power of its updates (and labels) n:

    logit p(n) = logit p(0) + (logit p(m) - logit p(0)) (n / m)^GROWTH        m: of the pilot

GROWTH and what one training run differs from the next are as measured on the lab's recipes (docs/advice.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from headwater.evaluation.estimate import average_at_k, mean_variance, mixed_share


@dataclass(frozen=True, slots=True)
class Measured:
    """A number and its standard error."""

    value: float
    error: float

    def minus(self, other: Measured) -> Measured:
        """The difference of two independent numbers."""
        return Measured(self.value - other.value, sqrt(self.error**2 + other.error**2))

    def beyond(self, bound: float = 0.0) -> int:
        """1 above the bound by two errors, -1 below it by two, 0 between."""
        return (self.value - bound > 2 * self.error) - (bound - self.value > 2 * self.error)


GROWTH = Measured(0.12, 0.04)
RUN = 0.25
"""Standard deviation, on the logistic scale, of the level that one training run reaches against another's."""


def pass_rate(correct: Sequence[int], samples: int) -> Measured:
    """Share of right responses, with its error over problems; where all are alike, that of one response more."""
    found, answers = average_at_k(np.array(correct), samples), len(correct) * samples
    inside = _inside(found.mean, answers)
    return Measured(found.mean, max(found.standard_error, sqrt(inside * (1 - inside) / answers)))


def mixed_groups(correct: Sequence[int], samples: int, group: int) -> Measured:
    """Share of groups with both right and wrong responses, unbiased (see `mixed_share`); its error is over problems."""
    counted = np.array(correct)
    each = np.array([mixed_share(np.array([count, count]), samples, group) for count in counted])
    return Measured(float(each.mean()), max(sqrt(mean_variance(each)), 1 / len(each)))


def extrapolated(before: Measured, after: Measured, times: float, answers: int) -> Measured:
    """The level after `times` as much training as lay between `before` and `after`, each of so many answers."""
    (start, start_error), (end, end_error) = (_logit(p, answers) for p in (before, after))
    growth = times**GROWTH.value
    level = 1 / (1 + exp(-(start + (end - start) * growth)))
    parts = (
        (growth - 1) * start_error,
        growth * end_error,
        (end - start) * growth * log(times) * GROWTH.error,
        RUN,
    )
    return Measured(level, level * (1 - level) * sqrt(sum(part**2 for part in parts)))


def pooled(some: Measured, more: Measured) -> Measured:
    """Two measurements of one number as one, each weighted by its precision."""
    weights = (some.error**-2, more.error**-2)
    value = (weights[0] * some.value + weights[1] * more.value) / sum(weights)
    return Measured(value, sum(weights) ** -0.5)


def _logit(p: Measured, answers: int) -> tuple[float, float]:
    inside = _inside(p.value, answers)
    return log(inside / (1 - inside)), p.error / (inside * (1 - inside))


def _inside(share: float, answers: int) -> float:
    """Half an answer away from 0 and 1, at least."""
    return min(max(share, 0.5 / answers), 1 - 0.5 / answers)
