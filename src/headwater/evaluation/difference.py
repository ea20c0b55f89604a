"""By how much two arms differ: problem by problem, over training seeds that all meet the same problems.

Two arms that share something trained (a pretrained student, a teacher) rise and fall together with the seed: their
seeds are paired. Two that share nothing trained are compared by Welch on their seed means. Which of the two holds is
read from the graph and declared by the plan, before there are results. Differences are fractions of 1.

Left out: models with a link function, and tests of equivalence: a difference that is not seen may be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.optimize import brentq
from scipy.special import chdtri, stdtrit

from headwater.errors import InputError
from headwater.evaluation.estimate import TAIL, Array, finite, mean_variance, percent
from headwater.fingerprint import derive_seed

Pairing = Literal["paired", "unpaired"]

MISSED = 0.2  # 1 - power, for what a design can detect
DRAWS = 20_000
ENUMERATED = 15  # up to so many nonzero differences all 2^n sign flips are tried
CHUNK = 2_000_000  # signs held in memory at a time
SMALLEST_P = 1e-9  # far below what sign flips can show; where the root search stops

THESE_CHECKPOINTS = "these checkpoints"
THIS_RECIPE = "this recipe over seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Treatment minus control, as a fraction, with its 95 % interval `low` to `high`.

    `detectable` is the true difference that this design finds at p < 0.05, before any correction, four times in five:
    (t_.975 + t_.8) standard errors. It rests on an estimated spread: `detectable_low` and `detectable_high` are what
    it would be at the ends of that spread's 95 % chi-square interval.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p_value: float
    problems: int
    detectable: float
    detectable_low: float
    detectable_high: float

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
    pairing: Pairing

    @property
    def agreeing(self) -> int:
        """How many seeds have the sign of the whole: a count to read, and no test of anything."""
        return sum(seed.mean * self.overall.mean > 0.0 for seed in self.per_seed)


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


def seeded_difference(
    treatment: Sequence[Real[Array, " problem"]],
    control: Sequence[Real[Array, " problem"]],
    pairing: Pairing = "paired",
    draws: int = DRAWS,
) -> SeededDifference:
    """Two arms [seed, problem] of the same seeds and problems, and what their difference is over seeds.

    Seeds share their problems: d[s, p] = effect + A_s + B_p + C_sp, with C holding the sampling noise, so
    Var(mean) = (A + C / problems) / seeds + B / problems. The first part is V_seed, the spread of the seed means
    over S: of the differences if the arms are paired, else the sum of both arms' own (Welch). The second is the
    spread of the problem means over P less the interaction mean square over SP:

        SE^2 = V_seed + max(V_problem - V_interaction, 0), at least V_problem.

    The interval has half-width sqrt(t_f^2 V_seed + t_{P-1}^2 max(V_problem - V_interaction, 0)), at least
    t_{P-1} sqrt(V_problem): each variance with the t of its own degrees of freedom, f = S - 1 if paired, else
    Welch's (1947, Biometrika 34); for independent variances this covers at least 95 % (Banerjee 1960, Sankhya 22).
    Taking the larger of the two variances covered 87 % and 92 % at 2 and 3 seeds, a Satterthwaite t 89 % and 92 %.
    The price is power: with 2 or 3 seeds t_{S-1} is 12.7 or 4.3.

    The p value is the level at which that interval touches 0, or the sign-flip p value of the seed-averaged
    differences if larger, as few problems say little whatever t says. With one seed it is the paired
    difference. Raises InputError for no seeds, unequal counts of seeds or problems, NaN or shares outside 0 to 1.
    """
    ours = [_vector(f"treatment, seed {s}", row, 0.0) for s, row in enumerate(treatment)]
    theirs = [_vector(f"control, seed {s}", row, 0.0) for s, row in enumerate(control)]
    if len(ours) != len(theirs) or len({len(row) for row in (*ours, *theirs)}) != 1:
        found = [[len(row) for row in side] for side in (ours, theirs)]
        raise InputError(
            f"seeded_difference: problems by seed {found}; each seed needs both arms, and all the same problems"
        )
    rows = [left - right for left, right in zip(ours, theirs, strict=True)]
    per_seed = tuple(_over_problems(row, draws) for row in rows)
    one = len(rows) == 1
    table = np.stack(rows)
    spreads = [table] if pairing == "paired" else [np.stack(ours), np.stack(theirs)]
    return SeededDifference(
        overall=per_seed[0] if one else _over_seeds(table, spreads, draws),
        per_seed=per_seed,
        between_seed_sd=None if one else float(table.mean(axis=1).std(ddof=1)),
        scope=THESE_CHECKPOINTS if one else THIS_RECIPE,
        pairing=pairing,
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


def foreseen(seeds: int, problems: int, seed_sd: float, problem_sd: float) -> float:
    """The true difference that a design of so many paired seeds and problems would find four times in five.

    Args: seed_sd: of a seed's difference, over seeds. problem_sd: of a problem's difference, over problems, when it is
    averaged over all seeds. As in `seeded_difference`, before any correction. Raises InputError for fewer than 2 seeds.
    """
    if seeds < 2 or problems < 2:
        raise InputError(f"design: {seeds} seeds and {problems} problems; a spread over either needs 2 at least")
    of_seed, of_problem = seed_sd**2 / seeds, problem_sd**2 / problems

    def width(tail: float) -> float:
        return sqrt(_t(tail, seeds - 1) ** 2 * of_seed + _t(tail, problems - 1) ** 2 * of_problem)

    return width(TAIL) + width(MISSED)


def _t(tail: float, freedom: float) -> float:
    """Student's t with probability `tail` above it."""
    return float(-stdtrit(freedom, tail))


def spread_bounds(freedom: float) -> tuple[float, float]:
    """What a variance estimated with so many degrees of freedom may truly be, as multiples of it: 95 %, chi-square."""
    return freedom / float(chdtri(freedom, TAIL)), freedom / float(chdtri(freedom, 1.0 - TAIL))


def _over_problems(differences: Float[Array, " problem"], draws: int) -> Difference:
    mean, error, freedom = float(differences.mean()), sqrt(mean_variance(differences)), len(differences) - 1
    width = _t(TAIL, freedom) * error
    detectable = width + _t(MISSED, freedom) * error
    low, high = spread_bounds(freedom)
    return Difference(
        mean=mean,
        standard_error=error,
        low=mean - width,
        high=mean + width,
        p_value=sign_flip_p(differences, draws),
        problems=len(differences),
        detectable=detectable,
        detectable_low=detectable * sqrt(low),
        detectable_high=detectable * sqrt(high),
    )


def _over_seeds(
    table: Float[Array, "seed problem"], spreads: Sequence[Float[Array, "seed problem"]], draws: int
) -> Difference:
    """`table` holds the differences; `spreads` the tables whose seed means are independent: it alone, or both arms."""
    seeds, problems = table.shape
    by_problem, mean = table.mean(axis=0), float(table.mean())
    each = [mean_variance(spread.mean(axis=1)) for spread in spreads]
    of_seed, of_problem = sum(each), mean_variance(by_problem)
    freedom = _freedom(each, seeds)
    interaction = sum(_interaction(spread) for spread in spreads) / (seeds * problems)
    # V_seed already holds the interaction's share; what is left is due to the choice of problems alone.
    shared = max(of_problem - interaction, 0.0)

    def width(tail: float, spread: float = 1.0) -> float:
        over_seeds, over_problems = _t(tail, freedom), _t(tail, problems - 1)
        both = sqrt(over_seeds**2 * spread * of_seed + over_problems**2 * shared)
        # Seed means that happen to lie close together must not hide what the problems alone leave open.
        return max(both, over_problems * sqrt(of_problem))

    low, high = spread_bounds(freedom)
    return Difference(
        mean=mean,
        standard_error=sqrt(max(of_seed + shared, of_problem)),
        low=mean - width(TAIL),
        high=mean + width(TAIL),
        p_value=max(_touching(width, mean), sign_flip_p(by_problem, draws)),
        problems=problems,
        detectable=width(TAIL) + width(MISSED),
        detectable_low=width(TAIL, low) + width(MISSED, low),
        detectable_high=width(TAIL, high) + width(MISSED, high),
    )


def _freedom(variances: Sequence[float], seeds: int) -> float:
    """Degrees of freedom of a sum of variances of seed means: S - 1 for one, up to 2 (S - 1) for two (Welch 1947).

    (v_1 + v_2)^2 / sum(v^2 / (S + 1)) - 2, the form that is less biased at few seeds: two arms of one spread are
    covered 96.5 % at 2 seeds, where the usual form covers 97.7 %.
    """
    most = len(variances) * (seeds - 1)
    squares = sum(variance**2 for variance in variances)
    return min(most, (seeds + 1) * sum(variances) ** 2 / squares - 2.0) if squares > 0.0 else float(most)


def _interaction(table: Float[Array, "seed problem"]) -> float:
    """Mean square of what neither seed nor problem explains."""
    seeds, problems = table.shape
    rest = table - table.mean(axis=1)[:, None] - table.mean(axis=0)[None, :] + table.mean()
    return float((rest**2).sum()) / ((seeds - 1) * (problems - 1))


def _touching(width: Callable[[float], float], mean: float) -> float:
    """The p value at which an interval of this half-width touches 0."""

    def beyond(log_p: float) -> float:
        return width(exp(log_p) / 2) - abs(mean)

    smallest = log(SMALLEST_P)
    return SMALLEST_P if beyond(smallest) <= 0 else exp(brentq(beyond, smallest, 0.0))


def _as_far(
    flips: Real[Array, "flip problem"], sizes: Float[Array, " problem"], observed: float
) -> Shaped[Array, " flip"]:
    """Whether each flip's sum is as far from 0 as the observed one; a flip of 1 is plus, of 0 minus."""
    return np.abs(2.0 * (flips.astype(float) @ sizes) - sizes.sum()) >= observed


def _vector(name: str, values: Real[Array, " problem"], lowest: float) -> Float[Array, " problem"]:
    vector = finite(name, values)
    if vector.min() < lowest or vector.max() > 1.0:
        found = f"{vector.min():g} to {vector.max():g}"
        raise InputError(f"{name}: found {found}, allowed fractions from {lowest:g} to 1")
    return vector
