"""One more token a slot; on a GPU the kernels of a step are captured once and replayed (CUDA graphs).

A step of decoding is hundreds of small kernels, and Python takes longer to launch them than a GPU to run them. So
a step here is a function of tensors that stay where they are: ids, lengths, mask, keys and values. They grow by at
least `CAPTURED` places, so one capture serves that many steps. A step writes the same values at the same places
however often it is run; only `SlotCache.advance`, outside of it, moves on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headwater.engines.body import Body
from headwater.engines.slots import PromptCache, SlotCache

BLOCK = 8
"""Places by which the cache grows, at least."""
CAPTURED = 128
"""The same where a step must then be captured anew."""

Step = Callable[[], Tensor]
Capture = Callable[[Step], Step]
"""Runs a step once, and gives what runs the same kernels on the same tensors again."""


def capture_for(device: torch.device) -> Capture | None:
    """How steps are captured on this device; None where they are run anew each time."""
    return capture_on_gpu if device.type == "cuda" else None


def capture_on_gpu(step: Step) -> Step:
    """The step as a CUDA graph. Its result is one tensor, written over at each replay."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        step()  # libraries choose kernels and make workspaces the first time, which cannot be captured
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class Decoder:
    """Moves all slots of a cache on by one token.

    Mutable: it keeps what was captured for the cache's present tensors.
    """

    def __init__(self, body: Body, cache: SlotCache, capture: Capture | None):
        self._body, self._cache, self._capture = body, cache, capture
        self._ids = torch.empty(0, dtype=torch.long)
        self._captured: Step | None = None
        self._moved = -1

    def advance(self, ids: Int[Tensor, " slot"]) -> Float[Tensor, "slot hidden"]:
        """Read these ids, one a slot; the hidden states that the next ones are drawn from."""
        hidden = self._step(ids) if self._capture is None else self._replayed(ids, self._capture)
        self._cache.advance()
        return hidden

    def _replayed(self, ids: Tensor, capture: Capture) -> Tensor:
        if self._captured is None or self._moved != self._cache.moved:
            self._moved, self._ids = self._cache.moved, ids.clone()
            self._captured = None  # its memory, before the next is made
            self._captured = capture(lambda: self._step(self._ids))
        self._ids.copy_(ids)
        return self._captured()

    def _step(self, ids: Tensor) -> Tensor:
        mask = self._cache.begin_step()
        places = self._cache.lengths[:, None].clone()
        return forward(self._body, self._cache, input_ids=ids[:, None], attention_mask=mask, position_ids=places)[:, 0]


def forward(body: Body, cache: PromptCache | SlotCache, **inputs: Tensor) -> Float[Tensor, "row time hidden"]:
    """The body over these inputs, its keys and values kept in the cache."""
    name = _cache_name(type(body.model.body))  # type: ignore[arg-type]
    return body.model.states(use_cache=True, **inputs, **{name: cache})


@functools.cache
def _cache_name(body: type[nn.Module]) -> str:
    """What a body of this class calls its cache: transformers renamed the argument."""
    return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"
