"""What a model's files say of it is what transformers says after it has opened them; what they do not say is left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

import tiny
from headwater.fit.facts import _from_files, _outlined, read_model
from headwater.models.files import read_files
from headwater.models.language_model import LanguageModel

QWEN3 = Path(os.environ.get("HEADWATER_QWEN3", Path(__file__).parents[2] / ".cache" / "qwen3"))
TEXTS = ("a b c", "hgf a", "a")


def qwen2() -> LanguageModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, eos_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    return LanguageModel(network=Qwen2ForCausalLM(config), tokenizer=tiny.qwen().tokenizer)


MODELS = {**tiny.FAMILIES, "several stops": lambda: tiny.llama(stop_ids=(1, 5))}


def same(path: Path, texts: tuple[str, ...] = TEXTS) -> None:
    files, opened = _from_files(str(path)), _outlined(str(path))
    assert files is not None
    assert files.facts == opened.facts
    assert files.vocabulary == opened.vocabulary
    assert [files.tokens(text) for text in texts] == [opened.tokens(text) for text in texts]


@pytest.mark.parametrize("name", MODELS)
def test_the_files_say_what_transformers_says(name: str, tmp_path: Path) -> None:
    MODELS[name]().save(tmp_path)
    same(tmp_path)


def test_stops_are_the_config_s_where_there_is_no_generation_config(tmp_path: Path) -> None:
    tiny.llama(stop_ids=(1, 5)).save(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    assert read_files(str(tmp_path)).stop_ids == {1, 5}
    same(tmp_path)


@pytest.mark.parametrize("place", ["file", "settings"])
def test_a_template_is_found_beside_the_tokenizer_and_in_its_settings(place: str, tmp_path: Path) -> None:
    tiny.qwen().save(tmp_path)
    text = "{{ messages[0]['content'] }}{% if enable_thinking %}a{% endif %}"
    if place == "file":
        (tmp_path / "chat_template.jinja").write_text(text)
    else:
        change(tmp_path / "tokenizer_config.json", chat_template=text)
    assert read_files(str(tmp_path)).chat_template == text
    same(tmp_path)


def test_words_that_settings_add_are_words(tmp_path: Path) -> None:
    tiny.llama().save(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["zz"])
    tokenizer.save_pretrained(tmp_path)
    change(tmp_path / "config.json", vocab_size=16)
    assert read_files(str(tmp_path)).vocabulary["zz"] == 10
    same(tmp_path, (*TEXTS, "a zz"))


@pytest.mark.skipif(not (QWEN3 / "tokenizer.json").exists(), reason="no Qwen3 tokenizer; `make qwen3-tokenizer`")
@pytest.mark.parametrize("network", [tiny.qwen, qwen2])
def test_the_real_tokenizer_of_qwen_reads_the_same(network: Callable[[], LanguageModel], tmp_path: Path) -> None:
    network().save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(QWEN3 / name, tmp_path / name)
    change(tmp_path / "config.json", vocab_size=151_936)
    change(tmp_path / "generation_config.json", eos_token_id=[151_645, 151_643])
    found = read_files(str(tmp_path))
    assert found.stop_ids == {151_645, 151_643}
    assert "enable_thinking" in found.chat_template
    same(tmp_path, ("What is 12 + 30?", " two  spaces,\ttabs\n\n", "Größe, 数学, 🙂", "<|im_start|>user"))


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"model_type": "mistral"}),
        ("config.json", {"quantization_config": {"quant_method": "fp8"}}),
        ("config.json", {"vocab_size": 4}),
        ("tokenizer_config.json", {"tokenizer_class": "MyOwnTokenizer"}),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": "a"}]}),
        ("tokenizer_config.json", {"eos_token": "<nowhere>"}),
    ],
    ids=str,
)
def test_what_only_transformers_can_read_is_left_to_it(file: str, fields: dict[str, object], tmp_path: Path) -> None:
    tiny.qwen().save(tmp_path)
    assert read_files(str(tmp_path)) is not None
    change(tmp_path / file, **fields)
    assert read_files(str(tmp_path)) is None


def test_an_end_that_only_an_older_file_names_is_left_to_transformers(tmp_path: Path) -> None:
    tiny.qwen().save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": settings.pop("eos_token")}))
    path.write_text(json.dumps(settings))
    assert read_files(str(tmp_path)) is None


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_directory_that_lacks_a_file_is_left_to_transformers(file: str, tmp_path: Path) -> None:
    tiny.qwen().save(tmp_path)
    (tmp_path / file).unlink()
    assert read_files(str(tmp_path)) is None


def test_another_family_is_opened_by_transformers(tmp_path: Path) -> None:
    tiny.windowed().save(tmp_path)
    model = read_model("student", str(tmp_path))
    assert model.facts.parameters == tiny.windowed().parameters
    assert model.facts.context == 32_768
    assert model.tokens("a b") == 2


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
