"""How well a model does, by how much two arms differ, and which words those numbers allow.

The unit is the problem, never the answer: k answers to one problem are first averaged, so
`SE = sd(problem means) / sqrt(problems)` whatever k is. Two arms are compared problem by problem, and a
recipe is compared over training seeds that all meet the same problems.

pass@k is after Chen et al. 2021 (arXiv 2107.03374, equation 1); clusters after Miller 2024 (arXiv
2411.00640); Holm 1979. Shares are fractions of 1 in every value and percent or points in every text.

Left out: bootstrap intervals (8 % false alarms at 30 problems), models with a link function, and tests of
equivalence: "not resolved" never means "equal".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, exp, log, sqrt

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.optimize import brentq
from scipy.special import stdtrit

from headwater.errors import InputError
from headwater.fingerprint import derive_seed

Array = np.ndarray

TAIL = 0.025  # beyond each end of a 95 % interval
MISSED = 0.2  # 1 - power, for what a design can detect
DRAWS = 20_000
ENUMERATED = 15  # up to so many nonzero differences all 2^n sign flips are tried
CHUNK = 2_000_000  # signs held in memory at a time
SMALLEST_P = 1e-9  # far below what sign flips can show; where the root search stops

THESE_CHECKPOINTS = "these checkpoints"
THIS_RECIPE = "this recipe over seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A share and how far other problems would move it; `k` is samples a problem, or the k of pass@k."""

    mean: float
    standard_error: float
    problems: int
    k: int

    def __str__(self) -> str:
        return f"{percent(self.mean)} ± {percent(self.standard_error)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Treatment minus control, as a fraction, with its 95 % interval `low` to `high`.

    `detectable` is the true difference that this design finds at p < 0.05, before Holm, four times in five
    (a little less often with 2 or 3 seeds, down to 73 % and 77 %): (t_.975 + t_.8) standard errors.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p_value: float
    problems: int
    detectable: float

    def __str__(self) -> str:
        return f"{percent(self.mean)} ± {percent(self.standard_error)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededDifference:
    """A difference over training seeds, with every seed's own difference kept.

    `scope` says what `overall` speaks of: "these checkpoints" for one seed, whose error knows nothing of
    training noise, else "this recipe over seeds". `between_seed_sd` is the standard deviation of the seed
    means, sampling noise included, and None for one seed.
    """

    overall: Difference
    per_seed: tuple[Difference, ...]
    between_seed_sd: float | None
    scope: str


def average_at_k(
    correct: Real[Array, " problem"], k: int, clusters: Shaped[Array, " problem"] | None = None
) -> Estimate:
    """Mean share of right answers among k samples a problem, with its error over problems.

    `correct` [problem] counts right samples, 0 to k. `clusters` [problem] names what problems share (a
    source, a template); the error is then over clusters, and too small below about 20 of them.
    Raises InputError for counts that cannot be, fewer than 2 problems or fewer than 2 clusters.
    """
    shares = _counts(correct, k, "k") / k
    variance = _mean_variance(shares) if clusters is None else _clustered_variance(shares, clusters)
    return Estimate(mean=float(shares.mean()), standard_error=sqrt(variance), problems=len(shares), k=k)


def pass_at_k(correct: Real[Array, " problem"], samples: int, k: int) -> Estimate:
    """Chance that k of a problem's samples hold a right one, unbiased: 1 - C(n - c, k) / C(n, k).

    `correct` [problem] counts the right ones among `samples`; k is at most `samples`, else InputError.
    """
    counts = _counts(correct, samples, "samples")
    _within("k", k, samples)
    shares = np.array([1 - comb(samples - c, k) / comb(samples, k) for c in counts.tolist()])
    error = sqrt(_mean_variance(shares))
    return Estimate(mean=float(shares.mean()), standard_error=error, problems=len(shares), k=k)


def mixed_share(correct: Real[Array, " problem"], samples: int, group: int = 8) -> float:
    """Expected share of groups with both right and wrong answers: those from which GRPO can learn.

    A group is `group` of a problem's `samples`, drawn without replacement (hypergeometric), so `group` is
    at most `samples`, else InputError. `correct` [problem] counts right samples.
    """
    counts = _counts(correct, samples, "samples")
    _within("group", group, samples)
    ways = comb(samples, group)
    uniform = [(comb(samples - c, group) + comb(c, group)) / ways for c in counts.tolist()]
    return 1.0 - float(np.mean(uniform))


def paired_difference(
    treatment: Real[Array, " problem"], control: Real[Array, " problem"], draws: int = DRAWS
) -> Difference:
    """Treatment minus control, problem by problem: paired-t interval and sign-flip p value.

    Both are [problem], shares within 0 to 1 of the same problems in the same order. Raises InputError for
    different lengths, NaN, shares outside 0 to 1 or fewer than 2 problems.
    """
    left, right = _vector("treatment", treatment, 0.0), _vector("control", control, 0.0)
    if len(left) != len(right):
        raise InputError(f"paired_difference: {len(left)} and {len(right)} problems; both need the same ones")
    return _over_problems(left - right, draws)


def seeded_difference(differences: Sequence[Real[Array, " problem"]], draws: int = DRAWS) -> SeededDifference:
    """Differences [seed, problem] of an experiment repeated over training seeds, and what they say together.

    Seeds share their problems: d[s, p] = effect + A_s + B_p + C_sp, with C holding the sampling noise, so
    Var(mean) = (A + C / problems) / seeds + B / problems. The first part is the spread of the seed means
    over S, the second the spread of the problem means over P less the interaction mean square over SP:

        SE^2 = V_seed + max(V_problem - V_interaction, 0), at least V_problem.

    The interval has half-width sqrt(t_{S-1}^2 V_seed + t_{P-1}^2 max(V_problem - V_interaction, 0)), at
    least t_{P-1} sqrt(V_problem): each variance with the t of its own degrees of freedom, which for
    independent variances covers at least 95 % (Banerjee 1960, Sankhya 22). In simulation the worst coverage
    at 2 and 3 seeds was 95 %; taking the larger of the two variances covered 87 % and 92 %, a Satterthwaite
    t 89 % and 92 %. The price is power: with 2 or 3 seeds t_{S-1} is 12.7 or 4.3.

    The p value is the level at which that interval touches 0, or the sign-flip p value of the seed-averaged
    differences if larger, as few problems say little whatever t says. With one seed it is the paired
    difference. Raises InputError for no seeds, unequal problem counts, NaN or values outside -1 to 1.
    """
    rows = [_vector(f"differences of seed {s}", row, -1.0) for s, row in enumerate(differences)]
    if len({len(row) for row in rows}) != 1:
        found = [len(row) for row in rows]
        raise InputError(f"seeded_difference: problems by seed {found}; every seed needs the same problems")
    per_seed = tuple(_over_problems(row, draws) for row in rows)
    if len(rows) == 1:
        return SeededDifference(overall=per_seed[0], per_seed=per_seed, between_seed_sd=None, scope=THESE_CHECKPOINTS)
    table = np.stack(rows)
    return SeededDifference(
        overall=_over_seeds(table, draws),
        per_seed=per_seed,
        between_seed_sd=float(table.mean(axis=1).std(ddof=1)),
        scope=THIS_RECIPE,
    )


def sign_flip_p(differences: Real[Array, " problem"], draws: int = DRAWS) -> float:
    """Share of sign flips of the differences whose mean is at least as far from 0: a two-sided p value.

    Exact for at most 15 nonzero differences, else (1 + hits) / (1 + draws) with a seed that follows from
    the differences' sizes, so that it depends on neither the order of problems nor of arms.
    """
    checked = _vector("differences", differences, -1.0)
    if draws <= 0:
        raise InputError(f"draws: found {draws}, allowed 1 or more")
    sizes = np.sort(np.abs(checked[checked != 0.0]))
    # The tolerance keeps flips that tie with what was observed: thirds do not add up exactly.
    observed = abs(float(checked.sum())) - 1e-9 * float(sizes.sum())
    if len(sizes) <= ENUMERATED:
        flips = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float(np.mean(_as_far(flips, sizes, observed)))
    source = np.random.default_rng(derive_seed("sign flip", draws, sizes.tobytes().hex()))
    hits, left = 0, draws
    while left:
        taken = min(left, max(1, CHUNK // len(sizes)))
        flips = source.integers(0, 2, size=(taken, len(sizes)), dtype=np.int8)
        hits += int(_as_far(flips, sizes, observed).sum())
        left -= taken
    return (1 + hits) / (1 + draws)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down p values, in the order given: one below alpha holds for the whole family at alpha."""
    for name, p in p_values.items():
        if not 0.0 <= p <= 1.0:
            raise InputError(f"holm: p value of {name!r} is {p}, allowed 0 to 1")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def verdict(difference: Difference, adjusted_p: float, alpha: float = 0.05) -> str:
    """Whether the treatment is "better", "worse" or "not resolved" against the control.

    Resolved only if the adjusted p value is below alpha and the 95 % interval excludes 0.
    """
    if not 0.0 <= adjusted_p <= 1.0:
        raise InputError(f"verdict: adjusted p value is {adjusted_p}, allowed 0 to 1")
    if adjusted_p >= alpha or difference.low <= 0.0 <= difference.high:
        return "not resolved"
    return "better" if difference.mean > 0.0 else "worse"


def sentence(treatment: str, control: str, seeded: SeededDifference, adjusted_p: float) -> str:
    """The comparison in words that its numbers allow, in percentage points; `adjusted_p` is after Holm."""
    overall, seeds = seeded.overall, len(seeded.per_seed)
    if overall.standard_error == 0.0 and overall.mean == 0.0:
        return f"{treatment} and {control} score alike on every problem: not resolved, and nothing says how near."
    word, p = verdict(overall, adjusted_p), _p_text(adjusted_p)
    if word == "not resolved":
        text = (
            f"{treatment} against {control} is not resolved: difference {overall} points ({p} after Holm); "
            f"this design detects {percent(overall.detectable)} or more (80 % power, before Holm)."
        )
    else:
        verb = "beats" if word == "better" else "is worse than"
        size = f"{percent(abs(overall.mean))} ± {percent(overall.standard_error)}"
        agreeing = sum(seed.mean * overall.mean > 0 for seed in seeded.per_seed)
        counted = f"{agreeing} of {seeds} seeds" if seeds > 1 else "1 seed"
        text = f"{treatment} {verb} {control} by {size} points ({counted}, {p} after Holm)."
    if seeds == 1:
        return f"{text} One training seed: this says nothing about other seeds."
    if every_seed_beyond(seeded):
        text += f" Each of the {seeds} seeds alone has this sign, beyond two of its own paired errors."
    return text


def every_seed_beyond(seeded: SeededDifference, errors: float = 2.0) -> bool:
    """Whether every seed's difference has one sign and exceeds `errors` of its own paired standard errors."""
    same_sign = len({seed.mean > 0.0 for seed in seeded.per_seed}) == 1
    return same_sign and all(abs(seed.mean) > errors * seed.standard_error for seed in seeded.per_seed)


def percent(share: float) -> str:
    """A fraction in percent with one decimal, never "-0.0"."""
    return f"{round(100.0 * share, 1) + 0.0:.1f}"


def _p_text(p: float) -> str:
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    # 0.0496 must not read as the level that it is below.
    return f"p = {p:.4f}" if text == "0.050" else f"p = {text}"


def _t(tail: float, freedom: int) -> float:
    """Student's t with probability `tail` above it."""
    return float(-stdtrit(freedom, tail))


def _over_problems(differences: Float[Array, " problem"], draws: int) -> Difference:
    mean, error, freedom = float(differences.mean()), sqrt(_mean_variance(differences)), len(differences) - 1
    width = _t(TAIL, freedom) * error
    return Difference(
        mean=mean,
        standard_error=error,
        low=mean - width,
        high=mean + width,
        p_value=sign_flip_p(differences, draws),
        problems=len(differences),
        detectable=width + _t(MISSED, freedom) * error,
    )


def _over_seeds(table: Float[Array, "seed problem"], draws: int) -> Difference:
    seeds, problems = table.shape
    by_seed, by_problem, mean = table.mean(axis=1), table.mean(axis=0), float(table.mean())
    of_seed, of_problem = _mean_variance(by_seed), _mean_variance(by_problem)
    rest = table - by_seed[:, None] - by_problem[None, :] + mean
    interaction = float((rest**2).sum()) / ((seeds - 1) * (problems - 1) * seeds * problems)
    # V_seed already holds the interaction's share; what is left is due to the choice of problems alone.
    shared = max(of_problem - interaction, 0.0)

    def width(tail: float) -> float:
        over_seeds, over_problems = _t(tail, seeds - 1), _t(tail, problems - 1)
        both = sqrt(over_seeds**2 * of_seed + over_problems**2 * shared)
        # Seed means that happen to lie close together must not hide what the problems alone leave open.
        return max(both, over_problems * sqrt(of_problem))

    def beyond(log_p: float) -> float:
        return width(exp(log_p) / 2) - abs(mean)

    smallest = log(SMALLEST_P)
    touching = SMALLEST_P if beyond(smallest) <= 0 else exp(brentq(beyond, smallest, 0.0))
    return Difference(
        mean=mean,
        standard_error=sqrt(max(of_seed + shared, of_problem)),
        low=mean - width(TAIL),
        high=mean + width(TAIL),
        p_value=max(touching, sign_flip_p(by_problem, draws)),
        problems=problems,
        detectable=width(TAIL) + width(MISSED),
    )


def _as_far(
    flips: Real[Array, "flip problem"], sizes: Float[Array, " problem"], observed: float
) -> Shaped[Array, " flip"]:
    """Whether each flip's sum is as far from 0 as the observed one; a flip of 1 is plus, of 0 minus."""
    return np.abs(2.0 * (flips.astype(float) @ sizes) - sizes.sum()) >= observed


def _mean_variance(values: Float[Array, " problem"]) -> float:
    return float(values.var(ddof=1)) / len(values)


def _clustered_variance(shares: Float[Array, " problem"], clusters: Shaped[Array, " problem"]) -> float:
    """Variance of the mean when only clusters are independent: G / (G - 1) * sum(cluster sums^2) / n^2."""
    ids = np.asarray(clusters)
    if ids.shape != shares.shape:
        raise InputError(f"clusters: shape {ids.shape}, allowed one id for each of {len(shares)} problems")
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        raise InputError("clusters: found NaN or infinity, allowed an id for every problem")
    names, members = np.unique(ids, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"clusters: found {len(names)}, a standard error over clusters needs 2 or more")
    sums = np.bincount(members, weights=shares - shares.mean())
    return float(len(names) / (len(names) - 1) * (sums**2).sum() / len(shares) ** 2)


def _counts(correct: Real[Array, " problem"], samples: int, name: str) -> Real[Array, " problem"]:
    if samples <= 0:
        raise InputError(f"{name}: found {samples}, allowed 1 or more")
    counts = _finite("correct", correct)
    if (counts < 0).any() or (counts > samples).any() or (counts != np.floor(counts)).any():
        low, high = float(counts.min()), float(counts.max())
        raise InputError(f"correct: found {low:g} to {high:g}, allowed whole counts from 0 to {name} {samples}")
    return counts.astype(np.int64)


def _vector(name: str, values: Real[Array, " problem"], lowest: float) -> Float[Array, " problem"]:
    vector = _finite(name, values)
    if vector.min() < lowest or vector.max() > 1.0:
        found = f"{vector.min():g} to {vector.max():g}"
        raise InputError(f"{name}: found {found}, allowed fractions from {lowest:g} to 1")
    return vector


def _finite(name: str, values: Real[Array, " problem"]) -> Float[Array, " problem"]:
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
