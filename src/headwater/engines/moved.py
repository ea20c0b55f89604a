"""How many weights an update changed, in their own precision: a rate below what they can hold moves nothing.

Seen on some weights of each parameter, spread evenly over it: half the memory of a model is not kept for a diagnostic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SEEN = 4096
"""Weights that are looked at in each parameter, at most."""


def some_weights(parameters: Sequence[Tensor]) -> list[Tensor]:
    """A copy of up to `SEEN` weights of each parameter."""
    return [_seen(parameter).clone() for parameter in parameters]


def changed(before: Sequence[Tensor], parameters: Sequence[Tensor]) -> tuple[float, float]:
    """How many weights differ now, as far as those that were looked at say, and how many there are."""
    moved = total = 0.0
    for then, parameter in zip(before, parameters, strict=True):
        if then.numel():
            moved += parameter.numel() * float((then != _seen(parameter)).float().mean())
            total += parameter.numel()
    return moved, total


@torch.no_grad()
def _seen(parameter: Tensor) -> Tensor:
    values = parameter.detach().reshape(-1)
    return values[:: max(1, values.numel() // SEEN)]
