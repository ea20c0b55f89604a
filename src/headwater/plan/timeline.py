"""One step of an on-policy stage on many GPUs, simulated: who waits for whom, and for how long. Arithmetic alone.

    write      each GPU its share of the prompts, all responses of a prompt; rows side by side, a free one taken at once
    sync       the learner's weights, gathered whole on every GPU
    score      the reference, sharded, where the stage asks one
    update     dealt as the engine deals (`engines.cluster.share`), passes in lockstep; the teacher asked in the pass

A token of a response takes the longer of reading weights and kept keys and values once from memory, and of its
products. A pass takes the longer of its products and of gathering and reducing weights. Left out: grading, starting
kernels, the prompt's own pass, and any other reason to be slower than the stated rates.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from headwater.engines.cluster.share import deal
from headwater.engines.settings import VLLM_SHARE, EngineSettings
from headwater.models.size import ModelSize
from headwater.plan.machines import Gpu
from headwater.records import Rollout

VLLM_ROWS = 256
"""Sequences that vLLM holds side by side unless told otherwise."""
PROMPT = 200
"""Tokens of a prompt: about those of a competition problem with its instruction."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Response lengths with a long tail: log-normal, cut at the limit. What a model really writes is not known here."""

    median: float = 1500.0
    spread: float = 0.9
    """standard deviation of the logarithm: 1.5 k at the middle, 5 k at one in ten, 12 k at one in a hundred"""
    limit: int = 16384

    def draw(self, count: int, seed: int) -> list[int]:
        """So many lengths, the same for the same seed."""
        drawn = np.random.default_rng(seed).lognormal(np.log(self.median), self.spread, count)
        return [int(n) for n in np.clip(np.ceil(drawn), 1, self.limit)]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step computes with."""

    learner: ModelSize
    engine: EngineSettings
    gpu: Gpu
    problems: int
    samples: int
    teacher: ModelSize | None = None
    """asked at every token that is trained on"""
    reference: bool = False
    """a frozen copy of the learner is asked too"""
    limit: int = 16384
    """tokens of the longest response"""
    typical: int = 2200
    """... and of one of mean length"""

    @property
    def gpus(self) -> int:
        """Ranks."""
        return 1 if self.engine.cluster is None else self.engine.cluster.gpus

    @property
    def rows(self) -> int:
        """Responses that a GPU writes side by side: headwater's own generator keeps room for the longest, vLLM pages
        and is taken to hold responses of the typical length; 0 where its share of the memory holds none."""
        if self._paged:
            room = VLLM_SHARE * self.gpu.memory - self.learner.bytes
            return min(VLLM_ROWS, max(0, int(room / self.learner.dimensions.cache_bytes / (PROMPT + self.typical))))
        return self.engine.rows_a_wave(self.learner.dimensions, PROMPT + self.limit, "cuda")

    @property
    def _paged(self) -> bool:
        """vLLM writes, with weights as they are stored."""
        return self.engine.cluster is not None and self.engine.cluster.generator == "vllm"

    @property
    def tokens_a_pass(self) -> int:
        """Tokens that a GPU trains on at once."""
        return self.engine.tokens_a_pass(self.learner.dimensions, "cuda")

    def token_seconds(self, rows: int, kept: float) -> float:
        """Seconds of one more token for each of so many rows that hold so many tokens in all."""
        weight = 2 if self.engine.precision == "bfloat16" and not self._paged else self.learner.weight_bytes
        read = (self.learner.parameters - self.learner.embedding) * weight + kept * self.learner.dimensions.cache_bytes
        products = rows * self.learner.forward(kept / max(rows, 1))
        return max(read / self.gpu.bandwidth, products / self.gpu.flops)

    @property
    def sent(self) -> Mapping[str, float]:
        """Bytes that a GPU receives or sends: a pass, and a sync."""
        part = (self.gpus - 1) / self.gpus
        teacher = 0 if self.teacher is None else self.teacher.frozen_bytes(self.engine.precision)
        # gathered for the forward and for the backward pass, gradients reduced; a frozen model gathered once
        return {"pass": part * (3 * self.learner.bytes + teacher), "sync": part * self.learner.bytes}


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Seconds by phase (write, sync, score, update), and the share of a phase in which GPUs wait: for another GPU, or
    for weights and gradients on their way."""

    seconds: Mapping[str, float]
    idle: Mapping[str, float]
    tokens: int
    thin: float
    """of the writing, the share of time in which a GPU that writes has under a quarter of its rows filled"""

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return sum(self.seconds.values())

    @property
    def waiting(self) -> float:
        """Share of all GPU time that is spent waiting."""
        return sum(self.seconds[name] * self.idle[name] for name in self.seconds) / self.total


def simulate(step: Step, lengths: Lengths, seed: int = 0) -> Timeline:
    """One step with lengths drawn by this seed."""
    drawn = lengths.draw(step.problems * step.samples, seed)
    by_problem = [drawn[i * step.samples : (i + 1) * step.samples] for i in range(step.problems)]
    written = [_written([n for own in by_problem[rank :: step.gpus] for n in own], step) for rank in range(step.gpus)]
    loads = _loads(by_problem, step.gpus)
    passes = max(1, -(-max(loads) // step.tokens_a_pass))
    mean = sum(drawn) / len(drawn)
    products = [load * _trained_flops(step, mean) / step.gpu.flops for load in loads]
    link = step.gpu.link(step.gpus)
    busy = {"write": [seconds for seconds, _ in written], "sync": [0.0], "update": products}
    seconds = {
        "write": max(busy["write"]),
        "sync": step.sent["sync"] / link,
        "update": max(*products, passes * step.sent["pass"] / link),
    }
    if step.reference:
        busy["score"] = [load * step.learner.forward(mean / 2) / step.gpu.flops for load in loads]
        held = step.learner.frozen_bytes(step.engine.precision)
        gathered = passes * held * (step.gpus - 1) / step.gpus / link
        seconds["score"] = max(*busy["score"], gathered)
    idle = {name: 1 - sum(busy[name]) / step.gpus / spent if spent else 0.0 for name, spent in seconds.items()}
    thin = sum(share * own for own, share in written) / max(sum(own for own, _ in written), 1e-9)
    order = ("write", "sync", "score", "update")
    return Timeline(
        seconds={name: seconds[name] for name in order if name in seconds}, idle=idle, tokens=sum(drawn), thin=thin
    )


def _trained_flops(step: Step, length: float) -> float:
    passes = (3 if not step.learner.adapter else 2) + step.engine.gradient_checkpointing
    asked = 0.0 if step.teacher is None else step.teacher.forward(length / 2)
    return passes * step.learner.forward(length / 2) + asked


def _written(lengths: Sequence[int], step: Step) -> tuple[float, float]:
    """Seconds until a GPU has written these, and the share of them with under a quarter of its rows filled."""
    waiting, ends = list(reversed(lengths)), list[int]()
    clock, kept, seconds, thin = 0, 0.0, 0.0, 0.0
    started: dict[int, list[int]] = {}
    while waiting or ends:
        while waiting and len(ends) < step.rows:
            length = waiting.pop()
            heapq.heappush(ends, clock + length)
            started.setdefault(clock + length, []).append(length)
            kept += PROMPT
        rows, tokens = len(ends), ends[0] - clock
        spent = tokens * step.token_seconds(rows, kept + rows * tokens / 2)
        seconds, clock, kept = seconds + spent, ends[0], kept + rows * tokens
        thin += spent if rows < step.rows / 4 else 0.0
        while ends and ends[0] == clock:
            heapq.heappop(ends)
            kept -= PROMPT + started[clock].pop()
    return seconds, thin / seconds if seconds else 0.0


def _loads(by_problem: Sequence[Sequence[int]], gpus: int) -> list[int]:
    """Tokens that each GPU trains on, dealt as the engine deals them."""
    rollouts = [_stand_in(i, j, length) for i, own in enumerate(by_problem) for j, length in enumerate(own)]
    return [sum(len(rollouts[k].response_ids) for k in part) for part in deal(rollouts, gpus)]


def _stand_in(problem: int, sample: int, length: int) -> Rollout:
    """A rollout of this length: ranges in place of ids, of which only the number is asked."""
    return Rollout(
        rollout_id=f"{problem}/{sample}",
        problem_id=str(problem),
        prompt_ids=cast(Any, range(problem * PROMPT, (problem + 1) * PROMPT)),
        response_ids=cast(Any, range(length)),
        response_text="",
        logprobs=(),
        policy_version=0,
        finish_reason="stop",
    )
