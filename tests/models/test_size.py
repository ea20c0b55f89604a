"""The size of a model by arithmetic on its config, against the network that transformers makes of it."""

import pytest
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from headwater.models.choice import Lora, ModelChoice
from headwater.models.outline import configured, network_size
from headwater.models.shape import QwenShape
from headwater.models.size import _config, _counted, _made_here, model_size

NUMBERS = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 56,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": LlamaConfig(**NUMBERS),
    "llama, tied": LlamaConfig(**NUMBERS, tie_word_embeddings=True),
    "llama, wide heads": LlamaConfig(**NUMBERS, head_dim=16),
    "qwen2": Qwen2Config(**NUMBERS),
    "qwen2, tied": Qwen2Config(**NUMBERS, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**NUMBERS, head_dim=24),
    "qwen3, tied": Qwen3Config(**NUMBERS, head_dim=24, tie_word_embeddings=True),
}
ADAPTERS = {"none": None, "all": Lora(rank=3), "two": Lora(rank=2, target_modules=("q_proj", "down_proj"))}


def chosen(config, folder, **fields):
    config.save_pretrained(folder)
    return ModelChoice(path=str(folder), **fields)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_family_is_counted_as_the_network_itself_is(config, adapter, tmp_path):
    choice = chosen(config, tmp_path, adapter=adapter, dtype="bfloat16")
    counted = _counted(_config(choice), choice)
    assert counted is not None
    assert counted == network_size(configured(choice, 0), choice)


def test_a_model_made_here_is_counted_as_the_network_is():
    for shape in (QwenShape(), QwenShape(heads=4, kv_heads=2, layers=3)):
        choice = ModelChoice(shape=shape)
        assert _counted(_made_here(shape, 31), choice) == network_size(configured(choice, 31), choice)


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**NUMBERS, attention_bias=True), Qwen3Config(**NUMBERS, head_dim=24, attention_bias=True)],
    ids=["llama", "qwen3"],
)
def test_other_weights_than_the_familys_are_counted_on_the_network(config, tmp_path):
    choice = chosen(config, tmp_path)
    assert _counted(_config(choice), choice) is None
    assert model_size(choice, 0) == network_size(configured(choice, 0), choice)


def test_another_family_is_counted_on_the_network(tmp_path):
    choice = chosen(MistralConfig(**NUMBERS), tmp_path)
    assert _counted(_config(choice), choice) is None
    assert model_size(choice, 0) == network_size(configured(choice, 0), choice)
