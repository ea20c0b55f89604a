"""The network as transformers wrote it, nothing of it ours: what the engine's own way through it is held against.

Everything that `body` takes over is put back for the time of one forward pass, and each weight is read where it lies:
no copy, no tree, no tile, no captured step. So a learner whose scores come from other weights than the present ones is
found out by one short probe, whichever of these went stale. In bfloat16 a linear layer rounds what it is given on the
spot, so that the two ways differ by the order of their sums alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwater.batch import PerToken
from headwater.models.language_model import LanguageModel
from headwater.records import Rollout

PROMPT, RESPONSE = 3, 6
"""Tokens of the probe: enough that every layer attends to others."""
LIMITS = {"float32": 1e-3, "bfloat16": 3e-2}
"""Nats that the probe's logprobs may be away, by the coarsest product: many times what the order of sums makes."""
FIRST, EVERY = 4, 16
"""The first updates are checked, and each so many: a pass over nine tokens is then well below a hundredth of a step."""


class TakenOver:
    """Marks a class that a network's module was given in the place of its own."""

    original: ClassVar[type[nn.Module]]


@contextmanager
def put_back(network: nn.Module) -> Iterator[None]:
    """Every module that was taken over is of its own class in here, but for layers whose products are rounded."""
    taken: list[tuple[Any, type[TakenOver]]] = [
        (module, type(module)) for module in network.modules() if isinstance(module, TakenOver)
    ]
    try:
        for module, ours in taken:
            rounds = getattr(module, "precision", "float32") == "bfloat16"
            module.__class__ = _RoundedLinear if rounds else ours.original
        yield
    finally:
        for module, ours in taken:
            module.__class__ = ours


class _RoundedLinear(nn.Linear):
    """A linear layer in bfloat16, rounded anew at each call."""

    def forward(self, input: Tensor) -> Tensor:
        y = _rounded_product(input, self.weight)
        return y if self.bias is None else y + self.bias


def _rounded_product(x: Tensor, weight: Tensor) -> Tensor:
    if weight.dtype != torch.float32 or x.dtype != torch.float32:
        return nn.functional.linear(x, weight)
    return nn.functional.linear(x.bfloat16(), weight.bfloat16()).float()


def probe(model: LanguageModel) -> Rollout:
    """A prompt and a response of ids from all over the vocabulary."""
    ids = [(1 + 7919 * i) % model.emitted for i in range(PROMPT + RESPONSE)]
    return Rollout(
        rollout_id="probe",
        problem_id="probe",
        prompt_ids=tuple(ids[:PROMPT]),
        response_ids=tuple(ids[PROMPT:]),
        response_text="",
        logprobs=(0.0,) * RESPONSE,
        policy_version=-1,
        finish_reason="stop",
    )


def due(version: int) -> bool:
    """Whether the update at this version is checked and the distance logged."""
    return version < FIRST or version % EVERY == 0


@torch.no_grad()
def logprobs(
    model: LanguageModel, one: Rollout, temperature: float, head: Float[Tensor, "row hidden"] | None = None
) -> PerToken:
    """The logprob of each response token, by the network's own forward pass; `head` where the network holds a part."""
    ids = torch.tensor([[*one.prompt_ids, *one.response_ids]], device=model.network.device)
    with put_back(model.network):
        if head is None:
            logits = model.network(input_ids=ids, use_cache=False).logits
        else:
            own: Any = model.network.get_output_embeddings()
            logits = (_rounded_product if isinstance(own, _RoundedLinear) else nn.functional.linear)(
                model.hidden(ids), head
            )
            logits = model.split.change(logits)
    scored = logits[0, len(one.prompt_ids) - 1 : -1, : model.emitted]
    raised = scored.to(torch.promote_types(scored.dtype, torch.float32)) / temperature
    chosen = ids[0, len(one.prompt_ids) :, None]
    return torch.log_softmax(raised, dim=-1).gather(-1, chosen)[:, 0]
