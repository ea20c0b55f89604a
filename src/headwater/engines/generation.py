"""Sampling with a preallocated key/value cache in which every row keeps its own position.

A prompt is read once and shared by its group. Because each row writes at its own place and sees only the
places it has written, rows of different length need no left padding, and a finished row can be retired.
A token is drawn with one uniform number a row, from the row's own seed: a response does not depend on
which other responses are sampled beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache

from headwater.models.language_model import LanguageModel
from headwater.records import Sampling


class PromptCache(Cache):
    """Collects each layer's keys and values [row head time dim] while prompts are read."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keep the layer's states; attention sees just these."""
        self.keys.append(key_states)
        self.values.append(value_states)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing was read before the prompt."""
        return 0

    def get_mask_sizes(self, *args: object, **kwargs: object) -> tuple[int, int]:
        """(keys, offset); unused, because a prompt is read with plain causal attention."""
        return 0, 0


class SlotCache(Cache):
    """Keys and values [slot head place dim], preallocated; slot i's next token goes to place `lengths[i]`."""

    def __init__(self, prompts: PromptCache, owner: Int[Tensor, " slot"], lengths: Int[Tensor, " slot"], places: int):
        super().__init__(layers=[])
        self.lengths = lengths
        self._slots = torch.arange(len(owner), device=owner.device)
        self.keys = [_spread(keys, owner, places) for keys in prompts.keys]
        self.values = [_spread(values, owner, places) for values in prompts.values]
        self.visible = int(lengths.max()) + 1

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token a slot at its own place; return the places that any slot can see."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self._slots, :, self.lengths] = key_states[:, :, 0]
        values[self._slots, :, self.lengths] = value_states[:, :, 0]
        return keys[:, :, : self.visible], values[:, :, : self.visible]

    def mask(self) -> Bool[Tensor, "slot one one place"]:
        """Which places each slot's next token may see: those written, itself included."""
        return (torch.arange(self.visible, device=self.lengths.device) <= self.lengths[:, None])[:, None, None, :]

    def advance(self) -> None:
        """Every slot has written one token."""
        self.lengths = self.lengths + 1
        self.visible += 1

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Retire all slots but these."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.lengths = self.lengths[rows]
        self._slots = self._slots[: len(rows)]
        self.visible = int(self.lengths.max()) + 1

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The longest slot."""
        return self.visible - 1

    def get_mask_sizes(self, *args: object, **kwargs: object) -> tuple[int, int]:
        """(keys, offset); unused, because the mask is given."""
        return self.visible, 0


def _spread(states: Tensor, owner: Tensor, places: int) -> Tensor:
    """Copy each slot's prompt states into a buffer with room for its response."""
    _, heads, time, dim = states.shape
    buffer = states.new_zeros((len(owner), heads, places, dim))
    buffer[:, :, :time] = states[owner]
    return buffer


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One response as drawn: ids (end token included when `stopped`) and the logprob of each."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


@torch.no_grad()
def draw_responses(
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    seeds: Sequence[Sequence[int]],
    sampling: Sampling,
) -> list[list[Drawn]]:
    """For each prompt one response per seed, sampled together. Raises nothing; stops at the length limit."""
    owner = [p for p, own in enumerate(seeds) for _ in own]
    row_seeds = np.array([seed for own in seeds for seed in own], dtype=np.uint64)
    states, first_hidden = _read_prompts(model, prompts)
    device = first_hidden.device
    rows = torch.tensor(owner, device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)[rows]
    limit = sampling.max_response_tokens
    cache = SlotCache(states, rows, lengths, int(lengths.max()) + limit)
    hidden = first_hidden[rows]

    tokens = torch.zeros((len(owner), limit), dtype=torch.long)
    logprobs = torch.zeros((len(owner), limit))
    counts = np.full(len(owner), limit)
    stopped = np.zeros(len(owner), dtype=bool)
    alive = np.arange(len(owner))
    stop_ids = torch.tensor(sorted(model.stop_ids), device=device)
    for t in range(limit):
        ids, chosen = choose(_logits(model, hidden), _uniforms(row_seeds[alive], t), sampling)
        tokens[alive, t] = ids.cpu()
        logprobs[alive, t] = chosen.cpu()
        ended = torch.isin(ids, stop_ids).cpu().numpy()
        counts[alive[ended]] = t + 1
        stopped[alive[ended]] = True
        if t + 1 == limit or ended.all():
            break
        if ended.any():
            going = np.flatnonzero(~ended)
            alive = alive[going]
            kept = torch.from_numpy(going).to(device)
            cache.keep(kept)
            ids = ids[kept]
        hidden = _step(model, ids, cache)
    drawn = [
        Drawn(ids=tuple(row[:n]), logprobs=tuple(logs[:n]), stopped=bool(s))
        for row, logs, n, s in zip(tokens.tolist(), logprobs.tolist(), counts.tolist(), stopped, strict=True)
    ]
    grouped: list[list[Drawn]] = [[] for _ in prompts]
    for p, response in zip(owner, drawn, strict=True):
        grouped[p].append(response)
    return grouped


def _read_prompts(model: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> tuple[PromptCache, Tensor]:
    """Right-padded prompts through the body once: their states, and the last real hidden state of each."""
    width = max(len(prompt) for prompt in prompts)
    device = model.network.device
    ids = torch.tensor([[*p, *([model.pad_id] * (width - len(p)))] for p in prompts], device=device)
    states = PromptCache()
    causal = torch.ones((width, width), dtype=torch.bool, device=device).tril()[None, None]
    keyed = {_cache_name(model.body): states}
    hidden = model.body(input_ids=ids, attention_mask=causal, use_cache=True, **keyed).last_hidden_state
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    return states, hidden[torch.arange(len(prompts), device=device), last]


def _step(model: LanguageModel, ids: Int[Tensor, " slot"], cache: SlotCache) -> Float[Tensor, "slot hidden"]:
    """One more token a slot through the body."""
    output = model.body(
        input_ids=ids[:, None],
        attention_mask=cache.mask(),
        position_ids=cache.lengths[:, None],
        use_cache=True,
        **{_cache_name(model.body): cache},
    )
    cache.advance()
    return output.last_hidden_state[:, 0]


def _cache_name(body: nn.Module) -> str:
    """What the body calls its cache: transformers renamed the argument."""
    return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"


def _logits(model: LanguageModel, hidden: Float[Tensor, "slot hidden"]) -> Float[Tensor, "slot vocab"]:
    """Over the ids that the tokenizer can emit: padded rows of the head are never drawn."""
    weight, bias = model.head
    rows = slice(0, model.emitted)
    return torch.nn.functional.linear(hidden, weight[rows], None if bias is None else bias[rows]).float()


def choose(
    logits: Float[Tensor, "slot vocab"], uniform: Float[Tensor, " slot"], sampling: Sampling
) -> tuple[Int[Tensor, " slot"], Float[Tensor, " slot"]]:
    """Draw one token a slot by inverting the cumulative distribution; its logprob is the one it was drawn with."""
    if sampling.temperature == 0:
        ids = logits.argmax(-1)
        return ids, torch.zeros_like(logits[:, 0])
    logprobs = torch.log_softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_k or sampling.top_p < 1:
        logprobs = torch.log_softmax(_truncate(logprobs, sampling), dim=-1)
    cumulative = logprobs.exp().cumsum(-1)
    threshold = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return ids[:, 0], logprobs.gather(-1, ids)[:, 0]


def _truncate(logprobs: Float[Tensor, "slot vocab"], sampling: Sampling) -> Float[Tensor, "slot vocab"]:
    """Top-k, then of these top-p (the smallest set whose share reaches p): -inf outside."""
    ordered, order = logprobs.sort(dim=-1, descending=True)
    drop = torch.zeros_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        drop[:, sampling.top_k :] = True
    if sampling.top_p < 1:
        shares = ordered.masked_fill(drop, float("-inf")).softmax(-1)
        drop |= shares.cumsum(-1) - shares >= sampling.top_p
    return logprobs.masked_fill(drop.scatter(-1, order, drop), float("-inf"))


def _uniforms(seeds: np.ndarray, t: int) -> Tensor:
    """The t-th uniform number in [0, 1) of each row's stream (SplitMix64 of seed and position)."""
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(0x9E3779B97F4A7C15) * np.uint64(t + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy(((z >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24))
