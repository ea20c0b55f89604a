"""The rule, row by row: what it says of each kind of evidence, near ceilings and floors too. No model, no folder."""

from typing import Any

import pytest

from headwater.advice.levels import Measured
from headwater.advice.rule import FRESH, LARGER, SAME_SIZE, Evidence, Levels, rule


def points(value: float, error: float = 0.5) -> Measured:
    return Measured(value / 100, error / 100)


def levels(whole: float, half: float | None = None, error: float = 0.5) -> Levels:
    return Levels(half=points(whole if half is None else half, error), whole=points(whole, error))


def evidence(**changed: Any) -> Evidence:
    """A weak student, a better teacher that GRPO lifts far; the bridge loses about 8 points."""
    usual: dict[str, Any] = {
        "student": points(17),
        "teacher": points(26),
        "student_mixed": points(70, 4),
        "teacher_mixed": points(87, 3),
        "kl": Measured(1.2, 0.02),
        "overlap": Measured(0.86, 0.01),
        "student_levels": levels(80),
        "teacher_levels": levels(96),
        "bridge_loss": points(8, 2),
        "same_size": False,
    }
    return Evidence(**{**usual, **changed})


ROUTES: list[tuple[str, dict[str, Any], str, int]] = [
    ("a teacher that ends far above the student, less the bridge", {}, "upstream", 2),
    ("a student that ends as high as the teacher", {"student_levels": levels(96)}, "direct", 2),
    ("a difference within two errors", {"student_levels": levels(87)}, "not decided", 2),
    ("the same levels with wide errors", {"student_levels": levels(80, error=12)}, "not decided", 2),
    ("a bridge that loses it all", {"student_levels": levels(89), "bridge_loss": points(25, 1)}, "direct", 2),
    (
        "a same-size teacher that ends as the student does",
        {"same_size": True, "teacher_levels": levels(80), "bridge_loss": points(0)},
        "not decided",
        2,
    ),
    (
        "a same-size teacher that ends far above",
        {"same_size": True, "teacher_levels": levels(90), "bridge_loss": points(0)},
        "upstream",
        2,
    ),
    (
        "a same-size teacher that ends far below",
        {"same_size": True, "teacher_levels": levels(70), "bridge_loss": points(0)},
        "direct",
        2,
    ),
    (
        "a teacher near its ceiling, with few mixed groups",
        {"teacher": points(97), "teacher_mixed": points(4, 1), "teacher_levels": levels(99)},
        "upstream",
        2,
    ),
    (
        "both near their ceilings",
        {
            "student": points(97),
            "teacher": points(98),
            "student_mixed": points(4),
            "teacher_mixed": points(3),
            "student_levels": levels(98),
            "teacher_levels": levels(99),
        },
        "not decided",
        2,
    ),
    (
        "fewer mixed groups in the better teacher",
        {"student_mixed": points(56), "teacher_mixed": points(41), "teacher": points(87), "student": points(76)},
        "upstream",
        2,
    ),
    (
        "a teacher that never is right, and a student",
        {"teacher": points(0.5), "student": points(0.2), "teacher_mixed": points(2), "student_mixed": points(1)},
        "nobody",
        1,
    ),
    (
        "the same with a mixed share of just 5 %",
        {"teacher": points(0.5), "student": points(0.2), "teacher_mixed": points(5), "student_mixed": points(1)},
        "upstream",
        2,
    ),
    (
        "a hopeless teacher of a student that learns",
        {"teacher": points(0.5), "teacher_mixed": points(1), "teacher_levels": levels(1)},
        "direct",
        2,
    ),
]


@pytest.mark.parametrize(("what", "changed", "route", "number"), ROUTES, ids=[row[0] for row in ROUTES])
def test_the_route_and_the_rule_that_fired(what: str, changed: dict[str, Any], route: str, number: int) -> None:
    found = rule(evidence(**changed))
    assert (found.route, found.rule, found.decided) == (route, number, route != "not decided")


WARM_UPS = [
    (2.0, 0.9, "needed"),
    (1.2, 0.74, "needed"),
    (1.9, 0.9, "not decided"),
    (1.2, 0.80, "not decided"),
    (1.8, 0.86, "speed only"),
    (0.3, 0.97, "speed only"),
]


@pytest.mark.parametrize(("kl", "overlap", "warm_up"), WARM_UPS)
def test_whether_a_warm_up_is_needed(kl: float, overlap: float, warm_up: str) -> None:
    assert rule(evidence(kl=Measured(kl, 0.02), overlap=Measured(overlap, 0.01))).warm_up == warm_up


HELD = [
    (levels(96, 95.9, 0.1), "yes"),  # the teacher has all that it can get from half
    (levels(96, 93.0, 0.5), "not decided"),
    (levels(96, 80.0, 0.5), "no"),
    (levels(96, 95.9, 5.0), "not decided"),
]


@pytest.mark.parametrize(("teacher", "held"), HELD)
def test_whether_labels_are_held_back(teacher: Levels, held: str) -> None:
    assert rule(evidence(teacher_levels=teacher)).hold_back == held
    assert FRESH.value > 2 * FRESH.error


def test_half_the_labels_may_say_otherwise() -> None:
    found = rule(evidence(student_levels=levels(97, 75), teacher_levels=levels(97, 96)))
    assert (found.route, found.at_half) == ("direct", "upstream")


def test_mixed_shares_alone_decide_nothing() -> None:
    shares = [points(6), points(50), points(95)]
    found = {rule(evidence(student_mixed=ours, teacher_mixed=theirs)).route for ours in shares for theirs in shares}
    assert found == {"upstream"}


def test_a_noisy_pilot_of_the_bridge_is_outweighed_by_what_is_known() -> None:
    for same_size, prior in ((False, LARGER), (True, SAME_SIZE)):
        piloted = evidence(same_size=same_size, bridge_loss=points(30, 2)).loss
        assert abs(piloted.value - prior.value) < abs(piloted.value - 0.30)
        assert piloted.error < prior.error
