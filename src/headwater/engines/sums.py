"""What adds up over the passes of one gradient, on one rank or on many: the metrics of an update are made of it.

A loss is a sum over tokens whose weights are known beforehand, and so is everything that is watched; means are
taken once, over the whole batch. So neither the cut into passes nor the number of ranks can change a metric by
more than rounding. The same holds of the tokens on which sampler and learner are compared: which they are follows
from each rollout's id and the number of tokens in the batch.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwater.records import Rollout

CHECKED = 128
"""About so many tokens of a step are those on which sampler and learner are compared."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Totals over some tokens of a batch; plain numbers and text, so that ranks can tell each other."""

    loss: float = 0.0
    tokens: int = 0
    places: int = 0
    padding: int = 0
    watched: Mapping[str, float] = field(default_factory=dict)
    gap: float = 0.0
    gap_max: float = 0.0
    checked: int = 0
    """tokens on which sampler and learner were compared"""
    fault: str | None = None
    """the first token whose loss or gradient was not finite, told in words"""

    @classmethod
    def of(cls, parts: Iterable[Sums]) -> Sums:
        """The totals of all parts, added in their order."""
        given = list(parts)
        watched: dict[str, float] = {}
        for part in given:
            for name, value in part.watched.items():
                watched[name] = watched.get(name, 0.0) + value
        return cls(
            loss=sum(part.loss for part in given),
            tokens=sum(part.tokens for part in given),
            places=sum(part.places for part in given),
            padding=sum(part.padding for part in given),
            watched=watched,
            gap=sum(part.gap for part in given),
            gap_max=max((part.gap_max for part in given), default=0.0),
            checked=sum(part.checked for part in given),
            fault=next((part.fault for part in given if part.fault is not None), None),
        )

    def metrics(self) -> dict[str, float]:
        """Loss, tokens, share of padding, the sampler's gap where it was looked at, and means of what is watched."""
        gaps = {"sampler_gap": self.gap / self.checked, "sampler_gap_max": self.gap_max} if self.checked else {}
        return {
            "loss": self.loss,
            "tokens": float(self.tokens),
            "padding": self.padding / max(self.places, 1),
            **gaps,
            **{name: value / self.tokens for name, value in self.watched.items()},
        }


def stride_of(tokens: int) -> int:
    """One token in so many is compared."""
    return max(1, math.ceil(tokens / CHECKED))


def compared(rollouts: Sequence[Rollout], stride: int) -> tuple[Int[Tensor, " some"], Float[Tensor, " some"]]:
    """Of these rollouts end to end: the places of the tokens that are compared, and their logprobs as sampled.

    Rollouts that were not drawn by the learner have none.
    """
    places: list[int] = []
    sampled: list[float] = []
    start = 0
    for rollout in rollouts:
        length = len(rollout.response_ids)
        if rollout.policy_version >= 0:
            chosen = range(zlib.crc32(rollout.rollout_id.encode()) % stride, length, stride)
            places += [start + t for t in chosen]
            sampled += [rollout.logprobs[t] for t in chosen]
        start += length
    return torch.tensor(places, dtype=torch.long), torch.tensor(sampled, dtype=torch.float32)
