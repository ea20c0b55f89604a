"""Prompts that are longer than a stage allows: counted before a step is taken, and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.errors import InputError
from headwater.records import Problem

LISTED = 10
"""Ids named in a message before "..."."""


def refuse_long(
    where: str, problems: Sequence[Problem], limit: int | None, encode: Callable[[Problem], Sequence[int]]
) -> None:
    """Raise InputError for prompts that are longer than a stage allows: none is cut or skipped unsaid."""
    if limit is None:
        return
    long = {p.problem_id: n for p in problems if (n := len(encode(p))) > limit}
    if long:
        first, tokens = max(long.items(), key=lambda item: item[1])
        more = ", ..." if len(long) > LISTED else ""
        raise InputError(
            f"{where}: {len(long)} of {len(problems)} prompts have more than max_prompt_tokens = {limit} tokens "
            f"(longest: {first} with {tokens}; {', '.join(list(long)[:LISTED])}{more}). Take them out of the labels "
            "or allow more"
        )
