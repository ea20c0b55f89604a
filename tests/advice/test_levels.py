"""Estimators of the pilot against exact values: enumeration, closed forms, draws from a known truth."""

from itertools import combinations, product
from math import log, sqrt

import numpy as np
import pytest

from headwater.advice.levels import (
    CATCHING_UP,
    GROWTH,
    RACE,
    RUN,
    Measured,
    extrapolated,
    lead,
    mixed_groups,
    pass_rate,
)


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


STUDENT = GROWTH["student"]


def logit(share: float) -> float:
    return log(share / (1 - share))


def drawn(measured: Measured, draw: np.random.Generator) -> np.ndarray:
    """The logit of a measured share, as it might have been measured."""
    shares = draw.normal(measured.value, measured.error, 200_000)
    return np.log(shares / (1 - shares))


def test_a_level_is_where_the_power_law_leads() -> None:
    start, end = Measured(0.2, 0.01), Measured(0.6, 0.01)
    assert extrapolated(start, end, 1.0, STUDENT, 1000).value == pytest.approx(0.6)
    level = extrapolated(start, end, 10.0, STUDENT, 1000).value
    assert logit(level) - logit(0.2) == pytest.approx((logit(0.6) - logit(0.2)) * 10**STUDENT.value)
    assert 0.6 < level < 1


@pytest.mark.parametrize("both", [0.0, 1.0])
def test_models_at_the_floor_or_the_ceiling_have_levels_near_it(both: float) -> None:
    flat = Measured(both, 0.001)
    found = extrapolated(flat, flat, 100.0, STUDENT, 1024)
    assert found.value == pytest.approx(both, abs=0.001)
    assert 0 < found.error < 0.01


def test_the_error_of_a_level_is_that_of_draws() -> None:
    start, end, times = Measured(0.3, 0.015), Measured(0.7, 0.015), 10.0
    draw = np.random.default_rng(0)
    first, second = drawn(start, draw), drawn(end, draw)
    growth = times ** draw.normal(STUDENT.value, STUDENT.error, len(first))
    levels = 1 / (1 + np.exp(-(first + (second - first) * growth + draw.normal(0, RUN, len(first)))))
    assert extrapolated(start, end, times, STUDENT, 1024).error == pytest.approx(levels.std(), rel=0.05)


def test_a_lead_right_after_the_pilot_is_the_difference_of_the_two_students() -> None:
    ahead, behind = Measured(0.9, 0.01), Measured(0.8, 0.01)
    assert lead(ahead, behind, behind, 1.0, 1024).value == pytest.approx(0.1)
    assert lead(behind, ahead, ahead, 1.0, 1024).value == pytest.approx(-0.1)
    assert lead(ahead, ahead, ahead, 10.0, 1024).value == pytest.approx(0.0)


def test_a_lead_shrinks_with_training_and_near_the_ceiling_and_keeps_its_sign() -> None:
    ahead, behind = Measured(0.9, 0.01), Measured(0.8, 0.01)
    leads = [lead(ahead, behind, behind, times, 1024).value for times in (1.0, 5.0, 10.0, 100.0)]
    assert leads == sorted(leads, reverse=True)
    left = logit(behind.value + leads[2]) - logit(behind.value)
    assert left == pytest.approx((logit(0.9) - logit(0.8)) * 10**-CATCHING_UP.value)
    assert 0 < lead(ahead, behind, Measured(0.98, 0.01), 10.0, 1024).value < leads[2]
    assert lead(behind, ahead, ahead, 100.0, 1024).value < 0


def test_a_lead_is_as_sure_in_points_as_on_the_logistic_scale() -> None:
    ahead, behind, level, times = Measured(0.85, 0.012), Measured(0.75, 0.015), Measured(0.85, 0.03), 10.0
    draw = np.random.default_rng(0)
    kept = times ** -draw.normal(CATCHING_UP.value, CATCHING_UP.error, 200_000)
    leads = (drawn(ahead, draw) - drawn(behind, draw)) * kept + draw.normal(0, RACE, 200_000)
    found = lead(ahead, behind, level, times, 1024)
    assert found.value / found.error == pytest.approx(leads.mean() / leads.std(), rel=0.05)
