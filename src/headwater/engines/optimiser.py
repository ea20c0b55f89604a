"""AdamW over a model: its parameter groups, and their rate at each update."""

from __future__ import annotations

import torch

from headwater.models.language_model import LanguageModel
from headwater.optimiser import Optimiser


def build(model: LanguageModel, settings: Optimiser) -> torch.optim.AdamW:
    """AdamW over the model's parameters, one group for each factor on the rate and choice of decay.

    The decay a matrix sees stays rate x decay, whatever its factor: a factor restates the parametrisation
    and must not change how fast weights shrink. Each group keeps its `scale`, from which the rate is set.
    """
    scales = model.learning_rate_scales
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((float(scales.get(name, 1.0)), parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "scale": scale,
                "weight_decay": settings.weight_decay / scale if decays else 0.0,
            }
            for (scale, decays), members in groups.items()
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )


def set_rate(optimiser: torch.optim.AdamW, rate: float) -> None:
    """Give every group its share of the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
