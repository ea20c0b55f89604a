"""Claims of headwater.evaluation.difference, against hand-worked numbers, scipy and enumeration.

Coverage, false claims and power over many designs are in test_simulation.py.
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headwater.errors import InputError
from headwater.evaluation.difference import (
    DRAWS,
    _freedom,
    paired_difference,
    seeded_difference,
    sign_flip_p,
    spread_bounds,
)

QUICK = 399  # sign flips in simulations; with the add-one correction the p value is valid for any number


def over(differences, draws=DRAWS):
    """Paired arms whose differences [seed, problem] are these."""
    rows = [np.asarray(row) for row in differences]
    return seeded_difference([row.clip(min=0) for row in rows], [(-row).clip(min=0) for row in rows], draws=draws)


def draw(source, seeds, problems, spread):
    """[seed, problem] of true difference 0: seed effects, problem effects, noise of two arms at avg@16."""
    of_seed, of_problem = spread
    shared = of_problem * source.standard_normal((1, problems))
    noise = 0.14 * source.standard_normal((seeds, problems))
    return (of_seed * source.standard_normal((seeds, 1)) + shared + noise).clip(-1, 1)


def test_the_paired_interval_is_that_of_scipy():
    source = np.random.default_rng(2)
    treatment, control = source.binomial(16, 0.6, 50) / 16, source.binomial(16, 0.5, 50) / 16
    found = paired_difference(treatment, control)
    expected = stats.ttest_rel(treatment, control)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.01)
    assert found.problems == 50


def test_sign_flips_by_hand():
    # +1 +1 +1: of the 8 flips only +++ and --- are as far out. Zeros flip into themselves.
    assert sign_flip_p(np.array([1.0, 1.0, 1.0])) == 0.25
    assert sign_flip_p(np.array([1.0, 0.0, 1.0, 1.0, 0.0])) == 0.25
    assert sign_flip_p(np.zeros(5)) == 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3).map(lambda i: i / 3), min_size=2, max_size=9))
def test_few_sign_flips_are_enumerated_exactly(values):
    differences = np.array(values)
    observed = abs(sum(round(3 * v) for v in values))
    flips = [
        abs(sum(s * round(3 * v) for s, v in zip(signs, values, strict=True)))
        for signs in product([1, -1], repeat=len(values))
    ]
    assert sign_flip_p(differences) == pytest.approx(np.mean([flip >= observed for flip in flips]))


def test_drawn_sign_flips_agree_with_enumeration():
    differences = np.random.default_rng(3).normal(0.1, 0.25, 16).clip(-1, 1)
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue
    assert sign_flip_p(differences) == pytest.approx(exact, abs=4 * (exact / 20_000) ** 0.5)


def test_a_p_value_depends_on_neither_the_order_of_problems_nor_of_arms():
    source = np.random.default_rng(4)
    treatment, control = source.random(40), source.random(40)
    p = paired_difference(treatment, control).p_value
    assert p == paired_difference(control, treatment).p_value
    assert p == paired_difference(treatment[::-1], control[::-1]).p_value


def test_a_drawn_p_value_is_never_zero():
    assert paired_difference(np.ones(50), np.zeros(50)).p_value == pytest.approx(1 / 20_001)


def test_a_design_finds_its_detectable_difference_four_times_in_five():
    source = np.random.default_rng(5)
    noise = source.normal(0, 0.1, (1500, 40))
    # sd 0.1, 40 problems: (t.975 + t.8) * 0.1 / sqrt(40) with 39 degrees of freedom
    size = (2.0227 + 0.8512) * 0.1 / 40**0.5
    found = [sign_flip_p(row + size, QUICK) < 0.05 for row in noise]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    unit = paired_difference(0.5 + noise[0], np.full(40, 0.5))
    assert unit.detectable == pytest.approx((2.0227 + 0.8512) * unit.standard_error, rel=1e-4)


# --- several seeds


def test_one_seed_speaks_of_its_checkpoints_only():
    row = np.random.default_rng(8).normal(0.05, 0.1, 40)
    one = over([row])
    assert one.scope == "these checkpoints"
    assert one.between_seed_sd is None
    assert one.per_seed == (one.overall,)
    assert one.overall.p_value == sign_flip_p(row)


def test_the_two_way_error_by_hand():
    # Seed means .1 .3 (V_seed .02 / 2), problem means .1 .2 .3 (V_problem .01 / 3).
    # Residuals -.1 0 .1 and .1 0 -.1: interaction .04 / (1 * 2 * 2 * 3) = 1/300.
    both = over([np.array([-0.1, 0.1, 0.3]), np.array([0.3, 0.3, 0.3])]).overall
    assert both.mean == pytest.approx(0.2)
    assert both.standard_error == pytest.approx(0.1)  # the problems' spread is all interaction
    assert both.high - both.mean == pytest.approx(12.706 * 0.1, rel=1e-4)


def test_all_seeds_are_kept_and_their_spread_is_told():
    rows = np.array([[0.1, 0.1, 0.1, 0.5], [0.2, 0.2, 0.4, 0.4], [0.4, 0.4, 0.6, 0.2]])
    found = over(rows)
    assert [seed.mean for seed in found.per_seed] == pytest.approx([0.2, 0.3, 0.4])
    assert [seed.standard_error for seed in found.per_seed] == pytest.approx(stats.sem(rows, axis=1))
    assert [seed.p_value for seed in found.per_seed] == [sign_flip_p(row) for row in rows]
    assert found.between_seed_sd == pytest.approx(0.1)
    assert found.scope == "this recipe over seeds"


def test_where_seeds_alone_vary_it_is_the_t_test_over_seeds():
    means = np.array([0.05, 0.08, 0.03])
    found = over([np.full(400, mean) for mean in means]).overall
    expected = stats.ttest_1samp(means, 0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.low == pytest.approx(expected.confidence_interval(0.95).low)


def test_close_seeds_cannot_hide_what_the_problems_leave_open():
    row = np.random.default_rng(9).normal(0.05, 0.2, 40).clip(-1, 1)
    twice, once = over([row, row]).overall, over([row]).overall
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert (twice.low, twice.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_the_p_value_and_the_interval_agree():
    source = np.random.default_rng(10)
    for _ in range(60):
        found = over(draw(source, 3, 60, (0.01, 0.05)) + 0.03, QUICK).overall
        if found.low > 0 or found.high < 0:
            assert found.p_value < 0.05
        elif found.p_value < 0.05:
            pytest.fail(f"p {found.p_value} but the interval holds 0")


def test_three_problems_resolve_nothing_however_alike():
    assert over([np.full(3, 0.5), np.full(3, 0.5)]).overall.p_value == 0.25


# --- arms that share nothing trained


def test_where_seeds_alone_vary_unpaired_arms_are_compared_by_welch():
    ours, theirs = np.array([0.5, 0.58, 0.53]), np.array([0.41, 0.5, 0.43])
    found = seeded_difference([np.full(400, m) for m in ours], [np.full(400, m) for m in theirs], "unpaired").overall
    assert found.mean / found.standard_error == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).statistic)
    # Welch 1947 at three seeds: 4 (v1 + v2)^2 / (v1^2 + v2^2) - 2, at most 4.
    first, second = ours.var(ddof=1) / 3, theirs.var(ddof=1) / 3
    freedom = min(4.0, 4 * (first + second) ** 2 / (first**2 + second**2) - 2)
    width = stats.t.ppf(0.975, freedom) * (first + second) ** 0.5
    assert (found.high - found.mean, found.mean - found.low) == (pytest.approx(width), pytest.approx(width))
    assert found.p_value == pytest.approx(2 * stats.t.sf(found.mean / (first + second) ** 0.5, freedom), rel=1e-6)


@pytest.mark.parametrize(("ratio", "freedom"), [(1, 2.0), (10, 1.594), (10_000, 1.0)])
def test_two_seeds_an_arm_have_between_one_and_two_degrees_of_freedom(ratio, freedom):
    assert _freedom([1.0, ratio], 2) == pytest.approx(freedom, abs=0.01)
    assert _freedom([1.0], 2) == 1.0


def test_pairing_takes_away_what_the_seed_does_to_both_arms():
    source = np.random.default_rng(12)
    both = 0.06 * source.standard_normal((5, 1))
    sides = [0.5 + level + both + 0.1 * source.standard_normal((5, 200)) for level in (0.02, 0.0)]
    treatment, control = (list(side.clip(0, 1)) for side in sides)
    paired, unpaired = (seeded_difference(treatment, control, how) for how in ("paired", "unpaired"))
    assert paired.overall.standard_error < 0.5 * unpaired.overall.standard_error
    assert paired.overall.mean == unpaired.overall.mean
    assert (paired.pairing, unpaired.pairing) == ("paired", "unpaired")


def test_unpaired_arms_meet_the_same_problems_all_the_same():
    # The problems are hard for both arms alike: what they do to levels is no part of a difference.
    source = np.random.default_rng(13)
    hard = source.uniform(0.1, 0.9, (1, 300))
    sides = [(hard + 0.02 * source.standard_normal((4, 1)) + 0.05 * source.standard_normal((4, 300))) for _ in "ab"]
    found = seeded_difference(*(list(side.clip(0, 1)) for side in sides), "unpaired").overall
    assert found.standard_error < 0.03
    assert np.std(hard) / 300**0.5 * 2**0.5 < 0.03  # levels over problems alone would be as uncertain as this


def test_signs_are_counted():
    assert over(np.array([[0.1, 0.2], [0.0, 0.1], [-0.1, 0.05]])).agreeing == 2


def test_a_spread_known_from_three_seeds_may_be_six_times_as_large():
    # chi-square with 2 degrees of freedom: 0.0506 and 7.378; an estimate is 0.16 to 1.92 times the truth.
    low, high = spread_bounds(2)
    assert (low**0.5, high**0.5) == (pytest.approx(1 / 1.92, abs=2e-3), pytest.approx(1 / 0.159, abs=2e-2))


def test_the_detectable_difference_is_a_range_around_the_estimate_and_narrows_with_seeds():
    source = np.random.default_rng(14)
    ranges = []
    for seeds in (2, 3, 5, 8):
        found = over(draw(source, seeds, 400, (0.03, 0.02))).overall
        assert found.detectable_low <= found.detectable <= found.detectable_high
        ranges.append(found.detectable_high / found.detectable_low)
    assert ranges == sorted(ranges, reverse=True)


# --- refusals

TWO = np.array([0.5, 0.5])
REFUSED = {
    "other problems": lambda: paired_difference(TWO, np.ones(3)),
    "NaN share": lambda: paired_difference(TWO, np.array([0.5, np.nan])),
    "percent for a share": lambda: paired_difference(TWO, 100 * TWO),
    "no seeds": lambda: seeded_difference([], []),
    "a seed of one arm alone": lambda: seeded_difference([TWO, TWO], [TWO]),
    "seeds with other problems": lambda: seeded_difference([TWO, np.ones(3)], [TWO, np.ones(3)]),
    "NaN in a seed": lambda: seeded_difference([TWO, np.array([0.5, np.nan])], [TWO, TWO]),
    "no draws": lambda: sign_flip_p(TWO, 0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    with pytest.raises(InputError) as caught:
        REFUSED[case]()
    assert "\n" not in str(caught.value)
