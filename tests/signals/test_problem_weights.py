"""Problem weights: p (1 - p) of the step's own pass rate, or its root, with mean 1 over the problems."""

import pytest
import torch

from headwater.interfaces import Need
from headwater.signals import Divergence, Imitation
from headwater.signals.problem_weights import ProblemWeights
from tabular import OTHER, STUDENT, apart, asked, measured, near, scored

pytestmark = pytest.mark.usefixtures("double")
GROUPS = {"half": ([3, 40], "cw"), "quarter": ([1, 2, 5, 9], "cwww"), "none": ([60, 7], "ww"), "all": ([8, 9], "cc")}
DENSE = Divergence(direction="reverse")


@pytest.mark.parametrize(
    ("form", "raw"),
    [("product", [0.25, 3 / 16, 0, 0]), ("root", [0.5, (3 / 16) ** 0.5, 0, 0])],
)
def test_the_weights_are_those_worked_by_hand(form, raw):
    found = scored(ProblemWeights(form=form), groups=GROUPS)
    factors = {member.rollout.problem_id: float(member.weight[0] * 10 * 3) for member in found.rollouts}
    mean = sum(raw) / 4
    assert list(factors.values()) == pytest.approx([weight / mean for weight in raw])
    assert found.metrics["pass_rate"] == pytest.approx((0.5 + 0.25 + 0 + 1) / 4)


def test_the_gradient_is_that_of_the_problems_apart_each_times_its_weight():
    parts = {name: measured(DENSE, groups={name: GROUPS[name]}) * len(GROUPS[name][0]) / 10 for name in GROUPS}
    mean = (0.25 + 3 / 16) / 4
    near(measured(ProblemWeights(), groups=GROUPS), parts["half"] * 0.25 / mean + parts["quarter"] * 3 / 16 / mean)


def test_problems_that_are_equally_hard_leave_the_wrapped_signal_as_it_is():
    alike = {"a": ([3, 40], "cw"), "b": ([1, 2], "wc")}
    near(measured(ProblemWeights(), groups=alike), measured(DENSE, groups=alike))


def test_where_every_problem_is_always_or_never_solved_no_step_is_made():
    assert scored(ProblemWeights(), groups={"none": GROUPS["none"], "all": GROUPS["all"]}).rollouts == ()


def test_a_response_without_a_verdict_is_left_out_of_the_pass_rate():
    found = scored(ProblemWeights(ungraded_limit=1.0), groups={"a": ([3, 4, 5], "cwu"), "b": ([6, 7], "wc")})
    assert found.metrics["pass_rate"] == 0.5


def test_the_answers_are_read_as_labels_and_both_they_and_the_teacher_move_it():
    script = asked(GROUPS)
    usual = measured(ProblemWeights(), script, groups=GROUPS)
    assert script.answers.reads == [(name, "answer") for name in GROUPS]
    assert Need.ANSWERS in ProblemWeights(of=Imitation()).needs
    apart(measured(ProblemWeights(), asked(GROUPS, teacher=OTHER), groups=GROUPS), usual)
    apart(measured(ProblemWeights(), groups={**GROUPS, "half": (GROUPS["half"][0], "cc")}), usual)
    assert not torch.equal(usual, torch.zeros_like(STUDENT))
