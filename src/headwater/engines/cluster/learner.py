"""One rank's part of the learner: the update of one process (`engines.local`) on its share of the batch.

What differs is five things: weights are sharded, the head is gathered and its gradient scattered, sums go over all
ranks, a rank without a layout goes along, and the first rank writes what one process would write. Every rank makes
the same calls in the same order; a fault of one rank is told to all before anyone raises it.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial

from headwater.batch import Scored
from headwater.engines import checkpoint, plain
from headwater.engines.cluster.sharding import gathered, reshard, rows, shard, told, whole
from headwater.engines.cluster.teacher import Asked, AskedOnRanks, ShardedTeacher
from headwater.engines.head import Head, HeadBatch
from headwater.engines.local import LocalLearner, make_head
from headwater.engines.packing import Layout
from headwater.engines.recompute import recomputed
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError, NumericError
from headwater.interfaces import Signal, Training
from headwater.models.language_model import LanguageModel

T = TypeVar("T")


GAP_LIMITS = {"float32": 1e-3, "bfloat16": 0.1}
"""Nats between logprobs as sampled and as trained, on average: beyond it they are of different weights, not rounded.

In bfloat16 healthy runs of others show 0.010 to 0.018 and stale weights 0.2.
"""


class ShardedLearner(LocalLearner):
    """One rank of a model that learns; `scored` is this rank's share of the batch, with the whole batch's weights."""

    def __init__(
        self,
        model: LanguageModel,
        training: Training,
        engine: EngineSettings,
        mesh: DeviceMesh,
        teachers: Mapping[str, ShardedTeacher] = types.MappingProxyType({}),
    ):
        self._mesh, self._teachers = mesh, teachers
        self._asking: str | None = None
        """the teacher that this update's passes ask"""
        super().__init__(model, training, engine)
        self._body.keeps = False
        reshard(model)

    def asked(self) -> AskedOnRanks:
        """This rank's part of the weights as they are now, to be asked what comes next until the next update."""
        return AskedOnRanks(self.model, self._body, self._engine, self._mesh)

    def _place(self) -> None:
        shard(self.model, self._mesh)

    def _everywhere(self, value: T) -> list[T]:
        return told(value, self._mesh)

    def _gradient(self, scored: Scored, signal: Signal) -> dict[str, float]:
        targets = [member.target for member in scored.rollouts]
        asked = sorted({part.teacher for target in targets for part in target.within if isinstance(part, Asked)})
        named = {name for part in self._everywhere(asked) for name in part}
        if len(named) > 1:
            raise HeadwaterError(f"learner: one update asks the teachers {', '.join(sorted(named))}; ranks ask one")
        self._asking = next(iter(named), None)
        metrics = super()._gradient(scored, signal)
        kind = "bfloat16" if self._body.rounds else "float32"
        limit = GAP_LIMITS[kind]
        if (gap := metrics.get("sampler_gap", 0.0)) > limit or not math.isfinite(gap):
            raise NumericError(
                f"update {self.version}: logprobs as sampled and as trained are {gap:.2g} nats apart on average, and "
                f"{limit:g} is the most in {kind}: the generator's weights are not the learner's, or "
                "it draws from another distribution. No step was taken; look at the sync and at tied embeddings."
            )
        return metrics

    def _whole_head(self) -> Head:
        """Leaves on this rank, whole; one gather an update, whatever the number of passes."""
        weight, bias = self.model.head
        head = make_head(self.model, self._temperature, self._engine)
        return replace(head, weight=_leaf(weight), bias=None if bias is None else _leaf(bias))

    def _give_back(self, head: Head) -> None:
        """Sum the head's gradient over ranks and leave each its rows, beside what a tied table has already."""
        weight, bias = self.model.head
        _scatter(head.weight, weight)
        if head.bias is not None and bias is not None:
            _scatter(head.bias, bias)

    def _idle(self) -> None:
        """In the others' order: student, teacher, backward with a gradient of zero."""
        ids = torch.zeros((1, 1), dtype=torch.long, device=self.model.network.device)
        with recomputed(self.model.network, wanted=self._engine.gradient_checkpointing):
            hidden = self.model.hidden(ids)
        if self._asking is not None:
            self._teachers[self._asking].idle()
        hidden.backward(torch.zeros_like(hidden))

    def _probed(self, head: Head, beside: int) -> Tensor:
        found = super()._probed(head, beside)
        reshard(self.model)  # no backward pass follows, which would let go of what was gathered
        return found

    def _plainly(self, head: Head) -> Tensor:
        found = plain.logprobs(self.model, self._probe, head.temperature, head.weight.detach())
        reshard(self.model)
        return found

    def _here(self) -> Sequence[Tensor]:
        return [p.to_local() if isinstance(p, DTensor) else p for p in self._parameters]

    def _norm(self) -> float:
        return float(whole(torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm)))

    def _tokens(self, layout: Layout, scored: Scored) -> HeadBatch:
        batch = super()._tokens(layout, scored)
        asked = next((part for part in batch.target.within if isinstance(part, Asked)), None)
        if asked is None:
            return batch
        said = self._teachers[asked.teacher].on(layout, asked.temperature)  # once, wherever in the target it stands
        return replace(batch, target=batch.target.exchanged(Asked, said))

    def save(self, directory: Path) -> None:
        """The first rank writes what one process would write; it alone holds whole tensors, in its host's memory."""
        first, moments = self._mesh.get_local_rank() == 0, dict[str, Tensor]()
        fault: Exception | None = None
        reshard(self.model)
        for name, value in checkpoint.moments(self.model, self._optimiser).items():
            found = whole(value)
            if first:
                moments[name] = found.cpu()
        with gathered(self.model, here=first):
            try:
                if first:
                    checkpoint.save(directory, self.model, moments, self.version)
            except (OSError, HeadwaterError) as error:  # a full disk; the others wait to hear of it
                fault = error
        for told_of in self._everywhere(None if fault is None else str(fault)):
            if told_of is not None:
                raise fault or HeadwaterError(f"checkpoint: the first rank could not write it ({told_of})")

    def load(self, directory: Path) -> None:
        """Each rank takes up its rows of weights and moments, and the version."""
        reshard(self.model)
        self.version = checkpoint.load(directory, self.model, self._optimiser, rows)
        self._checked = False


def _leaf(parameter: Tensor) -> Tensor:
    return whole(parameter.detach()).requires_grad_(parameter.requires_grad)


def _scatter(made: Tensor, parameter: Tensor) -> None:
    if not parameter.requires_grad or not isinstance(parameter, DTensor):
        return
    gradient = torch.zeros_like(made) if made.grad is None else made.grad
    summed = DTensor.from_local(gradient, parameter.device_mesh, [Partial("sum")], run_check=False)
    mine = summed.redistribute(placements=parameter.placements)
    parameter.grad = mine if parameter.grad is None else parameter.grad + mine
