"""A learner on disk: a Hugging Face directory, plus `training/` with the optimiser's moments and the version.

Randomness is derived and the rate is a function of the update, so weights, moments and the count of
updates are all that a resume needs. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from headwater.errors import IntegrityError
from headwater.models import adapters
from headwater.models.language_model import LanguageModel

MOMENTS = "training/moments.safetensors"
STATE = "training/state.json"
WEIGHTS = "training/weights.safetensors"
"""The network's tensors under its own names, where the model beside it is written under others."""


Part = Callable[[Any, str, Tensor], Tensor]
"""(file, name, like) -> what this process keeps of a tensor in an open safetensors file, to lie where `like` lies."""


def whole(file: Any, name: str, like: Tensor) -> Tensor:
    """All of it: the part of a process that is alone."""
    return file.get_tensor(name).to(like.device)


def moments(model: LanguageModel, optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimiser's state as it is named on disk: kind, then parameter. The tensors are the live ones."""
    return {
        f"{kind}.{name}": value
        for name, parameter in model.network.named_parameters()
        for kind, value in optimiser.state.get(parameter, {}).items()
    }


def save(directory: Path, model: LanguageModel, moments: Mapping[str, Tensor], version: int) -> None:
    """Write model, tokenizer, moments and version."""
    (directory / "training").mkdir(parents=True, exist_ok=True)
    model.save(directory)
    if not adapters.attached(model.network):
        _keep_own_names(directory, model.network)
    save_file({name: value.detach().clone().contiguous() for name, value in moments.items()}, directory / MOMENTS)
    (directory / STATE).write_text(json.dumps({"version": version, "moments": len(moments)}) + "\n")


def load(directory: Path, model: LanguageModel, optimiser: torch.optim.AdamW, part: Part = whole) -> int:
    """Take up what `save` wrote, or this process's part of it; returns the version.

    Raises IntegrityError for what is missing or does not fit.
    """
    if adapters.attached(model.network):  # the base is the stage's start and does not change
        _take_up(directory / adapters.FOLDER / adapters.WEIGHTS, adapters.stored(model.network), frozenset(), part)
    else:
        own = directory / WEIGHTS
        weights = own if own.exists() else directory / "model.safetensors"
        _take_up(weights, model.network.state_dict(), _tied(model.network), part)
    try:
        state = json.loads((directory / STATE).read_text())
        version, expected = int(state["version"]), int(state["moments"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"checkpoint {directory}: {STATE} cannot be read ({error}); restart this stage") from error
    with _opened(directory / MOMENTS) as file:
        parameters = dict(model.network.named_parameters())
        names = [key.partition(".") for key in file.keys()]  # noqa: SIM118 (not a dict)
        if len(names) != expected or not {name for _, _, name in names} <= parameters.keys():
            raise IntegrityError(
                f"checkpoint {directory}: {MOMENTS} holds {len(names)} tensors of optimiser state, {expected} were "
                "written for this model; restart this stage"
            )
        for kind, _, name in names:
            parameter = parameters[name]
            optimiser.state[parameter][kind] = part(file, f"{kind}.{name}", parameter)
    return version


def _keep_own_names(directory: Path, network: PreTrainedModel) -> None:
    """Beside a model whose tensors transformers packs and renames as it writes them: the network's own, as they are."""
    with _opened(directory / "model.safetensors") as file:
        written = set(file.keys())
    state = network.state_dict()
    own = state.keys() - _tied(network)
    if not own <= written <= state.keys():
        tensors = {name: state[name].detach().cpu().clone().contiguous() for name in sorted(own)}
        save_file(tensors, directory / WEIGHTS)


def _tied(network: PreTrainedModel) -> frozenset[str]:
    """Names of tensors that are another's, and are not written."""
    shared = network.config.get_text_config().tie_word_embeddings
    return frozenset(getattr(network, "_tied_weights_keys", None) or ()) if shared else frozenset()


@torch.no_grad()
def _take_up(path: Path, wanted: Mapping[str, Tensor], tied: frozenset[str], part: Part) -> None:
    """Fill the wanted tensors from a file that holds them and no others, tied ones perhaps."""
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
        unfit = [name for name, shape in shapes.items() if name not in wanted or shape != tuple(wanted[name].shape)]
        missing = sorted(wanted.keys() - shapes.keys() - tied)
        if unfit or missing:
            raise IntegrityError(
                f"checkpoint {path}: weights do not fit the model, they are of another network or rank "
                f"({[*missing, *unfit][:3]} ...); restart this stage"
            )
        for name in shapes:
            wanted[name].copy_(part(file, name, wanted[name]))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"checkpoint: {path} cannot be read ({error}); restart this stage") from error
