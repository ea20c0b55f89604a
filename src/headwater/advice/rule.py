"""The rule: which route a recipe's labels deserve, from what a pilot measured. Pure: values in, values out.

1. Groups with right and wrong answers are under 5 % for the teacher, which is mostly wrong, and for the student: labels
   teach nobody.
2. Labels on the teacher, then the bridge, if T* - L > S* by two errors; on the student if it is below by as much; else
   not decided. T* and S* are levels after GRPO, L what the bridge loses. T* - L is where the bridge leads the student,
   so the difference is read off two students of the pilot, one bridged and one after GRPO, with one error for both.
   Never on shares of mixed groups alone: a stronger model nearer its ceiling has fewer, and so a teacher that is right
   nearly always is no case of 1.
3. A warm-up is needed where KL(student to the teacher after GRPO) >= 2.0 nats a token or the overlap is below 0.75;
   with KL <= 1.8 and an overlap above 0.85 it buys speed only.
4. Labels are held back for the student only if the teacher gains less from the second half of the labels than the
   student does from labels that are fresh to it after the bridge. Labels are never replayed.
5. Many labels turn it, as direct GRPO catches up: rule 2 is read at half the labels as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headwater.advice.levels import Measured

Choice = Literal["upstream", "direct", "nobody", "not decided"]
Answer = Literal["yes", "no", "not decided"]

LEAST_MIXED = 0.05
MOSTLY = 0.5
FAR_KL, NEAR_KL = 2.0, 1.8
FAR_OVERLAP, NEAR_OVERLAP = 0.75, 0.85
FRESH = Measured(0.035, 0.015)
"""What labels that are fresh to the student add after the bridge: the paper 2.4 and 3.1 points, the lab 5.0."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """A number with half of the labels and with all."""

    half: Measured
    whole: Measured


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a pilot measured. Shares are fractions of 1, KL in nats a token, on states of the raw student."""

    student: Measured
    teacher: Measured
    student_mixed: Measured
    teacher_mixed: Measured
    kl: Measured
    overlap: Measured
    student_levels: Levels
    """S*"""
    teacher_levels: Levels
    """T*"""
    lead: Levels
    """T* - L - S*: by how much the bridged student ends above the one after GRPO"""

    @property
    def loss(self) -> Measured:
        """L = T* - (S* + lead), with all labels."""
        return self.teacher_levels.whole.minus(self.student_levels.whole).minus(self.lead.whole)


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the rule says. `rule`: which of its numbers fired for the route; `difference`: T* - L - S*, all labels."""

    route: Choice
    rule: int
    difference: Measured
    at_half: Choice
    warm_up: Literal["needed", "speed only", "not decided"]
    hold_back: Answer

    @property
    def decided(self) -> bool:
        """Whether a route was found; "nobody" is an answer too."""
        return self.route != "not decided"


def rule(evidence: Evidence) -> Ruling:
    """The rule above on a pilot's evidence."""
    nobody = (
        evidence.teacher_mixed.value < LEAST_MIXED
        and evidence.teacher.value < MOSTLY
        and evidence.student_mixed.value < LEAST_MIXED
    )
    return Ruling(
        route="nobody" if nobody else _route(evidence.lead.whole),
        rule=1 if nobody else 2,
        difference=evidence.lead.whole,
        at_half="nobody" if nobody else _route(evidence.lead.half),
        warm_up=_warm_up(evidence),
        hold_back=_hold_back(evidence),
    )


_ROUTES: Mapping[int, Choice] = {1: "upstream", -1: "direct", 0: "not decided"}


def _route(difference: Measured) -> Choice:
    return _ROUTES[difference.beyond()]


def _warm_up(evidence: Evidence) -> Literal["needed", "speed only", "not decided"]:
    if evidence.kl.value >= FAR_KL or evidence.overlap.value < FAR_OVERLAP:
        return "needed"
    near = evidence.kl.value <= NEAR_KL and evidence.overlap.value > NEAR_OVERLAP
    return "speed only" if near else "not decided"


def _hold_back(evidence: Evidence) -> Answer:
    """Both levels of the teacher come from one pilot, so their difference is as sure as the later level is."""
    levels = evidence.teacher_levels
    gain = Measured(levels.whole.value - levels.half.value, levels.whole.error)
    answers: Mapping[int, Answer] = {1: "yes", -1: "no", 0: "not decided"}
    return answers[FRESH.minus(gain).beyond()]
