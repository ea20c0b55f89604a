"""Gated distillation: praise for right responses, blame for wrong ones, and the controls that do the opposite."""

import pytest
import torch

from headwater.signals.gated import Gated
from headwater.signals.sampled import Sampled
from tabular import (
    GROUPS,
    OTHER,
    RESPONSES,
    STUDENT,
    TEACHER,
    apart,
    asked,
    expected,
    measured,
    near,
    probability,
    said,
    scored,
)

pytestmark = pytest.mark.usefixtures("double")
EVERY = {"p": (list(range(len(RESPONSES))), ["wc"[int(ids[-1]) % 2] for ids in RESPONSES])}
"""Every response; those that end on an odd token are right."""


def score_function(advantage):
    """The gradient of -sum over responses of P A log S with P and A held fixed."""
    leaf = STUDENT.clone().requires_grad_()
    loss = -(probability(STUDENT)[:, None] * advantage * said(leaf)).sum()
    return torch.autograd.grad(loss, leaf)[0]


def test_the_expected_gradient_is_that_of_the_gated_reward():
    reward = said(TEACHER) - said(STUDENT)
    right = (RESPONSES[:, -1] % 2 == 1)[:, None]
    gated = torch.where(right, reward.clamp_min(0), reward.clamp_max(0))
    signal = Gated()
    near(expected(signal, scored(signal, groups=EVERY), STUDENT), score_function(gated))


@pytest.mark.parametrize("by", ["verdict", "advantage"])
def test_the_gate_and_its_inverse_are_together_the_ungated_reward(by):
    mixed = {name: given for name, given in GROUPS.items() if name != "same"}
    both = [measured(Gated(gate=gate, by=by), groups=mixed) for gate in ("agree", "inverse")]
    near(sum(both), measured(Sampled(), groups=mixed))
    apart(*both)


def test_by_advantage_a_group_without_spread_is_left_out():
    alone = {"same": GROUPS["same"]}
    near(measured(Gated(by="advantage"), groups=alone), torch.zeros_like(STUDENT))
    apart(measured(Gated(), groups=alone), torch.zeros_like(STUDENT))
    assert Gated(by="advantage").least_samples == 2


def test_the_random_gate_lets_as_many_tokens_through_and_the_same_ones_again():
    gates = [scored(Gated(gate=gate)) for gate in ("agree", "random", "random")]
    open_for = [torch.cat([member.target.advantage != 0 for member in one.rollouts]) for one in gates]
    assert open_for[0].sum() == open_for[1].sum()
    assert not torch.equal(open_for[0], open_for[1])
    assert torch.equal(open_for[1], open_for[2])
    assert gates[0].metrics["passed"] == pytest.approx(float(open_for[0].double().mean()))


def test_a_response_without_a_verdict_teaches_nothing():
    half = {"p": ([3, 40], "cu")}
    found = scored(Gated(ungraded_limit=0.5), groups=half)
    assert found.rollouts[1].target.advantage.tolist() == [0.0] * 3
    assert found.metrics["reward"] == 1.0


def test_it_reads_each_answer_once_and_what_it_reads_moves_it():
    script = asked()
    usual = measured(Gated(), script)
    assert script.answers.reads == [(name, "answer") for name in GROUPS]
    apart(measured(Gated(), asked(teacher=OTHER)), usual)
    apart(measured(Gated(), groups={**GROUPS, "same": (GROUPS["same"][0], "ww")}), usual)
