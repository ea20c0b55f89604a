"""LoRA: a stage that trains low-rank additions to the linear layers, and a merged model at every save.

    y = W x + (alpha / rank) B A x         A drawn from the stage's seed, B zero: a fresh adapter changes nothing

The layers are peft's (Hu et al., arXiv 2106.09685). Each stage starts an adapter of its own on the merged model of
the stage before. What is saved is the merged directory, which everything opens, with the adapter under `adapter/` in
peft's own form; a stage in progress resumes from the adapter, not from the merged weights, so to the bit.

Left out: dropout (sampler and trainer must see one policy), biases, adapters on embeddings and head, quantised bases.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from headwater.errors import InputError
from headwater.fingerprint import derive_seed
from headwater.models.choice import Lora

FOLDER = "adapter"
WEIGHTS = "adapter_model.safetensors"
_NAME = "default"
_PREFIX = "base_model.model."
"""What peft writes before the names of a wrapped network."""


def parameters_added(network: PreTrainedModel, lora: Lora) -> int:
    """How many parameters the adapter has, which the network carries from here on. Raises InputError as `attach`."""
    _inject(network, lora)
    return sum(parameter.numel() for parameter in _trained(network).values())


def attach(network: PreTrainedModel, lora: Lora, seed: int) -> None:
    """Freeze the network and give its linear layers an adapter that changes nothing yet, in place.

    Raises InputError when a target module is not there.
    """
    network.requires_grad_(False)
    _inject(network, lora)
    with torch.no_grad():
        for name, parameter in _trained(network).items():
            if "lora_B" in name:
                parameter.zero_()
                continue
            draw = torch.Generator().manual_seed(derive_seed(seed, "adapter", name) % 2**63)
            bound = parameter.shape[1] ** -0.5
            parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=draw))
    network.eval()


def _inject(network: PreTrainedModel, lora: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415  a second that only adapters cost

    targets: Any = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    try:
        inject_adapter_in_model(config, network, _NAME)
    except ValueError as error:
        raise InputError(f"adapter: {str(error).splitlines()[0]} Name layers of the network, or all-linear.") from error


def attached(network: nn.Module) -> bool:
    """Whether the network carries an adapter."""
    return bool(_trained(network))


def is_part(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter and not to its base."""
    return ".lora_" in name


def delta(layer: Any, whole: Callable[[Tensor], Tensor]) -> Tensor:
    """What an adapted layer adds to its weight; `whole` puts a parameter together that lies in parts."""
    added = whole(layer.lora_B[_NAME].weight) @ whole(layer.lora_A[_NAME].weight) * layer.scaling[_NAME]
    return added.T if layer.fan_in_fan_out else added


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if is_part(name)}


@torch.no_grad()
def merged(network: PreTrainedModel) -> dict[str, Tensor]:
    """The state of the plain network that computes what this one computes."""
    layers: dict[str, Any] = dict(network.named_modules())
    state = {}
    for name, value in network.state_dict().items():
        if is_part(name):
            continue
        owner, _, rest = name.partition(".base_layer.")
        if rest == "weight":
            value = value + layers[owner].get_delta_weight(_NAME).to(value.dtype)  # noqa: PLW2901
        state[f"{owner}.{rest}" if rest else name] = value
    return state


def stored(network: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The adapter's parameters by the names that peft gives them on disk."""
    return {_PREFIX + name.replace(f".{_NAME}.", "."): parameter for name, parameter in _trained(network).items()}


def save(network: PreTrainedModel, directory: Path) -> None:
    """Write the adapter as peft reads it: weights and config."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in stored(network).items()}
    save_file(tensors, directory / WEIGHTS)
    configs: Any = network.peft_config
    configs[_NAME].save_pretrained(str(directory))
