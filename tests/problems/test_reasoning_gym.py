"""Claims about reasoning-gym families; the package is an optional extra (`pip install 'headwater[gym]'`)."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import InputError
from headwater.problems.reasoning_gym import ONE_ANSWER, GymSource, read_family


def test_a_missing_package_is_one_line_with_the_command() -> None:
    try:
        import reasoning_gym  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"needs reasoning-gym; install it with `pip install 'headwater\[gym\]'`"):
            read_family(GymSource(family="chain_sum", size=2))


@pytest.mark.parametrize("family", ["chain_sum", "gcd", "family_relationships", "word_sorting", "mini_sudoku"])
def test_a_family_gives_the_same_problems_for_a_seed_and_its_answers_full_marks(family: str) -> None:
    pytest.importorskip("reasoning_gym")
    labels = read_family(GymSource(family=family, size=12, seed=3))
    assert labels == read_family(GymSource(family=family, size=12, seed=3))
    assert labels.content_digest != read_family(GymSource(family=family, size=12, seed=4)).content_digest
    assert labels.rows == 12 == len(labels.problems) + sum(labels.merged.values())
    assert all(gold.strip() for gold in labels.answers.values())
    assert {problem.source for problem in labels.problems} == {family}


def test_a_familys_parameters_change_its_problems() -> None:
    pytest.importorskip("reasoning_gym")
    plain = read_family(GymSource(family="chain_sum", size=8))
    longer = read_family(GymSource(family="chain_sum", size=8, parameters={"min_terms": 7, "max_terms": 7}))
    assert plain.content_digest != longer.content_digest


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"family": "chain_sums"}, "no family 'chain_sums'; close to it: chain_sum"),
        ({"family": "countdown"}, "countdown has several right answers or spellings"),
        ({"family": "codeio"}, "codeio has several right answers"),
        ({"family": "chain_sum", "parameters": {"terms": 3}}, "chain_sum refuses its parameters"),
        ({"family": "chain_sum", "parameters": {"min_terms": 9, "max_terms": 2}}, "chain_sum refuses its parameters"),
    ],
)
def test_a_family_that_cannot_be_graded_or_made_is_refused(options: dict[str, Any], reason: str) -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(InputError) as refusal:
        read_family(GymSource(size=4, **options))
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_reviewed_family_still_exists() -> None:
    factory = pytest.importorskip("reasoning_gym.factory")
    assert set(factory.DATASETS) >= ONE_ANSWER
