"""LoRA: a stage that trains low-rank additions to the linear layers, and a merged model at every save.

    y = W x + (alpha / rank) B A x         A drawn from the stage's seed, B zero: a fresh adapter changes nothing

The layers are peft's (Hu et al., arXiv 2106.09685). Each stage starts an adapter of its own on the merged model of
the stage before. What is saved is the merged directory, which everything opens, with the adapter under `adapter/` in
peft's own form; a stage in progress resumes from the adapter, not from the merged weights, so to the bit.

Left out: dropout (sampler and trainer must see one policy), biases, adapters on embeddings and head, quantised bases.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from headwater.errors import InputError, IntegrityError
from headwater.fingerprint import derive_seed
from headwater.models.choice import Lora

FOLDER = "adapter"
PLAIN = (nn.Linear, Conv1D)
WEIGHTS = "adapter_model.safetensors"
_NAME = "default"
_PREFIX = "base_model.model."
"""What peft writes before the names of a wrapped network."""
_PACKED = 3
"""Dimensions of a weight that holds many layers: expert, outputs, inputs."""
_ANOTHER = "nothing is saved; name other target_modules, or train without an adapter"

PROBE = 16
"""Tokens on which a merged model is held against the adapted one."""
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 5e-2}
"""Share of its logits' length that a merged model may be away: what rounding the sums makes, many times."""


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
    from peft import LoraConfig  # noqa: PLC0415  a second that only adapters cost

    targets: Any = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    try:
        _injected(network, config)
    except ValueError as error:
        raise InputError(f"adapter: {str(error).splitlines()[0]} Name layers of the network, or all-linear.") from error
    if lora.target_modules == "all-linear" and (left := _packed(network, adapted=False)):
        raise InputError(
            f"adapter: the installed peft puts none on the packed experts ({left[0]}), so all-linear is not all; set "
            f"target_modules to [{', '.join(_plain_layers(network))}], or use a newer peft"
        )


def _injected(network: nn.Module, config: Any) -> None:
    from peft import inject_adapter_in_model  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")  # peft's own, of experts
        inject_adapter_in_model(config, network, _NAME)


def refuse_packed(network: nn.Module) -> None:
    """Raise InputError for an adapter on packed experts, which ranks that each hold a part of them cannot merge."""
    if found := _packed(network, adapted=True):
        raise InputError(
            f"adapter: engine.cluster cannot merge one on packed experts ({found[0]}); set target_modules to "
            f"[{', '.join(_plain_layers(network))}], or leave engine.cluster out"
        )


def _packed(network: nn.Module, *, adapted: bool) -> list[str]:
    """The weights of many layers in one tensor, as mixtures have them, with or without an adapter on them."""
    wrapped = {id(layer.get_param()) for layer in _adapted(network) if hasattr(layer, "get_param")}
    return [
        f"{path}.{name}".replace(".base_layer", "")
        for path, module in network.named_modules()
        if not isinstance(module, nn.modules.conv._ConvNd)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == _PACKED and (id(parameter) in wrapped) == adapted
    ]


def _plain_layers(network: nn.Module) -> list[str]:
    """The names, without their places, of linear layers that carry an adapter."""
    layers = network.named_modules()
    return sorted({path.rpartition(".")[2] for path, m in layers if is_layer(m) and type(m.get_base_layer()) in PLAIN})


def is_layer(module: nn.Module) -> TypeGuard[Any]:
    """Whether peft put it in a layer's place."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415

    return isinstance(module, BaseTunerLayer)


def _adapted(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if is_layer(module)]


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
def merged(network: PreTrainedModel) -> PreTrainedModel:
    """The plain network that computes what this one computes: a copy in the host's memory, merged by peft's own layers.

    Raises IntegrityError when the copy lacks a tensor of the plain network, or gives other logits than this one.
    """
    copied, names = _host_copy(network)
    table: Any = copied.get_input_embeddings()
    ids = torch.tensor([[(1 + 7919 * i) % table.num_embeddings for i in range(PROBE)]])
    before = copied(input_ids=ids, use_cache=False).logits[0].float()
    _merge(copied)
    if copied.state_dict().keys() != names:
        first = min(copied.state_dict().keys() ^ names)
        raise IntegrityError(f"adapter: the merged model and the plain network differ in {first}; {_ANOTHER}")
    after = copied(input_ids=ids, use_cache=False).logits[0].float()
    # The middle token: rounding may send one token of a mixture to another expert.
    apart = float(((after - before).norm(dim=-1) / before.norm(dim=-1)).median())
    if not apart <= LIMITS.get(copied.dtype, LIMITS[torch.bfloat16]):
        raise IntegrityError(f"adapter: merged, the logits are {apart:.2g} of their length away; {_ANOTHER}")
    return copied


def _merge(network: nn.Module) -> None:
    """Add what peft's layers add to the weights below them, and put those layers in their place."""
    for module in _adapted(network):
        module.merge()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if is_layer(child):
                setattr(parent, name, child.get_base_layer())


def _host_copy(network: PreTrainedModel) -> tuple[PreTrainedModel, set[str]]:
    """The network as transformers and peft make it, whatever became of this one's modules; and its plain names."""
    with torch.device("meta"):
        copied: Any = type(network)._from_config(copy.deepcopy(network.config), dtype=network.dtype)
    names = set(copied.state_dict())
    configs: Any = network.peft_config
    _injected(copied, copy.deepcopy(configs[_NAME]))
    copies: dict[int, Tensor] = {}  # tied tensors stay one
    state = network.state_dict()
    if state.keys() != copied.state_dict().keys():
        first = min(state.keys() ^ copied.state_dict().keys())
        raise IntegrityError(f"adapter: its copy and the network that was trained differ in {first}; {_ANOTHER}")
    for value in state.values():
        if value.data_ptr() not in copies:
            copies[value.data_ptr()] = value.detach().to("cpu", copy=True)
    copied.load_state_dict({name: copies[value.data_ptr()] for name, value in state.items()}, assign=True)
    copied.tie_weights()
    layers = dict(network.named_modules())
    for name, module in copied.named_modules():  # what a state leaves out, such as the rotations' frequencies
        kept = {**vars(layers[name]), **dict(layers[name].named_buffers(recurse=False))}
        for key, value in kept.items():
            if isinstance(value, Tensor) and key not in dict(module.named_parameters(recurse=False)):
                setattr(module, key, value.detach().to("cpu", copy=True))
    copied.generation_config = network.generation_config
    return copied.eval(), names


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
