"""Embeddings whose gradient is added row by row where it is kept.

PyTorch makes a gradient of the whole table for every micro-batch, most of it 0, and adds it to what is there: at 50,000
ids of width 576 that is 113 MB and three passes over them for a few hundred rows; a tenth of a step where products are
fast.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headwater.engines.plain import TakenOver

LARGE = 2**20
"""Numbers in a table from which it is taken over; a smaller one fits the processor's cache, where nothing is gained."""


class FastEmbedding(TakenOver, nn.Embedding):
    """A table that a network already had; `backward` adds to the `grad` of its rows."""

    original = nn.Embedding

    def forward(self, input: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        """The rows of these ids."""
        if torch.is_grad_enabled() and self.weight.requires_grad and self.weight.dtype in _DTYPES:
            return _Rows.apply(self.weight, input, self.padding_idx)
        return super().forward(input)


def gradient_of(parameter: Tensor) -> Tensor:
    """Where a parameter's gradient adds up, 0 at first: a tied table gets it from both of its uses."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def take_over(network: nn.Module) -> None:
    """Make every large plain embedding of the network a FastEmbedding; on a CPU, where rows add up in order."""
    for module in network.modules():
        if type(module) is nn.Embedding and module.weight.device.type == "cpu" and _plain(module):
            module.__class__ = FastEmbedding


def _plain(module: nn.Embedding) -> bool:
    own = module.max_norm is not None or module.scale_grad_by_freq or module.sparse
    return module.weight.numel() >= LARGE and not own


_DTYPES = (torch.float32, torch.float64)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, ids, padding):  # type: ignore[no-untyped-def]
        ctx.weight, ctx.padding = weight, padding
        ctx.save_for_backward(ids)
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (ids,) = ctx.saved_tensors
        rows, ids = gradient.reshape(-1, gradient.shape[-1]), ids.reshape(-1)
        if ctx.padding is not None:
            rows = rows.masked_fill((ids == ctx.padding)[:, None], 0)
        gradient_of(ctx.weight).index_add_(0, ids, rows)
        return None, None, None
