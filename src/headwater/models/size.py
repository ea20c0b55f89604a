"""How large a model is, from its configuration alone: weights, arithmetic and cache a token. Opens no weights.

    forward FLOPs a token = 2 x weights outside the embedding + 4 x layers x query width x positions seen

A backward pass costs twice the forward one (Kaplan et al. 2020, arXiv 2001.08361, table 1; attention's share is
kept, since responses are long). Left out: norms, rotations, sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from headwater.errors import InputError
from headwater.models.adapters import parameters_added
from headwater.models.choice import ModelChoice
from headwater.models.family import configuration
from headwater.models.language_model import require_model

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A network's sizes."""

    parameters: int
    embedding: int
    """parameters of an input embedding that is no head as well: looked up, never multiplied"""
    vocabulary: int
    hidden: int
    layers: int
    query_width: int
    weight_bytes: int
    """of one weight, as the recipe opens the model"""
    adapter: int = 0
    """parameters of the adapter that is trained in the network's stead; 0: the network itself is"""

    @property
    def bytes(self) -> int:
        """Of all weights."""
        return self.parameters * self.weight_bytes

    @property
    def trained_bytes(self) -> int:
        """Of the weights that learn, and of their gradients and each of their moments."""
        return (self.adapter or self.parameters) * self.weight_bytes

    def forward(self, positions: float) -> float:
        """FLOPs of one token's forward pass that sees so many positions on average."""
        return 2 * (self.parameters - self.embedding) + 4 * self.layers * self.query_width * positions


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The sizes that memory and arithmetic go by; where a config does not say one, about what it is."""

    hidden: int
    layers: int
    heads: int
    kept_heads: int
    """of keys and values"""
    head: int
    inner: int

    @classmethod
    def of(cls, network: PreTrainedModel) -> Dimensions:
        """Read off the network where it shows."""
        text = network.config.get_text_config()
        hidden = int(network.get_output_embeddings().weight.shape[1])
        stacks = [len(module) for module in network.base_model.modules() if isinstance(module, nn.ModuleList)]
        heads = _said(text, "num_attention_heads") or 1
        return cls(
            hidden=hidden,
            layers=_said(text, "num_hidden_layers") or max(stacks, default=1),
            heads=heads,
            kept_heads=_said(text, "num_key_value_heads") or heads,
            head=_said(text, "head_dim") or max(hidden // heads, 1),
            inner=_said(text, "intermediate_size") or 4 * hidden,
        )


def _said(config: PretrainedConfig, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else None


def model_size(choice: ModelChoice, vocabulary: int) -> ModelSize | None:
    """The size of a recipe's model; None when its configuration is not here and cannot be fetched.

    Args: vocabulary: tokens of a model that is made here.
    """
    try:
        config = configuration(choice.shape, vocabulary) if choice.path is None else _found(choice)
    except (InputError, OSError, ValueError, KeyError):
        return None
    return _measured(config, choice)


def _found(choice: ModelChoice) -> Any:
    path = str(choice.path)
    require_model(path, choice.revision)
    return AutoConfig.from_pretrained(path, revision=choice.revision, trust_remote_code=False)


def _measured(config: Any, choice: ModelChoice) -> ModelSize:
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    sizes = Dimensions.of(network)
    embedding, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    tied = embedding is head
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return ModelSize(
        parameters=parameters,
        adapter=0 if choice.adapter is None else parameters_added(network, choice.adapter),
        embedding=0 if tied else embedding.numel(),
        vocabulary=int(head.shape[0]),
        hidden=int(head.shape[1]),
        layers=sizes.layers,
        query_width=sizes.heads * sizes.head,
        weight_bytes=BYTES[choice.dtype],
    )
