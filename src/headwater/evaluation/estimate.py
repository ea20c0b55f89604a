"""How well a model does on a benchmark: a mean, its error over problems, and an interval that holds at low scores too.

The unit is the problem, never the answer: k answers to one problem are first averaged, so
`SE = sd(problem means) / sqrt(problems)` whatever k is. Shares are fractions of 1 in every value, percent in texts.

pass@k is after Chen et al. 2021 (arXiv 2107.03374, equation 1); clusters after Miller 2024 (arXiv 2411.00640);
the interval after Korn and Graubard 1998 (Survey Methodology 24, section 2).

Left out: bootstrap intervals (8 % false alarms at 30 problems) and models with a link function.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.special import betaincinv, ndtri, stdtrit

from headwater.errors import InputError

Array = np.ndarray

TAIL = 0.025  # beyond each end of a 95 % interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A share, how far other problems would move it, and its 95 % interval `low` to `high`.

    `k` is samples a problem, or the k of pass@k.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    problems: int
    k: int

    def __str__(self) -> str:
        return f"{percent(self.mean)} ± {percent(self.standard_error)}"


def average_at_k(
    correct: Real[Array, " problem"], k: int, clusters: Shaped[Array, " problem"] | None = None
) -> Estimate:
    """Mean share of right answers among k samples a problem, with its error over problems.

    `correct` [problem] counts right samples, 0 to k. `clusters` [problem] names what problems share (a
    source, a template); the error is then over clusters, and too small below about 20 of them.
    Raises InputError for counts that cannot be, fewer than 2 problems or fewer than 2 clusters.
    """
    shares = counts(correct, k, "k") / k
    if clusters is None:
        return _estimate(shares, mean_variance(shares), len(shares), k)
    variance, independent = _clustered_variance(shares, clusters)
    return _estimate(shares, variance, independent, k)


def pass_at_k(correct: Real[Array, " problem"], samples: int, k: int) -> Estimate:
    """Chance that k of a problem's samples hold a right one, unbiased: 1 - C(n - c, k) / C(n, k).

    `correct` [problem] counts the right ones among `samples`; k is at most `samples`, else InputError.
    """
    found = counts(correct, samples, "samples")
    _within("k", k, samples)
    shares = np.array([1 - comb(samples - c, k) / comb(samples, k) for c in found.tolist()])
    return _estimate(shares, mean_variance(shares), len(shares), k)


def mixed_share(correct: Real[Array, " problem"], samples: int, group: int = 8) -> float:
    """Expected share of groups with both right and wrong answers: those from which GRPO can learn.

    A group is `group` of a problem's `samples`, drawn without replacement (hypergeometric), so `group` is
    at most `samples`, else InputError. `correct` [problem] counts right samples.
    """
    found = counts(correct, samples, "samples")
    _within("group", group, samples)
    ways = comb(samples, group)
    uniform = [(comb(samples - c, group) + comb(c, group)) / ways for c in found.tolist()]
    return 1.0 - float(np.mean(uniform))


def share_interval(mean: float, variance: float, independent: int) -> tuple[float, float]:
    """95 % interval of a mean of shares whose variance over `independent` problems (or clusters) is known.

    The exact binomial interval of so many answers as would have this variance, n = m (1 - m) / variance, less what
    Student's t costs: n (z / t)^2. Never outside 0 to 1. Shares that are all 0 or all 1 count as one answer a problem.
    Source: Korn and Graubard 1998. Coverage by simulation is in docs/statistics.md.
    """
    answers = mean * (1.0 - mean) / variance if variance > 0.0 else float(independent)
    answers = max(answers * (ndtri(TAIL) / stdtrit(independent - 1, TAIL)) ** 2, 1.0)
    right = mean * answers
    low = float(betaincinv(right, answers - right + 1.0, TAIL)) if mean > 0.0 else 0.0
    high = float(betaincinv(right + 1.0, answers - right, 1.0 - TAIL)) if mean < 1.0 else 1.0
    return low, high


def percent(share: float) -> str:
    """A fraction in percent with one decimal, never "-0.0"."""
    return f"{round(100.0 * share, 1) + 0.0:.1f}"


def mean_variance(values: Float[Array, " value"]) -> float:
    """The variance of the mean of independent values."""
    return float(values.var(ddof=1)) / len(values)


def _estimate(shares: Float[Array, " problem"], variance: float, independent: int, k: int) -> Estimate:
    mean = float(shares.mean())
    low, high = share_interval(mean, variance, independent)
    return Estimate(mean=mean, standard_error=sqrt(variance), low=low, high=high, problems=len(shares), k=k)


def _clustered_variance(shares: Float[Array, " problem"], clusters: Shaped[Array, " problem"]) -> tuple[float, int]:
    """Variance of the mean when only clusters are independent, G / (G - 1) * sum(cluster sums^2) / n^2; and G."""
    ids = np.asarray(clusters)
    if ids.shape != shares.shape:
        raise InputError(f"clusters: shape {ids.shape}, allowed one id for each of {len(shares)} problems")
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        raise InputError("clusters: found NaN or infinity, allowed an id for every problem")
    names, members = np.unique(ids, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"clusters: found {len(names)}, a standard error over clusters needs 2 or more")
    sums = np.bincount(members, weights=shares - shares.mean())
    return float(len(names) / (len(names) - 1) * (sums**2).sum() / len(shares) ** 2), len(names)


def counts(correct: Real[Array, " problem"], samples: int, name: str) -> Real[Array, " problem"]:
    """Whole counts of right samples, checked."""
    if samples <= 0:
        raise InputError(f"{name}: found {samples}, allowed 1 or more")
    found = finite("correct", correct)
    if (found < 0).any() or (found > samples).any() or (found != np.floor(found)).any():
        low, high = float(found.min()), float(found.max())
        raise InputError(f"correct: found {low:g} to {high:g}, allowed whole counts from 0 to {name} {samples}")
    return found.astype(np.int64)


def finite(name: str, values: Real[Array, " problem"]) -> Float[Array, " problem"]:
    """The values as floats of one axis, checked."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < 2:
        raise InputError(f"{name}: shape {array.shape}, allowed one axis with 2 problems or more")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{name}: {count} of {len(array)} values are NaN or infinite, allowed finite numbers")
    return array


def _within(name: str, value: int, samples: int) -> None:
    if not 0 < value <= samples:
        raise InputError(f"{name}: found {value}, allowed 1 to the {samples} samples there are")
