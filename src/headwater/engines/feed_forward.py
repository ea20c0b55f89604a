"""Gated feed-forward layers that keep two of their six inner tensors for the backward pass: y = (silu(x G) * x U) D.

What lies between the gate and the last product is several times as wide as the hidden state, and is most of what a
layer keeps. Here x G and x U are kept and the rest is made again, in two passes over memory (Shazeer 2020, arXiv
2002.05202, for the layer itself). A module of the network is taken over when it has the parts of such a layer and gives
its values on a probe; any other is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwater.engines.linears import Copies, FastLinear, Precision, rounded
from headwater.engines.plain import TakenOver
from headwater.engines.products import product

PARTS = ("gate_proj", "up_proj", "down_proj")


def gated(
    x: Float[Tensor, "*batch hidden"],
    gate: Float[Tensor, "inner hidden"],
    up: Float[Tensor, "inner hidden"],
    down: Float[Tensor, "hidden inner"],
    precision: Precision,
    copies: Copies | None = None,
) -> Float[Tensor, "*batch hidden"]:
    """The formula above, with gradients to x and the three weights; products in this precision, the rest in float32."""
    rows = x.reshape(-1, x.shape[-1])
    if precision == "bfloat16":
        operands = [rounded(x, copies).view(rows.shape), *(rounded(weight, copies) for weight in (gate, up, down))]
    else:
        operands = [rows.detach(), *(weight.detach() for weight in (gate, up, down))]
    return _Gated.apply(rows, gate, up, down, *operands).view(x.shape)


class _Gated(torch.autograd.Function):
    """Gradients go to the first four; the products are made of the others, the same or rounded."""

    @staticmethod
    def forward(ctx, _x, _gate, _up, _down, x, gate, up, down):  # type: ignore[no-untyped-def]
        gates, ups = (product(x, weight.t()).float() for weight in (gate, up))
        ctx.save_for_backward(x, gates, ups, gate, up, down)
        inner = nn.functional.silu(gates).mul_(ups)
        return product(inner.to(x.dtype), down.t()).float()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, gates, ups, gate, up, down = ctx.saved_tensors
        gradient = gradient.to(x.dtype)
        active = nn.functional.silu(gates)
        to_down = product(gradient.t(), (active * ups).to(x.dtype)).float()
        to_inner = product(gradient, down).float()
        to_ups = active.mul_(to_inner).to(x.dtype)
        to_gates = torch.ops.aten.silu_backward(to_inner.mul_(ups), gates).to(x.dtype)
        to_x = product(to_gates, gate).float().add_(product(to_ups, up))
        return to_x, product(to_gates.t(), x).float(), product(to_ups.t(), x).float(), to_down, *[None] * 4


def take_over(network: nn.Module) -> None:
    """Make every gated feed-forward layer of the network compute through `gated`, in place; on a CPU, in float32.

    Its linear layers must have been taken over before (`linears`).
    """
    for module in network.modules():
        if _is_gated(module):
            module.__class__ = _fast(type(module))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Layers:
    """Gate, up and down of a module, all plain layers without bias that learn."""

    weights: tuple[Tensor, Tensor, Tensor]
    precision: Precision
    copies: Copies | None

    @classmethod
    def of(cls, module: nn.Module) -> _Layers | None:
        """None where it has others."""
        layers: list[Any] = [getattr(module, part, None) for part in PARTS]
        if not all(map(_plain, layers)):
            return None
        gate, up, down = layers
        return cls((gate.weight, up.weight, down.weight), gate.precision, gate.copies)


def _plain(layer: Any) -> bool:
    if type(layer) is not FastLinear or layer._parameters["bias"] is not None:
        return False
    weight = layer.weight
    return weight.requires_grad and weight.dtype == torch.float32 and weight.device.type == "cpu"


def _is_gated(module: nn.Module) -> bool:
    layers = _Layers.of(module)
    if layers is None or isinstance(module, TakenOver) or {name for name, _ in module.named_parameters()} != _NAMES:
        return False
    gate, up, down = layers.weights
    if up.shape != gate.shape or down.t().shape != gate.shape:
        return False
    with torch.no_grad():
        probe = torch.linspace(-2, 3, 3 * gate.shape[1]).view(3, -1)
        expected: Tensor = module(probe)
        distance = (gated(probe, *layers.weights, layers.precision) - expected).norm()
        return bool(distance <= _NEAR[layers.precision] * expected.norm())


_NAMES = {f"{part}.weight" for part in PARTS}
_NEAR = {"float32": 1e-5, "bfloat16": 1e-2}


@cache
def _fast(original: type[nn.Module]) -> type[nn.Module]:
    """The module's own class with another forward; without gradients, or with other parts than before, the old one."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        layers = _Layers.of(self) if torch.is_grad_enabled() and x.dtype == torch.float32 else None
        if layers is None:
            return original.forward(self, x)
        return gated(x, *layers.weights, layers.precision, layers.copies)

    return type(original.__name__, (TakenOver, original), {"forward": forward, "original": original})
