"""Attention over trees: prompts are trunks, responses are branches that see their trunk and themselves.

A group's responses share one prompt. On a flat token axis, trunks first and branches after them, the prompt
passes through every layer once and no place is padding; only here, inside attention, are tokens laid in rows.
The function is given to transformers by its AttentionInterface for the time of one call, so the network and
its config stay as they were. What the layers compute is what they compute for each rollout alone.

A rollout too long for a tree's mask is a row without any: a token sees what came before it, or a window of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from headwater.engines.cpu.products import chosen_products

NAME = "headwater"
WEIGHTS = 2**22
"""Most attention weights that one layer keeps for its backward pass (16 MiB); beyond it they are made anew."""
BLOCK = 1024
"""Places of a windowed row that are answered at once; their mask is so many times as long as they and a window are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Pieces of the flat token axis as padded rows, and the way back."""

    first: int
    """the first flat place of these pieces"""
    lengths: tuple[int, ...]
    places: Int[Tensor, "row time"]
    """flat place of each token; padding repeats a place, and is never seen nor kept"""
    real: Float[Tensor, "row time"]
    """1 where there is a token, 0 in padding"""
    back: Int[Tensor, " token"]
    """place in the flattened rows of each token"""

    @classmethod
    def of(cls, first: int, lengths: Sequence[int]) -> Rows:
        """Rows of these lengths, their tokens end to end from `first` on."""
        count, width = len(lengths), max(lengths, default=0)
        sizes = torch.tensor(lengths, dtype=torch.long)
        steps = torch.arange(width)
        real = steps < sizes[:, None]
        starts = first + sizes.cumsum(0) - sizes
        places = torch.where(real, starts[:, None] + steps, min(first, max(first + int(sizes.sum()) - 1, 0)))
        return cls(
            first=first,
            lengths=tuple(lengths),
            places=places.view(count, width),
            real=real.float(),
            back=real.flatten().nonzero()[:, 0],
        )

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.back)

    @property
    def padded(self) -> bool:
        """Whether any place is padding."""
        return self.tokens != self.places.numel()

    def laid(self, flat: Float[Tensor, "token head dim"]) -> Float[Tensor, "row time head dim"]:
        """The flat axis's tokens in rows."""
        chosen = flat.index_select(0, self.places.flatten()) if self.padded else flat[self.first :][: self.tokens]
        return chosen.reshape(*self.places.shape, *flat.shape[1:])

    def flat(self, rows: Float[Tensor, "row time head dim"]) -> Float[Tensor, "token head dim"]:
        """The rows' tokens end to end."""
        ends = rows.reshape(-1, *rows.shape[2:])
        return ends.index_select(0, self.back) if self.padded else ends

    def to(self, device: torch.device) -> Rows:
        """On this device."""
        return replace(self, places=self.places.to(device), real=self.real.to(device), back=self.back.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """The flat token axis of one micro-batch: trunks, then the branches that go on from them."""

    trunks: Rows
    branches: Rows
    owner: Int[Tensor, " branch"]
    """the trunk each branch goes on from"""
    trunk_starts: tuple[int, ...]
    branch_starts: tuple[int, ...]
    position_ids: Int[Tensor, "one token"]
    trunk_mask: Float[Tensor, "stem stem"]
    """0 where a trunk's token sees a trunk's token, else -inf"""
    branch_mask: Float[Tensor, "own place"]
    """the same for a branch's token and its trunk's places followed by its own"""
    ragged: Float[Tensor, "branch stem"] | None
    """-inf at places beyond the end of a branch's trunk; None where all trunks are equally long"""
    padding: int
    """places after the last token that hold none: attention gives 0 there, and nothing comes back"""

    @classmethod
    def of(cls, trunks: Sequence[int], branches: Sequence[int], owner: Sequence[int], padding: int = 0) -> Tree:
        """The tree of these lengths."""
        stem, top = Rows.of(0, trunks), Rows.of(sum(trunks), branches)
        owners = torch.tensor(owner, dtype=torch.long)
        sizes = torch.tensor(trunks)
        positions = [torch.arange(length) for length in trunks]
        positions += [torch.arange(trunks[o], trunks[o] + length) for o, length in zip(owner, branches, strict=True)]
        width = stem.places.shape[1]
        beyond = torch.arange(width) >= sizes[owners][:, None]
        own = _causal(top.places.shape[1])
        return cls(
            trunks=stem,
            branches=top,
            owner=owners,
            trunk_starts=_starts(0, trunks),
            branch_starts=_starts(sum(trunks), branches),
            position_ids=torch.cat([*positions, torch.zeros(padding, dtype=torch.long)])[None],
            trunk_mask=_causal(width),
            branch_mask=torch.cat([own.new_zeros((len(own), width)), own], dim=1),
            ragged=torch.zeros(beyond.shape).masked_fill_(beyond, -torch.inf) if bool(beyond.any()) else None,
            padding=padding,
        )

    @property
    def branching(self) -> bool:
        """Whether any branch has a token."""
        return self.branches.tokens > 0

    def to(self, device: torch.device) -> Tree:
        """On this device."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            trunks=self.trunks.to(device),
            branches=self.branches.to(device),
            **{
                name: getattr(self, name).to(device)
                for name in ("owner", "position_ids", "trunk_mask", "branch_mask", "ragged")
                if getattr(self, name) is not None
            },
        )


def _causal(width: int) -> Tensor:
    return torch.full((width, width), -torch.inf).triu_(1)


def _starts(first: int, lengths: Sequence[int]) -> tuple[int, ...]:
    starts = [first]
    for length in lengths:
        starts.append(starts[-1] + length)
    return tuple(starts[:-1])


@contextmanager
def our_attention(config: PretrainedConfig) -> Iterator[None]:
    """The network of this config attends through `attend` inside; it is what it was afterwards."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: nn.Module,
    query: Float[Tensor, "row head time dim"],
    key: Float[Tensor, "row kv_head place dim"],
    value: Float[Tensor, "row kv_head place dim"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    tree: Tree | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "row time head dim"], None]:
    """What transformers calls in each layer: over a tree when there is one, over whole rows where nothing is masked,
    else one token a row over its cache."""
    unknown = [name for name in ("softcap", "s_aux", "sinks", "position_bias") if others.get(name) is not None]
    if unknown:
        raise ValueError(f"attention with {', '.join(unknown)} is not computed here")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if tree is None and attention_mask is None and query.shape[2] > 1:
        return open_rows(query, key, value, others.get("sliding_window"), scale).transpose(1, 2), None
    if tree is None:
        return _one_token(query, key, value, attention_mask, scale), None
    asked, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
    rows, width = tree.branch_mask.shape
    kept = query.shape[1] * (len(tree.owner) * rows * width + tree.trunk_mask.numel() * len(tree.trunk_starts))
    if query.device.type == "cpu" and kept <= WEIGHTS and query.dtype == torch.float32:
        return _TreeAttention.apply(asked, keys, values, tree, scale)[None], None
    return tree_attention(asked, keys, values, tree, scale)[None], None


AttentionInterface.register(NAME, attend)


def open_rows(
    query: Float[Tensor, "row head time dim"],
    key: Float[Tensor, "row kv_head time dim"],
    value: Float[Tensor, "row kv_head time dim"],
    window: int | None,
    scale: float,
) -> Float[Tensor, "row head time dim"]:
    """Each token over itself and what came before it, or the last `window` of these; no mask is of length squared."""
    key, value = _repeated(query, key, value)
    time = query.shape[2]
    if window is None or window >= time:
        return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    mask, found = _window(window, query.dtype, query.device), []
    for start in range(0, time, BLOCK):
        end, first = min(start + BLOCK, time), max(start - window + 1, 0)
        states = query[:, :, start:end], key[:, :, first:end], value[:, :, first:end]
        seen = mask[: end - start, first - (start - window + 1) :][:, : end - first]
        found.append(nn.functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=scale))
    return torch.cat(found, dim=2)


@lru_cache(maxsize=4)
def _window(window: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "block seen"]:
    """0 where a block's place sees: as many places back as the window has, itself among them. One for all layers, since
    each keeps what it was given for its backward pass."""
    place, back = torch.arange(BLOCK, device=device)[:, None], torch.arange(BLOCK + window - 1, device=device)
    hidden = (back < place) | (back > place + window - 1)
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)


def _one_token(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """One query a row; the query heads that share keys are laid side by side, so no key is repeated."""
    rows, heads, time, dim = query.shape
    shared = key.shape[1]
    if time != 1:
        return _sdpa(query, key, value, mask, scale).transpose(1, 2)
    asked = query.reshape(rows * shared, heads // shared, dim)
    keys, values = (states.reshape(rows * shared, *states.shape[2:]) for states in (key, value))
    if mask is None:
        scores = torch.bmm(asked, keys.transpose(1, 2)).mul_(scale)
    else:
        scores = query.new_empty((rows, shared, heads // shared, key.shape[2])).copy_(mask).view(*asked.shape[:2], -1)
        scores.baddbmm_(asked, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(rows, 1, heads, dim)


def tree_attention(
    query: Float[Tensor, "token head dim"],
    key: Float[Tensor, "token kv_head dim"],
    value: Float[Tensor, "token kv_head dim"],
    tree: Tree,
    scale: float,
) -> Float[Tensor, "token head dim"]:
    """Each token over its trunk and its own branch, by PyTorch's fused attention: the definition, on any device."""
    asked, stem_keys, stem_values = (tree.trunks.laid(states).transpose(1, 2) for states in (query, key, value))
    stem = _sdpa(asked, stem_keys, stem_values, tree.trunk_mask.to(query.dtype), scale)
    found = [tree.trunks.flat(stem.transpose(1, 2))]
    if tree.branching:
        asked, keys, values = (tree.branches.laid(states).transpose(1, 2) for states in (query, key, value))
        keys = torch.cat([stem_keys[tree.owner], keys], dim=2)
        values = torch.cat([stem_values[tree.owner], values], dim=2)
        mask = tree.branch_mask
        if tree.ragged is not None:
            mask = mask + nn.functional.pad(tree.ragged, (0, len(mask)))[:, None, None]
        found.append(tree.branches.flat(_sdpa(asked, keys, values, mask.to(query.dtype), scale).transpose(1, 2)))
    return torch.cat([*found, query.new_zeros((tree.padding, *query.shape[1:]))])


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    key, value = _repeated(query, key, value)
    return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _repeated(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, once for each head that asks."""
    shared = query.shape[1] // key.shape[1]
    if shared == 1:
        return key, value
    return key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)


class _TreeAttention(torch.autograd.Function):
    """`tree_attention` for short sequences on a CPU: plain batched products, with the weights kept."""

    @staticmethod
    def forward(ctx, query, key, value, tree, scale):  # type: ignore[no-untyped-def]
        shared = key.shape[1]
        stem = [_grouped(tree.trunks.laid(query), shared), *(_headed(tree.trunks.laid(s)) for s in (key, value))]
        stem_out, stem_weights = _weighed(*stem, tree.trunk_mask, None, scale)
        found = [tree.trunks.flat(_ungrouped(stem_out, len(tree.trunk_starts), query.shape[1]))]
        kept = [*stem, stem_weights]
        if tree.branching:
            keys, values = (
                torch.cat([own[tree.owner], _headed(tree.branches.laid(states))], dim=2)
                for own, states in ((stem[1], key), (stem[2], value))
            )
            asked = _grouped(tree.branches.laid(query), shared)
            out, weights = _weighed(asked, keys, values, tree.branch_mask, tree.ragged, scale)
            found.append(tree.branches.flat(_ungrouped(out, len(tree.owner), query.shape[1])))
            kept += [asked, keys, values, weights]
        ctx.save_for_backward(*kept)
        ctx.tree, ctx.scale = tree, scale
        return torch.cat([*found, query.new_zeros((tree.padding, *query.shape[1:]))])

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        tree, kept = ctx.tree, ctx.saved_tensors
        shared, heads = kept[1].shape[1], gradient.shape[1]
        to_stem = list(_weighed_back(_asked_gradient(tree.trunks, gradient, shared), *kept[:4], ctx.scale))
        to_top: list[Tensor] = []
        if tree.branching:
            asked, *both = _weighed_back(_asked_gradient(tree.branches, gradient, shared), *kept[4:], ctx.scale)
            width = tree.trunk_mask.shape[0]
            for i, states in enumerate(both):
                to_stem[1 + i].index_add_(0, tree.owner, states[:, :, :width])
            to_top = [asked, *(states[:, :, width:] for states in both)]
        found = []
        for i in range(3):
            pieces = []
            for rows, states in ((tree.trunks, to_stem), (tree.branches, to_top)):
                if states:
                    laid = _ungrouped(states[0], len(rows.lengths), heads) if i == 0 else states[i].transpose(1, 2)
                    pieces.append(rows.flat(laid))
            pieces.append(pieces[0].new_zeros((tree.padding, *pieces[0].shape[1:])))
            found.append(torch.cat(pieces))
        return *found, None, None


def _grouped(laid: Float[Tensor, "row time head dim"], shared: int) -> Float[Tensor, "row kv_head query dim"]:
    """Query heads that share keys one after the other, as if they were more queries."""
    rows, time, heads, dim = laid.shape
    split = laid.reshape(rows, time, shared, heads // shared, dim)
    return split.permute(0, 2, 3, 1, 4).reshape(rows, shared, heads // shared * time, dim)


def _ungrouped(grouped: Tensor, rows: int, heads: int) -> Float[Tensor, "row time head dim"]:
    shared, dim = grouped.shape[1], grouped.shape[-1]
    return grouped.view(rows, shared, heads // shared, -1, dim).permute(0, 3, 1, 2, 4).reshape(rows, -1, heads, dim)


def _headed(laid: Float[Tensor, "row time head dim"]) -> Float[Tensor, "row head time dim"]:
    return laid.transpose(1, 2).contiguous()


def _asked_gradient(rows: Rows, gradient: Tensor, shared: int) -> Tensor:
    """The output's gradient laid as the queries are; nothing comes from padding."""
    laid = rows.laid(gradient)
    return _grouped(laid * rows.real[:, :, None, None] if rows.padded else laid, shared)


def _weighed(asked, keys, values, mask, ragged, scale):  # type: ignore[no-untyped-def]
    """The weighted values and the weights; all [row kv_head ...]."""
    rows, shared, queries, _ = asked.shape
    repeated = mask.repeat(queries // len(mask), 1)
    q, k, v = (states.reshape(rows * shared, *states.shape[2:]) for states in (asked, keys, values))
    scores = chosen_products(lambda: torch.baddbmm(repeated, q, k.transpose(1, 2), alpha=scale))
    if ragged is not None:
        scores.view(rows, -1, scores.shape[-1])[:, :, : ragged.shape[1]].add_(ragged[:, None])
    weights = torch.softmax(scores, dim=-1)
    return chosen_products(lambda: torch.bmm(weights, v)).view(rows, shared, queries, v.shape[-1]), weights


def _weighed_back(gradient, asked, keys, values, weights, scale):  # type: ignore[no-untyped-def]
    """Gradients of queries, keys and values."""
    grad, q, k, v = (states.reshape(len(weights), *states.shape[2:]) for states in (gradient, asked, keys, values))

    def products() -> tuple[Tensor, ...]:
        to_v = torch.bmm(weights.transpose(1, 2), grad)
        to_weights = torch.bmm(grad, v.transpose(1, 2))
        to_scores = torch.ops.aten._softmax_backward_data(to_weights, weights, -1, weights.dtype)
        to_q = torch.bmm(to_scores, k).mul_(scale)
        return to_q, torch.bmm(to_scores.transpose(1, 2), q).mul_(scale), to_v

    to_q, to_k, to_v = chosen_products(products)
    return to_q.view(asked.shape), to_k.view(keys.shape), to_v.view(values.shape)
