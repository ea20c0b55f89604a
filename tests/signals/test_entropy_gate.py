"""The entropy gate: reverse KL everywhere, forward KL where the teacher is least sure."""

import pytest
import torch

from headwater.signals import Divergence
from headwater.signals.divergence import forward_kl, reverse_kl
from headwater.signals.entropy_gate import EntropyGate
from tabular import GROUPS, OTHER, RESPONSES, ROWS, STUDENT, TEACHER, apart, asked, measured, near, scored

pytestmark = pytest.mark.usefixtures("double")
REVERSE, FORWARD = Divergence(direction="reverse"), Divergence(direction="forward")


def test_without_alpha_or_with_a_gate_that_never_opens_it_is_distillation():
    near(measured(EntropyGate(alpha=0.0)), measured(REVERSE))
    near(measured(EntropyGate(share=0.0)), measured(REVERSE))


def test_with_a_gate_that_is_always_open_it_is_both_divergences():
    near(measured(EntropyGate(alpha=0.5, share=1.0)), measured(REVERSE) + 0.5 * measured(FORWARD))


def test_the_gate_opens_where_the_teachers_entropy_is_largest():
    rows = torch.cat([ROWS[i] for members, _ in GROUPS.values() for i in members])
    teacher = torch.log_softmax(TEACHER, -1)
    entropy = -(teacher.exp() * teacher).sum(-1)[rows]
    opened = entropy >= entropy.unique()[-4]  # the four states at which it is largest, as often as they are met
    leaf = STUDENT.clone().requires_grad_()
    student = torch.log_softmax(leaf, -1)
    loss = reverse_kl(student, teacher)[rows] + 2.0 * opened * forward_kl(student, teacher)[rows]
    (gradient,) = torch.autograd.grad(loss.sum() / len(rows), leaf)
    near(measured(EntropyGate(alpha=2.0, share=int(opened.sum()) / len(rows))), gradient)


def test_the_random_gate_opens_for_as_many_tokens_and_for_others():
    gates = [
        torch.cat([member.target.second_weight != 0 for member in scored(EntropyGate(share=0.3, gate=gate)).rollouts])
        for gate in ("entropy", "random")
    ]
    assert gates[0].sum() == gates[1].sum() == round(0.3 * sum(len(m) for m, _ in GROUPS.values()) * RESPONSES.shape[1])
    assert not torch.equal(*gates)


def test_the_teacher_is_asked_once_and_moves_it():
    script = asked()
    usual = measured(EntropyGate(), script)
    assert len(script.teacher.asked) == 1
    apart(measured(EntropyGate(), asked(teacher=OTHER)), usual)


def test_the_curve_is_the_reverse_kl():
    batch = scored(EntropyGate(share=1.0), groups={"p": ([3], "c")})
    member = batch.rollouts[0]
    ids = torch.tensor(member.rollout.response_ids)
    logits = STUDENT[ROWS[3]]
    watched = EntropyGate().diagnostics(logits, ids, member.target)
    near(watched["kl"], reverse_kl(torch.log_softmax(logits, -1), torch.log_softmax(TEACHER[ROWS[3]], -1)))
