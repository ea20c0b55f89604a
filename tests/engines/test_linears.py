"""Linear layers: the same function and gradients as PyTorch's, in place, and a switch that nobody else sees."""

import pytest
import torch
from torch import nn

import tiny
from headwater.engines.cpu import products
from headwater.engines.linears import FastLinear, linear, take_over

WIDTHS = [(1, 5, 3), (7, 16, 48), (130, 64, 33)]


def operands(rows, inputs, outputs, *, bias=True):
    source = torch.Generator().manual_seed(rows)
    shapes = [(2, rows, inputs), (outputs, inputs), (outputs,)][: 3 if bias else 2]
    return [torch.randn(shape, generator=source).requires_grad_() for shape in shapes]


def outcome(function, given):
    """The output and every gradient, under one output gradient."""
    copies = [one.detach().clone().requires_grad_() for one in given]
    output = function(*copies)
    output.backward(torch.linspace(-1, 1, output.numel()).view(output.shape))
    return [output.detach(), *(one.grad for one in copies)]


@pytest.mark.parametrize("library", ["onednn", "default"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", WIDTHS)
def test_output_and_gradients_are_those_of_a_plain_linear_layer(widths, bias, library, monkeypatch):
    if products.exact_or_default(library) != library:
        pytest.skip(f"{library}'s products are not float32 on this processor, and are never used here")
    monkeypatch.setattr(products, "library", lambda: library)
    given = operands(*widths, bias=bias)
    for found, expected in zip(outcome(linear, given), outcome(nn.functional.linear, given), strict=True):
        tiny.assert_near(found, expected, 2e-6)


@pytest.mark.parametrize("widths", WIDTHS)
def test_bfloat16_rounds_to_eight_bits_and_keeps_float32_around_the_product(widths):
    given = operands(*widths)
    rounded = outcome(lambda *all_three: linear(*all_three, precision="bfloat16"), given)
    for found, expected in zip(rounded, outcome(nn.functional.linear, given), strict=True):
        assert found.dtype == torch.float32
        tiny.assert_near(found, expected, 1e-2)


def test_a_changed_weight_is_rounded_anew():
    x, weight = operands(3, 4, 5, bias=False)
    before = linear(x, weight, precision="bfloat16")
    with torch.no_grad():
        weight.mul_(2)
    torch.testing.assert_close(linear(x, weight, precision="bfloat16"), 2 * before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_left_to_pytorch(dtype):
    x, weight = (one.to(dtype) for one in operands(3, 4, 5, bias=False))
    assert torch.equal(linear(x, weight, precision="bfloat16"), nn.functional.linear(x, weight))


def test_taking_a_network_over_changes_neither_names_nor_values_nor_what_is_saved(tmp_path):
    model, plain = tiny.llama(), tiny.llama()
    take_over(model.network, "float32")
    assert all(type(m) is FastLinear for m in model.network.modules() if isinstance(m, nn.Linear))
    tiny.assert_same_bits(tiny.weights(model), tiny.weights(plain))
    one = tiny.rollout("p0/0", (2, 3), (4, 5, 6))
    torch.testing.assert_close(tiny.forward(model, one), tiny.forward(plain, one), rtol=0, atol=1e-5)
    model.save(tmp_path / "taken")
    plain.save(tmp_path / "plain")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "taken" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
