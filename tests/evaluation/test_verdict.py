"""Claims of headwater.evaluation.verdict: the order of testing, and words that say no more than the numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InputError
from headwater.evaluation.difference import Difference, SeededDifference
from headwater.evaluation.verdict import Judged, Planned, gatekeeping, holm, judge, sentence, verdict


def difference(mean: float, error: float = 0.006, p: float = 0.01) -> Difference:
    return Difference(
        mean=mean,
        standard_error=error,
        low=mean - 2 * error,
        high=mean + 2 * error,
        p_value=p,
        problems=500,
        detectable=0.031,
        detectable_low=0.016,
        detectable_high=0.19,
    )


def seeded(*means: float, error: float = 0.006, p: float = 0.01) -> SeededDifference:
    return SeededDifference(
        overall=difference(float(np.mean(means)), error, p),
        per_seed=tuple(difference(mean, error) for mean in means),
        between_seed_sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        scope="these checkpoints" if len(means) == 1 else "this recipe over seeds",
        pairing="paired",
    )


def judged(found: SeededDifference, p: float, held_back: bool = False) -> Judged:
    seeds = tuple(range(len(found.per_seed)))
    return Judged(seeds=seeds, difference=found, adjusted_p=p, held_back=held_back, word=verdict(found, p))


def planned(shift: float, seeds: int = 5, noise: float = 0.01) -> Planned:
    """Arms of 60 problems that differ by so much on every seed, give or take the noise."""
    source = np.random.default_rng(3)
    sides = [{s: np.clip(level + noise * source.standard_normal(60), 0, 1) for s in range(seeds)}
             for level in (0.5 + shift, 0.5)]  # fmt: skip
    return Planned(treatment=sides[0], control=sides[1])


# --- the order of testing


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


def test_the_first_comparison_is_tested_alone_and_the_others_behind_it():
    adjusted = gatekeeping({"first": 0.03, "a": 0.001, "b": 0.02}, "first")
    assert adjusted == {"first": 0.03, "a": 0.03, "b": 0.03}
    shut = gatekeeping({"first": 0.2, "a": 0.001, "b": 0.02}, "first")
    assert shut == {"first": 0.2, "a": 0.2, "b": 0.2}


def test_a_first_comparison_that_is_not_measured_keeps_the_gate_shut():
    assert gatekeeping({"a": 0.001}, "first") == {"a": 1.0}


def test_more_arms_never_change_what_the_headline_says():
    alone = judge([planned(0.05)])[0]
    among = judge([planned(0.05), *(planned(0.0, noise=0.2) for _ in range(17))])[0]
    assert alone == among


def test_what_waits_behind_an_open_headline_says_so():
    first, second = judge([planned(0.0, noise=0.2), planned(0.2)])
    assert (first.word, second.word) == ("not resolved", "not resolved")
    assert second.held_back
    assert "tested only behind it" in sentence("A", "B", second)


def test_a_family_without_a_gate_is_holms():
    first, second = judge([planned(0.0, noise=0.2), planned(0.2)], gate=False)
    assert (first.word, second.word) == ("not resolved", "better")


def test_only_seeds_of_both_sides_are_compared_and_none_is_no_result():
    half = planned(0.1)
    some = Planned(treatment=half.treatment, control={s: half.control[s] for s in (1, 3)})
    assert [found and found.seeds for found in judge([some, Planned(treatment=half.treatment, control={})])] == [
        (1, 3),
        None,
    ]


# --- words


def test_a_verdict_needs_both_the_p_value_and_the_interval():
    assert verdict(seeded(0.04, 0.04), 0.01) == "better"
    assert verdict(seeded(-0.04, -0.04), 0.01) == "worse"
    assert verdict(seeded(0.04, 0.04), 0.05) == "not resolved"
    assert verdict(seeded(0.04, 0.04), 0.01, alpha=0.005) == "not resolved"
    assert verdict(seeded(0.01, 0.01), 0.01) == "not resolved"


def test_one_seed_never_says_better_or_worse():
    assert verdict(seeded(0.4), 0.0001) == "higher here (1 seed)"
    assert verdict(seeded(-0.4), 0.0001) == "lower here (1 seed)"
    assert verdict(seeded(0.01), 0.3) == "not resolved"


def test_sentences_claim_no_more_than_their_numbers():
    assert (
        sentence("R3-full", "R1", judged(seeded(0.04, 0.041, 0.042), 0.004))
        == "R3-full beats R1 by 4.1 ± 0.6 points (higher on 3 of 3 seeds, p = 0.004)."
    )
    assert (
        sentence("R2", "R1", judged(seeded(-0.08, -0.06, 0.008), 0.0002))
        == "R2 is worse than R1 by 4.4 ± 0.6 points (lower on 2 of 3 seeds, p < 0.001)."
    )
    assert sentence("R4", "R1", judged(seeded(-0.008, -0.008, error=0.011), 0.47)) == (
        "R4 against R1 is not resolved: difference -0.8 ± 1.1 points (lower on 2 of 2 seeds, p = 0.47); "
        "this design detects 1.6 to 19.0 or more (80 % power)."
    )


def test_agreeing_seeds_are_a_count_and_no_verdict():
    said = judged(seeded(0.03, 0.031, 0.032, error=0.002), 0.11)
    assert said.word == "not resolved"
    assert "higher on 3 of 3 seeds" in sentence("A", "B", said)


def test_one_seed_is_said_to_say_nothing_about_others():
    said = sentence("R3", "R1", judged(seeded(0.041), 0.0001))
    assert said.startswith("R3 is higher here than R1 by 4.1 ± 0.6 points (1 seed, p < 0.001).")
    assert "another seed may say otherwise" in said
    assert "beats" not in said
    assert "of 1 seeds" not in said


def test_a_p_value_is_not_rounded_onto_the_level():
    said = sentence("R3", "R1", judged(seeded(0.04, 0.04), 0.0496))
    assert "beats" in said
    assert "p = 0.0496)" in said


REFUSED = {
    "NaN p": lambda: holm({"a": float("nan")}),
    "p above 1": lambda: verdict(seeded(0.1), 1.5),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    with pytest.raises(InputError) as caught:
        REFUSED[case]()
    assert "\n" not in str(caught.value)
