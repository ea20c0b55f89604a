"""The tiled head: any slicing and any split of the batch give the untiled loss and gradient."""

import dataclasses
import math
from functools import partial

import pytest
import torch

from headwater.batch import FullDistribution, HiddenDistribution, NoTarget, TopKDistribution
from headwater.engines.head import Head, HeadBatch, tiled_backward
from headwater.signals import Divergence, Imitation, PolicyTarget, Reward
from headwater.signals.divergence import forward_kl, jsd, reverse_kl

DOUBLE = torch.float64
TOKENS, VOCAB, WIDTH = 16, 11, 6
SIGNALS = {
    "reward": Reward(),
    "imitation": Imitation(),
    "forward": Divergence(direction="forward"),
    "reverse top-k": Divergence(direction="reverse"),
    "jsd hidden": Divergence(direction="jsd"),
    "sampled": Divergence(direction="reverse", estimator="sampled"),
}


def target_of(name, seed=0):
    """A random target over TOKENS tokens for the named signal."""
    generator = torch.Generator().manual_seed(seed)
    if name == "reward":
        numbers = torch.randn(3, TOKENS, generator=generator)
        return PolicyTarget(
            advantage=numbers[0], old_logprobs=numbers[1] / 3 - 3, reference_logprobs=numbers[2] / 3 - 3
        )
    if name == "imitation":
        return NoTarget()
    if name == "jsd hidden":
        hidden, head = torch.randn(TOKENS, 4, generator=generator), torch.randn(VOCAB, 4, generator=generator)
        return HiddenDistribution(hidden=hidden, head=head, temperature=1.3)
    full = torch.log_softmax(torch.randn(TOKENS, VOCAB, generator=generator), dim=-1)
    return TopKDistribution.from_logprobs(full, 3) if name == "reverse top-k" else FullDistribution(full=full)


@dataclasses.dataclass
class Body:
    """A language model in small: embeddings that are tied to the head, and one layer."""

    embedding: torch.Tensor
    layer: torch.Tensor
    inputs: torch.Tensor

    @classmethod
    def make(cls, dtype=DOUBLE):
        generator = torch.Generator().manual_seed(1)
        return cls(
            (0.4 * torch.randn(VOCAB, WIDTH, dtype=DOUBLE, generator=generator)).to(dtype).requires_grad_(),
            torch.randn(WIDTH, WIDTH, dtype=DOUBLE, generator=generator).to(dtype).requires_grad_(),
            torch.randint(VOCAB, (TOKENS,), generator=generator),
        )

    def hidden(self):
        return torch.tanh(self.embedding[self.inputs] @ self.layer)

    def gradients(self):
        found = self.embedding.grad.clone(), self.layer.grad.clone()
        self.embedding.grad = self.layer.grad = None
        return found


def batch_of(name, rows=slice(None)):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(VOCAB, (TOKENS,), generator=generator)
    weight = torch.rand(TOKENS, generator=generator) / TOKENS
    return HeadBatch(response_ids=ids[rows], target=target_of(name).rows(rows), weight=weight[rows])


def untiled(body, signal, batch, temperature=1.0):
    logits = body.hidden() @ body.embedding.T / temperature
    loss = (signal.loss(logits, batch.response_ids, batch.target) * batch.weight).sum()
    loss.backward()
    return loss.item(), body.gradients()


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(DOUBLE, 1e-7), (torch.float32, 1e-6)])
def test_any_tile_gives_the_untiled_loss_and_gradient(name, dtype, tolerance):
    body, batch = Body.make(dtype), batch_of(name)
    loss, gradients = untiled(body, SIGNALS[name], batch, temperature=0.7)
    for tile in [1, 2, 3, 7, 15, 16, 17, 1000]:
        head = Head(weight=body.embedding, temperature=0.7, tile=tile)
        result = tiled_backward(body.hidden(), head, SIGNALS[name], batch)
        assert result.loss == pytest.approx(loss, abs=tolerance)
        assert result.finite
        assert_same(body.gradients(), gradients, tolerance)


@pytest.mark.parametrize("name", SIGNALS)
def test_micro_batches_of_sixteen_four_and_one_give_one_gradient(name):
    body = Body.make()
    loss, gradients = untiled(body, SIGNALS[name], batch_of(name))
    for size in [16, 4, 1]:
        results = [
            tiled_backward(
                body.hidden()[start : start + size],
                Head(weight=body.embedding, tile=3),
                SIGNALS[name],
                batch_of(name, slice(start, start + size)),
            )
            for start in range(0, TOKENS, size)
        ]
        assert sum(result.loss for result in results) == pytest.approx(loss, abs=1e-6)
        assert_same(body.gradients(), gradients, 1e-6)


@pytest.mark.parametrize("name", SIGNALS)
def test_tokens_of_weight_zero_change_nothing(name):
    body, batch = Body.make(), batch_of(name)
    head = Head(weight=body.embedding, tile=4)
    tiled_backward(body.hidden(), head, SIGNALS[name], batch)
    gradients = body.gradients()
    longer = HeadBatch(
        response_ids=torch.cat([batch.response_ids, batch.response_ids.flip(0)]),
        target=batch.target.join([batch.target, target_of(name, seed=9)])
        if name != "jsd hidden"
        else batch.target.join([batch.target, batch.target]),
        weight=torch.cat([batch.weight, torch.zeros(TOKENS)]),
    )
    hidden = body.hidden()
    tiled_backward(torch.cat([hidden, hidden.flip(0)]), head, SIGNALS[name], longer)
    assert_same(body.gradients(), gradients, 1e-12)


@pytest.mark.parametrize("name", SIGNALS)
def test_diagnostics_are_summed_over_all_tokens(name):
    body, batch = Body.make(), batch_of(name)
    logits = (body.hidden() @ body.embedding.T).detach()
    expected = SIGNALS[name].diagnostics(logits, batch.response_ids, batch.target)
    result = tiled_backward(body.hidden(), Head(weight=body.embedding, tile=5), SIGNALS[name], batch)
    assert result.tokens == TOKENS
    assert set(result.sums) == set(expected)
    for key, values in expected.items():
        assert result.sums[key] == pytest.approx(values.sum().item(), abs=1e-5)


def test_a_head_with_a_bias_learns_it():
    body, batch = Body.make(), batch_of("imitation")
    bias = torch.randn(VOCAB, dtype=DOUBLE, requires_grad=True)
    logits = body.hidden() @ body.embedding.T + bias
    (SIGNALS["imitation"].loss(logits, batch.response_ids, batch.target) * batch.weight).sum().backward()
    expected, bias.grad = bias.grad, None
    head = Head(weight=body.embedding, bias=bias, tile=3)
    tiled_backward(body.hidden(), head, SIGNALS["imitation"], batch)
    torch.testing.assert_close(bias.grad, expected, rtol=0, atol=1e-12)


def test_no_more_than_a_tile_of_logits_is_made_at_once():
    shapes = []

    class Watch(Imitation):
        def differentiate(self, logits, response_ids, target, weight):
            shapes.append(tuple(logits.shape))
            return super().differentiate(logits, response_ids, target, weight)

    body = Body.make()
    tiled_backward(body.hidden(), Head(weight=body.embedding, tile=6), Watch(), batch_of("imitation"))
    assert shapes == [(6, VOCAB), (6, VOCAB), (4, VOCAB)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_or_gradient_that_is_not_finite_is_reported_with_its_token_and_stays_out_of_the_body(bad):
    body, batch = Body.make(), batch_of("reward")
    batch.target.old_logprobs[11] = -bad
    head = Head(weight=body.embedding, tile=4)
    result = tiled_backward(body.hidden(), head, SIGNALS["reward"], batch)
    assert not result.finite
    assert result.first_bad_token == 11
    assert body.layer.grad is None


def test_no_tokens_are_no_loss():
    body = Body.make()
    empty = batch_of("imitation", slice(0, 0))
    result = tiled_backward(body.hidden()[:0], Head(weight=body.embedding, tile=4), Imitation(), empty)
    assert (result.loss, result.tokens, result.finite) == (0.0, 0, True)


# temperature: one contract, logits / T before the softmax, in the student's head and in the teacher's


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_a_student_that_is_its_teacher_has_divergence_zero_at_the_same_temperature_only(temperature):
    body = Body.make(torch.float32)
    hidden = body.hidden()
    for of_teacher in [temperature, 2.0]:
        target = HiddenDistribution(hidden=hidden.detach(), head=body.embedding.detach(), temperature=of_teacher)
        batch = dataclasses.replace(batch_of("imitation"), target=target)
        head = Head(weight=body.embedding, temperature=temperature, tile=5)
        result = tiled_backward(body.hidden(), head, Divergence(direction="reverse"), batch)
        if of_teacher == temperature:
            assert abs(result.sums["kl"]) <= 1e-6
        else:
            assert result.sums["kl"] > 1e-2


# bfloat16


@pytest.mark.parametrize(("sharpness", "tolerance"), [(1.0, 1e-4), (8.0, 1e-3)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
def test_a_bfloat16_model_keeps_its_log_sum_exp_and_divergence_in_float32(direction, sharpness, tolerance):
    generator = torch.Generator().manual_seed(3)
    tokens, vocab, width = 32, 300, 16
    weight = (sharpness / 4 * torch.randn(vocab, width, generator=generator)).bfloat16().requires_grad_()
    hidden = torch.randn(tokens, width, generator=generator).bfloat16().requires_grad_()
    teacher = torch.log_softmax(sharpness * torch.randn(tokens, vocab, generator=generator), -1)
    batch = HeadBatch(
        response_ids=torch.zeros(tokens, dtype=torch.long),
        target=FullDistribution(full=teacher),
        weight=torch.full((tokens,), 1 / tokens),
    )
    signal = Divergence(direction=direction)
    result = tiled_backward(hidden, Head(weight=weight, tile=7), signal, batch)
    logits = torch.nn.functional.linear(hidden, weight).double()  # the model's own logits, then float64
    divergence = {"forward": forward_kl, "reverse": reverse_kl, "jsd": partial(jsd, beta=0.5)}[direction]
    exact = divergence(torch.log_softmax(logits, -1), teacher.double()).mean().item()
    assert result.loss == pytest.approx(exact, abs=tolerance)
    assert hidden.grad.dtype == torch.bfloat16


def test_a_bfloat16_body_under_a_float32_head_is_measured_in_float32():
    body = Body.make(torch.float32)
    hidden = body.hidden().detach().bfloat16()
    batch = batch_of("forward")
    result = tiled_backward(hidden.requires_grad_(), Head(weight=body.embedding, tile=5), SIGNALS["forward"], batch)
    found = body.embedding.grad.clone()
    body.embedding.grad = None
    logits = hidden.detach().float() @ body.embedding.T
    loss = (SIGNALS["forward"].loss(logits, batch.response_ids, batch.target) * batch.weight).sum()
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), abs=1e-6)
    torch.testing.assert_close(found, body.embedding.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
def test_a_bfloat16_teacher_is_measured_in_float32(direction, precision):
    generator = torch.Generator().manual_seed(4)
    tokens, vocab = 24, 300
    weight = (0.3 * torch.randn(vocab, 16, generator=generator)).requires_grad_()
    hidden, states = (torch.randn(tokens, 16, generator=generator) for _ in range(2))
    teacher = (0.3 * torch.randn(vocab, 16, generator=generator)).bfloat16()
    batch = HeadBatch(
        response_ids=torch.zeros(tokens, dtype=torch.long),
        target=HiddenDistribution(hidden=states.bfloat16(), head=teacher),
        weight=torch.full((tokens,), 1 / tokens),
    )
    head = Head(weight=weight, tile=7, precision=precision)
    result = tiled_backward(hidden.requires_grad_(), head, Divergence(direction=direction), batch)
    said = [states.bfloat16().double() @ teacher.double().T, hidden.detach().double() @ weight.detach().double().T]
    wanted, student = (torch.log_softmax(logits, dim=-1) for logits in said)
    divergence = {"forward": forward_kl, "reverse": reverse_kl, "jsd": partial(jsd, beta=0.5)}[direction]
    assert result.loss == pytest.approx(divergence(student, wanted).mean().item(), abs=1e-3)
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
