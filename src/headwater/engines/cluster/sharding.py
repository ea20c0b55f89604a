"""A network over the ranks of a mesh with FSDP2, the way back to whole tensors, and what ranks tell each other.

The body is FSDP's root, since a loss calls the body and never the whole network; the head, which the tiled head
applies, is a DTensor of its own, or the embedding's where the two are tied. Sums, not means, over ranks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from headwater.engines.sums import Sums
from headwater.errors import InputError
from headwater.models.language_model import LanguageModel

T = TypeVar("T")


def shard(model: LanguageModel, mesh: DeviceMesh) -> None:
    """Leave on each rank its part of every parameter, in place; after layers were taken over, before an optimiser.

    Raises InputError for a network that has weights outside its body and head.
    """
    network, body = model.network, model.body
    head, table = network.get_output_embeddings(), network.get_input_embeddings()
    tied = head.weight is table.weight
    _refuse_others(model)
    for layer in _layers(body):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(body, mesh=mesh)
    if tied:  # FSDP gave the table another parameter; the head still names the old one
        head.weight = table.weight
    for name, parameter in head.named_parameters(recurse=False):
        if not isinstance(parameter, DTensor):
            # every rank holds the same values, so each keeps its rows and nothing is sent
            part = distribute_tensor(parameter.detach(), mesh, [Shard(0)], src_data_rank=None)
            setattr(head, name, nn.Parameter(part, requires_grad=parameter.requires_grad))
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # a loss is a sum over tokens: never a mean over ranks
            module.set_force_sum_reduction_for_comms(True)  # else a scaled sum, which gloo does not know


def _layers(body: nn.Module) -> list[nn.Module]:
    """The outermost repeated layers; each is gathered alone when it is its turn."""
    found: list[nn.Module] = []
    for module in body.modules():  # parents come before their children
        if isinstance(module, GradientCheckpointingLayer) and not any(module in _inner(layer) for layer in found):
            found.append(module)
    return found


def _inner(layer: nn.Module) -> set[nn.Module]:
    return set(layer.modules())


def _refuse_others(model: LanguageModel) -> None:
    inside = {id(p) for part in (model.body, model.network.get_output_embeddings()) for p in part.parameters()}
    outside = next((name for name, p in model.network.named_parameters() if id(p) not in inside), None)
    if outside is not None:
        raise InputError(
            f"cluster: {type(model.network).__name__} has the weight {outside} outside its body and head, which ranks "
            "cannot share; leave engine.cluster out"
        )


def reshard(model: LanguageModel) -> None:
    """Let go of every parameter that a pass has left whole: a root keeps its own after a pass without gradients."""
    for module in model.network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, on every rank; all ranks ask for it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@contextmanager
def gathered(model: LanguageModel, *, here: bool) -> Iterator[None]:
    """Inside, parameters are whole and in this process's memory; only where `here`, with the other ranks' help.

    One tensor at a time passes through the ranks' devices. What is saved inside is what one process would save.
    """
    reshard(model)
    places = [(module, name) for module in model.network.modules() for name in module._parameters]
    before = {place: place[0]._parameters[place[1]] for place in places}
    made: dict[int, nn.Parameter] = {}
    for parameter in before.values():
        if parameter is not None and id(parameter) not in made:
            found = whole(parameter.detach())
            if here:
                made[id(parameter)] = nn.Parameter(found.cpu(), requires_grad=parameter.requires_grad)
            else:
                made[id(parameter)] = parameter
    try:
        _put(before, made)
        yield
    finally:
        for (module, name), parameter in before.items():
            module._parameters[name] = parameter


def _put(places: dict[tuple[nn.Module, str], nn.Parameter | None], made: dict[int, nn.Parameter]) -> None:
    for (module, name), parameter in places.items():
        if parameter is not None:
            module._parameters[name] = made[id(parameter)]


def rows(file: safe_open, name: str, like: Tensor) -> Tensor:
    """This rank's rows of a tensor in a file, as part of a tensor like that one; a whole one is never in memory."""
    piece = file.get_slice(name)
    if not isinstance(like, DTensor) or not piece.get_shape():
        return file.get_tensor(name).to(like.device)
    mesh, count = like.device_mesh, piece.get_shape()[0]
    size = -(-count // mesh.size())  # as torch.chunk parts rows, and so Shard(0)
    start = min(mesh.get_local_rank() * size, count)
    local = piece[start : min(start + size, count)].contiguous().to(like.to_local().device)
    shape = torch.Size(piece.get_shape())
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=shape, stride=_strides(shape))


def _strides(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


def told(value: T, mesh: DeviceMesh) -> list[T]:
    """This value (plain data, or Sums) as every rank has it, in their order; all ranks ask together.

    As JSON and not as a pickle; Python writes and reads floats to the bit.
    """
    text = json.dumps(asdict(value) if isinstance(value, Sums) else value).encode()
    device, group, ranks = torch.device(mesh.device_type), mesh.get_group(), mesh.size()
    lengths = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(ranks)]
    dist.all_gather(lengths, torch.tensor([len(text)], device=device), group=group)
    longest = max(int(length) for length in lengths)
    mine = torch.zeros(longest, dtype=torch.uint8, device=device)
    mine[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(device)
    found = [torch.empty_like(mine) for _ in range(ranks)]
    dist.all_gather(found, mine, group=group)
    parts = [json.loads(bytes(part[: int(n)].tolist())) for part, n in zip(found, lengths, strict=True)]
    return [cast(T, Sums(**part)) for part in parts] if isinstance(value, Sums) else parts
