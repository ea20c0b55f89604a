"""The lab's tiny Qwen3 family: a student and a teacher built from a config, with a word-level tokenizer.

Plain Qwen3 initialisation (std 0.02) stays at chance within the lab's budget. What works is an embedding
scaled by sqrt(d). In exact Qwen3 form that is: embedding std 1 (tied), final norm at 1/sqrt(d), and the
learning rates of the two scaled by sqrt(d) and 1/sqrt(d); the factors travel in the model's config.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from headwater.fingerprint import derive_seed
from headwater.models.language_model import SCALES, LanguageModel
from headwater.models.shape import QwenShape


def build(shape: QwenShape, vocabulary: Sequence[str], seed: int) -> LanguageModel:
    """A fresh model of this shape over a word vocabulary that starts with the pad and the end token."""
    tokenizer = word_tokenizer(vocabulary)
    config = configuration(shape, len(vocabulary))
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    root = math.sqrt(shape.hidden_size)
    setattr(config, SCALES, {"model.embed_tokens.weight": root, "model.norm.weight": 1 / root})
    network = Qwen3ForCausalLM(config)
    _initialise(network, seed)
    network.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return LanguageModel(network=network, tokenizer=tokenizer)


def configuration(shape: QwenShape, vocabulary: int) -> Qwen3Config:
    """A Qwen3 configuration of this shape, with so many tokens."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.ff_size,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
    )


def _initialise(network: Qwen3ForCausalLM, seed: int) -> None:
    """Draw every weight from its own derived seed, so the model does not depend on any global state."""
    hidden = network.config.hidden_size
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1 / math.sqrt(hidden) if name == "model.norm.weight" else 1.0)
                continue
            draw = torch.Generator().manual_seed(derive_seed(seed, "initialise", name) % 2**63)
            std = 1.0 if "embed_tokens" in name else 1 / math.sqrt(parameter.shape[1])
            parameter.normal_(0.0, std, generator=draw)


def word_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that AutoTokenizer loads; vocabulary[0] pads, vocabulary[1] ends a response."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=vocabulary[0]))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=vocabulary[0], eos_token=vocabulary[1], unk_token=vocabulary[0]
    )
