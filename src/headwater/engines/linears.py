"""Linear layers on the matrix product that fits this machine (`products`), forwards and backwards.

With precision "bfloat16" inputs and weights are rounded to bfloat16 for the product, which sums in float32;
parameters, their gradients, and everything between the linear layers stay float32. A weight is rounded when it is
used. `Copies` rounds it once for many uses, and lives for one piece of work within which no weight changes: nothing
rounded outlives an update, whatever a tensor's version or address say (fused AdamW raises no version).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary
from transformers import PreTrainedModel

from headwater.engines.cpu.products import on_onednn, routed
from headwater.engines.plain import TakenOver

Precision = Literal["float32", "bfloat16"]

SIZES = 16
"""Numbers of rows that products are rounded up to, in each doubling: at most 1/16 of the rows are padding."""


class Copies:
    """bfloat16 copies of weights and of what several layers are given, for as long as no weight changes."""

    def __init__(self) -> None:
        self._made = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor in bfloat16."""
        version, made = self._made.get(tensor, (-1, None))
        if version != tensor._version:  # an input that was changed in place
            version, made = self._made[tensor] = tensor._version, tensor.detach().bfloat16()
        return cast(Tensor, made)


def rounded(tensor: Tensor, copies: Copies | None = None) -> Tensor:
    """The tensor in bfloat16: one of these copies, or rounded now."""
    return tensor.detach().bfloat16() if copies is None else copies.of(tensor)


def linear(
    x: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
    *,
    precision: Precision = "float32",
    copies: Copies | None = None,
) -> Float[Tensor, "*batch outputs"]:
    """x @ weight.T + bias, as `torch.nn.functional.linear`, with gradients to all three.

    float32 tensors on a CPU take the fast product; other dtypes and devices take PyTorch's own. "bfloat16"
    rounds float32 tensors for the product alone, to these copies where there are any; the result is float32. A weight
    that is kept rounded (`keep_rounded`) gives the same bits.
    """
    kept = weight.dtype == torch.bfloat16 and precision == "bfloat16"
    if x.dtype != torch.float32 or not (kept or weight.dtype == torch.float32):
        return nn.functional.linear(x, weight, bias)
    if precision == "bfloat16":
        short = rounded(x, copies), rounded(weight, copies)
        return _Bfloat16Linear.apply(x, weight, bias, *short) if torch.is_grad_enabled() else _short(*short, bias)
    if not routed(weight):
        return nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _OneDnnLinear.apply(x, weight, bias)
    return on_onednn(nn.functional.linear, x, weight, bias)


class FastLinear(TakenOver, nn.Linear):
    """A linear layer that a network already had, computing through `linear`; its parameters are as they were."""

    original = nn.Linear
    precision: Precision = "float32"
    copies: Copies | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output."""
        return linear(input, self.weight, self.bias, precision=self.precision, copies=self.copies)


@contextmanager
def shared_copies(network: nn.Module) -> Iterator[Copies]:
    """The network's layers round each weight once in here. No weight may change in here; nothing is kept after."""
    copies = Copies()
    layers = [module for module in network.modules() if isinstance(module, FastLinear)]
    try:
        for layer in layers:
            layer.copies = copies
        yield copies
    finally:
        for layer in layers:
            layer.copies = None


def round_up(rows: int) -> int:
    """The next number of rows that products are made with.

    The libraries make and keep a kernel for each number of rows that they meet. Rows of text are never twice
    as many; a few sizes that come again are faster, and need a fraction of the memory.
    """
    step = max(1, 2 ** (rows.bit_length() - 1) // SIZES) if rows else 1
    return -(-rows // step) * step


def take_over(network: nn.Module, precision: Precision) -> None:
    """Make every plain linear layer of the network a FastLinear, in place: names and parameters do not change."""
    for module in network.modules():
        if type(module) in (nn.Linear, FastLinear):
            module.__class__ = FastLinear
            cast(FastLinear, module).precision = precision


def keep_rounded(network: PreTrainedModel) -> None:
    """Let go of what bfloat16 products never read of a network that will not learn: two bytes a weight for four.

    The head and the embeddings stay, since more than products reads them.
    """
    kept = network.get_output_embeddings()
    for module in network.modules():
        if isinstance(module, FastLinear) and module.precision == "bfloat16" and module is not kept:
            module.weight = nn.Parameter(rounded(module.weight), requires_grad=False)


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        return on_onednn(nn.functional.linear, x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = on_onednn(torch.mm, rows, weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            to_weight = on_onednn(torch.mm, rows.t(), x.reshape(-1, x.shape[-1]))
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias


class _Bfloat16Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, short, short_weight):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(short, short_weight)
        return _short(short, short_weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        short = rows.bfloat16()
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(short, weight).float().view(x.shape)
        if ctx.needs_input_grad[1]:
            to_weight = torch.mm(short.t(), x.reshape(-1, x.shape[-1])).float()
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias, None, None


def _short(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = nn.functional.linear(x, weight).float()
    return y if bias is None else y.add_(bias)
