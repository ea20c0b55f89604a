"""Two losses on the same tokens, each with weights of its own: what joins a sparse and a dense signal, or two KLs.

    loss = w1 loss1 + w2 loss2 per token, with w1 and w2 known before the forward pass

The weight of the whole is 1 a token, so that each part keeps the denominator that its own signal gave it. Where one
part is off for a batch its target and weight are None, and nothing of it is computed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headwater.batch import Logits, PerToken, Scored, ScoredRollout, Target, TokenIds
from headwater.errors import ObjectiveError
from headwater.interfaces import Measured, Need, Signal
from headwater.late import Tensor, no_grad, torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum(Target):
    """What each part is scored against, and each token's weight in it."""

    first: Target | None = None
    first_weight: PerToken | None = None
    second: Target | None = None
    second_weight: PerToken | None = None


def summed(first: Scored | None, second: Scored | None) -> Scored:
    """Two scorings of the same rollouts as one batch. None: that part is off. Raises ObjectiveError otherwise."""
    alone = first or second
    if alone is None:
        raise ObjectiveError("sum: neither part was scored")
    ids = [[member.rollout.rollout_id for member in part.rollouts] for part in (first, second) if part is not None]
    if ids[0] != ids[-1]:
        raise ObjectiveError(
            "sum: its two signals scored different rollouts; a part must weigh what it leaves out with 0, so that the "
            "other can have it"
        )
    firsts: Sequence[ScoredRollout | None] = first.rollouts if first else [None] * len(alone.rollouts)
    seconds: Sequence[ScoredRollout | None] = second.rollouts if second else [None] * len(alone.rollouts)
    metrics = {**(second.metrics if second else {}), **(first.metrics if first else {})}
    members = (
        ScoredRollout(rollout=whole.rollout, target=_joined(one, other), weight=torch.ones_like(whole.weight))
        for whole, one, other in zip(alone.rollouts, firsts, seconds, strict=True)
    )
    return Scored(rollouts=tuple(members), metrics=metrics)


def _joined(one: ScoredRollout | None, other: ScoredRollout | None) -> Sum:
    return Sum(
        first=None if one is None else one.target,
        first_weight=None if one is None else one.weight,
        second=None if other is None else other.target,
        second_weight=None if other is None else other.weight,
    )


class Summed(Signal):
    """Base of a signal that is the sum of two others' losses; `score` makes the targets with `summed`."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Signal, Signal]:
        """The two, in the order of a `Sum`."""

    @property
    def needs(self) -> frozenset[Need]:
        """What either needs."""
        first, second = self.parts
        return first.needs | second.needs

    @property
    def teachers(self) -> tuple[str, ...]:
        """Those that either asks."""
        first, second = self.parts
        return tuple(dict.fromkeys((*first.teachers, *second.teachers)))

    @property
    def least_samples(self) -> int:
        """As many as the more demanding one."""
        return max(part.least_samples for part in self.parts)

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """w1 loss1 + w2 loss2."""
        return _total(
            part.loss(logits, response_ids, of) * weight.to(logits.dtype) for part, of, weight in self._present(target)
        )

    @no_grad
    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """What either watches; the first's where both use one name."""
        found: dict[str, Tensor] = {}
        for part, of, _ in self._present(target):
            found = {**part.diagnostics(logits, response_ids, of), **found}
        return found

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """Each part in its own way over logits of its own; the gradients add up."""
        losses: list[Tensor] = []
        watched: dict[str, Tensor] = {}
        gradient: Tensor | None = None
        for part, of, own in self._present(target):
            leaf, scale = logits.clone(), own.to(logits.dtype)
            found = part.differentiate(leaf, response_ids, of, weight * scale)
            losses.append(found.loss * scale)
            watched = {**found.watched, **watched}
            gradient = leaf if gradient is None else gradient.add_(leaf)
        assert gradient is not None  # noqa: S101  `summed` refuses a target without parts
        logits.copy_(gradient)
        return Measured(loss=_total(losses), watched=watched)

    def _present(self, target: Target) -> Iterator[tuple[Signal, Target, Tensor]]:
        """The parts that this batch has: signal, target, weight."""
        if not isinstance(target, Sum):
            raise ObjectiveError(f"sum: needs a Sum, was given a {type(target).__name__}")
        pairs = ((target.first, target.first_weight), (target.second, target.second_weight))
        for part, (of, weight) in zip(self.parts, pairs, strict=True):
            if of is not None and weight is not None:
                yield part, of, weight


def _total(parts: Sequence[Tensor] | Iterator[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        first = first + other
    return first
