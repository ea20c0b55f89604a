"""k2 and k3 as losses: each has the gradient of a KL, and of another one."""

import pytest
import torch

from headwater.routes import methods
from headwater.signals import Reward
from headwater.signals.divergence import forward_kl, reverse_kl
from headwater.signals.reward_k2 import RewardK2
from tabular import REFERENCE, RESPONSES, STUDENT, apart, asked, expected, measured, near, scored, table, visits

pytestmark = pytest.mark.usefixtures("double")
EVERY = {"p": (list(range(len(RESPONSES))), "c" * len(RESPONSES))}
ALONE = {"kl_coefficient": 1.0, "zero_variance": "keep"}


@pytest.mark.parametrize(("kind", "kl"), [(RewardK2, reverse_kl), (Reward, forward_kl)])
def test_k2_has_the_gradient_of_kl_to_the_reference_and_k3_that_of_kl_from_it(kind, kl):
    signal = kind(**ALONE)  # every reward is the same: the penalty alone is left
    leaf = STUDENT.clone().requires_grad_()
    at_each = kl(torch.log_softmax(leaf, -1), torch.log_softmax(REFERENCE, -1))
    (exact,) = torch.autograd.grad((visits(STUDENT) * at_each).sum(), leaf)
    near(expected(signal, scored(signal, groups=EVERY), STUDENT), exact)


def test_without_a_coefficient_it_is_grpo_and_asks_no_reference():
    script = asked()
    near(measured(RewardK2(kl_coefficient=0.0), script), measured(Reward(kl_coefficient=0.0)))
    assert script.reference.asked == []


def test_the_reference_moves_it():
    other = asked()
    other.reference.logits = table(8)
    apart(measured(RewardK2(kl_coefficient=0.5), other), measured(RewardK2(kl_coefficient=0.5)))


def test_close_to_the_reference_the_two_agree():
    alone = {"p": ([3, 40], "cc")}
    near_by = asked(alone)
    near_by.reference.logits = STUDENT + 1e-7 * table(8)
    found = [measured(kind(**ALONE), near_by, groups=alone) for kind in (Reward, RewardK2)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-12)


def test_a_recipes_reward_settings_are_its_own_too():
    row = Reward(kl_coefficient=0.25, divide_by_std=False)
    made = methods.edited_signal(row, {"kind": "reward-k2"}, "here")
    assert (type(made), made.kl_coefficient, made.divide_by_std) == (RewardK2, 0.25, False)
