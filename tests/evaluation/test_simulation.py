"""What a report says, simulated: intervals cover, null families are seldom claimed, wrong rules are seen to fail.

python -m pytest -m simulation -s      # every cell of docs/statistics.md, minutes; the default suite runs a few
"""

from pathlib import Path

import numpy as np
import pytest
import simulated
from simulated import SPREADS, Design, family_rows, low_score, measure, surely_outside

from headwater.evaluation import difference, verdict
from headwater.evaluation.difference import _over_problems

FEW, MANY = 300, 1000
COVERAGE, FALSE = (0.93, 0.97), 0.05


def covers(share: float, runs: int) -> bool:
    """Whether a coverage seen in so many runs can be one of 93 to 97 %."""
    return not surely_outside(share, runs, *COVERAGE)


def seldom(share: float, runs: int) -> bool:
    """Whether so many false claims can come of a rate of at most 5 %."""
    return not surely_outside(share, runs, 0.0, FALSE)


# --- the default suite: a few cells


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_an_interval_covers_and_a_null_contrast_is_seldom_claimed(seeds, pairing):
    found = measure(Design(seeds=seeds, spread=SPREADS["usual (4)"], pairing=pairing), FEW, seed=seeds, draws=99)
    assert covers(found.covered, FEW)
    assert seldom(found.false, FEW)


@pytest.mark.parametrize("opened", [False, True])
def test_a_family_of_null_contrasts_is_seldom_claimed(opened):
    effects = (60.0 if opened else 0.0, 0.0, 0.0, 0.0, 0.0)
    assert seldom(measure(Design(seeds=3, spread=4.0, effects=effects), FEW, seed=7).false, FEW)


def test_problem_errors_alone_are_seen_to_fail(monkeypatch):
    # The rule of one seed for several: the seeds' mean difference, as if the seeds were all there are.
    wrong = lambda table, spreads, draws: _over_problems(table.mean(axis=0), draws)  # noqa: E731
    monkeypatch.setattr(difference, "_over_seeds", wrong)
    found = measure(Design(seeds=3, spread=4.0), FEW, seed=8, draws=99)
    assert not covers(found.covered, FEW)
    assert not seldom(found.false, FEW)


def test_a_family_without_a_correction_is_seen_to_fail(monkeypatch):
    monkeypatch.setattr(verdict, "gatekeeping", lambda p_values, first: dict(p_values))
    found = measure(Design(seeds=5, spread=4.0, effects=(0.0,) * 8), FEW, seed=9)
    assert not seldom(found.false, FEW)


def test_pairing_arms_that_share_nothing_costs_power_and_leaving_pairs_apart_costs_more():
    unshared = {
        pairing: Design(seeds=3, spread=4.0, pairing="unpaired", effects=(8.0,)) for pairing in ("paired", "unpaired")
    }
    rates = {}
    for pairing, design in unshared.items():
        source = np.random.default_rng(10)
        plans = [design.draw(source)[0] for _ in range(FEW)]
        judged = [verdict.judge([replace_pairing(plan, pairing)], draws=99)[0] for plan in plans]
        rates[pairing] = np.mean([found.word == "better" for found in judged])
    assert rates["unpaired"] > rates["paired"] + 0.1


def replace_pairing(plan, pairing):
    """The same shares, declared otherwise."""
    return verdict.Planned(treatment=plan.treatment, control=plan.control, pairing=pairing)


@pytest.mark.parametrize(("mean", "alike"), [(0.07, 3.0), (0.2, 1.0), (0.5, 3.0)])
def test_a_scores_interval_covers_where_two_errors_do_not(mean, alike):
    ours, plain = low_score(30, mean, alike, MANY, seed=11)
    assert covers(ours, MANY)
    if mean == 0.07:
        assert surely_outside(plain, MANY, *COVERAGE)


def test_the_page_holds_a_row_for_every_cell():
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    told = page[page.index(simulated.BEGIN) : page.index(simulated.END)]
    for pairing in simulated.PAIRINGS:
        for name in SPREADS:
            for seeds in simulated.SEEDS:
                assert f"| {pairing} | {name} | {seeds} | " in told


# --- every cell


@pytest.mark.simulation
def test_every_cell_covers_93_to_97_percent_and_claims_at_most_5():
    beyond = []
    for pairing, name, seeds, null, some in simulated.coverage_rows(MANY):
        print(f"{pairing:9} {name:11} {seeds} seeds: covers {null.covered:.3f}, false {null.false:.3f}, "
              f"power at 6 errors {some.resolved:.3f}")  # fmt: skip
        if not (covers(null.covered, MANY) and covers(some.covered, some.runs) and seldom(null.false, MANY)):
            beyond.append((pairing, name, seeds, null, some))
    assert not beyond


@pytest.mark.simulation
def test_no_family_of_null_contrasts_is_claimed_in_more_than_5_percent():
    beyond = []
    for size, opened, seeds, found in family_rows(MANY // 2):
        print(
            f"{size:2} contrasts, headline {'open' if opened else 'null'}, {seeds} seeds: any false {found.false:.3f}"
        )
        if not seldom(found.false, found.runs):
            beyond.append((size, opened, seeds, found))
    assert not beyond


@pytest.mark.simulation
def test_every_low_score_is_covered():
    for problems, mean, alike in simulated.LOW:
        ours, plain = low_score(problems, mean, alike, MANY, seed=12)
        print(f"{problems} problems at {mean}, alike {alike}: covers {ours:.3f}, two errors {plain:.3f}")
        assert not surely_outside(ours, MANY, 0.92, 0.97)
