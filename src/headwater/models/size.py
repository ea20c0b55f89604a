"""How large a model is, from its configuration alone: weights, arithmetic and cache a token. Opens no weights.

    forward FLOPs a token = 2 x weights outside the embedding + 4 x layers x query width x positions seen

A backward pass costs twice the forward one (Kaplan et al. 2020, arXiv 2001.08361, table 1; attention's share is
kept, since responses are long). Left out: norms, rotations, sampling.

The families below are counted from the numbers of their config; any other network is made without storage and counted
(`outline`), which takes transformers and some seconds. Both give the same (tests).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headwater.errors import InputError
from headwater.models.choice import Lora, ModelChoice
from headwater.models.shape import QwenShape

BYTES = {"float32": 4, "bfloat16": 2}
QUANTISED = {"int8": 1.0, "nf4": 0.5}
"""Bytes of a weight of the layers; their scales, a hundredth of that, are not counted."""


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
    weight_bytes: int = 4
    """of one weight, and of a number in the sampler's cache"""

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token."""
        return 2 * self.layers * self.kept_heads * self.head * self.weight_bytes

    def activation_bytes(self, checkpointing: bool) -> int:
        """About what one token leaves behind for the backward pass: a dozen hidden and four feed-forward vectors a
        layer; with checkpointing a layer leaves its input alone, and one layer at a time the rest."""
        layer = 4 * (12 * self.hidden + 4 * self.inner)
        return self.layers * 4 * self.hidden + layer if checkpointing else self.layers * layer


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A network's sizes."""

    parameters: int
    embedding: int
    """parameters of an input embedding that is no head as well: looked up, never multiplied"""
    vocabulary: int
    dimensions: Dimensions
    adapter: int = 0
    """parameters of the adapter that is trained in the network's stead; 0: the network itself is"""
    quantise: str | None = None
    """the layers' form, where they are quantised; head and embedding never are"""

    @property
    def hidden(self) -> int:
        """Width of what enters the head."""
        return self.dimensions.hidden

    @property
    def weight_bytes(self) -> int:
        """Of one weight, as the recipe opens the model."""
        return self.dimensions.weight_bytes

    @property
    def bytes(self) -> int:
        """Of all weights."""
        if self.quantise is None:
            return self.parameters * self.weight_bytes
        kept = self.head + self.embedding
        return kept * self.weight_bytes + round((self.parameters - kept) * QUANTISED[self.quantise])

    def frozen_bytes(self, precision: str) -> int:
        """Of the weights of one that does not learn, on a cluster: layers are kept as they are multiplied there."""
        if precision != "bfloat16" or self.quantise is not None:
            return self.bytes
        layers = self.parameters - self.head - self.embedding
        return self.bytes - layers * (self.weight_bytes - BYTES["bfloat16"])

    @property
    def head(self) -> int:
        """Parameters of the head."""
        return self.vocabulary * self.hidden

    @property
    def trained_bytes(self) -> int:
        """Of the weights that learn, and of their gradients and each of their moments."""
        return (self.adapter or self.parameters) * self.weight_bytes

    def forward(self, positions: float) -> float:
        """FLOPs of one token's forward pass that sees so many positions on average."""
        sizes = self.dimensions
        attention = 4 * sizes.layers * sizes.heads * sizes.head * positions
        return 2 * (self.parameters - self.embedding) + attention


class _Family(NamedTuple):
    """What a family has beside the seven linear layers, two norms of a layer, one last norm, embedding and head."""

    needs: tuple[str, ...] = ("num_key_value_heads",)
    """keys without which its class would take a number of its own"""
    head_norms: bool = False
    biased: tuple[str, ...] = ()


_NUMBERS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_FAMILIES = {
    "llama": _Family(),
    "qwen2": _Family(biased=("q_proj", "k_proj", "v_proj")),
    "qwen3": _Family(needs=("num_key_value_heads", "head_dim"), head_norms=True),
}
_ELSEWHERE = ("quantization_config", "attention_bias", "mlp_bias")
"""Keys under which, where one is set, a network has other weights than are counted here."""


def model_size(choice: ModelChoice, vocabulary: int) -> ModelSize | None:
    """The size of a recipe's model; None when its configuration is not here and cannot be fetched.

    Args: vocabulary: tokens of a model that is made here.
    Raises InputError for an adapter on layers that the network has not.
    """
    counted = counted_size(choice, vocabulary)
    if counted is not None:
        return counted
    from headwater.models.outline import configured, network_size  # noqa: PLC0415  transformers: others do without

    try:
        found = configured(choice, vocabulary)
    except (InputError, OSError, ValueError, KeyError):
        return None
    return network_size(found, choice)


def counted_size(choice: ModelChoice, vocabulary: int = 0) -> ModelSize | None:
    """The same without transformers; None for a network that is of no family above, and for a hub id."""
    config = _made_here(choice.shape, vocabulary) if choice.path is None else _config(choice)
    return None if config is None else _counted(config, choice)


def _made_here(shape: QwenShape, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.ff_size,
        "tie_word_embeddings": True,
    }


def _config(choice: ModelChoice) -> dict[str, Any] | None:
    """The config of a directory; None of a hub id, which takes a client to find."""
    try:
        found = json.loads((Path(str(choice.path)) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _counted(config: Mapping[str, Any], choice: ModelChoice) -> ModelSize | None:
    """By arithmetic; None for a network that is of no family above, or has an adapter on layers of other names."""
    family = _FAMILIES.get(str(config.get("model_type")))
    if family is None or any(config.get(key) for key in _ELSEWHERE):
        return None
    numbers = (*_NUMBERS, *family.needs)
    if not all(isinstance(config.get(key), int) for key in numbers):
        return None
    sizes = Dimensions(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kept_heads=config["num_key_value_heads"],
        head=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        inner=config["intermediate_size"],
        weight_bytes=BYTES[choice.dtype],
    )
    linears = _linears(sizes)
    added = _added(linears, choice.adapter)
    if added is None:
        return None
    biases = sum(linears[name][1] for name in family.biased)
    norms = 2 * sizes.hidden + (2 * sizes.head if family.head_norms else 0)
    layer = sum(inputs * outputs for inputs, outputs in linears.values()) + biases + norms
    table, tied = config["vocab_size"] * sizes.hidden, bool(config.get("tie_word_embeddings", False))
    return ModelSize(
        parameters=sizes.layers * layer + sizes.hidden + table * (1 if tied else 2),
        embedding=0 if tied else table,
        vocabulary=config["vocab_size"],
        dimensions=sizes,
        adapter=sizes.layers * added,
        quantise=choice.quantise,
    )


def _linears(sizes: Dimensions) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of a layer's linear layers, by name."""
    query, kept = sizes.heads * sizes.head, sizes.kept_heads * sizes.head
    return {
        "q_proj": (sizes.hidden, query),
        "k_proj": (sizes.hidden, kept),
        "v_proj": (sizes.hidden, kept),
        "o_proj": (query, sizes.hidden),
        "gate_proj": (sizes.hidden, sizes.inner),
        "up_proj": (sizes.hidden, sizes.inner),
        "down_proj": (sizes.inner, sizes.hidden),
    }


def _added(linears: Mapping[str, tuple[int, int]], lora: Lora | None) -> int | None:
    """An adapter's parameters in one layer."""
    if lora is None:
        return 0
    names = linears.keys() if isinstance(lora.target_modules, str) else lora.target_modules
    if not linears.keys() >= set(names):
        return None
    return sum(lora.rank * sum(linears[name]) for name in names)
