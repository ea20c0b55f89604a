"""What a first recipe is fitted to: two models, labels, a benchmark, and the machine. Nothing is chosen here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.engines.settings import EngineSettings, device_memory
from headwater.errors import InputError
from headwater.models.files import id_faults, read_files, require_model
from headwater.problems.pools import prompt_text
from headwater.records import Problem
from headwater.store import REAL_DISK
from headwater.store.space import free_bytes

MOST_READ = 512
"""Prompts whose tokens are counted; of a larger set the longest texts."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model is, as far as a recipe asks."""

    path: str
    parameters: int
    hidden: int
    vocabulary: int
    context: int
    chat: bool
    """its tokenizer has a chat template"""
    thinks: bool
    """... that can switch thinking on and off"""
    stop_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a run may use here."""

    memory: int
    disk: int
    gpu: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a recipe is fitted to."""

    student: ModelFacts
    teacher: ModelFacts
    machine: Machine
    labels: int
    gold_tokens: int
    """of the longest gold answer"""
    prompt_tokens: int
    """of the longest prompt"""
    answer_type: str
    asked: str | None
    """how the prompts themselves ask for the answer: boxed, marker, tag; None when they do not"""
    system: bool
    """prompts bring a system message of their own"""


@dataclass(frozen=True, kw_only=True)
class ReadModel:
    """A model without its weights."""

    facts: ModelFacts
    vocabulary: Mapping[str, int]
    """token -> id"""
    tokens: Callable[[str], int]
    """of a text"""


def machine(folder: Path) -> Machine:
    """This machine, its disk that of the folder."""
    kind = EngineSettings().kind
    return Machine(memory=device_memory(kind), disk=free_bytes(folder, REAL_DISK), gpu=kind == "cuda")


def read_model(role: str, path: str) -> ReadModel:
    """From its files where they say everything, else through transformers.

    Raises InputError for one that is not there or cannot be opened, and for one that never stops.
    """
    require_model(path)
    found = _from_files(path) or _outlined(path)
    if not found.facts.stop_ids:
        raise InputError(
            f"{role}: {path} names no id that ends a response; set eos_token_id in its generation_config.json"
        )
    return found


def _from_files(path: str) -> ReadModel | None:
    files = read_files(path)
    if files is None:
        return None
    facts = ModelFacts(
        path=path,
        parameters=files.size.parameters,
        hidden=files.size.hidden,
        vocabulary=files.size.vocabulary,
        context=files.context,
        chat=files.chat_template is not None,
        thinks="enable_thinking" in str(files.chat_template),
        stop_ids=files.stop_ids,
    )
    return ReadModel(
        facts=facts, vocabulary=files.vocabulary, tokens=lambda text: len(files.tokenizer.encode(text).ids)
    )


def _outlined(path: str) -> ReadModel:
    from headwater.models.language_model import LanguageModel, silence_progress  # noqa: PLC0415  seconds

    silence_progress()
    model = LanguageModel.outline(path)
    tokenizer, (rows, hidden) = model.tokenizer, model.head[0].shape
    facts = ModelFacts(
        path=path,
        parameters=model.parameters,
        hidden=int(hidden),
        vocabulary=int(rows),
        context=int(model.network.config.get_text_config().max_position_embeddings),
        chat=tokenizer.chat_template is not None,
        thinks="enable_thinking" in str(tokenizer.chat_template),
        stop_ids=model.stop_ids,
    )
    return ReadModel(
        facts=facts, vocabulary=tokenizer.get_vocab(), tokens=lambda text: len(tokenizer(text)["input_ids"])
    )


def check_pair(student: ReadModel, teacher: ReadModel) -> None:
    """Raise InputError when no recipe can bring the two together."""
    faults = id_faults(student.vocabulary, teacher.vocabulary)
    if faults:
        raise InputError(faults[0])


def longest(model: ReadModel, problems: Sequence[Problem]) -> int:
    """Tokens of the longest prompt, as the model is asked with the prompts as they stand."""
    texts = sorted((prompt_text(problem) for problem in problems), key=len, reverse=True)[:MOST_READ]
    return max(map(model.tokens, texts))


def asked_form(problems: Sequence[Problem]) -> str | None:
    """The form of answer that nearly every prompt asks for in its own words."""
    texts = [prompt_text(problem) for problem in problems]
    signs = {"boxed": "\\boxed", "marker": "####", "tag": "<answer>"}
    return next((form for form, sign in signs.items() if sum(sign in t for t in texts) >= 0.9 * len(texts)), None)
