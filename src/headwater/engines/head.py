"""The tiled LM head: loss and gradient a slice of tokens at a time, so memory is tile x vocab at any batch.

For each slice: logits from the last hidden states, the signal's loss, times the tokens' weights, back to the
hidden states at once; the slice's logits are then freed. Only [token hidden] gradients are kept, and go back
through the body in one pass. Weights are fixed beforehand and nothing is normalised here, so the sum over
slices is the untiled gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwater.batch import FullDistribution, HiddenDistribution, Target
from headwater.interfaces import Signal

LOGIT_COPIES = 8
"""float32 [tile vocab] tensors alive at the peak of a slice: logits, logprobs, probabilities, the teacher's,
products kept for the backward pass, their gradients."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last linear layer as it is applied: a leaf Parameter (tied embeddings are fine), and how.

    `temperature` divides the logits; `tile` is the number of tokens in a slice.
    """

    weight: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"] | None = None
    temperature: float = 1.0
    tile: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadBatch:
    """The response tokens of some rollouts end to end, with their targets and their weights in the loss."""

    response_ids: Int[Tensor, " token"]
    target: Target
    weight: Float[Tensor, " token"]


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """What one pass of the head measured.

    `loss` is the weighted sum; `sums` are diagnostics summed over `tokens` tokens, unweighted.
    `first_bad_token` is the first token whose loss or gradient is not finite, else None. When it is set, the
    gradients are worthless and must be thrown away: the body was not back-propagated, the head's weight was.
    """

    loss: float
    sums: Mapping[str, float]
    tokens: int
    first_bad_token: int | None

    @property
    def finite(self) -> bool:
        """Whether every token's loss and gradient are finite."""
        return self.first_bad_token is None


def tile_size(memory_bytes: int, vocab: int) -> int:
    """Tokens in a slice whose logits, at LOGIT_COPIES float32 copies, fit in `memory_bytes`; at least 1.

    For example 2 GiB at 151,936 tokens of vocabulary: 441.
    """
    return max(1, memory_bytes // (4 * LOGIT_COPIES * vocab))


def tiled_backward(hidden: Float[Tensor, "token hidden"], head: Head, signal: Signal, batch: HeadBatch) -> HeadResult:
    """Add the gradient of the weighted sum of token losses to the head and, through `hidden`, to the body.

    `hidden` [token hidden] comes from the body with its graph; position t holds what predicts response token
    t. Gradients add up in `.grad`, in the parameters' own dtype. Logits are raised to at least float32
    before the temperature and the log-sum-exp. Look at `finite` before any optimiser step.
    """
    tokens = hidden.shape[0]
    if tokens == 0:
        return HeadResult(loss=0.0, sums={}, tokens=0, first_bad_token=None)
    gradients: list[Tensor] = []
    losses: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    for start in range(0, tokens, head.tile):
        index = slice(start, min(start + head.tile, tokens))
        response_ids, target = batch.response_ids[index], _tile_target(batch.target, index)
        inputs = hidden[index].detach().requires_grad_()
        logits = head_logits(inputs, head)
        loss = signal.loss(logits, response_ids, target)
        loss.backward(batch.weight[index].to(loss.dtype))
        losses.append(loss.detach())
        gradients.append(_gradient(inputs))
        for name, values in signal.diagnostics(logits.detach(), response_ids, target).items():
            total = values.sum()
            sums[name] = sums[name] + total if name in sums else total
    loss, gradient = torch.cat(losses), torch.cat(gradients)
    first_bad_token = _first_not_finite(loss, gradient)
    if first_bad_token is None:
        hidden.backward(gradient)
    return HeadResult(
        loss=float(torch.dot(loss, batch.weight.to(loss.dtype))),
        sums={name: float(total) for name, total in sums.items()},
        tokens=tokens,
        first_bad_token=first_bad_token,
    )


def head_logits(hidden: Float[Tensor, "token hidden"], head: Head) -> Float[Tensor, "token vocab"]:
    """Logits / temperature, at least float32 whatever the dtype of the weights."""
    logits = torch.nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return logits if head.temperature == 1.0 else logits / head.temperature


def _tile_target(target: Target, index: slice) -> Target:
    """The target's slice; a teacher's head is applied once here, for the loss and the diagnostics."""
    rows = target.rows(index)
    return FullDistribution(full=rows.logprobs()) if isinstance(rows, HiddenDistribution) else rows


def _gradient(leaf: Tensor) -> Tensor:
    """What back-propagation left on the leaf; zeros where the loss does not depend on it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _first_not_finite(loss: Float[Tensor, " token"], gradient: Float[Tensor, "token hidden"]) -> int | None:
    """Looks at the gradient too: a clipped ratio that overflowed has a finite loss and a gradient of NaN."""
    bad = ~torch.isfinite(loss + gradient.sum(dim=-1))
    return int(bad.nonzero()[0]) if bool(bad.any()) else None
