"""Tensors on one token axis: what a signal scores against (a Target) and a rollout that carries one.

Axes, one legend for the package: `token` (response tokens of many rollouts end to end), `vocab`, `k`,
`hidden`. Signals see only `token`: never a batch, never padding.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from headwater.late import Float, Int, Tensor, no_grad, torch
from headwater.models.logits import UNCHANGED, LogitChange
from headwater.records import Rollout

Logits = Float[Tensor, "token vocab"]
"""The learner's, float32 and already divided by temperature."""
PerToken = Float[Tensor, " token"]
"""A number for each response token."""
TokenIds = Int[Tensor, " token"]
"""Each response token."""

SHARED = {"shared": True}
"""Marks a Target's field that has no token axis, such as the teacher's head: kept whole by rows and join."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Base of what a signal compares logits with: tensors whose first axis is `token`, and other targets.

    A new signal brings its own subclass; optional fields are None for a whole batch or not at all, and a tuple
    holds targets, as many in each rollout's.
    """

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same target with every tensor on the token axis changed, those of targets within it too."""

        def deep(value: Any) -> Any:
            if isinstance(value, Target):
                return value.mapped(change)
            return tuple(map(deep, value)) if isinstance(value, tuple) else change(value)

        changed = {
            f.name: deep(value)
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), _ALONG) and "shared" not in f.metadata
        }
        return dataclasses.replace(self, **changed)

    @property
    def within(self) -> tuple[Target, ...]:
        """Itself, and every target that it is made of."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self))
        parts = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
        return (self, *(inner for part in parts if isinstance(part, Target) for inner in part.within))

    def exchanged(self, old: type[Target], new: Target) -> Target:
        """The same target with another in the place of every one of a kind, itself included."""
        if isinstance(self, old):
            return new

        def deep(value: Any) -> Any:
            if isinstance(value, Target):
                return value.exchanged(old, new)
            return tuple(map(deep, value)) if isinstance(value, tuple) else value

        return dataclasses.replace(self, **{f.name: deep(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def rows(self, index: slice) -> Self:
        """The same target for a slice of the token axis."""
        return self.mapped(lambda tensor: tensor[index])

    def at(self, places: Int[Tensor, " place"]) -> Self:
        """The same target at these places of the token axis, each as often as it is named."""
        return self.mapped(lambda tensor: tensor[places.to(tensor.device)])

    def to(self, device: torch.device) -> Self:
        """The same target on another device."""
        return self.mapped(lambda tensor: tensor.to(device))

    @classmethod
    def join(cls, targets: Sequence[Self]) -> Self:
        """Targets end to end along the token axis. Raises ValueError when there is none to join."""
        if not targets:
            raise ValueError("join: no targets")
        first = targets[0]
        joined = {
            f.name: _joined([getattr(target, f.name) for target in targets])
            for f in dataclasses.fields(first)
            if isinstance(getattr(first, f.name), _ALONG) and "shared" not in f.metadata
        }
        return dataclasses.replace(first, **joined)


_ALONG = (Tensor, Target, tuple)
"""What of a target's fields goes along the token axis: tensors, targets within it, and tuples of either."""


def _joined(parts: Sequence[Any]) -> Any:
    """One field of several targets end to end."""
    if isinstance(parts[0], Target):
        return parts[0].join(parts)
    if isinstance(parts[0], tuple):
        return tuple(_joined(group) for group in zip(*parts, strict=True))
    return torch.cat(list(parts))


@dataclass(frozen=True, kw_only=True, eq=False)
class NoTarget(Target):
    """The target of a signal that needs nothing beside the response itself (imitation)."""


class TeacherDistribution(Target):
    """What a teacher says of the next token at every response position, at the stage's temperature."""


class ExactDistribution(TeacherDistribution, ABC):
    """A teacher distribution that knows every token's logprob."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Positions."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Token ids."""

    @abstractmethod
    def logits(self) -> Float[Tensor, "token vocab"]:
        """The logprobs up to a constant a row, without gradient; float32 at least. Not to be written to."""

    def logprobs(self) -> Float[Tensor, "token vocab"]:
        """float32 logprobs over the whole vocabulary, without gradient."""
        return torch.log_softmax(self.logits(), dim=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FullDistribution(ExactDistribution):
    """Every logprob, stored: right for small vocabularies."""

    full: Float[Tensor, "token vocab"]

    @property
    def tokens(self) -> int:
        return self.full.shape[0]

    @property
    def width(self) -> int:
        return self.full.shape[1]

    def logits(self) -> Float[Tensor, "token vocab"]:
        return self.full.float()

    def logprobs(self) -> Float[Tensor, "token vocab"]:
        return self.full.float()


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitDistribution(ExactDistribution):
    """Logits at the stage's temperature, as a head has just made them of a tile."""

    made: Float[Tensor, "token vocab"]

    @property
    def tokens(self) -> int:
        return self.made.shape[0]

    @property
    def width(self) -> int:
        return self.made.shape[1]

    def logits(self) -> Float[Tensor, "token vocab"]:
        return self.made


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenDistribution(ExactDistribution):
    """Exact at any vocabulary size: the teacher's last hidden states, with its head applied tile by tile."""

    hidden: Float[Tensor, "token hidden"]
    head: Float[Tensor, "vocab hidden"] = field(metadata=SHARED)
    bias: Float[Tensor, " vocab"] | None = field(default=None, metadata=SHARED)
    change: LogitChange = UNCHANGED
    temperature: float = 1.0

    @property
    def tokens(self) -> int:
        return self.hidden.shape[0]

    @property
    def width(self) -> int:
        return self.head.shape[0]

    @no_grad
    def logits(self) -> Float[Tensor, "token vocab"]:
        logits = torch.nn.functional.linear(self.hidden.to(self.head.dtype), self.head, self.bias).float()
        return self.change.apply_(logits).div_(self.temperature)


@dataclass(frozen=True, kw_only=True, eq=False)
class TopKDistribution(TeacherDistribution):
    """The k likeliest tokens and, in one bucket, the mass of all the others (kept, never renormalised)."""

    token_ids: Int[Tensor, "token k"]
    top_logprobs: Float[Tensor, "token k"]
    tail_logprob: PerToken

    @classmethod
    def from_logprobs(cls, logprobs: Float[Tensor, "token vocab"], k: int) -> TopKDistribution:
        """Keep k tokens of each row; the tail is log(1 - sum of the kept mass), summed from the dropped tokens."""
        top, ids = logprobs.topk(k, dim=-1)
        dropped = logprobs.scatter(-1, ids, float("-inf"))
        tail = torch.logsumexp(dropped, dim=-1)
        return cls(token_ids=ids, top_logprobs=top, tail_logprob=tail)

    def likeliest(self, k: int) -> TopKDistribution:
        """The k likeliest of those that are kept; the mass of the others goes to the tail."""
        top, places = self.top_logprobs.topk(k, dim=-1)
        others = self.top_logprobs.scatter(-1, places, float("-inf"))
        tail = torch.cat([others, self.tail_logprob[:, None]], dim=-1).logsumexp(dim=-1)
        return TopKDistribution(token_ids=self.token_ids.gather(-1, places), top_logprobs=top, tail_logprob=tail)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRollout:
    """A rollout with what its tokens are scored against and each token's share of the batch loss.

    `weight` is fixed before the forward pass, from the whole optimiser batch: so the loss is a plain sum
    over tokens, and micro-batches, tiles and ranks cannot change the gradient.
    """

    rollout: Rollout
    target: Target
    weight: PerToken


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """One optimiser batch after scoring, with what the scoring itself measured (reward, mixed groups, ...)."""

    rollouts: tuple[ScoredRollout, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)


def token_mean_weights(rollouts: Sequence[Rollout]) -> list[PerToken]:
    """Every response token of the batch weighs the same, 1 / tokens."""
    total = sum(len(rollout.response_ids) for rollout in rollouts)
    return [torch.full((len(rollout.response_ids),), 1.0 / max(total, 1)) for rollout in rollouts]
