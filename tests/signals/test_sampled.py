"""Literal OPD: the sampled token's reward by score function, with returns to go and a baseline, by enumeration."""

import pytest
import torch

from headwater.batch import TopKDistribution
from headwater.errors import ObjectiveError
from headwater.signals import Divergence
from headwater.signals.divergence import reverse_kl
from headwater.signals.sampled import Sampled, returns_to_go
from scripted import ONCE, Script, ScriptedTeacher, scripted_group
from tabular import (
    RESPONSES,
    TableTeacher,
    expected,
    gradient,
    group,
    probability,
    said,
    table,
    visits,
)

STUDENT, TEACHER = table(0), table(1)
pytestmark = pytest.mark.usefixtures("double")


def scored(signal, teacher=TEACHER, members=None):
    script = Script(teacher=TableTeacher(logits=teacher))
    return signal.score([group(STUDENT, members)], script.workers(), ONCE)


def exact_reverse():
    """The gradient of KL(S to T) at each state, as often as the student visits it."""
    leaf = STUDENT.clone().requires_grad_()
    kl = reverse_kl(torch.log_softmax(leaf, -1), torch.log_softmax(TEACHER, -1))
    return torch.autograd.grad((visits(STUDENT) * kl).sum(), leaf)[0]


def sequence_kl():
    """The gradient of the KL between whole responses."""
    leaf = STUDENT.clone().requires_grad_()
    ours, theirs = said(leaf).sum(1), said(TEACHER).sum(1)
    return torch.autograd.grad((ours.exp() * (ours - theirs)).sum(), leaf)[0]


@pytest.mark.parametrize("baseline", [False, True])
def test_the_expected_gradient_is_that_of_exact_reverse_kl(baseline):
    signal = Sampled(baseline=baseline)
    torch.testing.assert_close(expected(signal, scored(signal), STUDENT), exact_reverse(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("baseline", [False, True])
def test_with_returns_to_go_it_is_that_of_the_kl_of_whole_responses(baseline):
    signal = Sampled(gamma=1.0, baseline=baseline)
    torch.testing.assert_close(expected(signal, scored(signal), STUDENT), sequence_kl(), rtol=0, atol=1e-12)
    assert not torch.allclose(sequence_kl(), exact_reverse(), atol=1e-3)


def test_gamma_zero_is_the_sampled_estimator_of_the_divergence_on_each_batch():
    signal, other = Sampled(), Divergence(direction="reverse", estimator="sampled")
    ours, theirs = (gradient(one, scored(one, members=[3, 9, 9, 40]), STUDENT) for one in (signal, other))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_the_baseline_lowers_the_variance_of_the_gradient():
    def spread(signal):
        batch = scored(signal)
        found = 0.0
        for chance, member in zip(probability(STUDENT), batch.rollouts, strict=True):
            one = gradient(signal, type(batch)(rollouts=(member,)), STUDENT) * len(RESPONSES)
            found += float(chance) * float(one.square().sum())
        return found

    assert spread(Sampled(baseline=True)) < spread(Sampled())


@pytest.mark.parametrize(
    ("gamma", "found"),
    [(0.0, [1.0, -2.0, 4.0]), (0.5, [1 - 1 + 1.0, -2 + 2.0, 4.0]), (1.0, [3.0, 2.0, 4.0])],
)
def test_returns_to_go_are_those_worked_by_hand(gamma, found):
    assert returns_to_go(torch.tensor([1.0, -2.0, 4.0]), gamma).tolist() == found


def test_the_reward_is_scaled_and_then_clipped():
    script = Script(teacher=ScriptedTeacher(token_logprobs={"a/0": torch.tensor([-1.5, -4.0, -0.5])}))
    groups = [scripted_group("a", [(1, 2, 3)], logprob=-1.0)]
    batch = Sampled(beta=0.5, limit=0.3).score(groups, script.workers(), ONCE)
    assert batch.rollouts[0].target.advantage.tolist() == pytest.approx([-0.25, -0.3, 0.25])
    assert batch.metrics["teacher_reward"] == pytest.approx(-3.0 / 3)


@pytest.mark.parametrize("baseline", [False, True])
def test_another_teacher_gives_another_gradient(baseline):
    signal = Sampled(baseline=baseline)
    one, other = (gradient(signal, scored(signal, teacher, [3, 40]), STUDENT) for teacher in (TEACHER, table(2)))
    assert not torch.allclose(one, other, atol=1e-3)


def test_the_baseline_needs_a_teacher_that_knows_every_token():
    top = TopKDistribution.from_logprobs(torch.zeros(2, 4).log_softmax(-1), 2)
    teacher = ScriptedTeacher(by_rollout={"a/0": top}, token_logprobs={"a/0": torch.zeros(2)})
    with pytest.raises(ObjectiveError, match="exact teacher"):
        Sampled(baseline=True).score([scripted_group("a", [(1, 2)])], Script(teacher=teacher).workers(), ONCE)
