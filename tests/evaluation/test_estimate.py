"""Claims of headwater.evaluation.estimate, against hand-worked numbers, scipy, enumeration and simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from headwater.errors import InputError
from headwater.evaluation.estimate import Estimate, average_at_k, mixed_share, pass_at_k, percent


def test_average_at_k_by_hand():
    estimate = average_at_k(np.array([0, 4, 2, 2]), 4)  # shares 0, 1, .5, .5: variance 1/6, over 4
    assert estimate == Estimate(
        mean=0.5, standard_error=pytest.approx((1 / 24) ** 0.5), low=estimate.low, high=estimate.high, problems=4, k=4
    )


def test_an_estimate_prints_in_percent():
    assert str(Estimate(mean=0.7851, standard_error=0.0118, low=0.76, high=0.81, problems=500, k=16)) == "78.5 ± 1.2"
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


# --- the interval of a score


def test_the_interval_of_single_answers_is_the_exact_binomial_one_but_for_the_t():
    solved = np.array([1] * 30 + [0] * 370)
    found, exact = average_at_k(solved, 1), stats.binomtest(30, 400).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == (pytest.approx(exact.low, abs=5e-4), pytest.approx(exact.high, abs=5e-4))


def test_sixteen_answers_alike_are_one_answer():
    solved = np.array([1, 0, 0, 0, 0, 0, 0, 0] * 4)
    many, one = average_at_k(16 * solved, 16), average_at_k(solved, 1)
    assert (many.low, many.high) == (one.low, one.high)


@pytest.mark.parametrize(("right", "low", "high"), [(0, 0.0, 0.13), (4, 0.87, 1.0)])
def test_a_score_of_nothing_or_all_has_an_interval_still(right, low, high):
    # 30 problems, none solved: at most 1 - 0.025^(1/30) = 11.6 %, a little more for the t.
    found = average_at_k(np.full(30, right), 4)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


@pytest.mark.parametrize("problems", [15, 30, 500])
def test_an_interval_never_leaves_what_a_share_can_be(problems):
    source = np.random.default_rng(11)
    for mean in (0.01, 0.5, 0.99):
        found = average_at_k(source.binomial(16, source.beta(mean, 1 - mean, problems)), 16)
        assert 0 <= found.low <= found.mean <= found.high <= 1


# --- refusals

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
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    with pytest.raises(InputError) as caught:
        REFUSED[case]()
    assert "\n" not in str(caught.value)
