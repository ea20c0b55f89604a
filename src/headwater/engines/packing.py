"""Rollouts laid out for a forward pass, response tokens end to end.

Rollouts of one prompt are branches of one trunk: the prompt is read once, on a flat token axis without
padding, and each response goes on from it (`attention`). A network whose attention cannot be told this gets
right-padded rows of similar length. The loss is a sum over tokens whose weights are known, so neither the
layout nor the cut into micro-batches can change the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from headwater.engines.attention import Tree
from headwater.engines.linears import round_up
from headwater.records import Rollout


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """One micro-batch: which rollouts, their ids, and where each response token is scored."""

    members: tuple[int, ...]
    """index of each rollout in the list that was packed, in the order of its response tokens"""
    input_ids: Int[Tensor, "row time"]
    """padded rows, or one row of everything when there is a `tree`"""
    scored_at: Int[Tensor, " token"]
    """flat (row, time) place whose hidden state scores each response token: position t scores token t + 1"""
    response_ids: Int[Tensor, " token"]
    response_lengths: tuple[int, ...]
    tree: Tree | None = None
    open: bool = False
    """rows to which our own attention goes, without a mask"""
    padding: int = 0
    """places of `input_ids` that hold no token"""


def pack(rollouts: Sequence[Rollout], budget: int, pad_id: int) -> Iterator[Layout]:
    """Padded rows in micro-batches of at most `budget` places (a longer rollout gets a row of its own)."""
    lengths = [len(rollout.prompt_ids) + len(rollout.response_ids) for rollout in rollouts]
    order = sorted(range(len(rollouts)), key=lambda i: (lengths[i], i))
    chunk: list[int] = []
    for i in order:
        if chunk and (len(chunk) + 1) * lengths[i] > budget:
            yield _rows(rollouts, chunk, pad_id)
            chunk = []
        chunk.append(i)
    if chunk:
        yield _rows(rollouts, chunk, pad_id)


def _rows(rollouts: Sequence[Rollout], members: Sequence[int], pad_id: int) -> Layout:
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
        response_ids=_response_ids(rollouts, members),
        response_lengths=tuple(len(response) for _, response in rows),
        padding=sum(width - len(prompt) - len(response) for prompt, response in rows),
    )


def pack_trees(rollouts: Sequence[Rollout], budget: int) -> Iterator[Layout]:
    """Trees in micro-batches of at most `budget` tokens; a prompt's responses are parted only where they must be.

    The last token of a response is left out: what follows it is not scored.
    """
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for i in sorted(range(len(rollouts)), key=lambda i: (len(rollouts[i].response_ids), i)):
        by_prompt.setdefault(rollouts[i].prompt_ids, []).append(i)
    families = sorted(by_prompt.items(), key=lambda item: (len(item[0]), len(rollouts[item[1][-1]].response_ids)))
    chunk: list[list[int]] = []
    used = 0
    for prompt, members in families:
        parts = _parts(rollouts, members, max(budget - len(prompt), 1))
        for part in parts:
            size = len(prompt) + _tokens(rollouts, part)
            if chunk and used + size > budget:
                yield _tree(rollouts, chunk)
                chunk, used = [], 0
            chunk.append(part)
            used += size
    if chunk:
        yield _tree(rollouts, chunk)


def _tokens(rollouts: Sequence[Rollout], members: Sequence[int]) -> int:
    return sum(max(len(rollouts[i].response_ids) - 1, 0) for i in members)


def _parts(rollouts: Sequence[Rollout], members: Sequence[int], room: int) -> list[list[int]]:
    """One prompt's responses in parts that fit the room; a longer response is a part of its own."""
    parts: list[list[int]] = [[]]
    for i in members:
        if parts[-1] and _tokens(rollouts, [*parts[-1], i]) > room:
            parts.append([])
        parts[-1].append(i)
    return parts


def _tree(rollouts: Sequence[Rollout], families: Sequence[Sequence[int]]) -> Layout:
    """A lone response is read as one trunk with its prompt; several are branches of it."""
    trunks: list[tuple[int, ...]] = []
    branches: list[tuple[int, ...]] = []
    owner: list[int] = []
    starts: list[tuple[int, int, int]] = []  # (place of the prompt's last token in its trunk, trunk, branch or -1)
    for family in families:
        prompt = rollouts[family[0]].prompt_ids
        alone = len(family) == 1
        for i in family:
            response = rollouts[i].response_ids[:-1]
            starts.append((len(prompt) - 1, len(trunks), -1 if alone else len(branches)))
            if not alone:
                branches.append(response)
                owner.append(len(trunks))
        trunks.append((*prompt, *rollouts[family[0]].response_ids[:-1]) if alone else prompt)
    tokens = sum(len(part) for part in (*trunks, *branches))
    padding = round_up(tokens) - tokens
    tree = Tree.of([len(trunk) for trunk in trunks], [len(branch) for branch in branches], owner, padding)
    members = [i for family in families for i in family]
    scored_at: list[int] = []
    for i, (last, trunk, branch) in zip(members, starts, strict=True):
        length = len(rollouts[i].response_ids)
        first = tree.trunk_starts[trunk] + last
        if length and branch >= 0:
            scored_at += [first, *range(tree.branch_starts[branch], tree.branch_starts[branch] + length - 1)]
        else:
            scored_at += range(first, first + length)
    flat = [token for part in (*trunks, *branches) for token in part] + [0] * padding
    return Layout(
        members=tuple(members),
        input_ids=torch.tensor([flat]),
        scored_at=torch.tensor(scored_at, dtype=torch.long),
        response_ids=_response_ids(rollouts, members),
        response_lengths=tuple(len(rollouts[i].response_ids) for i in members),
        tree=tree,
        padding=padding,
    )


def _response_ids(rollouts: Sequence[Rollout], members: Sequence[int]) -> Tensor:
    return torch.tensor([token for i in members for token in rollouts[i].response_ids], dtype=torch.long)
