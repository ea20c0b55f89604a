"""The learner's weights on their way to a generator: whole, by their own names, adapters merged."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from headwater.engines.cluster.sharding import reshard, whole
from headwater.models import adapters
from headwater.models.language_model import LanguageModel


@torch.no_grad()
def plain(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Each parameter of the plain network, one whole at a time; a tied head goes under its table's name.

    All ranks go through it together, to its end.
    """
    reshard(model)
    layers = dict(model.network.named_modules())
    for name, parameter in model.network.named_parameters():
        if adapters.is_part(name):
            continue
        owner, _, rest = name.partition(".base_layer.")
        value = whole(parameter.detach())
        if rest == "weight":
            value = value + adapters.delta(layers[owner], whole).to(value.dtype)
        yield (f"{owner}.{rest}" if rest else name), value
