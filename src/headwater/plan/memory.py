"""What lies in memory while a piece of work runs, in bytes by part: of one device, or of each GPU of a cluster.

    alone       weights, gradients, two moments, the frozen models beside, and the engine's own (`engine.memory`)
    cluster     of the first three and of each frozen model its share; whole on every GPU: heads (and the gradient of
                the learner's), embeddings while a pass runs, two gathered layers, and a copy of the model that writes

`engine.memory` is shared by what never runs at once: activations and tiles of logits while a rank trains, the
sampler's keys and values while it writes. Left out: the device's own context, fragmentation, buffers of collectives.
"""

from __future__ import annotations

from collections.abc import Mapping

from headwater.engines.settings import EngineSettings
from headwater.models.size import ModelSize

MOMENTS = 2
"""AdamW's moments, each as large as the weights."""
GATHERED = 2
"""Layers that are whole at once: the one that computes, and the next, which is on its way."""
WRITER = "generator's copy"
ENGINE = "activations, tiles, KV cache"

Parts = Mapping[str, int]


def learning(size: ModelSize, frozen: Mapping[str, ModelSize], engine: EngineSettings, *, writes: bool) -> Parts:
    """Of a stage's learner with the frozen models beside it by name; `writes`: responses are drawn from it."""
    ranks = 1 if engine.cluster is None else engine.cluster.gpus
    own = size.adapter * size.weight_bytes
    copies = 1.5 if engine.precision == "bfloat16" and engine.cluster is None else 1  # rounded, kept for one update
    beside = {name: _frozen(model, engine) for name, model in frozen.items()}
    parts = {
        "weights": _share(round(size.bytes * copies) + own, ranks),
        "gradients": _share(size.trained_bytes, ranks),
        "moments": _share(MOMENTS * size.trained_bytes, ranks),
        **{name: _share(held, ranks) for name, held in beside.items()},
    }
    if engine.cluster is not None:
        head = size.head * size.weight_bytes
        parts["learner's head"] = head if size.adapter else 2 * head
        parts |= {f"{name}'s head": model.head * model.weight_bytes for name, model in frozen.items()}
        passed = [(size, size.bytes), *((model, beside[name]) for name, model in frozen.items())]
        parts["gathered"] = max(_gathered(model, held) for model, held in passed)
        if writes:
            parts[WRITER] = _copy(size, engine)
    return {**parts, ENGINE: engine.memory}


def asking(models: Mapping[str, ModelSize], engine: EngineSettings) -> Parts:
    """Of a measurement or a recording: frozen models by what they do; a "writer" is whole on every GPU of a cluster."""
    if engine.cluster is None:
        return {**{name: model.bytes for name, model in models.items()}, ENGINE: engine.memory}
    parts: dict[str, int] = {}
    for name, model in models.items():
        if name == "writer":
            parts[WRITER] = _copy(model, engine)
        else:
            held = _frozen(model, engine)
            parts[name] = _share(held, engine.cluster.gpus)
            parts[f"{name}'s head"] = model.head * model.weight_bytes
            parts["gathered"] = max(_gathered(model, held), parts.get("gathered", 0))
    return {**parts, ENGINE: engine.memory}


def _copy(size: ModelSize, engine: EngineSettings) -> int:
    """A whole model that writes: headwater's own generator, or vLLM with weights as they are stored.

    It is opened whole before its layers are rounded, when nothing of `engine.memory` is used yet.
    """
    own = engine.cluster is not None and engine.cluster.generator == "own"
    return _frozen(size, engine) if own else size.bytes


def _frozen(size: ModelSize, engine: EngineSettings) -> int:
    return size.bytes if engine.cluster is None else size.frozen_bytes(engine.precision)


def _share(size: int, ranks: int) -> int:
    return -(-size // ranks)


def _gathered(size: ModelSize, held: int) -> int:
    """The embedding, which a pass keeps whole, and the layers that are whole with it, of a model of so many bytes."""
    layers = held - (size.head + size.embedding) * size.weight_bytes
    return size.head * size.weight_bytes + GATHERED * layers // size.dimensions.layers
