"""The rule, row by row: what it says of each kind of evidence, near ceilings and floors too. No model, no folder."""

from typing import Any

import pytest

from headwater.advice.levels import Measured
from headwater.advice.rule import FRESH, Evidence, Levels, rule


def points(value: float, error: float = 0.5) -> Measured:
    return Measured(value / 100, error / 100)


def levels(whole: float, half: float | None = None, error: float = 0.5) -> Levels:
    return Levels(half=points(whole if half is None else half, error), whole=points(whole, error))


def evidence(**changed: Any) -> Evidence:
    """A weak student, a better teacher that GRPO lifts far, and a bridge that takes most of it along."""
    usual: dict[str, Any] = {
        "student": points(17),
        "teacher": points(26),
        "student_mixed": points(70, 4),
        "teacher_mixed": points(87, 3),
        "kl": Measured(1.2, 0.02),
        "overlap": Measured(0.86, 0.01),
        "student_levels": levels(80),
        "teacher_levels": levels(96),
        "lead": levels(8, error=2),
    }
    return Evidence(**{**usual, **changed})


NEAR_CEILING = {"teacher": points(97), "teacher_mixed": points(4, 1), "teacher_levels": levels(99)}
BOTH_NEAR = {"student": points(97), "student_mixed": points(4), "student_levels": levels(98)}
HOPELESS = {"teacher": points(0.5), "student": points(0.2), "student_mixed": points(1)}

ROUTES: list[tuple[str, dict[str, Any], str, int]] = [
    ("a bridged student ahead by four errors", {}, "upstream", 2),
    ("a bridged student behind by four errors", {"lead": levels(-8, error=2)}, "direct", 2),
    ("ahead by two errors and no more", {"lead": levels(8, error=4)}, "not decided", 2),
    ("ahead by a little more than two errors", {"lead": levels(8, error=3.9)}, "upstream", 2),
    ("behind by two errors and no more", {"lead": levels(-8, error=4)}, "not decided", 2),
    ("a teacher near its ceiling, with few mixed groups", NEAR_CEILING, "upstream", 2),
    ("both near their ceilings", {**NEAR_CEILING, **BOTH_NEAR, "lead": levels(0.5, error=0.4)}, "not decided", 2),
    ("a student near its ceiling that gains by itself", {**BOTH_NEAR, "lead": levels(-2, error=0.5)}, "direct", 2),
    (
        "fewer mixed groups in the better teacher",
        {"student_mixed": points(56), "teacher_mixed": points(41)},
        "upstream",
        2,
    ),
    ("neither is ever right", {**HOPELESS, "teacher_mixed": points(2)}, "nobody", 1),
    ("the same, whatever the lead", {**HOPELESS, "teacher_mixed": points(2), "lead": levels(0)}, "nobody", 1),
    ("mixed groups of just 5 %", {**HOPELESS, "teacher_mixed": points(5)}, "upstream", 2),
    (
        "a hopeless teacher of a student that learns",
        {"teacher": points(0.5), "teacher_mixed": points(1), "lead": levels(-70)},
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
    found = rule(evidence(lead=Levels(half=points(8, 2), whole=points(-5, 2))))
    assert (found.route, found.at_half) == ("direct", "upstream")


def test_mixed_shares_alone_decide_nothing() -> None:
    shares = [points(6), points(50), points(95)]
    found = {rule(evidence(student_mixed=ours, teacher_mixed=theirs)).route for ours in shares for theirs in shares}
    assert found == {"upstream"}


def test_what_the_bridge_loses_is_what_is_left_of_the_teachers_lead() -> None:
    loss = evidence().loss
    assert loss.value == pytest.approx(0.96 - 0.80 - 0.08)
    assert loss.error == pytest.approx((0.005**2 + 0.005**2 + 0.02**2) ** 0.5)
