"""Gated feed-forward layers: the network's own values and gradients from two kept tensors; others left alone."""

import copy

import pytest
import torch
from torch import nn

import tiny
from headwater.engines import feed_forward, linears
from headwater.engines.feed_forward import gated
from headwater.engines.plain import TakenOver

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


def layers_of(family, precision="float32"):
    """A network's own feed-forward layer with fast products, and the same taken over."""
    network = tiny.FAMILIES[family]().network
    linears.take_over(network, precision)
    own = copy.deepcopy(network.model.layers[0].mlp)
    feed_forward.take_over(network)
    return own, network.model.layers[0].mlp


def gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    names, parameters = zip(*sorted(layer.named_parameters()), strict=True)
    found = torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum(), [x, *parameters])
    return dict(zip(["y", "x", *names], [y.detach(), *found], strict=True))


@FAMILIES
@PRECISIONS
def test_values_and_gradients_are_those_of_the_networks_own_layer(family, precision):
    own, taken = layers_of(family, precision)
    assert type(own) is not type(taken)
    x = torch.randn((2, 7, 16), generator=torch.Generator().manual_seed(3))
    expected, found = gradients(own, x), gradients(taken, x)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_gradients_are_those_of_the_formula():
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5, 4), (5, 4), (4, 5)]
    x, gate, up, down = (torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes)
    weights = [tensor.detach().float().requires_grad_() for tensor in (x, gate, up, down)]
    exact = ((nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ down.t()).pow(2).sum()
    ours = gated(*weights, "float32").pow(2).sum()
    expected = torch.autograd.grad(exact, [x, gate, up, down])
    for one, other in zip(torch.autograd.grad(ours, weights), expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@PRECISIONS
def test_two_inner_tensors_are_kept_and_no_more(precision):
    kept = []
    _, taken = layers_of("llama", precision)
    x = torch.randn((2, 7, 16)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        taken(x)
    assert sum(tensor.shape == (14, 32) for tensor in kept) == 2


def test_a_layer_of_another_formula_is_left_alone():
    network = tiny.FAMILIES["qwen3"]().network
    linears.take_over(network, "float32")
    mlp = network.model.layers[0].mlp
    mlp.act_fn = nn.GELU()
    feed_forward.take_over(network)
    assert not isinstance(mlp, TakenOver)
    assert isinstance(network.model.layers[1].mlp, TakenOver)


def test_a_layer_that_changes_afterwards_goes_its_own_way():
    """A part that was frozen: the module's own forward, and its gradients, hold."""
    own, taken = layers_of("qwen3")
    taken.up_proj.weight.requires_grad_(False)
    x = torch.randn((1, 3, 16)).requires_grad_()
    torch.testing.assert_close(taken(x), own(x))
    taken(x).sum().backward()
    assert taken.up_proj.weight.grad is None
    assert taken.gate_proj.weight.grad is not None
