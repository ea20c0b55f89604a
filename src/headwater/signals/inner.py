"""A signal within a signal: the field of a wrapper that holds another, written in a recipe as it is by itself.

signal: {kind: token-choice, share: 0.5, of: {kind: divergence, direction: reverse}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from headwater import kinds
from headwater.batch import Logits, PerToken, Scored, ScoredRollout, Target, TokenIds
from headwater.errors import InputError
from headwater.interfaces import Measured, Need, Signal, Watch
from headwater.late import Tensor


@cache
def signals_by_name() -> dict[str, type[Signal]]:
    """Every signal of this room, by its file's name."""
    return kinds.of_room("headwater.signals", Signal)


def _read(value: Any) -> Any:
    """A signal of plain data; anything else goes on to be refused."""
    if not isinstance(value, Mapping):
        return value
    try:
        kind = kinds.chosen(Signal, signals_by_name(), value, "signal")
        if kind is None:
            raise ValueError(f"names no signal; say kind: and one of {', '.join(signals_by_name())}")
        return kinds.made(kind, value, "signal")
    except InputError as error:
        raise ValueError(str(error)) from error


def _written(signal: Signal) -> dict[str, Any]:
    """Plain data that `_read` makes the same signal of; one of a user's own by its class alone."""
    name = next((name for name, kind in signals_by_name().items() if kind is type(signal)), type(signal).__name__)
    return {"kind": name, **signal.model_dump(mode="json")}


READ, WRITTEN = BeforeValidator(_read), PlainSerializer(_written)
"""How a field that holds a signal is read from plain data, and written as such."""
Inner = Annotated[Signal, READ, WRITTEN]
"""A field that holds a signal of any kind."""


class Wrapper(Signal):
    """Base of a signal that has another's losses, and changes what these are taken with: weights, or workers."""

    of: Inner

    @property
    def needs(self) -> frozenset[Need]:
        """What the wrapped one needs."""
        return self.of.needs

    @property
    def teachers(self) -> tuple[str, ...]:
        """Those of the wrapped one."""
        return self.of.teachers

    @property
    def least_samples(self) -> int:
        """As many as the wrapped one."""
        return self.of.least_samples

    @property
    def watch(self) -> tuple[Watch, ...]:
        """What the wrapped one shows."""
        return self.of.watch

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """The wrapped one's."""
        return self.of.loss(logits, response_ids, target)

    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """The wrapped one's."""
        return self.of.diagnostics(logits, response_ids, target)

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """The wrapped one's."""
        return self.of.differentiate(logits, response_ids, target, weight)


def weighted(scored: Scored, factors: Sequence[Tensor | float], *, empty: bool = True, **metrics: float) -> Scored:
    """The same batch with each rollout's weights times its factor (a number, or one a token), and more metrics.

    `empty`: where nothing keeps any weight nothing is left, and the learner makes no step.
    """
    members = [
        ScoredRollout(rollout=member.rollout, target=member.target, weight=member.weight * factor)
        for member, factor in zip(scored.rollouts, factors, strict=True)
    ]
    kept = [] if empty and not any(bool(member.weight.any()) for member in members) else members
    return Scored(rollouts=tuple(kept), metrics={**scored.metrics, **metrics})
