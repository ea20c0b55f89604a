"""Closed forms against autograd of the same signal's formula: loss, gradient and everything that is watched."""

import math

import pytest
import torch

from headwater.batch import FullDistribution, LogitDistribution, NoTarget, TopKDistribution
from headwater.interfaces import Signal
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward

DOUBLE = torch.float64
TOKENS, VOCAB = 12, 9
IDS = torch.arange(TOKENS) % VOCAB
WEIGHT = torch.linspace(0.5, 1.5, TOKENS)
DIVERGENCES = [
    Divergence(direction="forward"),
    Divergence(direction="reverse"),
    *(Divergence(direction="jsd", beta=beta) for beta in (0.0, 0.3, 0.5, 1.0)),
]


def random_logits(seed, sharpness=1.0, dtype=DOUBLE, vocab=VOCAB):
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(TOKENS, vocab, dtype=DOUBLE, generator=generator)).to(dtype)


def policy(reference=True):
    noise = torch.randn(3, TOKENS, generator=torch.Generator().manual_seed(7))
    return PolicyTarget(
        advantage=noise[0], old_logprobs=noise[1] / 3 - 2, reference_logprobs=noise[2] / 3 - 2 if reference else None
    )


def both(signal, logits, target):
    """(loss, gradient, watched) in closed form, and by autograd through `loss`."""
    found = []
    for differentiate in (type(signal).differentiate, Signal.differentiate):
        gradient = logits.clone()
        measured = differentiate(signal, gradient, IDS, target, WEIGHT)
        found.append((measured.loss, gradient, measured.watched))
    return found


def assert_agree(signal, logits, target, tolerance):
    (loss, gradient, watched), (expected_loss, expected, expected_watched) = both(signal, logits, target)
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)
    assert watched.keys() == expected_watched.keys()
    for name, values in expected_watched.items():
        torch.testing.assert_close(watched[name], values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-10), (torch.float32, 2e-6)])
@pytest.mark.parametrize("sharpness", [1.0, 8.0])
@pytest.mark.parametrize("signal", DIVERGENCES)
def test_a_divergence_from_a_whole_distribution(signal, sharpness, dtype, tolerance):
    target = LogitDistribution(made=random_logits(1, sharpness, dtype))
    assert_agree(signal, random_logits(0, sharpness, dtype), target, tolerance * sharpness)


@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-7), (torch.float32, 2e-6)])
@pytest.mark.parametrize("k", [1, 4, VOCAB - 1, VOCAB])
@pytest.mark.parametrize("signal", DIVERGENCES)
def test_a_divergence_over_the_top_k_and_the_tail(signal, k, dtype, tolerance):
    teacher = torch.log_softmax(random_logits(1), dim=-1)
    assert_agree(signal, random_logits(0, dtype=dtype), TopKDistribution.from_logprobs(teacher, k), tolerance)


@pytest.mark.parametrize("signal", [Reward(), Reward(kl_coefficient=0.3, clip_high=0.05), Imitation()])
@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-7), (torch.float32, 2e-6)])
def test_a_loss_of_the_recorded_token(signal, dtype, tolerance):
    target = policy() if isinstance(signal, Reward) else NoTarget()
    assert_agree(signal, random_logits(0, 2.0, dtype), target, tolerance)


@pytest.mark.parametrize("signal", DIVERGENCES)
def test_ids_that_both_sides_mask_take_no_part(signal):
    student, teacher = random_logits(0, dtype=torch.float32), random_logits(1, dtype=torch.float32)
    free = both(signal, student, LogitDistribution(made=teacher))[0]
    barred = torch.full((TOKENS, 3), -math.inf)
    wider = torch.cat([student, barred], dim=-1), LogitDistribution(made=torch.cat([teacher, barred], dim=-1))
    loss, gradient, watched = both(signal, *wider)[0]
    torch.testing.assert_close(loss, free[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient[:, :VOCAB], free[1], rtol=0, atol=1e-6)
    assert torch.equal(gradient[:, VOCAB:], torch.zeros(TOKENS, 3))
    assert all(torch.isfinite(values).all() for values in watched.values())


def test_what_the_teacher_rules_out_is_infinite_in_closed_form_too():
    student = torch.zeros(1, 2)
    target = FullDistribution(full=torch.log(torch.tensor([[1.0, 0.0]])))
    for direction, loss in (("reverse", math.inf), ("forward", math.log(2))):
        signal = Divergence(direction=direction)
        found = signal.differentiate(student.clone(), IDS[:1], target, WEIGHT[:1]).loss
        assert found.item() == pytest.approx(loss)


@pytest.mark.parametrize("signal", DIVERGENCES[:3])
def test_a_tail_too_light_for_float32_is_still_pulled_up(signal):
    student = torch.zeros(TOKENS, VOCAB, dtype=torch.float32)
    student[:, :2] = 200.0  # the rest holds e^-200
    target = TopKDistribution(
        token_ids=torch.tensor([[0, 1]]).expand(TOKENS, 2),
        top_logprobs=torch.log(torch.tensor([[0.6, 0.3]])).expand(TOKENS, 2),
        tail_logprob=torch.log(torch.tensor([0.1])).expand(TOKENS),
    )
    assert_agree(signal, student, target, 1e-5)
    if signal.direction == "forward":
        assert both(signal, student, target)[0][1][:, 2:].max() < -1e-3


@pytest.mark.parametrize("signal", [*DIVERGENCES[:3], Imitation(), Reward()])
def test_another_teacher_answer_or_advantage_gives_another_gradient(signal):
    logits = random_logits(0, dtype=torch.float32)
    if isinstance(signal, Divergence):
        targets = [LogitDistribution(made=random_logits(seed, dtype=torch.float32)) for seed in (1, 2)]
    else:
        targets = [policy(), policy()]
        targets[1].advantage.neg_()
    found = [logits.clone(), logits.clone()]
    for gradient, target, shift in zip(found, targets, (0, 1), strict=True):
        signal.differentiate(gradient, (IDS + shift) % VOCAB, target, WEIGHT)
    assert (found[0] - found[1]).abs().max() > 1e-3
