"""Estimators of the pilot against exact values: enumeration, closed forms, draws from a known truth."""

from itertools import combinations, product
from math import log, sqrt

import numpy as np
import pytest

from headwater.advice.levels import GROWTH, RUN, Measured, extrapolated, mixed_groups, pass_rate, pooled


@pytest.mark.parametrize("group", [2, 3, 4])
@pytest.mark.parametrize("correct", range(5))
def test_the_mixed_share_of_a_problem_is_that_of_all_its_groups(correct: int, group: int) -> None:
    samples = 4
    outcomes = [place < correct for place in range(samples)]
    groups = list(combinations(outcomes, group))
    exact = sum(0 < sum(one) < group for one in groups) / len(groups)
    assert mixed_groups([correct, correct], samples, group).value == pytest.approx(exact)


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.9])
def test_the_mixed_share_is_unbiased_over_everything_that_a_model_can_say(rate: float) -> None:
    samples, group = 5, 3
    truth = 1 - rate**group - (1 - rate) ** group
    mean = sum(
        mixed_groups([sum(said), sum(said)], samples, group).value
        * np.prod([rate if right else 1 - rate for right in said])
        for said in product((False, True), repeat=samples)
    )
    assert mean == pytest.approx(truth)


def test_a_pass_rate_has_the_error_of_its_problems_and_never_none() -> None:
    correct = [8, 0, 4, 4]
    found = pass_rate(correct, 8)
    assert found.value == 0.5
    assert found.error == pytest.approx(np.std(np.array(correct) / 8, ddof=1) / sqrt(4))
    for correct in ([0, 0, 0, 0], [8, 8, 8, 8]):
        assert pass_rate(correct, 8).error > 0.02


def test_a_level_is_where_the_power_law_leads() -> None:
    start, end = Measured(0.2, 0.01), Measured(0.6, 0.01)
    assert extrapolated(start, end, 1.0, 1000).value == pytest.approx(0.6)
    level = extrapolated(start, end, 10.0, 1000).value
    gained = log(level / (1 - level)) - log(0.25)
    assert gained == pytest.approx((log(1.5) - log(0.25)) * 10**GROWTH.value)
    assert 0.6 < level < 1


@pytest.mark.parametrize("both", [0.0, 1.0])
def test_models_at_the_floor_or_the_ceiling_have_levels_near_it(both: float) -> None:
    flat = Measured(both, 0.001)
    found = extrapolated(flat, flat, 100.0, 1024)
    assert found.value == pytest.approx(both, abs=0.001)
    assert 0 < found.error < 0.01


def test_the_error_of_a_level_is_that_of_draws() -> None:
    start, end, times, answers = Measured(0.3, 0.015), Measured(0.7, 0.015), 10.0, 1024
    draw = np.random.default_rng(0)

    def logit(p: Measured) -> np.ndarray:
        share = draw.normal(p.value, p.error, 200_000)
        return np.log(share / (1 - share))

    first, second = logit(start), logit(end)
    growth = times ** draw.normal(GROWTH.value, GROWTH.error, len(first))
    levels = 1 / (1 + np.exp(-(first + (second - first) * growth + draw.normal(0, RUN, len(first)))))
    assert extrapolated(start, end, times, answers).error == pytest.approx(levels.std(), rel=0.05)


def test_two_measurements_are_pooled_by_their_precision() -> None:
    found = pooled(Measured(0.0, 0.1), Measured(1.0, 0.2))
    assert found.value == pytest.approx(0.2)
    assert found.error == pytest.approx(1 / sqrt(100 + 25))
    assert pooled(Measured(0.3, 0.1), Measured(0.3, 1e6)).error == pytest.approx(0.1)
