"""A learner on disk: a Hugging Face directory, plus `training/` with the optimiser's moments and the version.

Randomness is derived and the rate is a function of the update, so weights, moments and the count of
updates are all that a resume needs. Nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from headwater.errors import IntegrityError
from headwater.models import adapters
from headwater.models.language_model import LanguageModel

MOMENTS = "training/moments.safetensors"
STATE = "training/state.json"


def save(directory: Path, model: LanguageModel, optimiser: torch.optim.AdamW, version: int) -> None:
    """Write model, tokenizer, moments and version."""
    (directory / "training").mkdir(parents=True, exist_ok=True)
    model.save(directory)
    moments = {}
    for name, parameter in model.network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            moments[f"{key}.{name}"] = value.detach().clone().contiguous()
    save_file(moments, directory / MOMENTS)
    (directory / STATE).write_text(json.dumps({"version": version, "moments": len(moments)}) + "\n")


def load(directory: Path, model: LanguageModel, optimiser: torch.optim.AdamW) -> int:
    """Take up what `save` wrote; returns the version. Missing state raises IntegrityError."""
    if adapters.attached(model.network):  # the base is the stage's start and does not change
        adapters.load(model.network, directory / adapters.FOLDER)
    else:
        _load_weights(directory, model)
    moments = _tensors(directory / MOMENTS)
    try:
        state = json.loads((directory / STATE).read_text())
        version, expected = int(state["version"]), int(state["moments"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"checkpoint {directory}: {STATE} cannot be read ({error}); restart this stage") from error
    by_name: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        kind, _, name = key.partition(".")
        by_name.setdefault(name, {})[kind] = value
    parameters = dict(model.network.named_parameters())
    if len(moments) != expected or not by_name.keys() <= parameters.keys():
        raise IntegrityError(
            f"checkpoint {directory}: {MOMENTS} holds {len(moments)} tensors of optimiser state, {expected} were "
            "written for this model; restart this stage"
        )
    for name, moment in by_name.items():
        device = parameters[name].device
        optimiser.state[parameters[name]] = {kind: value.to(device) for kind, value in moment.items()}
    return version


def _load_weights(directory: Path, model: LanguageModel) -> None:
    weights = _tensors(directory / "model.safetensors")
    missing, unexpected = model.network.load_state_dict(weights, strict=False)
    shared = model.network.config.tie_word_embeddings
    tied = set(getattr(model.network, "_tied_weights_keys", None) or ()) if shared else set()
    if unexpected or set(missing) - tied:
        raise IntegrityError(
            f"checkpoint {directory}: weights do not fit the model ({[*missing, *unexpected][:3]} ...)"
        )
    model.network.tie_weights()


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"checkpoint: {path} cannot be read ({error}); restart this stage") from error
