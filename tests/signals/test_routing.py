"""Routing by outcome: right responses get the reward, wrong ones the teacher, each with its own denominator."""

import pytest

from headwater.batch import Scored
from headwater.signals import Divergence, Reward
from headwater.signals.routing import Routing
from tabular import GROUPS, OTHER, STUDENT, apart, asked, gradient, measured, near, scored

pytestmark = pytest.mark.usefixtures("double")
GRPO, DENSE = Reward(kl_coefficient=0.3), Divergence(direction="reverse")
ROUTED = Routing(sparse=GRPO)
RIGHT = {f"{name}/{i}" for name, (_, letters) in GROUPS.items() for i, v in enumerate(letters) if v == "c"}


def part(signal, right):
    """A signal's gradient on the right or on the wrong responses, with its weights of the whole batch."""
    kept = tuple(m for m in scored(signal).rollouts if (m.rollout.rollout_id in RIGHT) == right)
    return gradient(signal, Scored(rollouts=kept), STUDENT)


def test_right_responses_are_reinforced_and_wrong_ones_taught():
    near(measured(ROUTED), part(GRPO, True) + part(DENSE, False))


def test_the_inverse_does_the_opposite_and_both_together_are_both_signals():
    inverse = Routing(sparse=GRPO, inverse=True)
    near(measured(inverse), part(GRPO, False) + part(DENSE, True))
    near(measured(inverse) + measured(ROUTED), measured(GRPO) + measured(DENSE))


@pytest.mark.parametrize(("letter", "end"), [("c", GRPO), ("w", DENSE)])
def test_where_all_are_right_nobody_is_taught_and_where_all_are_wrong_everybody(letter, end):
    alike = {name: (members, letter * len(members)) for name, (members, _) in GROUPS.items()}
    near(measured(ROUTED, groups=alike), measured(end, groups=alike))


def test_a_response_without_a_verdict_goes_nowhere():
    half = {"p": ([3, 40], "cu")}
    routed = Routing(sparse=GRPO.model_copy(update={"ungraded_limit": 1.0}))
    near(measured(routed, groups=half), 0 * STUDENT)


def test_what_it_reads_moves_it():
    usual = measured(ROUTED)
    apart(measured(ROUTED, asked(teacher=OTHER)), usual)
    apart(measured(ROUTED, groups={**GROUPS, "other": (GROUPS["other"][0], "cwc")}), usual)
    assert scored(ROUTED).metrics["reinforced"] == pytest.approx(len(RIGHT) / 9)
