"""Levels that models would reach, from short pieces of training: numbers with errors. Shares are fractions of 1.

A pass rate moves along a logistic scale, so that a level near its ceiling has little left to gain. On that scale GRPO
gains fast and then slowly, as a power of its updates (and labels) n; and what a bridged student is ahead of one that
learned by GRPO shrinks, as direct GRPO catches up. With m those of the pilot:

    logit p(n) = logit p(0) + (logit p(m) - logit p(0)) (n / m)^GROWTH
    logit u(n) - logit s(n) = (logit u(m) - logit s(m)) (n / m)^-CATCHING_UP

Both exponents, and what one training run differs from the next, are as measured on the lab's recipes (docs/advice.md).
The second law needs no teacher's level and no loss: both students are one network, and what that cannot learn is in
both of their levels.
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


GROWTH = {"student": Measured(0.06, 0.05), "teacher": Measured(0.12, 0.05)}
CATCHING_UP = Measured(0.22, 0.07)
RUN, RACE = 0.25, 0.15
"""Standard deviations, on the logistic scale: of the level that one training run reaches against another's, and of a
lead that was extrapolated."""


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


def extrapolated(before: Measured, after: Measured, times: float, growth: Measured, answers: int) -> Measured:
    """The level after `times` as much training as lay between `before` and `after`, each of so many answers."""
    (start, start_error), (end, end_error) = (_logit(p, answers) for p in (before, after))
    grown = times**growth.value
    level = _share(start + (end - start) * grown)
    parts = (
        (grown - 1) * start_error,
        grown * end_error,
        (end - start) * grown * log(times) * growth.error,
        RUN,
    )
    return Measured(level, level * (1 - level) * sqrt(sum(part**2 for part in parts)))


def lead(ahead: Measured, behind: Measured, level: Measured, times: float, answers: int) -> Measured:
    """By how much a student that was `ahead` after the pilot ends above `level`, where the one `behind` it ends.

    Its error is that of the logistic scale by the slope between the two ends, so that it is as sure here as there.
    """
    (first, first_error), (second, second_error) = (_logit(p, answers) for p in (ahead, behind))
    kept = times**-CATCHING_UP.value
    left = (first - second) * kept
    parts = (kept * first_error, kept * second_error, left * log(times) * CATCHING_UP.error, RACE)
    base = _logit(level, answers)[0]
    reached, middle = _share(base + left), _share(base + left / 2)
    return Measured(reached - level.value, middle * (1 - middle) * sqrt(sum(part**2 for part in parts)))


def _share(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def _logit(p: Measured, answers: int) -> tuple[float, float]:
    inside = _inside(p.value, answers)
    return log(inside / (1 - inside)), p.error / (inside * (1 - inside))


def _inside(share: float, answers: int) -> float:
    """Half an answer away from 0 and 1, at least."""
    return min(max(share, 0.5 / answers), 1 - 0.5 / answers)
