"""The size of any network: made from its configuration without storage, and counted."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from headwater.models.adapters import parameters_added
from headwater.models.choice import ModelChoice
from headwater.models.family import configuration
from headwater.models.files import require_model
from headwater.models.size import BYTES, Dimensions, ModelSize


def configured(choice: ModelChoice, vocabulary: int) -> PretrainedConfig:
    """The configuration of a recipe's model; `vocabulary`: tokens of one that is made here.

    Raises InputError, OSError, ValueError or KeyError when it is not here and cannot be fetched.
    """
    if choice.path is None:
        return configuration(choice.shape, vocabulary)
    require_model(choice.path, choice.revision)
    return AutoConfig.from_pretrained(choice.path, revision=choice.revision, trust_remote_code=False)


def network_size(config: PretrainedConfig, choice: ModelChoice) -> ModelSize:
    """The size of the network of this configuration, opened as the recipe says. Raises InputError as an adapter may."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    embedding, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        adapter=0 if choice.adapter is None else parameters_added(network, choice.adapter),
        embedding=0 if embedding is head else embedding.numel(),
        vocabulary=int(head.shape[0]),
        dimensions=replace(dimensions(network), weight_bytes=BYTES[choice.dtype]),
        quantise=choice.quantise,
    )


def dimensions(network: PreTrainedModel) -> Dimensions:
    """Read off the network where it shows."""
    text = network.config.get_text_config()
    hidden = int(network.get_output_embeddings().weight.shape[1])
    stacks = [len(module) for module in network.base_model.modules() if isinstance(module, nn.ModuleList)]
    heads = _said(text, "num_attention_heads") or 1
    return Dimensions(
        hidden=hidden,
        layers=_said(text, "num_hidden_layers") or max(stacks, default=1),
        heads=heads,
        kept_heads=_said(text, "num_key_value_heads") or heads,
        head=_said(text, "head_dim") or max(hidden // heads, 1),
        inner=_said(text, "intermediate_size") or 4 * hidden,
        weight_bytes=next(network.parameters()).element_size(),
    )


def _said(config: PretrainedConfig, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else None
