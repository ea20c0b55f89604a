"""Alarms: each has a run that deserves it and one that does not; a healthy stage raises none."""

from __future__ import annotations

import math

import pytest

from headwater.alarms import STEPS, of_stage, of_start, of_teacher
from headwater.records import StepRecord

HEALTHY = {
    "reward": 0.4, "mixed_groups": 0.6, "unanswered": 0.1, "truncated": 0.02, "kl": 0.5, "reference_kl": 0.05,
    "sampler_gap": 1e-5, "loss": 1.0,
}  # fmt: skip


def stage(count: int = 30, first: dict[str, float] | None = None, **other: float | list[float]) -> list[StepRecord]:
    """Steps that measure what a healthy stage does, but for `other`; a list is what each step measured."""
    records = []
    for step in range(count):
        changed = {name: value[step] if isinstance(value, list) else value for name, value in other.items()}
        metrics = {**HEALTHY, **changed, **(first if first and step == 0 else {})}
        records.append(StepRecord(step=step, metrics=metrics))
    return records


def kinds(records: list[StepRecord], *, done: bool = True) -> set[str]:
    return {alarm.kind for alarm in of_stage("student-rl on pool", records, done=done)}


FALLING = [1.0 - 0.02 * step for step in range(30)]
RISING = [0.2 + 0.02 * step for step in range(30)]
CASES = {  # alarm -> steps that deserve it, steps that come near and do not
    "reward 0 throughout": (stage(reward=0.0, mixed_groups=0.0), stage(reward=[0.0] * 29 + [0.01], mixed_groups=0.1)),
    "reward 1 throughout": (stage(reward=1.0, mixed_groups=0.0), stage(reward=[0.9] + [1.0] * 29, mixed_groups=0.1)),
    "no mixed groups": (stage(mixed_groups=0.01), stage(mixed_groups=[0.9] * 5 + [0.0] * 25)),  # it has learned all
    "no answer found": (stage(unanswered=0.8), stage(unanswered=[1.0] * 15 + [0.1] * 15)),  # it learned to answer
    "cut off": (stage(truncated=0.9), stage(truncated=0.4)),
    "KL grows": (stage(kl=RISING), stage(kl=FALLING)),
    "far from the reference": (stage(reference_kl=1.5), stage(reference_kl=0.9)),
    "sampler and learner disagree": (stage(sampler_gap=0.03), stage(sampler_gap=0.003)),  # bfloat16 rounds so
    "weights do not move": (stage(first={"weights_changed": 0.002}), stage(first={"weights_changed": 0.2})),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_alarm_is_raised_where_it_is_deserved_and_not_where_it_is_near(kind: str) -> None:
    deserved, near = CASES[kind]
    assert kinds(deserved) == {kind}
    assert kinds(near) == set()


def test_far_from_the_reference_is_no_alarm_where_the_reward_has_risen() -> None:
    assert kinds(stage(reference_kl=3.0, reward=RISING)) == set()
    assert kinds(stage(reference_kl=3.0, reward=FALLING)) == {"far from the reference"}


def test_a_healthy_stage_and_one_that_measures_nothing_raise_none() -> None:
    assert kinds(stage()) == set()
    assert kinds([StepRecord(step=0, metrics={"loss": 1e9})]) == set()
    assert kinds([]) == set()


def test_a_stage_is_judged_after_some_steps_or_when_it_is_done() -> None:
    dead = stage(STEPS - 1, reward=0.0)
    assert kinds(dead, done=False) == set()
    assert kinds(dead, done=True) == {"reward 0 throughout"}
    assert kinds(stage(STEPS, reward=0.0), done=False) == {"reward 0 throughout"}


def test_weights_that_do_not_move_are_said_at_once() -> None:
    assert kinds(stage(1, first={"weights_changed": 0.0}), done=False) == {"weights do not move"}


def test_numbers_that_are_not_finite_raise_no_false_alarm() -> None:
    assert kinds(stage(kl=[math.nan, None, *[0.5] * 28], truncated=math.inf)) == set()  # type: ignore[list-item]


def test_an_alarm_names_its_stage_what_was_found_and_what_to_do() -> None:
    (alarm,) = of_stage("student-rl on 2H", CASES["no answer found"][0], done=True)
    assert str(alarm).startswith("student-rl on 2H: in 80 % of the last responses no answer was found")
    assert "grading.extractor" in str(alarm)


def test_an_arm_that_is_no_better_than_its_start_says_so() -> None:
    (alarm,) = of_start("raw-bridge", 0.17, 0.01, -0.01)
    assert "17.0 % before, 18.0 % after" in alarm.said
    assert of_start("R1", 0.17, 0.6, 0.55) == ()


def test_a_teacher_that_rl_did_not_change_says_so() -> None:
    (alarm,) = of_teacher("R3-full", 0.25, -0.02, -0.05)
    assert "C1" in alarm.said
    assert of_teacher("R3-full", 0.25, 0.6, 0.5) == ()
