"""A learner on disk: a Hugging Face directory, plus `training/` with the optimiser's moments and the version.

Randomness is derived and the rate is a function of the update, so weights, moments and the count of
updates are all that a resume needs. Nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from headwater.errors import IntegrityError
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
    (directory / STATE).write_text(json.dumps({"version": version}) + "\n")


def load(directory: Path, model: LanguageModel, optimiser: torch.optim.AdamW) -> int:
    """Take up what `save` wrote; returns the version. Missing state raises IntegrityError."""
    weights = load_file(directory / "model.safetensors")
    missing, unexpected = model.network.load_state_dict(weights, strict=False)
    tied = set(getattr(model.network, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise IntegrityError(f"checkpoint {directory}: weights do not fit the model ({[*missing, *unexpected][:3]} ...)")
    model.network.tie_weights()
    moments = load_file(directory / MOMENTS)
    version = int(json.loads((directory / STATE).read_text())["version"])
    for name, parameter in model.network.named_parameters():
        state = {
            key.split(".", 1)[0]: value for key, value in moments.items() if key.split(".", 1)[1] == name
        }
        if version and parameter.requires_grad and not state:
            raise IntegrityError(f"checkpoint {directory}: no optimiser state for {name}; restart this stage")
        if state:
            optimiser.state[parameter] = dict(state)
    return version
