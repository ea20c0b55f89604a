"""RMS normalisation in a few passes over memory instead of a dozen: y = w x / sqrt(mean(x²) + ε).

A module of the network is taken over when it has the parts of an RMSNorm and gives its values on a probe; any
other norm is left alone.
"""

from __future__ import annotations

import inspect
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwater.engines.plain import TakenOver


def rms_norm(
    x: Float[Tensor, "*batch hidden"], weight: Float[Tensor, " hidden"], epsilon: float
) -> Float[Tensor, "*batch hidden"]:
    """The formula above, with gradients to x and the weight."""
    if torch.is_grad_enabled():
        return _RmsNorm.apply(x, weight, epsilon)
    return _normal(x, epsilon)[0].mul_(weight)


def _normal(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x²) + ε), and what x was multiplied by."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return x * scale, scale


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, epsilon):  # type: ignore[no-untyped-def]
        normal, scale = _normal(x, epsilon)
        ctx.save_for_backward(normal, scale, weight)
        return normal * weight

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        normal, scale, weight = ctx.saved_tensors
        along = (gradient * normal).reshape(-1, normal.shape[-1])
        mean = torch.mv(along, weight).view(scale.shape).div_(-normal.shape[-1])
        to_x = (gradient * weight).addcmul_(normal, mean).mul_(scale)
        return to_x, along.sum(0), None


def take_over(network: nn.Module) -> None:
    """Make every RMSNorm of the network compute through `rms_norm`, in place; on a CPU, where that is faster."""
    for module in network.modules():
        if _is_rms_norm(module):
            module.__class__ = _fast(type(module))  # type: ignore[arg-type]


def _is_rms_norm(module: nn.Module) -> bool:
    epsilon = getattr(module, "variance_epsilon", None)
    named = dict(module.named_parameters())
    if not isinstance(epsilon, float) or named.keys() != {"weight"} or isinstance(module, TakenOver):
        return False
    weight = named["weight"]
    if weight.ndim != 1 or weight.dtype not in _DTYPES or weight.device.type != "cpu":
        return False
    if len(inspect.signature(module.forward).parameters) != 1:
        return False  # a gate beside it, say
    with torch.no_grad():
        probe = torch.linspace(-2, 3, 3 * len(weight), dtype=weight.dtype).view(3, -1)
        return torch.allclose(module(probe), rms_norm(probe, weight, epsilon), rtol=1e-5, atol=1e-6)


_DTYPES = (torch.float32, torch.float64)


@cache
def _fast(original: type[nn.Module]) -> type[nn.Module]:
    """The module's own class with another forward; mixed or short dtypes go the old way."""

    def forward(self: nn.Module, hidden_states: Tensor) -> Tensor:
        weight: Tensor = self.weight  # type: ignore[assignment]
        if hidden_states.dtype != weight.dtype or weight.dtype not in _DTYPES:
            return original.forward(self, hidden_states)
        return rms_norm(hidden_states, weight, self.variance_epsilon)  # type: ignore[arg-type]

    return type(original.__name__, (TakenOver, original), {"forward": forward, "original": original})
