"""What each piece of a run's work costs at most: tokens, arithmetic, memory and disk, before anything is spent.

Every response is counted at the full length that its stage allows, so real runs cost less; prompts are not counted.
Arithmetic is that of `models.size`: a token generated or scored is one forward pass, a token trained on three (two
beside an adapter), and one more where gradient checkpointing runs the forward pass twice. Left out: grading, start-up,
and how near to its peak a machine comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from headwater import recording
from headwater.evaluation.closeness import SAMPLES
from headwater.interfaces import Need, looks
from headwater.models.size import ModelSize, model_size
from headwater.plan import memory
from headwater.plan.graph import Graph
from headwater.plan.models import models_used
from headwater.plan.node import Node
from headwater.problems.arithmetic import VOCABULARY

COMMITS = 3
"""Of a stage in progress, at its peak: the older of the two that are kept goes only after the new one is safe."""
UNKNOWN = "?"
_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one node. Tokens are response tokens at most; None where the size of a model is not known."""

    generated: int = 0
    scored: int = 0
    trained: int = 0
    flops: float | None = 0.0
    memory: int | None = 0
    """bytes while it runs, of its device or of each GPU of a cluster"""
    parts: Mapping[str, int] = field(default_factory=dict)
    """these by what they hold (`plan.memory`)"""
    disk: int | None = 0
    """bytes that stay in the run folder"""
    working_disk: int | None = 0
    """bytes besides, while it runs: commits of a stage in progress, the cache before it is stored"""


@dataclass(frozen=True)
class Costs:
    """The costs of a graph's nodes. Opens no weights: sizes come from configurations."""

    graph: Graph

    @cached_property
    def sizes(self) -> Mapping[str, ModelSize | None]:
        """Node -> the size of the model that it is or makes."""
        recipe = self.graph.recipe
        of_role = {name: model_size(model, len(VOCABULARY)) for name, model in models_used(recipe).items()}
        raw = {arm.endpoint: arm.name.removeprefix("raw ") for arm in self.graph.arms if arm.group == "model"}
        found: dict[str, ModelSize | None] = {}
        for name, node in self.graph.nodes.items():
            if node.kind == "model":
                found[name] = of_role[raw[name]]
            elif node.kind == "train":
                found[name] = found[node.parents["start"]]
        return found

    def of(self, name: str) -> Cost:
        """What a node costs at most."""
        node = self.graph.nodes[name]
        work: dict[str, Callable[[str, Node], Cost]] = {
            "model": self._model,
            "train": self._train,
            "rollouts": self._rollouts,
            "evaluate": self._evaluate,
            "pass-rate": self._evaluate,
            "closeness": self._closeness,
        }
        return work[node.kind](name, node)

    @property
    def handed_out(self) -> int | None:
        """Bytes of the copies that are handed out, one an arm."""
        sizes = [self.sizes[arm.endpoint] for arm in self.graph.arms]
        return _sum(size.bytes if size else None for size in sizes)

    @property
    def _length(self) -> int:
        return self.graph.recipe.max_response_tokens

    def _forward(self, size: ModelSize | None, tokens: int) -> float | None:
        """FLOPs of so many response tokens, each seeing half of a full response on average."""
        return None if size is None else tokens * size.forward(self._length / 2)

    def _model(self, name: str, node: Node) -> Cost:
        size = self.sizes[name]
        if node.stage is None:
            if size is None:
                return Cost(memory=None, disk=None, flops=None)
            on_device = self.graph.recipe.engine.cluster is None  # a cluster's driver brings it in, on no GPU
            parts = {"weights": size.bytes} if on_device else {}
            return Cost(memory=sum(parts.values()), parts=parts, disk=size.bytes, flops=0.0)
        whole = None if size is None else replace(size, adapter=0)  # the recipe's adapter is for the stages after this
        return self._learning(whole, node.updates * node.stage.schedule.problems * self._length, {}, writes=False)

    def _learning(
        self, size: ModelSize | None, trained: int, frozen: Mapping[str, ModelSize | None], *, writes: bool
    ) -> Cost:
        """The learner's part of a stage, and the frozen models that lie beside it, by name."""
        engine = self.graph.recipe.engine
        # an adapter's own weights are few; those it lies beside have no gradient, but what passes through them has
        passes = (3 if size is None or not size.adapter else 2) + engine.gradient_checkpointing
        once = self._forward(size, trained)
        beside = {name: model for name, model in frozen.items() if model is not None}
        if size is None or once is None:
            return Cost(trained=trained, flops=None, memory=None, disk=None, working_disk=None)
        parts = memory.learning(size, beside, engine, writes=writes) if len(beside) == len(frozen) else {}
        own = size.adapter * size.weight_bytes
        return Cost(
            trained=trained,
            flops=passes * once,
            memory=sum(parts.values()) or None,
            parts=parts,
            disk=size.bytes + own,
            working_disk=COMMITS * (size.bytes + own + memory.MOMENTS * size.trained_bytes),
        )

    def _train(self, name: str, node: Node) -> Cost:
        assert node.stage is not None  # noqa: S101
        stage, size = node.stage, self.sizes[name]
        length = stage.sampler.longest or self._length
        trained = node.updates * stage.schedule.problems * stage.sampler.samples * length
        tokens = trained // stage.schedule.passes
        scorers = {name: self.sizes[node.parents[name]] for name in stage.teachers if name in node.parents}
        scorers |= {"reference": size} if Need.REFERENCE in stage.needs else {}
        scorings = node.updates // stage.schedule.passes
        looked = math.ceil(scorings * looks(stage.signal)) * (tokens // scorings)
        learning = self._learning(size, trained, scorers, writes="recorded" not in node.parents)
        generated = self._validated(node) + (0 if "recorded" in node.parents else tokens)
        scored = tokens * len(scorers) + looked
        spent = [learning.flops, self._forward(size, generated + looked)]
        spent += [self._forward(one, tokens) for one in scorers.values()]
        return Cost(
            generated=generated,
            scored=scored,
            trained=learning.trained,
            flops=_sum(spent),
            memory=learning.memory,
            parts=learning.parts,
            disk=learning.disk,
            working_disk=_times(1 + stage.keeps_best, learning.working_disk),
        )

    def _validated(self, node: Node) -> int:
        """Response tokens that a stage writes to be watched."""
        stage = node.stage
        if stage is None or stage.validation is None:
            return 0
        problems = len(self.graph.data.pools(node.seed).part("validation"))
        return len(stage.validated) * problems * stage.validation.samples * self._length

    def _measuring(self, models: Mapping[str, ModelSize | None], generated: int, scored: int) -> Cost:
        """Tokens generated and scored by each of these models, none of which learns."""
        spent = [self._forward(size, generated + scored) for size in models.values()]
        known = {name: size for name, size in models.items() if size is not None}
        parts = memory.asking(known, self.graph.recipe.engine) if len(known) == len(models) else {}
        return Cost(
            generated=generated * len(models),
            scored=scored * len(models),
            flops=_sum(spent),
            memory=sum(parts.values()) or None,
            parts=parts,
        )

    def _rollouts(self, name: str, node: Node) -> Cost:
        recipe, (writer, teacher) = self.graph.recipe, (node.parents["writer"], node.parents["teacher"])
        size, alone = self.sizes[teacher], recipe.engine.cluster is None
        problems = len(self.graph.data.pools(node.seed).part(str(node.pool)))
        tokens = problems * node.settings["samples"] * self._length
        # one process opens a model once, whatever it does with it
        models = {"teacher": size} | ({} if writer == teacher and alone else {"writer": self.sizes[writer]})
        spent = (self._forward(self.sizes[writer], tokens), self._forward(size, tokens))
        stored = None
        if size is not None:
            files = recording.sizes(tokens, recipe.cache, vocabulary=size.vocabulary, hidden=size.hidden)
            stored = sum(files.values())
        held = self._measuring(models, 0, 0)
        return replace(held, generated=tokens, scored=tokens, flops=_sum(spent), disk=stored)

    def _evaluate(self, name: str, node: Node) -> Cost:
        tokens = node.problems * node.settings["samples"] * self._length
        return self._measuring({"writer": self.sizes[node.parents["model"]]}, tokens, 0)

    def _closeness(self, name: str, node: Node) -> Cost:
        models = {role: self.sizes[node.parents[role]] for role in ("student", "teacher")}
        tokens = node.settings["problems"] * SAMPLES * self._length
        return self._measuring(models, tokens, 2 * tokens)


def work(graph: Graph) -> dict[str, float]:
    """Node -> its FLOPs at most, by the sizes of its own models: what orders the work, and foretells the time left.

    A model whose size is not known counts for nothing.
    """
    costs = Costs(graph)
    return {name: costs.of(name).flops or 0.0 for name in graph.nodes}


def longest_chains(graph: Graph, of: Mapping[str, float]) -> dict[str, float]:
    """Node -> the work of the longest chain that begins with it."""
    chains = dict(of)
    for name in reversed(list(graph.nodes)):  # children come after parents
        for parent in graph.nodes[name].parents.values():
            chains[parent] = max(chains[parent], of[parent] + chains[name])
    return chains


def total(costs: list[Cost]) -> Cost:
    """Sums of tokens, arithmetic and disk; the largest memory with its parts, and the largest working disk."""
    return Cost(
        generated=sum(cost.generated for cost in costs),
        scored=sum(cost.scored for cost in costs),
        trained=sum(cost.trained for cost in costs),
        flops=_sum(cost.flops for cost in costs),
        memory=_largest(cost.memory for cost in costs),
        parts=max(costs, key=lambda cost: cost.memory or 0).parts if costs else {},
        disk=_sum(cost.disk for cost in costs),
        working_disk=_largest(cost.working_disk for cost in costs),
    )


def _sum(values: Any) -> Any:
    """None as soon as one part is not known: a sum without it would be a promise."""
    found = list(values)
    return None if None in found else sum(found)


def _times(learners: int, size: int | None) -> int | None:
    """A stage that keeps its best weights has two learners in every commit."""
    return None if size is None else learners * size


def _largest(values: Any) -> Any:
    found = list(values)
    return None if None in found else max(found, default=0)


def in_bytes(size: int | None) -> str:
    """Three digits of it, as it is printed."""
    if not size:
        return UNKNOWN if size is None else "-"
    return next((f"{size / unit:.3g} {name}" for unit, name in _UNITS if size >= unit), f"{size} B")
