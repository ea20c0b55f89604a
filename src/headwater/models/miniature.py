"""A few layers of an architecture with sharp random weights, to measure it on before any weight is there.

Whether a packed, cached or tiled computation gives what the plain network gives is a matter of the architecture and of
lengths, not of what was learned. So layers are left out (one of each kind stays), and widths are narrowed where the
network still builds; windows, kinds of rotation, caps, routing and everything else of the config stay. Weights of
standard deviation 0.3 make attention sharp, so that a place too many or too few shows.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from headwater.errors import InputError
from headwater.models.language_model import LanguageModel

SMALL = 3_000_000
"""Parameters up to which an architecture is measured as it is."""
LARGEST = 60_000_000
SHARP = 0.3
GAIN = 2.4
"""Largest factor by which a sharp matrix lengthens what it is given."""
VOCABULARY = 128

_LAYERS = re.compile(r"(num_(hidden_|encoder_|decoder_)?|n_|encoder_|decoder_)layers?$")
_NARROW = {
    re.compile(r"((num|n|\w*attention|(linear|mamba|index)\w*)_)?n?_?heads?$|num_(key_value|kv)_heads$"): 4,
    re.compile(r"(\w+_)?head_dim$|kv_channels$"): 16,
    re.compile(r"(hidden_size|n_embd|d_model|emb_dim|embedding_dim|word_embed_proj_dim)$"): 64,
    re.compile(r"\w*(intermediate_size|ffn_dim|ffn_hidden_size)$|d_inner$"): 64,
    re.compile(r"(num|n)(_local|_routed)?_experts$"): 8,
    re.compile(r"vocab_size$"): VOCABULARY,
}
"""Names of sizes that hardly matter -> what they are narrowed to. A wrong guess costs time alone: it does not build."""


def miniature(config: PretrainedConfig) -> LanguageModel:
    """The copy, its weights from a fixed seed. Raises InputError when none of a size that can be measured builds."""
    whole, reason = _outline(config), ""
    for candidate in _candidates(config, whole):
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in AutoModelForCausalLM.from_config(copy.deepcopy(candidate)).parameters())
            if size > LARGEST:
                continue
            network = _built(candidate)
            with torch.no_grad():
                network(input_ids=torch.tensor([[1, 0, 1]]))
        except Exception as error:  # noqa: BLE001  other people's network code, given sizes it may not be made for
            reason = reason or f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        return LanguageModel(network=network, tokenizer=_words(network.get_output_embeddings().weight.shape[0]))
    raise InputError(
        f"model: {config.model_type} builds no copy that is small enough to be measured ({reason or 'too large'}); use "
        "another architecture"
    )


def _outline(config: PretrainedConfig) -> PreTrainedModel:
    """The whole network without storage. Raises InputError where none is built, or one that cannot be opened again."""
    try:
        with torch.device("meta"):
            network: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"model: {config.model_type} builds no network ({reason}); use another architecture"
        ) from error
    if type(network.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f"model: {config.model_type} holds a text model ({network.config.model_type}) that transformers cannot "
            "open again once it is saved alone; use another architecture"
        )
    return network


def _candidates(config: PretrainedConfig, network: PreTrainedModel) -> Iterator[PretrainedConfig]:
    """Smallest first."""
    if sum(parameter.numel() for parameter in network.parameters()) <= SMALL:
        yield config
        return
    layers = _kinds(network)
    for narrow, few in ((True, layers), (True, 2 * layers), (True, None), (False, layers), (False, None)):
        plain = json.loads(config.to_json_string(use_diff=False))
        _shrink(plain, narrow=narrow, layers=few)
        try:
            yield type(config).from_dict(plain)
        except Exception:  # noqa: BLE001, S112  a config that checks its own sizes; the next is larger
            continue


def _kinds(network: nn.Module) -> int:
    """How many of the first layers hold one of every kind, at least two."""
    stacks = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    most = 2
    for stack in stacks:
        seen: set[str] = set()
        for i, layer in enumerate(stack):
            kind = _kind(layer)
            if kind not in seen:
                seen.add(kind)
                most = max(most, i + 1 if len(seen) > 1 else most)
    return most


def _kind(layer: nn.Module) -> str:
    """What tells one layer from another: its parts, their sizes and their settings, but not its place."""
    settings = [
        {key: value for key, value in vars(part).items() if isinstance(value, (int, str)) and key != "layer_idx"}
        for part in layer.modules()
    ]
    return f"{layer} {settings}"


def _shrink(plain: dict[str, Any], *, narrow: bool, layers: int | None) -> None:
    """Fewer layers and narrower widths, in place, in every part of the config."""
    grouped = 0 < (plain.get("num_key_value_heads") or 0) < (plain.get("num_attention_heads") or 0)
    total = max((v for key, v in plain.items() if _LAYERS.match(key) and isinstance(v, int)), default=0)
    kept = total if layers is None else min(layers, total)
    for key, value in list(plain.items()):
        if isinstance(value, dict) and value and all(str(k).isdigit() for k in value):
            plain[key] = {k: v for k, v in value.items() if int(k) < kept}
        elif isinstance(value, dict):
            _shrink(value, narrow=narrow, layers=layers)
        elif isinstance(value, list) and total and len(value) == total:
            plain[key] = value[:kept]
        elif isinstance(value, int) and not isinstance(value, bool):
            if layers is not None and _LAYERS.match(key):
                plain[key] = min(value, layers)
            elif narrow:
                plain[key] = min([value, *(size for name, size in _NARROW.items() if name.match(key))])
                if key.endswith("_token_id") and value >= VOCABULARY:
                    plain[key] = 0
    if narrow and grouped:
        plain["num_key_value_heads"] = 2


def _built(config: PretrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim >= 2:
                parameter.copy_(noise * min(SHARP, GAIN * parameter.shape[-1] ** -0.5))
            else:
                parameter.add_(0.1 * noise)
    return network.eval()


def _words(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer of so many words, none of which ends a response."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({f"w{i}": i for i in range(count)})))
