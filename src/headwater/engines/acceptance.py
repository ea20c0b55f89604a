"""Which ways through an architecture are right, and how far each is from plain transformers: measured, never looked up.

The independent side is always the plain network in float32, one rollout at a time. Compared with it, on a few layers of
the architecture with sharp random weights (`models/miniature`), are logprobs as sampled and as scored, short rollouts
beside long ones, up to the longest length that is asked for and across every length that the config names (windows,
first positions, caches); and gradients on short rollouts. What the architecture does at a length can change only at
such a number, so a measurement holds between two of them, for every machine alike; beyond the last of them BEYOND
tokens are measured, since attention over 16 k tokens of a paper's run takes minutes and says nothing more.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig

from headwater.batch import Logits, PerToken
from headwater.engines.body import Body, Sampling, Scoring, Ways, idle, probe, probes
from headwater.engines.generation import draw_responses
from headwater.errors import InputError
from headwater.models.language_model import LanguageModel
from headwater.models.miniature import miniature
from headwater.records import Rollout
from headwater.records import Sampling as Settings

T = TypeVar("T")

LIMIT = 5e-3
"""Largest distance of a token's logprob, in nats, that is still rounding: faults are a hundred times as large."""
GRADIENT = 2e-3
"""The same of a gradient, relative."""
BEYOND = 4096
"""Tokens measured beyond the last length that the config names."""
STEPS, GROWN, SHORT = 4, 24, 64
"""Tokens drawn across a length; tokens drawn from a short prompt; longest rollouts on which gradients are compared."""


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What was measured of an architecture for rollouts of up to `length` tokens."""

    kind: str
    length: int
    """at least what was asked for"""
    measured: int
    """tokens of the longest rollout that was compared: `length`, unless the config names no length for far below it"""
    ways: Ways
    """the fastest that are right"""
    apart: float
    """the largest distance of a logprob from plain transformers, in nats"""
    gradient: float
    """the relative distance of a gradient"""
    refused: tuple[str, ...]
    """faster ways that are not right, and why"""

    def __str__(self) -> str:
        slow = f"; not right: {'; '.join(self.refused)}" if self.refused else ""
        far = f" (compared up to {self.measured:,}: its config names no length from there on)"
        return (
            f"{self.kind}, few layers, up to {self.length:,} tokens{far if self.measured < self.length else ''}, "
            "against plain transformers one rollout at a time: "
            f"scored in {self.ways.scoring}, sampled with {self.ways.sampling}, logprobs within {self.apart:.0e} nats, "
            f"gradient within {self.gradient:.0e}{slow}"
        )


_known: dict[tuple[str, frozenset[Scoring]], dict[int, Acceptance | str]] = {}
"""What was found up to which length, or why it is refused: a memo of what comes out the same each time."""


def accept(config: PretrainedConfig, length: int, without: frozenset[Scoring] = frozenset()) -> Acceptance:
    """Measure the architecture for rollouts of so many tokens, once a process, whatever folder it was opened from.

    Args: without: ways that the network's own weights do not bear. Raises InputError where no way is right.
    """
    without |= idle(length)
    plain = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
    reach = min(edge for edge in (*_numbers(plain), *(2**k for k in range(3, 40))) if edge >= length)
    known = _known.setdefault((json.dumps(plain, sort_keys=True, default=str), without), {})
    if reach not in known:
        try:
            known[reach] = _clear_beyond(known, reach) or _measured(config, reach, without)
        except InputError as error:
            known[reach] = str(error)
    found = known[reach]
    if isinstance(found, str):
        raise InputError(found)
    return found


def _clear_beyond(known: Mapping[int, Acceptance | str], reach: int) -> Acceptance | None:
    """What was measured further on without refusing any way: none is refused before."""
    beyond = (found for length, found in known.items() if length > reach and isinstance(found, Acceptance))
    return next((found for found in beyond if not found.refused), None)


def _numbers(value: Any) -> Iterator[int]:
    """Every whole number in a config that may be a length."""
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 2 * STEPS:
        yield value


@torch.enable_grad()
def _measured(config: PretrainedConfig, reach: int, without: frozenset[Scoring]) -> Acceptance:
    model = miniature(config)
    named = {*_numbers(config.to_dict())} & {*_numbers(model.network.config.to_dict())}
    below = [number for number in named if number < reach]
    longest = min(reach, max(below, default=0) + BEYOND)
    bench = _Bench(model, longest, below)
    refused: list[str] = []
    layouts: list[Scoring] = [way for way in get_args(Scoring) if way not in without]
    draws: list[Sampling] = list(get_args(Sampling))
    scoring, scored = _first(layouts, bench.scored, refused)
    sampling, sampled = _first(draws, bench.sampled, refused)
    if scoring is None or sampling is None:
        raise InputError(
            f"model: {config.model_type} gives no way to {'score' if scoring is None else 'sample'} up to {reach:,} "
            f"tokens that agrees with plain transformers ({refused[-1]}); use shorter prompts and responses, or "
            "another architecture"
        )
    return Acceptance(
        kind=config.model_type,
        length=reach,
        measured=longest,
        ways=Ways(scoring=scoring, sampling=sampling),
        apart=max(scored[0], sampled[0]),
        gradient=scored[1],
        refused=tuple(refused),
    )


def _first(
    ways: Sequence[T], measure: Callable[[Any], tuple[float, float]], refused: list[str]
) -> tuple[T | None, Any]:
    """The first way that is right, with how far apart it is (logprobs, gradient); the others are named as refused."""
    for way in ways:
        try:
            apart, gradient = measure(way)
        except Exception as error:  # noqa: BLE001  other people's network code, asked for what it may not do
            refused.append(f"{way}: {type(error).__name__}: {error}".strip().splitlines()[0])
            continue
        if apart <= LIMIT and gradient <= GRADIENT:
            return way, (apart, gradient)
        refused.append(f"{way}: " + (f"gradients {gradient:.2g} off" if apart <= LIMIT else f"{apart:.2g} nats off"))
    return None, None


class _Bench:
    """A miniature, and the plain network that it is compared with."""

    def __init__(self, model: LanguageModel, reach: int, named: Sequence[int]):
        self._model = model
        self._plain = copy.deepcopy(model.network)
        self._reach = reach
        self._edges = sorted({*named, reach})
        self._split = model.split

    def scored(self, way: Scoring) -> tuple[float, float]:
        """Rollouts up to the reach, all in one pass; then the gradient on shorter ones."""
        body = Body(self._model, ways=Ways(scoring=way, sampling="no cache"))
        with torch.no_grad():
            rollouts = probes(self._reach, self._model.emitted)
            found = self._by(body, rollouts)
            apart = max(_apart(found[i], self._alone(one)) for i, one in enumerate(rollouts))
        rollouts = probes(min(self._reach, SHORT), self._model.emitted)
        ours = _gradient(self._model.network, lambda: self._by(body, rollouts).values())
        plain = _gradient(self._plain, lambda: map(self._alone, rollouts))
        return apart, float((ours - plain).norm() / plain.norm())

    @torch.no_grad()
    def sampled(self, way: Sampling) -> tuple[float, float]:
        """Drawn from short prompts for long, and from a prompt that ends before each length that the config names."""
        body = Body(self._model, ways=Ways(scoring="alone", sampling=way))
        grown = min(GROWN, self._reach - 4)
        calls = [([2, 3, 4], grown), ([3, *(edge - STEPS // 2 for edge in self._edges), self._reach - STEPS], STEPS)]
        apart = 0.0
        for lengths, steps in calls:
            prompts = [self._prompt(length) for length in lengths if 0 < length <= self._reach - steps]
            seeds = [[2 * i, 2 * i + 1][: 1 + (i == 0)] for i in range(len(prompts))]
            settings = Settings(temperature=1.0, max_response_tokens=steps)
            for prompt, responses in zip(prompts, draw_responses(body, prompts, seeds, settings, slots=4), strict=True):
                for drawn in responses:
                    plain = self._alone(probe(prompt, drawn.ids))
                    apart = max(apart, _apart(torch.tensor(drawn.logprobs), plain))
        return apart, 0.0

    def _prompt(self, length: int) -> tuple[int, ...]:
        return probes(2 * length, self._model.emitted)[3].prompt_ids

    def _by(self, body: Body, rollouts: Sequence[Rollout]) -> dict[int, PerToken]:
        """The response tokens' logprobs by rollout, gone through in the body's way."""
        weight, bias = self._model.head
        found: dict[int, Tensor] = {}
        for layout in body.pack(rollouts, 10**9):
            with body.attention(layout):
                hidden = body.scored_hidden(layout)
            logits = self._split.change(torch.nn.functional.linear(hidden, weight, bias))
            chosen = _chosen(logits, layout.response_ids).split(layout.response_lengths)
            found.update(zip(layout.members, chosen, strict=True))
        return found

    def _alone(self, one: Rollout) -> PerToken:
        """The same from the plain network."""
        ids, first = [*one.prompt_ids, *one.response_ids], len(one.prompt_ids) - 1
        logits = self._plain(input_ids=torch.tensor([ids])).logits[0, first:-1]
        return _chosen(logits, torch.tensor(one.response_ids, dtype=torch.long))


def _chosen(logits: Logits, ids: Tensor) -> PerToken:
    return torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, None])[:, 0]


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max()) if len(expected) else 0.0


def _gradient(network: torch.nn.Module, logprobs: Callable[[], Iterable[Tensor]]) -> Float[Tensor, " weight"]:
    """Of the sum of all logprobs, each times the cosine of its place."""
    network.zero_grad()
    pieces = list(logprobs())
    total = torch.stack([(one * torch.arange(len(one)).cos()).sum() for one in pieces]).sum()
    total.backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in network.parameters()])
