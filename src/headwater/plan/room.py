"""Whether a run fits on the disk and in the memory that are there; where not, which setting and value would.

Each remedy is tried before it is named: the recipe with that value is costed by the same `Costs` as the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headwater.engines.settings import device_memory
from headwater.models.choice import Lora
from headwater.plan.cost import Costs, in_bytes, total
from headwater.plan.graph import Graph
from headwater.routes.recipe import Recipe

FEW = (64, 16)
"""Likeliest tokens a position that are offered, where whole distributions do not fit."""
STEP = 2**24
"""`engine.memory` is offered in such steps."""
LEAST = 2**28
"""... and not below this: a pass of a few tokens is no remedy."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes that a run writes at most."""

    kept: int
    handed_out: int
    working: int

    @property
    def needed(self) -> int:
        """All of it, with one worker."""
        return self.kept + self.handed_out + self.working

    def __str__(self) -> str:
        return (
            f"about {in_bytes(self.needed)} at most: {in_bytes(self.kept)} kept, {in_bytes(self.handed_out)} of models "
            f"handed out, {in_bytes(self.working)} for a stage in progress, on each worker"
        )


def disk(graph: Graph) -> Disk | None:
    """What a run of this graph writes; None where a model's size is not known."""
    costs = Costs(graph)
    needed, copies = total([costs.of(name) for name in graph.nodes]), costs.handed_out
    if needed.disk is None or needed.working_disk is None or copies is None:
        return None
    return Disk(kept=needed.disk, handed_out=copies, working=needed.working_disk)


def largest(graph: Graph) -> tuple[str, int | None]:
    """The title of the piece of work that needs the most memory, and its bytes; of one GPU of a cluster."""
    costs = {name: Costs(graph).of(name).memory for name in graph.nodes}
    if None in costs.values():
        return "", None
    name = max(costs, key=lambda one: costs[one] or 0)
    return graph.nodes[name].title, costs[name]


def fitting(graph: Graph) -> int:
    """How many of the largest pieces of work the memory holds side by side; on a GPU, where each has one, all do."""
    need, device = largest(graph)[1], graph.recipe.engine.kind
    return len(graph.nodes) if device == "cuda" or not need else max(1, device_memory(device) // need)


def disk_fault(graph: Graph, free: int, where: str) -> str | None:
    """What is wrong where the disk has not so many bytes, and what would be right."""
    need = disk(graph)
    if need is None or need.needed <= free:
        return None
    found = _first(graph, _smaller_on_disk(graph.recipe), lambda other: getattr(disk(other), "needed", None), free)
    return (
        f"disk: about {in_bytes(need.needed)} are needed and {in_bytes(free)} are free under {where}. "
        f"{found or 'No setting of the cache or of seeds makes it fit'}; or make room, choose another --runs, or fewer "
        "routes."
    )


def memory_fault(graph: Graph, have: int, device: str) -> str | None:
    """What is wrong where a device (or each GPU of a cluster) has not so many bytes, and what would be right."""
    title, need = largest(graph)
    if need is None or need <= have:
        return None
    costs = Costs(graph)
    parts = max((costs.of(name) for name in graph.nodes), key=lambda cost: cost.memory or 0).parts
    found = _first(graph, _smaller_in_memory(graph.recipe, need, have), lambda other: largest(other)[1], have)
    shown = ", ".join(f"{in_bytes(size)} {name}" for name, size in parts.items())
    return (
        f"memory: {title} needs about {in_bytes(need)} ({shown}), {device} has {in_bytes(have)}. "
        f"{found or 'No setting makes these models fit'}; or use a smaller model, or a larger machine."
    )


Change = tuple[str, Recipe]
"""What to set, in words, and the recipe with it."""


def _first(graph: Graph, changes: Iterator[Change], need_of: Any, room: int) -> str | None:
    for words, recipe in changes:
        need = need_of(_with(graph, recipe))
        if need is not None and need <= room:
            return f"Set {words}: {in_bytes(need)}"
    return None


def _with(graph: Graph, recipe: Recipe) -> Graph:
    """The graph with values that change what a node costs and not which nodes there are, but for fewer seeds."""
    seeds = frozenset(recipe.seeds)
    arms = tuple(arm for arm in graph.arms if arm.seed in seeds)
    made: Mapping[str, Any] = graph.nodes
    if len(arms) < len(graph.arms):
        kept, left = set[str](), [name for arm in arms for name in _ends(arm)]
        while left:
            name = left.pop()
            if name not in kept:
                kept.add(name)
                left += graph.nodes[name].parents.values()
        made = {name: node for name, node in graph.nodes.items() if name in kept}
    return replace(graph, recipe=recipe, nodes=made, arms=arms)


def _ends(arm: Any) -> list[str]:
    measured: Sequence[Mapping[str, str] | None] = (arm.evaluation, arm.student_before, arm.closeness)
    teacher = [arm.teacher[when] for when in ("before", "after")] if arm.teacher else []
    return [arm.endpoint, *(name for names in (*measured, *teacher) if names for name in names.values())]


def _smaller_on_disk(recipe: Recipe) -> Iterator[Change]:
    """First what keeps the distributions exact, then less of the teacher, then fewer seeds."""
    cache, smallest, words = recipe.cache, recipe, ""
    kinds = [] if cache.keep != "full" else [("cache.keep to hidden (exact)", cache.model_copy(update=_HIDDEN))]
    for count in FEW:
        if cache.keep != "top_k" or count < cache.top_k:
            fewer = cache.model_copy(update={"keep": "top_k", "top_k": count})
            kinds.append((f"cache.keep to top_k and cache.top_k to {count}", fewer))
    for words, kept in kinds:
        smallest = recipe.model_copy(update={"cache": kept})
        yield words, smallest
    for count in range(len(recipe.seeds) - 1, 0, -1):
        seeds = recipe.seeds[:count]
        yield f"seeds to {list(seeds)}", recipe.model_copy(update={"seeds": seeds})
        if kinds:
            yield f"{words} and seeds to {list(seeds)}", smallest.model_copy(update={"seeds": seeds})


_HIDDEN = {"keep": "hidden"}


def _smaller_in_memory(recipe: Recipe, need: int, have: int) -> Iterator[Change]:
    """Less for the engine, then more GPUs, then an adapter in the weights' place, and with it bfloat16 weights."""
    engine = recipe.engine
    left = (engine.memory - (need - have)) // STEP * STEP
    if left >= LEAST:
        less = engine.model_copy(update={"memory": left})
        yield f"engine.memory to {left}", recipe.model_copy(update={"engine": less})
    if engine.cluster is not None:
        for gpus in (2 * engine.cluster.gpus, 4 * engine.cluster.gpus, 8 * engine.cluster.gpus):
            wider = engine.cluster.model_copy(update={"gpus": gpus})
            more = engine.model_copy(update={"cluster": wider})
            yield f"engine.cluster.gpus to {gpus}", recipe.model_copy(update={"engine": more})
    for dtype in (None, "bfloat16"):
        for memory in sorted({engine.memory, min(engine.memory, LEAST)}, reverse=True):
            update: dict[str, Any] = {"adapter": Lora(), **({} if dtype is None else {"dtype": dtype})}
            small = engine.model_copy(update={"memory": memory})
            changed = {role: model.model_copy(update=update) for role, model in recipe.all_models.items()}
            own: dict[str, Any] = {role: changed.pop(role) for role in ("student", "teacher")}
            words = "an adapter, {rank: 16}, for each model" + ("" if dtype is None else f", their dtype to {dtype}")
            words += "" if memory == engine.memory else f" and engine.memory to {memory}"
            yield words, recipe.model_copy(update={**own, "models": changed, "engine": small})
