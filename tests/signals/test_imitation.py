"""Imitation: the recorded token's negative log-likelihood, and nobody is asked."""

import math

import pytest
import torch

from headwater.batch import NoTarget
from headwater.signals import Imitation
from scripted import ONCE, Script, scripted_group


def test_the_loss_is_the_negative_logprob_of_the_recorded_token():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])) + 7.0
    loss = Imitation().loss(logits, torch.tensor([1, 2]), NoTarget())
    assert loss.tolist() == pytest.approx([math.log(4), -math.log(0.8)], abs=1e-6)


def test_the_gradient_is_the_distribution_minus_the_recorded_token():
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 2, 4])
    Imitation().loss(logits, ids, NoTarget()).sum().backward()
    expected = torch.softmax(logits.detach(), -1) - torch.nn.functional.one_hot(ids, 5)
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)


def test_every_response_token_of_the_batch_weighs_the_same():
    groups = [scripted_group("a", [[1], [2, 3]]), scripted_group("b", [[4, 5]])]
    scored = Imitation().score(groups, Script().workers(), ONCE)
    assert [item.weight.tolist() for item in scored.rollouts] == [pytest.approx([0.2] * n) for n in (1, 2, 2)]
    assert scored.metrics == {"response_tokens": 5 / 3, "truncated": 0.0, "repetition": 0.0}


def test_imitation_asks_nobody_and_reads_no_label():
    script = Script()
    Imitation().score([scripted_group("a", [[1]])], script.workers(), ONCE)
    assert not Imitation().reads_labels
    assert script.answers.reads == []
    assert script.teacher.asked == script.reference.asked == []


def test_a_group_without_responses_trains_nothing():
    assert Imitation().score([scripted_group("a", [])], Script().workers(), ONCE).rollouts == ()


def test_the_diagnostics_are_entropy_and_accuracy():
    logits = torch.log(torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.1, 0.8]]))
    measured = Imitation().diagnostics(logits, torch.tensor([2, 2]), NoTarget())
    assert measured["entropy"][0].item() == pytest.approx(math.log(2))
    assert measured["accuracy"].tolist() == [0.0, 1.0]


def test_repetition_counts_the_four_grams_that_a_response_said_before():
    from headwater.signals.responses import repetition

    assert repetition((1, 2, 3)) == 0.0  # too short to repeat
    assert repetition((1, 2, 3, 4, 5)) == 0.0
    assert repetition((7,) * 8) == pytest.approx(4 / 5)  # five 4-grams, one of them new
