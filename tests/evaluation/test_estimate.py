"""Claims of headwater.evaluation.estimate, against hand-worked numbers, scipy, enumeration and simulation."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headwater.errors import InputError
from headwater.evaluation.estimate import (
    Difference,
    Estimate,
    SeededDifference,
    average_at_k,
    every_seed_beyond,
    holm,
    mixed_share,
    paired_difference,
    pass_at_k,
    percent,
    seeded_difference,
    sentence,
    sign_flip_p,
    verdict,
)

QUICK = 399  # sign flips in simulations; with the add-one correction the p value is valid for any number


def difference(mean: float, error: float = 0.006, p: float = 0.01, detectable: float = 0.031) -> Difference:
    return Difference(
        mean=mean,
        standard_error=error,
        low=mean - 2 * error,
        high=mean + 2 * error,
        p_value=p,
        problems=500,
        detectable=detectable,
    )


def seeded(*means: float, error: float = 0.006, overall_error: float = 0.006) -> SeededDifference:
    return SeededDifference(
        overall=difference(float(np.mean(means)), overall_error),
        per_seed=tuple(difference(mean, error) for mean in means),
        between_seed_sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        scope="these checkpoints" if len(means) == 1 else "this recipe over seeds",
    )


# --- one arm ---------------------------------------------------------------------------------------------


def test_average_at_k_by_hand():
    estimate = average_at_k(np.array([0, 4, 2, 2]), 4)  # shares 0, 1, .5, .5: variance 1/6, over 4
    assert estimate == Estimate(mean=0.5, standard_error=pytest.approx((1 / 24) ** 0.5), problems=4, k=4)


def test_an_estimate_prints_in_percent():
    assert str(Estimate(mean=0.7851, standard_error=0.0118, problems=500, k=16)) == "78.5 ± 1.2"
    assert percent(-0.0004) == "0.0"


def test_answers_of_one_problem_are_not_independent():
    # Each problem is always solved or never: 16 answers say no more than one.
    solved = np.array([1, 0] * 15)
    assert average_at_k(16 * solved, 16).standard_error == average_at_k(solved, 1).standard_error
    assert average_at_k(16 * solved, 16).standard_error > 3.9 * (0.25 / (30 * 16)) ** 0.5


def test_the_standard_error_is_what_new_problems_would_show():
    source = np.random.default_rng(1)
    chance = source.beta(0.8, 0.5, size=(2000, 60))
    correct = source.binomial(8, chance)
    errors = [average_at_k(row, 8).standard_error for row in correct]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx((correct.mean(axis=1) / 8).std(), rel=0.05)


def test_a_copied_problem_brings_no_information_once_clustered():
    correct, copies = np.array([0, 3, 8, 5, 6, 2]), np.repeat(np.arange(6), 3)
    alone = average_at_k(correct, 8)
    copied = average_at_k(np.repeat(correct, 3), 8, clusters=copies)
    assert copied.standard_error == pytest.approx(alone.standard_error)
    assert average_at_k(np.repeat(correct, 3), 8).standard_error < 0.6 * alone.standard_error


def test_clusters_of_one_change_nothing():
    correct = np.array([0, 3, 8, 5, 6, 2])
    names = np.array(list("abcdef"))
    assert average_at_k(correct, 8, clusters=names).standard_error == pytest.approx(
        average_at_k(correct, 8).standard_error
    )


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_pass_at_k_is_the_mean_over_all_subsets(k):
    counts = np.array([0, 1, 3, 6])
    shares = [np.mean([any(drawn) for drawn in combinations([1] * c + [0] * (6 - c), k)]) for c in counts]
    estimate = pass_at_k(counts, 6, k)
    assert estimate.mean == pytest.approx(np.mean(shares))
    assert estimate.standard_error == pytest.approx(stats.sem(shares))
    assert (estimate.problems, estimate.k) == (4, k)


def test_pass_at_1_is_the_average():
    counts = np.array([0, 1, 3, 6, 5])
    assert pass_at_k(counts, 6, 1).mean == pytest.approx(average_at_k(counts, 6).mean)


def test_pass_at_k_stays_finite_at_many_samples():
    assert pass_at_k(np.array([1, 1]), 4096, 1024).mean == pytest.approx(0.25)


def test_mixed_share_is_the_share_of_subsets_with_both_kinds():
    counts = np.array([0, 1, 3, 7, 8])
    shares = [np.mean([0 < sum(drawn) < 4 for drawn in combinations([1] * c + [0] * (8 - c), 4)]) for c in counts]
    assert mixed_share(counts, 8, group=4) == pytest.approx(np.mean(shares))
    assert mixed_share(counts, 8) == pytest.approx(3 / 5)


# --- two arms --------------------------------------------------------------------------------------------


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


# --- several seeds ---------------------------------------------------------------------------------------


def draw(source, seeds, problems, spread):
    """[seed, problem] of true difference 0: seed effects, problem effects, noise of two arms at avg@16."""
    of_seed, of_problem = spread
    shared = of_problem * source.standard_normal((1, problems))
    noise = 0.14 * source.standard_normal((seeds, problems))
    return (of_seed * source.standard_normal((seeds, 1)) + shared + noise).clip(-1, 1)


SPREADS = {"noise alone": (0.0, 0.0), "all three": (0.01, 0.08), "seeds rule": (0.04, 0.02)}
DESIGNS = [
    (seeds, problems, name)
    for seeds, problems, name in product([1, 2, 3, 5], [30, 400], SPREADS)
    if seeds > 1 or name == "noise alone"
] + [(1, 30, "problems alone"), (1, 400, "problems alone")]


@pytest.mark.parametrize(("seeds", "problems", "name"), DESIGNS)
def test_interval_covers_and_verdict_seldom_raises_a_false_alarm(seeds, problems, name):
    source = np.random.default_rng(6 + seeds)
    spread = {**SPREADS, "problems alone": (0.0, 0.14)}[name]
    runs = [seeded_difference(draw(source, seeds, problems, spread), 99).overall for _ in range(800)]
    assert np.mean([run.low <= 0 <= run.high for run in runs]) >= 0.935
    assert np.mean([verdict(run, run.p_value) != "not resolved" for run in runs]) <= 0.065


def test_problems_alone_would_raise_false_alarms_over_seeds():
    # What the two-way error is for: the same data, seeds averaged and then taken for granted.
    source = np.random.default_rng(7)
    tables = [draw(source, 3, 400, (0.02, 0.02)) for _ in range(300)]
    naive = [stats.ttest_1samp(table.mean(axis=0), 0).pvalue < 0.05 for table in tables]
    assert np.mean(naive) > 0.4


def test_one_seed_speaks_of_its_checkpoints_only():
    row = np.random.default_rng(8).normal(0.05, 0.1, 40)
    one = seeded_difference([row])
    assert one.scope == "these checkpoints"
    assert one.between_seed_sd is None
    assert one.per_seed == (one.overall,)
    assert one.overall.p_value == sign_flip_p(row)


def test_the_two_way_error_by_hand():
    # Seed means .1 .3 (V_seed .02 / 2), problem means .1 .2 .3 (V_problem .01 / 3).
    # Residuals -.1 0 .1 and .1 0 -.1: interaction .04 / (1 * 2 * 2 * 3) = 1/300.
    both = seeded_difference([np.array([-0.1, 0.1, 0.3]), np.array([0.3, 0.3, 0.3])]).overall
    assert both.mean == pytest.approx(0.2)
    assert both.standard_error == pytest.approx(0.1)  # the problems' spread is all interaction
    assert both.high - both.mean == pytest.approx(12.706 * 0.1, rel=1e-4)


def test_all_seeds_are_kept_and_their_spread_is_told():
    rows = np.array([[0.1, 0.1, 0.1, 0.5], [0.2, 0.2, 0.4, 0.4], [0.4, 0.4, 0.6, 0.2]])
    found = seeded_difference(list(rows))
    assert [seed.mean for seed in found.per_seed] == pytest.approx([0.2, 0.3, 0.4])
    assert [seed.standard_error for seed in found.per_seed] == pytest.approx(stats.sem(rows, axis=1))
    assert [seed.p_value for seed in found.per_seed] == [sign_flip_p(row) for row in rows]
    assert found.between_seed_sd == pytest.approx(0.1)
    assert found.scope == "this recipe over seeds"


def test_where_seeds_alone_vary_it_is_the_t_test_over_seeds():
    means = np.array([0.05, 0.08, 0.03])
    found = seeded_difference([np.full(400, mean) for mean in means]).overall
    expected = stats.ttest_1samp(means, 0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.low == pytest.approx(expected.confidence_interval(0.95).low)


def test_close_seeds_cannot_hide_what_the_problems_leave_open():
    row = np.random.default_rng(9).normal(0.05, 0.2, 40).clip(-1, 1)
    twice, once = seeded_difference([row, row]).overall, seeded_difference([row]).overall
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert (twice.low, twice.high) == (pytest.approx(once.low), pytest.approx(once.high))


def test_the_p_value_and_the_interval_agree():
    source = np.random.default_rng(10)
    for _ in range(60):
        found = seeded_difference(draw(source, 3, 60, (0.01, 0.05)) + 0.03, QUICK).overall
        if found.low > 0 or found.high < 0:
            assert found.p_value < 0.05
        elif found.p_value < 0.05:
            pytest.fail(f"p {found.p_value} but the interval holds 0")


def test_three_problems_resolve_nothing_however_alike():
    found = seeded_difference([np.full(3, 0.5), np.full(3, 0.5)]).overall
    assert found.p_value == 0.25
    assert verdict(found, found.p_value) == "not resolved"


def test_every_seed_beyond_wants_one_sign_and_size_on_every_seed():
    assert every_seed_beyond(seeded(0.02, 0.03, 0.04))
    assert every_seed_beyond(seeded(-0.02, -0.03))
    assert not every_seed_beyond(seeded(0.02, 0.03, 0.011))
    assert not every_seed_beyond(seeded(0.03, -0.03))
    assert not every_seed_beyond(seeded(0.0, 0.0, error=0.0))
    assert not every_seed_beyond(seeded(0.02, 0.03), errors=4.0)


# --- words -----------------------------------------------------------------------------------------------


def test_holm_by_hand():
    adjusted = holm({"c": 0.03, "a": 0.01, "d": 0.5, "b": 0.02})
    assert adjusted == pytest.approx({"c": 0.06, "a": 0.04, "d": 0.5, "b": 0.06})
    assert list(adjusted) == ["c", "a", "d", "b"]
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_and_the_bonferroni_p_value_and_keeps_order(p_values):
    adjusted = holm(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= 1
        assert adjusted[name] <= max(min(1.0, len(p_values) * q) for q in p_values.values() if q <= p)
    order = sorted(p_values, key=lambda name: p_values[name])
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def test_a_verdict_needs_both_the_p_value_and_the_interval():
    assert verdict(difference(0.04), 0.01) == "better"
    assert verdict(difference(-0.04), 0.01) == "worse"
    assert verdict(difference(0.04), 0.05) == "not resolved"
    assert verdict(difference(0.04), 0.01, alpha=0.005) == "not resolved"
    assert verdict(difference(0.01), 0.01) == "not resolved"


def test_sentences_claim_no_more_than_their_numbers():
    assert (
        sentence("R3-full", "R1", seeded(0.04, 0.041, 0.042), 0.004)
        == "R3-full beats R1 by 4.1 ± 0.6 points (3 of 3 seeds, p = 0.004 after Holm). "
        "Each of the 3 seeds alone has this sign, beyond two of its own paired errors."
    )
    assert (
        sentence("R2", "R1", seeded(-0.08, -0.06, 0.008), 0.0002)
        == "R2 is worse than R1 by 4.4 ± 0.6 points (2 of 3 seeds, p < 0.001 after Holm)."
    )
    assert sentence("R4", "R1", seeded(-0.008, -0.008, overall_error=0.011), 0.47) == (
        "R4 against R1 is not resolved: difference -0.8 ± 1.1 points (p = 0.47 after Holm); "
        "this design detects 3.1 or more (80 % power, before Holm)."
    )


@pytest.mark.parametrize("mean", [0.041, 0.001])
def test_one_seed_is_said_to_say_nothing_about_others(mean):
    said = sentence("R3", "R1", seeded(mean), 0.01)
    assert said.endswith("One training seed: this says nothing about other seeds.")
    assert "of 1 seeds" not in said


def test_a_p_value_is_not_rounded_onto_the_level():
    said = sentence("R3", "R1", seeded(0.04, 0.04), 0.0496)
    assert "beats" in said
    assert "p = 0.0496 " in said


# --- refusals --------------------------------------------------------------------------------------------

TWO = np.array([0.5, 0.5])
REFUSED = {
    "k 0": lambda: average_at_k(np.array([0, 0]), 0),
    "count above k": lambda: average_at_k(np.array([1, 5]), 4),
    "count below 0": lambda: average_at_k(np.array([1, -1]), 4),
    "half an answer": lambda: average_at_k(np.array([1, 0.5]), 4),
    "NaN count": lambda: average_at_k(np.array([1, np.nan]), 4),
    "one problem": lambda: average_at_k(np.array([1]), 4),
    "two axes": lambda: average_at_k(np.ones((2, 2)), 4),
    "clusters of other problems": lambda: average_at_k(np.array([1, 2]), 4, clusters=np.array([0, 1, 2])),
    "one cluster": lambda: average_at_k(np.array([1, 2]), 4, clusters=np.array([7, 7])),
    "NaN cluster": lambda: average_at_k(np.array([1, 2]), 4, clusters=np.array([7, np.nan])),
    "pass@k beyond the samples": lambda: pass_at_k(np.array([1, 2]), 4, 5),
    "pass@0": lambda: pass_at_k(np.array([1, 2]), 4, 0),
    "group beyond the samples": lambda: mixed_share(np.array([1, 2]), 4),
    "other problems": lambda: paired_difference(TWO, np.ones(3)),
    "NaN share": lambda: paired_difference(TWO, np.array([0.5, np.nan])),
    "percent for a share": lambda: paired_difference(TWO, 100 * TWO),
    "no seeds": lambda: seeded_difference([]),
    "seeds with other problems": lambda: seeded_difference([TWO, np.ones(3)]),
    "NaN difference": lambda: seeded_difference([TWO, np.array([0.5, np.nan])]),
    "no draws": lambda: sign_flip_p(TWO, 0),
    "NaN p": lambda: holm({"a": float("nan")}),
    "p above 1": lambda: verdict(difference(0.1), 1.5),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    with pytest.raises(InputError) as caught:
        REFUSED[case]()
    assert "\n" not in str(caught.value)
