"""Prompts that are longer than a stage allows: counted before a step is taken, named, or left out by choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.data.problems import PromptLimit
from headwater.errors import InputError
from headwater.records import Problem
from headwater.routes.recipe import Recipe

if TYPE_CHECKING:
    from headwater.models.language_model import LanguageModel

LISTED = 10
"""Ids named in a message before "..."."""


def prompt_limit(recipe: Recipe) -> PromptLimit | None:
    """The least `max_prompt_tokens` of the recipe's stages, counted as its student is asked; None where none has one.

    Teacher and student share their tokenizer. Opens no weights. Raises InputError when there is no such model.
    """
    limits = [getattr(recipe.stages, name).max_prompt_tokens for name in type(recipe.stages).model_fields]
    given = [limit for limit in limits if limit is not None]
    if not given or recipe.student.path is None:
        return None
    from headwater.models.language_model import LanguageModel  # noqa: PLC0415  transformers, for those who limit prompts

    opening = recipe.student.opening
    return PromptLimit(min(given), LanguageModel.outline(opening.pop("path"), **opening).encode)


def long_prompts(where: str, problems: Sequence[Problem], limit: int | None, model: LanguageModel) -> str | None:
    """What is wrong with prompts that are longer than a stage allows; None if none is."""
    long = {} if limit is None else PromptLimit(limit, model.encode).beyond(problems)
    if not long:
        return None
    first, tokens = max(long.items(), key=lambda item: item[1])
    more = ", ..." if len(long) > LISTED else ""
    return (
        f"{where}: {len(long)} of {len(problems)} prompts have more than max_prompt_tokens = {limit} tokens (longest: "
        f"{first} with {tokens}; {', '.join(list(long)[:LISTED])}{more}). Allow more, take them out of the labels, or "
        "set problems.drop_long to have them left out"
    )


def refuse_long(where: str, problems: Sequence[Problem], limit: int | None, model: LanguageModel) -> None:
    """Raise InputError for prompts that are longer than a stage allows: none is cut or skipped unsaid."""
    fault = long_prompts(where, problems, limit, model)
    if fault is not None:
        raise InputError(fault)
