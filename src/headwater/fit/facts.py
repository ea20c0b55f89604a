"""What a first recipe is fitted to: two models, labels, a benchmark, and the machine. Nothing is chosen here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from headwater.errors import InputError
from headwater.models.language_model import LanguageModel
from headwater.models.preflight import id_faults
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


def machine(folder: Path) -> Machine:
    """This machine, its disk that of the folder."""
    gpu = torch.cuda.is_available()
    memory = torch.cuda.mem_get_info()[1] if gpu else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(memory=int(memory), disk=free_bytes(folder, REAL_DISK), gpu=gpu)


def model_facts(role: str, model: LanguageModel, path: str) -> ModelFacts:
    """Of an outline. Raises InputError for a model that never stops."""
    config, template = model.network.config.get_text_config(), model.tokenizer.chat_template
    rows, hidden = model.head[0].shape
    if not model.stop_ids:
        raise InputError(
            f"{role}: {path} names no id that ends a response; set eos_token_id in its generation_config.json"
        )
    return ModelFacts(
        path=path,
        parameters=model.parameters,
        hidden=int(hidden),
        vocabulary=int(rows),
        context=int(config.max_position_embeddings),
        chat=template is not None,
        thinks="enable_thinking" in str(template),
        stop_ids=model.stop_ids,
    )


def check_pair(student: LanguageModel, teacher: LanguageModel) -> None:
    """Raise InputError when no recipe can bring the two together."""
    faults = id_faults(student, teacher)
    if faults:
        raise InputError(faults[0])


def longest(model: LanguageModel, problems: Sequence[Problem]) -> int:
    """Tokens of the longest prompt, as the model is asked with the prompts as they stand."""
    texts = sorted((prompt_text(problem) for problem in problems), key=len, reverse=True)[:MOST_READ]
    return max(len(model.tokenizer(text)["input_ids"]) for text in texts)


def asked_form(problems: Sequence[Problem]) -> str | None:
    """The form of answer that nearly every prompt asks for in its own words."""
    texts = [prompt_text(problem) for problem in problems]
    signs = {"boxed": "\\boxed", "marker": "####", "tag": "<answer>"}
    return next((form for form, sign in signs.items() if sum(sign in t for t in texts) >= 0.9 * len(texts)), None)
