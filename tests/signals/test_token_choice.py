"""Token choice: which tokens teach is decided before the update, and by the numbers that it says."""

import pytest
import torch

from headwater.errors import InputError
from headwater.signals import Divergence
from headwater.signals.divergence import reverse_kl
from headwater.signals.token_choice import TokenChoice
from scripted import ScriptedLearner
from tabular import GROUPS, OTHER, ROWS, STUDENT, TEACHER, TableTeacher, apart, asked, measured, near, scored

pytestmark = pytest.mark.usefixtures("double")
ROW = torch.cat([ROWS[i] for members, _ in GROUPS.values() for i in members])
LOGS = torch.log_softmax(STUDENT, -1)
ENTROPY = -(LOGS.exp() * LOGS).sum(-1)[ROW]
KL = reverse_kl(LOGS, torch.log_softmax(TEACHER, -1))[ROW]


def kept(**settings):
    """Which of the batch's tokens weigh anything."""
    return torch.cat([member.weight != 0 for member in scored(TokenChoice(**settings)).rollouts])


@pytest.mark.parametrize("by", ["entropy", "kl", "both", "random"])
@pytest.mark.parametrize("denominator", ["kept", "all"])
def test_with_every_token_it_is_the_wrapped_signal(by, denominator):
    near(measured(TokenChoice(share=1.0, by=by, denominator=denominator)), measured(Divergence(direction="reverse")))


@pytest.mark.parametrize(("by", "values"), [("entropy", ENTROPY), ("kl", KL)])
def test_those_with_the_largest_number_are_kept(by, values):
    chosen = kept(share=0.4, by=by)
    assert int(chosen.sum()) == round(0.4 * len(ROW))
    assert values[chosen].min() >= values[~chosen].max()


def test_half_by_entropy_and_of_the_others_those_that_are_furthest_from_the_teacher():
    chosen = kept(share=0.4, by="both")
    first = kept(share=0.2, by="entropy")
    second = chosen & ~first
    assert int(chosen.sum()) == round(0.4 * len(ROW))
    assert bool((chosen | ~first).all())
    assert KL[second].min() >= KL[~chosen].max()


def test_at_random_as_many_are_kept_and_the_same_ones_again():
    chosen = kept(share=0.4, by="random")
    assert int(chosen.sum()) == round(0.4 * len(ROW))
    assert torch.equal(chosen, kept(share=0.4, by="random"))
    assert not torch.equal(chosen, kept(share=0.4, by="kl"))


def test_the_gradient_is_that_of_the_kept_tokens_over_the_declared_denominator():
    chosen = kept(share=0.4, by="kl")
    leaf = STUDENT.clone().requires_grad_()
    kl = reverse_kl(torch.log_softmax(leaf, -1), torch.log_softmax(TEACHER, -1))[ROW]
    (total,) = torch.autograd.grad((kl * chosen).sum(), leaf)
    near(measured(TokenChoice(share=0.4, by="kl")), total / int(chosen.sum()))
    near(measured(TokenChoice(share=0.4, by="kl", denominator="all")), total / len(ROW))


def test_the_present_weights_and_the_teacher_decide():
    class Elsewhere(ScriptedLearner):
        def present(self):
            return TableTeacher(logits=OTHER)

    usual = measured(TokenChoice())
    apart(measured(TokenChoice(), asked(learner=Elsewhere())), usual)
    apart(measured(TokenChoice(), asked(teacher=OTHER)), usual)


def test_a_learner_that_cannot_be_asked_is_refused():
    with pytest.raises(InputError, match="cannot be asked for its distributions before an update"):
        scored(TokenChoice(), asked(learner=ScriptedLearner()))
