"""Gradient checkpointing: a layer keeps its input alone, and runs again when the backward pass needs the rest.

transformers' layers know how, but do it in training mode only, and our networks never are in it: dropout is
off for good. So the layers themselves are set to it while the forward pass runs; what lies inside them stays in
evaluation mode. The second run repeats the first to the bit, so results do not depend on this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from headwater.errors import InputError


@contextmanager
def recomputed(network: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Forward passes inside keep the layers' inputs only. Raises InputError for a network that has no such layers."""
    if not wanted:
        yield
        return
    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(
            f"engine.gradient_checkpointing: the layers of {type(network).__name__} cannot run again; set it to false, "
            "and engine.micro_batch_tokens lower"
        )
    try:
        _set(layers, recompute=True)
        yield
    finally:
        _set(layers, recompute=False)


def _set(layers: list[GradientCheckpointingLayer], *, recompute: bool) -> None:
    for layer in layers:
        layer.training = layer.gradient_checkpointing = recompute
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]
