"""The tiled LM head: loss and gradient a slice of tokens at a time, so memory is tile x vocab at any batch.

For each slice: logits from the last hidden states; the signal's loss and, in the place of the logits, its
gradient; then that gradient's products with the weight (kept, [token hidden]) and with the states (added to
the weight's gradient where it lies). Two buffers [tile vocab] are made once, one of them for an exact teacher.
No graph spans the vocabulary and nothing is recomputed; only [token hidden] gradients go back through the
body, in one pass. Weights are fixed beforehand and nothing is normalised here, so the sum over slices is the
untiled gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.batch import HiddenDistribution, LogitDistribution, Logits, PerToken, Target, TokenIds
from headwater.engines.cpu.embeddings import gradient_of
from headwater.engines.cpu.products import product_into
from headwater.engines.linears import Copies, Precision, round_up, rounded
from headwater.errors import HeadwaterError
from headwater.interfaces import Signal
from headwater.models.logits import UNCHANGED, LogitChange

BLOCK_BYTES = 2 * 2**20
"""Logits that a signal is given at once on a CPU: with what it makes of them they stay in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last linear layer as it is applied: a leaf Parameter (tied embeddings are fine), and how.

    `rows` is the number of leading rows that a tokenizer can emit: the rest is padding and takes no part.
    `change` is what the network does to its logits, `temperature` divides them then; `tile` is the number of tokens
    in a slice. `precision` is that of the products, as everywhere (`linears`). Made anew for each batch: what is
    rounded for it holds between two updates.
    """

    weight: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"] | None = None
    rows: int | None = None
    change: LogitChange = UNCHANGED
    temperature: float = 1.0
    tile: int
    precision: Precision = "float32"
    copies: Copies = field(default_factory=Copies)

    def operand(self) -> Float[Tensor, "row hidden"]:
        """The rows that take part, as they enter products."""
        return self.entering(self.weight)[: self.rows]

    def entering(self, weight: Float[Tensor, "vocab hidden"]) -> Float[Tensor, "vocab hidden"]:
        """A weight, this one or a teacher's, as it enters products: itself, or rounded for them."""
        rounds = self.precision == "bfloat16" and weight.dtype == torch.float32
        return rounded(weight, self.copies) if rounds else weight.detach()

    def finish_(self, logits: Float[Tensor, "token row"]) -> Float[Tensor, "token row"]:
        """What follows the product with the weight, in place: the bias, and the network's own change."""
        if self.bias is not None:
            logits.add_(self.bias[: self.rows])
        return self.change.apply_(logits)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadBatch:
    """The response tokens of some rollouts end to end, with their targets and their weights in the loss."""

    response_ids: TokenIds
    target: Target
    weight: PerToken


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """What one pass of the head measured.

    `loss` is the weighted sum; `sums` are diagnostics summed over `tokens` tokens, unweighted.
    `first_bad_token` is the first token whose loss or gradient is not finite, else None. When it is set, the
    gradients are worthless and must be thrown away: the body was not back-propagated, the head's weight was.
    """

    loss: float
    sums: Mapping[str, float]
    tokens: int
    first_bad_token: int | None

    @property
    def finite(self) -> bool:
        """Whether every token's loss and gradient are finite."""
        return self.first_bad_token is None


def tiled_backward(hidden: Float[Tensor, "token hidden"], head: Head, signal: Signal, batch: HeadBatch) -> HeadResult:
    """Add the gradient of the weighted sum of token losses to the head and, through `hidden`, to the body.

    `hidden` [token hidden] comes from the body with its graph; position t holds what predicts response token
    t. Gradients add up in `.grad`, in the parameters' own dtype. Logits are raised to at least float32
    before the temperature and the log-sum-exp. Look at `finite` before any optimiser step.
    """
    tokens = hidden.shape[0]
    if tokens == 0:
        return HeadResult(loss=0.0, sums={}, tokens=0, first_bad_token=None)
    found = _Pass(hidden.detach(), head, batch).run(signal)
    loss, gradient = torch.cat(found.losses), found.gradient
    first_bad_token = _first_not_finite(loss, gradient)
    if first_bad_token is None:
        hidden.backward(gradient.to(hidden.dtype))
    return HeadResult(
        loss=float(torch.dot(loss, batch.weight.to(loss.dtype))),
        sums={name: float(total) for name, total in found.sums.items()},
        tokens=tokens,
        first_bad_token=first_bad_token,
    )


class _Pass:
    """One pass over the tokens, without a graph: buffers for one tile, made once, and what adds up over tiles."""

    def __init__(self, states: Float[Tensor, "token hidden"], head: Head, batch: HeadBatch):
        self._head, self._batch = head, batch
        self._weight = head.operand()
        self._states = _padded(states.to(self._weight.dtype))
        self._wide = _wide(head.weight.dtype)
        self._teacher = _TeacherHead(batch.target, head) if isinstance(batch.target, HiddenDistribution) else None
        self._logits = states.new_empty((min(head.tile, len(self._states)), len(self._weight)), dtype=self._wide)
        self._gradient = states.new_empty(self._states.shape, dtype=self._wide)
        self.gradient = self._gradient[: len(states)]
        self.losses: list[Tensor] = []
        self.sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def run(self, signal: Signal) -> _Pass:
        """Every tile: logits; loss and gradient over them; the gradient's products with weights and states."""
        for start in range(0, len(self._states), self._head.tile):
            tile = slice(start, start + self._head.tile)
            states = self._states[tile]
            logits = self._logits[: len(states)]
            product_into(logits, states, self._weight.t())
            real = len(self.gradient[tile])
            self._differentiate(logits[:real], tile, signal)
            logits[real:] = 0
            slope = logits.to(self._weight.dtype)
            product_into(self._gradient[tile], slope, self._weight)
            self._add_to_head(slope, states)
        return self

    def _differentiate(self, logits: Logits, tile: slice, signal: Signal) -> None:
        """Put the gradient in the place of the logits, a block that stays in the cache at a time."""
        head, batch = self._head, self._batch
        target = batch.target.rows(tile) if self._teacher is None else self._teacher.logits(tile)
        ids, weight = batch.response_ids[tile], batch.weight[tile].to(self._wide) / head.temperature
        for block in _blocks(logits):
            part = logits[block]
            head.finish_(part)
            changed = None if head.change.cap is None else part.clone()
            if head.temperature != 1.0:
                part.div_(head.temperature)
            found = signal.differentiate(part, ids[block], target.rows(block), weight[block])
            head.change.back_(part, changed)
            self.losses.append(found.loss)
            for name, values in found.watched.items():
                total = values.sum()
                self.sums[name] = self.sums[name] + total if name in self.sums else total

    def _add_to_head(self, slope: Float[Tensor, "token vocab"], states: Float[Tensor, "token hidden"]) -> None:
        """The tile's share of the head's own gradient, added where it is kept."""
        weight, bias, rows = self._head.weight, self._head.bias, self._head.rows
        if weight.requires_grad:
            product_into(gradient_of(weight)[:rows], slope.t(), states, add=True)
        if bias is not None and bias.requires_grad:
            gradient_of(bias)[:rows].add_(slope.sum(dim=0))


class _TeacherHead:
    """An exact teacher's logits, made for a tile of tokens from its hidden states into one buffer."""

    def __init__(self, target: HiddenDistribution, head: Head):
        self._target = target
        self._weight = head.entering(target.head.to(head.weight.device))
        student = len(head.weight[: head.rows])
        if len(self._weight) != student:
            raise HeadwaterError(
                f"head: the teacher's has {len(self._weight)} rows for tokens that are emitted, the student's "
                f"{student}; a dense signal compares them id by id. Use a pair that shares a tokenizer."
            )
        self._hidden = _padded(target.hidden.to(self._weight.dtype))
        self._made = target.hidden.new_empty(
            (min(head.tile, len(self._hidden)), student), dtype=_wide(target.head.dtype)
        )

    def logits(self, tile: slice) -> LogitDistribution:
        """The tile's logits at the teacher's temperature; the next call writes over them."""
        hidden = self._hidden[tile]
        made = self._made[: len(hidden)]
        product_into(made, hidden, self._weight.t())
        if self._target.bias is not None:
            made.add_(self._target.bias.to(made.device))
        self._target.change.apply_(made)
        if self._target.temperature != 1.0:
            made.div_(self._target.temperature)
        return LogitDistribution(made=made[: len(self._target.hidden[tile])])


@torch.no_grad()
def tiled_logprobs(hidden: Float[Tensor, "token hidden"], head: Head, response_ids: TokenIds) -> PerToken:
    """The logprob of each response token, a tile of logits at a time; float32 at least, on the device."""
    weight, found = head.operand(), hidden.new_empty(len(hidden), dtype=_wide(head.weight.dtype))
    padded = _padded(hidden.to(weight.dtype))
    buffer = hidden.new_empty((min(head.tile, len(padded)), len(weight)), dtype=found.dtype)
    for start in range(0, len(hidden), head.tile):
        states = padded[start : start + head.tile]
        logits = buffer[: len(states)]
        product_into(logits, states, weight.t())
        real = logits[: len(hidden) - start]
        for block in _blocks(real):
            part = real[block]
            head.finish_(part).div_(head.temperature)
            here = slice(start + block.start, start + block.start + len(part))
            found[here] = -torch.nn.functional.cross_entropy(part, response_ids[here], reduction="none")
    return found


def _padded(states: Float[Tensor, "token hidden"]) -> Float[Tensor, "row hidden"]:
    """The states, and behind them rows of 0 up to a number of rows that comes again."""
    return torch.nn.functional.pad(states, (0, 0, 0, round_up(len(states)) - len(states)))


def _blocks(logits: Logits) -> Iterator[slice]:
    """Slices of a tile for the elementwise work: on a CPU as many rows as stay in the cache, else all."""
    rows, vocab = logits.shape
    step = max(1, BLOCK_BYTES // (vocab * logits.element_size())) if logits.device.type == "cpu" else rows
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums over the vocabulary: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def _first_not_finite(loss: PerToken, gradient: Float[Tensor, "token hidden"]) -> int | None:
    """Looks at the gradient too: a clipped ratio that overflowed has a finite loss and a gradient of NaN."""
    bad = ~torch.isfinite(loss + gradient.sum(dim=-1))
    return int(bad.nonzero()[0]) if bool(bad.any()) else None
