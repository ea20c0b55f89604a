"""What a model's files say of it, read without transformers: a first recipe asks no more, and then starts at once.

Read are config.json of a family that is counted (`size`), tokenizer.json, its settings, the chat template and the ids
that end a response. Whatever else a directory holds, or a hub id, is left to transformers (`LanguageModel.outline`),
which takes seconds to load; both say the same (tests).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from headwater.models.choice import ModelChoice
from headwater.models.size import ModelSize, counted_size
from headwater.places import require_place

WANTED = (
    "give a directory with config.json, safetensors and a tokenizer, or a hub id that this machine can reach; "
    "`headwater convert` writes one from GGUF"
)
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer", "Qwen2Tokenizer", "LlamaTokenizer")
"""Classes, with or without Fast at their end, that are tokenizer.json and nothing more."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's sizes and words."""

    size: ModelSize
    context: int
    """tokens"""
    chat_template: str | None
    stop_ids: frozenset[int]
    tokenizer: Tokenizer
    vocabulary: Mapping[str, int]
    """token -> id"""


def require_model(source: str, revision: str | None = None) -> None:
    """Raise InputError at once when there is no such directory, and no hub id that can be opened now."""

    def cached() -> bool:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  for a hub id alone

        return isinstance(try_to_load_from_cache(source, "config.json", revision=revision), str)

    require_place("model", source, WANTED, cached)


def read_files(path: str) -> ModelFiles | None:
    """None where the files do not say everything, or say it in a way that only transformers reads."""
    folder = Path(path).expanduser()
    config, settings = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    size = counted_size(ModelChoice(path=str(folder)))
    context = (config or {}).get("max_position_embeddings")
    if config is None or settings is None or size is None or not isinstance(context, int):
        return None
    if "eos_token" not in settings and (folder / "special_tokens_map.json").exists():
        return None
    kind = str(settings.get("tokenizer_class")).removesuffix("Fast")
    template = _template(folder, settings)
    if kind not in {name.removesuffix("Fast") for name in _PLAIN} or not isinstance(template, str | None):
        return None
    try:
        tokenizer = _tokenizer((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except Exception:  # noqa: BLE001  the library raises nothing narrower, and transformers will say what is wrong
        return None
    added = settings.get("added_tokens_decoder") or {}
    words = tokenizer.get_vocab() | {token["content"]: int(number) for number, token in added.items()}
    stops = _stops(folder, config, settings, words)
    if stops is None or max(words.values(), default=0) >= size.vocabulary:
        return None
    return ModelFiles(
        size=size, context=context, chat_template=template, stop_ids=stops, tokenizer=tokenizer, vocabulary=words
    )


def id_faults(student: Mapping[str, int], teacher: Mapping[str, int]) -> list[str]:
    """Whether an id means another token to the teacher than to the student; padded rows may differ."""
    if student == teacher:
        return []
    differing = sorted({*student.items()} ^ {*teacher.items()}, key=lambda item: (item[1], item[0]))
    token, token_id = differing[0]
    return [
        f"teacher and student: their tokenizers differ in {len(differing)} entries (first: {token!r} is id "
        f"{student.get(token)} for the student, {teacher.get(token)} for the teacher; looked at id {token_id}). "
        "Use models of one family that share a tokenizer."
    ]


@lru_cache(maxsize=1)
def _tokenizer(text: str) -> Tokenizer:
    """Read once for a student and a teacher of one family: their files are the same."""
    found = Tokenizer.from_str(text)
    found.no_truncation()
    return found


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _template(folder: Path, settings: Mapping[str, Any]) -> object:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        return settings.get("chat_template")


def _stops(
    folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any], words: Mapping[str, int]
) -> frozenset[int] | None:
    """Those of the generation config, or of the model's where there is none, and the tokenizer's end token."""
    generation = folder / "generation_config.json"
    source = _json(generation) if generation.exists() else config
    if source is None:
        return None
    declared, end = source.get("eos_token_id"), settings.get("eos_token")
    ids = declared if isinstance(declared, list) else [declared]
    word = end.get("content") if isinstance(end, dict) else end
    if word is not None and word not in words:
        return None
    ends = [] if word is None else [words[word]]
    return frozenset(int(i) for i in [*ids, *ends] if i is not None)
