"""A Qwen3 or Llama model of any size with random weights, for benchmarks and tests: it only says noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from headwater.models.language_model import LanguageModel

PAD, END = "<pad>", "<end>"
STEADY, NEVER = 0.02, -1e4


def random_weights(
    config: Mapping[str, Any], seed: int, *, never_ends: bool, dtype: torch.dtype = torch.float32
) -> LanguageModel:
    """A model of this configuration, initialised as its architecture does, over words w2, w3, ...

    `never_ends` takes all mass from the end token: it is looked for at every step and never comes, so every response
    is of full length.
    """
    vocabulary = [PAD, END, *(f"w{i}" for i in range(2, int(config["vocab_size"])))]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=PAD))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, eos_token=END, unk_token=PAD)
    settings = AutoConfig.for_model(**config, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(settings, dtype=dtype)
    network.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0, do_sample=True)
    if never_ends:
        _silence(network, end=1)
    return LanguageModel(network=network, tokenizer=tokenizer)


@torch.no_grad()
def _silence(network: PreTrainedModel, end: int) -> None:
    """Hold the first coordinate of the residual stream constant, and put the end token's logit far below it."""
    weights = dict(network.named_parameters())
    weights["model.embed_tokens.weight"][:, 0] = STEADY
    for name, parameter in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter[0] = 0.0
    weights.get("lm_head.weight", weights["model.embed_tokens.weight"])[end, 0] = NEVER
