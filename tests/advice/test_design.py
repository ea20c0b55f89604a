"""The design that would tell two routes apart: closed forms, and a simulation with the report's own test."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import t

from headwater.advice.design import MOST_SEEDS, PROBLEM_SD, SEED_SD, design
from headwater.errors import InputError
from headwater.evaluation.difference import foreseen


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_without_noise_of_problems_it_is_the_paired_t_test_over_seeds(seeds: int) -> None:
    quantiles = t.ppf(0.975, seeds - 1) + t.ppf(0.8, seeds - 1)
    assert foreseen(seeds, 500, 0.03, 0.0) == pytest.approx(quantiles * 0.03 / sqrt(seeds))
    assert foreseen(seeds, 500, 0.0, 0.13) == pytest.approx((t.ppf(0.975, 499) + t.ppf(0.8, 499)) * 0.13 / sqrt(500))


def test_the_power_at_that_difference_is_about_four_in_five() -> None:
    seeds, problems, draw = 6, 400, np.random.default_rng(0)
    true, found, tries = foreseen(seeds, problems, SEED_SD, PROBLEM_SD), 0, 4000
    for _ in range(tries):
        of_seed = draw.normal(0, SEED_SD, seeds)
        of_problem = draw.normal(0, PROBLEM_SD, problems).mean()
        means = true + of_seed + of_problem
        known = PROBLEM_SD / sqrt(problems)
        width = sqrt(
            t.ppf(0.975, seeds - 1) ** 2 * means.var(ddof=1) / seeds + t.ppf(0.975, problems - 1) ** 2 * known**2
        )
        found += means.mean() > width
    assert 0.72 < found / tries < 0.9


def test_the_fewest_seeds_are_named_or_none() -> None:
    found = design(0.05, 1000)
    assert found is not None
    assert found.finds <= 0.05 < foreseen(found.seeds - 1, 1000, SEED_SD, PROBLEM_SD)
    wide = design(-0.3, 1000)
    assert wide is not None
    assert wide.seeds == 3
    assert design(0.0001, 1000) is None
    assert design(foreseen(MOST_SEEDS, 1000, SEED_SD, PROBLEM_SD), 1000) is not None


def test_a_design_of_one_seed_is_refused() -> None:
    with pytest.raises(InputError, match="1 seeds"):
        foreseen(1, 100, 0.1, 0.1)
