"""Rollouts laid out for a forward pass: right-padded rows of similar length, response tokens end to end.

Rows are sorted by length and cut into micro-batches under a token budget, so little of a row is padding.
The loss is a sum over tokens whose weights are known, so the cut cannot change the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from headwater.records import Rollout


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """One micro-batch: which rollouts, their padded ids, and where each response token is scored."""

    members: tuple[int, ...]
    """index of each row's rollout in the list that was packed"""
    input_ids: Int[Tensor, "row time"]
    scored_at: Int[Tensor, " token"]
    """flat (row, time) place whose hidden state scores each response token: position t scores token t + 1"""
    response_ids: Int[Tensor, " token"]
    response_lengths: tuple[int, ...]


def pack(rollouts: Sequence[Rollout], budget: int, pad_id: int) -> Iterator[Layout]:
    """Micro-batches of at most `budget` padded tokens (a longer rollout gets a row of its own)."""
    lengths = [len(rollout.prompt_ids) + len(rollout.response_ids) for rollout in rollouts]
    order = sorted(range(len(rollouts)), key=lambda i: (lengths[i], i))
    chunk: list[int] = []
    for i in order:
        if chunk and (len(chunk) + 1) * lengths[i] > budget:
            yield _layout(rollouts, chunk, pad_id)
            chunk = []
        chunk.append(i)
    if chunk:
        yield _layout(rollouts, chunk, pad_id)


def _layout(rollouts: Sequence[Rollout], members: Sequence[int], pad_id: int) -> Layout:
    rows = [(rollouts[i].prompt_ids, rollouts[i].response_ids) for i in members]
    width = max(len(prompt) + len(response) for prompt, response in rows)
    input_ids = [[*prompt, *response, *([pad_id] * (width - len(prompt) - len(response)))] for prompt, response in rows]
    scored_at = [
        row * width + len(prompt) - 1 + t for row, (prompt, response) in enumerate(rows) for t in range(len(response))
    ]
    return Layout(
        members=tuple(members),
        input_ids=torch.tensor(input_ids),
        scored_at=torch.tensor(scored_at, dtype=torch.long),
        response_ids=torch.tensor([token for _, response in rows for token in response], dtype=torch.long),
        response_lengths=tuple(len(response) for _, response in rows),
    )
