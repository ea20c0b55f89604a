"""A model of any transformers configuration with random weights, for benchmarks and tests: it only says noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from headwater.models.language_model import LanguageModel

PAD, END = "<pad>", "<end>"


def random_weights(config: Mapping[str, Any], seed: int, *, never_ends: bool) -> LanguageModel:
    """A float32 model of this configuration, initialised as its architecture does, over words w1, w2, ...

    `never_ends` gives the end token an id behind the last row of the head: it is looked for at every token and never
    comes, so every response is of full length.
    """
    vocab = int(config["vocab_size"])
    words = [f"w{i}" for i in range(1, vocab)]
    tokenizer = _tokenizer([PAD, *words, END] if never_ends else [PAD, END, *words[1:]])
    settings = AutoConfig.for_model(**config, pad_token_id=0, eos_token_id=None, bos_token_id=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    network.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return LanguageModel(network=network, tokenizer=tokenizer)


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=PAD))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, eos_token=END, unk_token=PAD)
