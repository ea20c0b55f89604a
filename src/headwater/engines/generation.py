"""Sampling with a full batch: a prompt is read once for its group, and finished responses make room for new ones.

A token is drawn with one uniform number a row, from the row's own seed and its place in the response: so a
response does not depend on which others are sampled beside it, nor on when its turn comes. (Products of
matrices round by their number of rows: logprobs agree to 1e-5, not to the bit.) A network whose keys and values cannot
be kept in slots draws a prompt's responses together, with a cache of its own: slower, one prompt after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from headwater.engines.body import Body
from headwater.engines.decoding import BLOCK, CAPTURED, Capture, Decoder, capture_for, forward
from headwater.engines.linears import linear, round_up
from headwater.engines.slots import PromptCache, SlotCache
from headwater.records import Sampling

IDLE = 0.25
"""Share of slots that may stand empty before they are filled again, or given up when no prompt is left."""
IDLE_CAPTURED = 0.5
"""The same before slots are given up where a step must then be captured anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One response as drawn: ids (end token included when `stopped`) and the logprob of each."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


@torch.no_grad()
def draw_responses(
    body: Body,
    prompts: Sequence[tuple[int, ...]],
    seeds: Sequence[Sequence[int]],
    sampling: Sampling,
    slots: int,
    capture: Capture | None = None,
) -> list[list[Drawn]]:
    """For each prompt one response per seed, at most `slots` of them side by side. Stops at the length limit.

    A prompt with more responses than slots is read once for each slotful.

    `capture` is how the device replays a step of decoding; None takes its own way.
    """
    drawn: list[list[Drawn | None]] = [[None] * len(own) for own in seeds]
    parts = [(p, at) for p, own in enumerate(seeds) for at in range(0, len(own), slots)]
    if not any(seeds):
        return [[] for _ in prompts]
    way = body.ways(max(map(len, prompts)) + sampling.max_response_tokens).sampling
    with body.work(), body.decoding(way):
        if way in ("its own cache", "no cache"):
            return [
                _together(body, *asked, sampling, cached=way != "no cache")
                for asked in zip(prompts, seeds, strict=True)
            ]
        if not body.model.quantised:  # whose products ask the GPU how many outliers there are, which no capture bears
            capture = capture or capture_for(body.model.network.device)
        in_parts = [prompts[p] for p, _ in parts], [seeds[p][at : at + slots] for p, at in parts]
        sampler = _Sampler(body, *in_parts, sampling, slots, capture)
        while sampler.admit() or sampler.going:
            for i, s, response in sampler.step():
                p, at = parts[i]
                drawn[p][at + s] = response
    return [[response for response in own if response is not None] for own in drawn]


class _Chooser(LogitsProcessor):
    """Our draw in the place of `generate`'s: it leaves one token that can be chosen. Remembers what was drawn."""

    def __init__(self, body: Body, seeds: Sequence[int], sampling: Sampling):
        self._emitted, self._sampling = body.model.emitted, sampling
        self._seeds = np.array(seeds, dtype=np.uint64)
        self.ids: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
        """The same scores with all but the drawn token ruled out."""
        uniforms = _uniforms(self._seeds, np.full(len(self._seeds), len(self.ids)))
        ids, logprobs = choose(scores[:, : self._emitted].float(), uniforms, self._sampling)
        self.ids.append(ids)
        self.logprobs.append(logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(1, ids[:, None], 0.0)


def _together(
    body: Body, prompt: tuple[int, ...], seeds: Sequence[int], sampling: Sampling, *, cached: bool
) -> list[Drawn]:
    """One prompt's responses side by side, by transformers' `generate` with the network's own cache, or with none.

    All rows are as long as each other: no padding, so nothing is assumed of masks, positions and states.
    """
    if not seeds:
        return []
    network, stops = body.model.network, body.model.stop_ids
    chooser = _Chooser(body, seeds, sampling)
    before, plain = network.generation_config, GenerationConfig()
    network.generation_config = plain  # what a model's own says of penalties and the like would be mixed in
    try:
        rows = torch.tensor([prompt] * len(seeds), device=network.device)
        network.generate(  # type: ignore[operator]
            rows,
            attention_mask=torch.ones_like(rows),
            generation_config=GenerationConfig(
                max_new_tokens=sampling.max_response_tokens,
                do_sample=False,
                use_cache=cached,
                eos_token_id=sorted(stops) or None,
                pad_token_id=body.model.pad_id,
            ),
            logits_processor=LogitsProcessorList([chooser]),
        )
    finally:
        network.generation_config = before
    ids, logprobs = (torch.stack(found, dim=1).tolist() for found in (chooser.ids, chooser.logprobs))
    responses = []
    for row, chances in zip(ids, logprobs, strict=True):
        n = next((t + 1 for t, token in enumerate(row) if token in stops), len(row))
        responses.append(Drawn(ids=tuple(row[:n]), logprobs=tuple(chances[:n]), stopped=row[n - 1] in stops))
    return responses


class _Sampler:
    """The slots of one call, and who is in them. It changes with every step."""

    def __init__(
        self,
        body: Body,
        prompts: Sequence[tuple[int, ...]],
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        slots: int,
        capture: Capture | None,
    ):
        self._body, self._prompts, self._seeds, self._sampling = body, prompts, seeds, sampling
        self._device = body.model.network.device
        self._next = 0
        count = min(slots, sum(len(own) for own in seeds))
        limit = sampling.max_response_tokens
        places = max(len(prompt) for prompt in prompts) + limit
        self._cache = SlotCache(count, places, self._device, body.model.network.dtype, CAPTURED if capture else BLOCK)
        self._decoder = Decoder(body, self._cache, capture)
        self._idle = IDLE_CAPTURED if capture else IDLE
        self._hidden = torch.empty((0, 0), device=self._device)
        self._tokens = torch.zeros((count, limit), dtype=torch.long, device=self._device)
        self._logprobs = torch.zeros((count, limit), device=self._device)
        self._who = [(-1, -1)] * count
        self._live = np.zeros(count, dtype=bool)
        self._steps = np.zeros(count, dtype=np.int64)
        self._row_seeds = np.zeros(count, dtype=np.uint64)
        self._stops = torch.zeros(len(body.model.head[0]), dtype=torch.bool, device=self._device)
        self._stops[[i for i in body.model.stop_ids if 0 <= i < len(self._stops)]] = True

    @property
    def going(self) -> bool:
        """Whether any response is not yet finished."""
        return bool(self._live.any())

    def admit(self) -> bool:
        """Read the next prompts when enough slots are empty; whether any was read."""
        free = np.flatnonzero(~self._live)
        if self._next == len(self._prompts) or (self.going and len(free) < IDLE * len(self._live)):
            return False
        first, taken = self._next, 0
        while self._next < len(self._prompts) and taken + len(self._seeds[self._next]) <= len(free):
            taken += len(self._seeds[self._next])
            self._next += 1
        if self._next == first:
            return False
        here, chosen = range(first, self._next), free[:taken]
        self._who_is_in(here, chosen)
        states, hidden = _read_prompts(self._body, [self._prompts[p] for p in here])
        owner = torch.tensor([p - first for p in here for _ in self._seeds[p]], device=self._device)
        ends = torch.tensor([len(self._prompts[p]) for p in here], device=self._device)
        at = torch.from_numpy(chosen).to(self._device)
        self._cache.take(at, states, owner, ends)
        if not len(self._hidden):
            self._hidden = hidden.new_zeros((len(self._live), hidden.shape[-1]))
        self._hidden[at] = hidden[owner]
        return True

    def _who_is_in(self, here: range, chosen: np.ndarray) -> None:
        for slot, who in zip(chosen, [(p, s) for p in here for s in range(len(self._seeds[p]))], strict=True):
            self._who[slot] = who
        self._row_seeds[chosen] = np.array([seed for p in here for seed in self._seeds[p]], dtype=np.uint64)
        self._live[chosen], self._steps[chosen] = True, 0

    def step(self) -> list[tuple[int, int, Drawn]]:
        """One token in every slot; the responses that ended with it, each with its prompt and its number."""
        uniforms = _uniforms(self._row_seeds, self._steps)
        ids, chosen = choose(_logits(self._body, self._hidden), uniforms, self._sampling)
        rows, columns = torch.arange(len(ids), device=self._device), torch.from_numpy(self._steps).to(self._device)
        self._tokens[rows, columns] = ids
        self._logprobs[rows, columns] = chosen
        stopped = self._stops[ids].cpu().numpy()
        self._steps += self._live
        ended = np.flatnonzero(self._live & (stopped | (self._steps == self._sampling.max_response_tokens)))
        responses = self._finish(ended, stopped) if len(ended) else []
        if self.going:
            ids = self._gather(ids)
            self._hidden = self._decoder.advance(ids)
        return responses

    def _finish(self, ended: np.ndarray, stopped: np.ndarray) -> list[tuple[int, int, Drawn]]:
        at = torch.from_numpy(ended).to(self._device)
        tokens, logprobs = self._tokens[at].tolist(), self._logprobs[at].tolist()
        responses = []
        for slot, ids, logs in zip(ended, tokens, logprobs, strict=True):
            n = self._steps[slot]
            response = Drawn(ids=tuple(ids[:n]), logprobs=tuple(logs[:n]), stopped=bool(stopped[slot]))
            responses.append((*self._who[slot], response))
        self._live[ended], self._steps[ended] = False, 0
        self._cache.give_back(at)
        return responses

    def _gather(self, ids: Int[Tensor, " slot"]) -> Int[Tensor, " kept"]:
        """Give up empty slots that no prompt is left for, when they are many; the ids of the others."""
        if self._next < len(self._prompts) or self._live.mean() > 1 - self._idle:
            return ids
        order = np.argsort(~self._live, kind="stable")
        kept = np.sort(order[: round_up(int(self._live.sum()))])
        at = torch.from_numpy(kept).to(self._device)
        self._cache.keep(at)
        self._tokens, self._logprobs = self._tokens[at], self._logprobs[at]
        self._who = [self._who[slot] for slot in kept]
        self._live, self._steps, self._row_seeds = self._live[kept], self._steps[kept], self._row_seeds[kept]
        return ids[at]


def _read_prompts(body: Body, prompts: Sequence[tuple[int, ...]]) -> tuple[PromptCache, Tensor]:
    """Right-padded prompts through the body once: their states, and the last real hidden state of each.

    The last prompt stands in the rows that round their number up; nothing is taken from there.
    """
    prompts = [*prompts, *[prompts[-1]] * (round_up(len(prompts)) - len(prompts))]
    width = round_up(max(len(prompt) for prompt in prompts))
    device, dtype = body.model.network.device, body.model.network.dtype
    ids = torch.tensor([[*p, *([body.model.pad_id] * (width - len(p)))] for p in prompts], device=device)
    states = PromptCache()
    causal = torch.full((width, width), -torch.inf, dtype=dtype, device=device).triu_(1)[None, None]
    hidden = forward(body, states, input_ids=ids, attention_mask=causal)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    return states, hidden[torch.arange(len(prompts), device=device), last]


def _logits(body: Body, hidden: Float[Tensor, "slot hidden"]) -> Float[Tensor, "slot vocab"]:
    """Over the ids that the tokenizer can emit: padded rows of the head are never drawn."""
    weight, bias = body.model.head
    logits = linear(hidden, weight, bias, precision=body.precision, copies=body.copies).float()[:, : body.model.emitted]
    return body.model.split.change.apply_(logits)


def choose(
    logits: Float[Tensor, "slot vocab"], uniform: Float[Tensor, " slot"], sampling: Sampling
) -> tuple[Int[Tensor, " slot"], Float[Tensor, " slot"]]:
    """Draw one token a slot by inverting the cumulative distribution; its logprob is the one it was drawn with."""
    if sampling.temperature == 0:
        ids = logits.argmax(-1)
        return ids, torch.zeros_like(logits[:, 0])
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        logits = _truncate(logits, sampling)
    largest = logits.amax(-1, keepdim=True)
    cumulative = (logits - largest).exp_().cumsum(-1)
    total = cumulative[:, -1:]
    threshold = uniform.to(logits.device)[:, None] * total
    ids = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return ids[:, 0], (logits.gather(-1, ids) - largest - total.log())[:, 0]


def _truncate(logits: Float[Tensor, "slot vocab"], sampling: Sampling) -> Float[Tensor, "slot vocab"]:
    """Top-k, then of these top-p (the smallest set whose share reaches p): -inf outside."""
    ordered, order = logits.sort(dim=-1, descending=True)
    drop = torch.zeros_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        drop[:, sampling.top_k :] = True
    if sampling.top_p < 1:
        shares = ordered.masked_fill(drop, float("-inf")).softmax(-1)
        drop |= shares.cumsum(-1) - shares >= sampling.top_p
    return logits.masked_fill(drop.scatter(-1, order, drop), float("-inf"))


def _uniforms(seeds: np.ndarray, steps: np.ndarray) -> Tensor:
    """One uniform number in [0, 1) a row: the one at this step of its stream (SplitMix64 of seed and position)."""
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(0x9E3779B97F4A7C15) * (steps + 1).astype(np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy(((z >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24))
