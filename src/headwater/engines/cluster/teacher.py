"""A frozen model over the learner's own ranks, asked just in time: what it says is made where it is used.

A signal scores with `Asked`, which holds nothing. When a rank comes to a layout, the teacher gives its hidden states
of exactly this layout: exact over the whole vocabulary, and nothing is stored or sent. The hidden states of a whole
batch would be 34 GB for an 8B teacher at 512 responses of 4,096 tokens, its logits 1.3 TB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from headwater.batch import HiddenDistribution, PerToken, TeacherDistribution
from headwater.engines.body import Body
from headwater.engines.cluster.sharding import reshard, shard, told, whole
from headwater.engines.head import Head, tiled_logprobs
from headwater.engines.linears import keep_rounded
from headwater.engines.local import make_head
from headwater.engines.packing import Layout
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Teacher
from headwater.models.language_model import LanguageModel
from headwater.records import Rollout


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked(TeacherDistribution):
    """A distribution that is not made yet: the rank that trains on these tokens asks for it when it comes to them."""

    teacher: str
    temperature: float


class Promised(Teacher):
    """A teacher as the learner's ranks know it, by name: it gives promises, and asks `asked` for what is wanted now."""

    exact = True

    def __init__(self, name: str, asked: Teacher):
        self._name, self._asked = name, asked

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """A promise for each rollout."""
        return [Asked(teacher=self._name, temperature=temperature) for _ in rollouts]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """As the teacher gives them."""
        return self._asked.logprobs(rollouts, temperature)


class AskedOnRanks:
    """One rank's part of a sharded model, asked what comes next. Every rank makes the same calls in the same order.

    Its head is gathered here and stays as it is: of a model that learns, another is made after each update.
    """

    def __init__(self, model: LanguageModel, body: Body, engine: EngineSettings, mesh: DeviceMesh):
        self.model = model
        self._body, self._engine, self._mesh = body, engine, mesh
        weight = whole(model.head[0].detach())
        bias = None if model.head[1] is None else whole(model.head[1].detach())
        self._applied: Head = replace(make_head(model, 1.0, engine), weight=weight, bias=bias)
        self.head = HiddenDistribution(
            hidden=weight.new_empty(0, weight.shape[1]),
            head=weight[: model.emitted],
            bias=None if bias is None else bias[: model.emitted],
            change=self._applied.change,
        )
        """How logits are made, whole on this rank, over no tokens yet: the rows that a tokenizer can emit"""
        reshard(model)

    @torch.no_grad()
    def on(self, layout: Layout, temperature: float) -> HiddenDistribution:
        """What the teacher says at each response token of a layout, on this rank."""
        with self._body.work(), self._body.attention(layout):
            hidden = self._body.scored_hidden(layout)
        return replace(self.head, hidden=hidden, temperature=temperature)

    @torch.no_grad()
    def idle(self) -> None:
        """Go along with the other ranks, which have a layout."""
        self.model.hidden(torch.zeros((1, 1), dtype=torch.long, device=self.model.network.device))

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """Logprob of each response token of this rank's rollouts, on the CPU."""
        head = replace(self._applied, temperature=temperature)
        return self._over(rollouts, lambda hidden, ids: tiled_logprobs(hidden, head, ids))

    def hidden(self, rollouts: Sequence[Rollout]) -> list[Float[Tensor, "token hidden"]]:
        """Hidden states at the response tokens of this rank's rollouts, on the CPU."""
        return self._over(rollouts, lambda hidden, ids: hidden)

    @torch.no_grad()
    def _over(self, rollouts: Sequence[Rollout], made: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        layouts = list(self._body.pack(rollouts, self._engine.tokens_a_pass(self._body.sizes)))
        found: dict[int, Tensor] = {}
        for k in range(max(told(len(layouts), self._mesh))):
            if k >= len(layouts):
                self.idle()
                continue
            hidden = self.on(layouts[k], 1.0).hidden
            values = made(hidden, layouts[k].response_ids.to(hidden.device)).cpu()
            found.update(zip(layouts[k].members, values.split(layouts[k].response_lengths), strict=True))
        reshard(self.model)
        return [found[i] for i in range(len(rollouts))]


class ShardedTeacher(AskedOnRanks):
    """One rank's part of a frozen model."""

    def __init__(self, model: LanguageModel, engine: EngineSettings, mesh: DeviceMesh):
        model.network.requires_grad_(False)
        model.to(engine.torch_device)
        body = Body(model, engine.precision)
        body.keeps = False
        keep_rounded(model.network)  # half of what is held, and half of what is gathered
        shard(model, mesh)
        super().__init__(model, body, engine, mesh)
