"""The graph of a run: every model, stage, recording and measurement as a node named by what it depends on.

A node's fingerprint covers its own values, its parents' fingerprints, its pool and its seed. So routes share
every common prefix, a rerun skips what is done, and a changed field remakes what depends on it and no more.
Building the graph touches no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.data.problems import RunData
from headwater.errors import InputError, nearest
from headwater.fingerprint import plain
from headwater.interfaces import Need
from headwater.loop import Stage
from headwater.own_code import source_of
from headwater.plan.learnable import refuse_unlearnable, refuse_unquantisable
from headwater.plan.models import models_used
from headwater.plan.node import Arm, Node, plain_node
from headwater.plan.pretraining import pretraining_stage
from headwater.plan.prompts import prompt_limit
from headwater.routes import axes
from headwater.routes.contrast import Contrast
from headwater.routes.recipe import RESERVED, Recipe
from headwater.routes.table import Route
from headwater.verifiers.grading import grading_identity, own_code

if TYPE_CHECKING:
    from headwater.evaluation.difference import Pairing  # statistics, which load scipy


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All nodes of a run in an order in which parents come first, and its arms."""

    recipe: Recipe
    """with its number of labels written out"""
    data: RunData
    nodes: Mapping[str, Node]
    arms: tuple[Arm, ...]

    def plain(self, identity: Mapping[str, str]) -> dict[str, Any]:
        """The graph as JSON data: what the report reads beside the results."""
        data, pools = self.data, {}
        for seed in self.recipe.seeds:
            split = data.pools(seed)
            used = (str(node.pool) for node in self.nodes.values() if node.kind == "train" and node.seed == seed)
            pools[str(seed)] = {
                "seed": seed,
                **{
                    name: {"problems": len(split.part(name)), "digest": split.digest(name)}
                    for name in dict.fromkeys(("pool", "1H", "2H", *used))
                },
            }
        return {
            "name": self.recipe.name,
            "seeds": list(self.recipe.seeds),
            "recipe": self.recipe.model_dump(mode="json"),
            "identity": dict(identity),
            "notes": [*data.check(), *self.own_code()],
            "nodes": {name: plain_node(node) for name, node in self.nodes.items()},
            "pools": pools,
            "content": data.contents(),
            "benchmarks": [self._benchmark(name) for name in self.recipe.problems.names],
            "overlap": data.overlap_counts(),
            "arms": [plain(arm) for arm in self.arms],
            "contrasts": [
                {**c.model_dump(mode="json"), "pairing": self.pairing(c)} for c in self.recipe.all_contrasts()
            ],
        }

    def pairing(self, contrast: Contrast) -> Pairing:
        """Whether the seeds of two arms are pairs: they share something trained, and so rise and fall together."""
        first = {arm.name: arm.endpoint for arm in self.arms if arm.seed == self.recipe.seeds[0]}
        treatment, control = (self._trained(first[name]) for name in (contrast.treatment, contrast.control))
        return "paired" if treatment & control else "unpaired"

    def _trained(self, endpoint: str) -> set[str]:
        """The nodes with updates of their own that a model comes from, itself included."""
        found, left = set(), [endpoint]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += self.nodes[name].parents.values()
        return {name for name in found if self.nodes[name].updates}

    def own_code(self) -> list[str]:
        """What a plan and a report must say of code that is the user's own: a note each."""
        methods = self.recipe.own_methods().items()
        return [
            *own_code(self.recipe.problems.gradings),
            *(
                f"a stage runs code of the user's own, {name} (SHA-256 of the file {sha256})"
                for name, sha256 in methods
            ),
        ]

    def _benchmark(self, name: str) -> dict[str, Any]:
        evaluation, problems = self.recipe.evaluation, self.recipe.problems
        return {
            "name": name,
            "problems": len(self.data.benchmarks[name].problems),
            "samples": problems.samples_of(name, evaluation.samples),
            "temperature": evaluation.temperature,
            "digest": self.data.benchmark_digest(name),
        }


class GraphBuilder:
    """Adds a recipe's nodes one after another; asking twice for the same work gives one node."""

    def __init__(self, recipe: Recipe):
        data = RunData(recipe.problems, prompt_limit(recipe) if recipe.problems.drop_long else None)
        self.recipe = recipe.sized(data.available) if recipe.problems.labelled is None else recipe
        self.data = data.of(self.recipe.problems)
        self._nodes: dict[str, Node] = {}

    def build(self) -> Graph:
        """The whole graph: for each seed the raw models, then every arm. Raises ContrastError, LabelError."""
        self.recipe.all_contrasts()
        self.data.check()
        arms: list[Arm] = []
        for seed in self.recipe.seeds:
            raw = {name: self.model(name, seed) for name in models_used(self.recipe)}
            arms += [self._model_arm(f"raw {name}", name, seed, model, ()) for name, model in raw.items()]
            teachers: dict[str, Arm] = {}
            for route in self.recipe.routes_by_name().values():
                arm, teacher = self._route(route, seed, raw)
                arms.append(arm)
                if teacher is not None and teacher.endpoint not in teachers:
                    taken = teacher.name in {other.name for other in teachers.values()}
                    own = replace(teacher, name=f"{teacher.name} of {route.name}") if taken else teacher
                    teachers[teacher.endpoint] = own
            arms += [teacher for teacher in teachers.values() if teacher.stages]
        return self.graph(arms)

    def graph(self, arms: Sequence[Arm]) -> Graph:
        """What was added so far, with these arms."""
        return Graph(recipe=self.recipe, data=self.data, nodes=self._nodes, arms=tuple(arms))

    def add(self, node: Node) -> str:
        """A node's name; the node is there once, however often it is added."""
        self._nodes.setdefault(node.fingerprint, node)
        return node.fingerprint

    def model(self, role: str, seed: int) -> str:
        """A raw model of the recipe."""
        choice = self.recipe.all_models[role]
        refuse_unquantisable(role if role in RESERVED else f"models.{role}", choice, self.recipe.engine)
        if choice.path is not None:
            title = f"{role}: {choice.path}"
            return self.add(Node(kind="model", title=title, seed=0, settings=choice.opening))
        kept_out = {"labelled", "held_out", "seed", *(["unlabelled"] if self.recipe.problems.unlabelled else [])}
        settings: dict[str, Any] = {
            "shape": choice.shape,
            "pretraining": choice.pretraining,
            "problems": self.recipe.problems.model_dump(include=kept_out),
            "role": role,
            "engine": self.recipe.engine.numerics,
        }
        return self.add(
            Node(
                kind="model",
                title=f"pretrain the {role}",
                seed=seed,
                settings=settings,
                stage=pretraining_stage(choice.pretraining, role),
                updates=choice.pretraining.updates,
            )
        )

    def _route(self, route: Route, seed: int, raw: Mapping[str, str]) -> tuple[Arm, Arm | None]:
        models = {**raw, "student": raw[route.student], "teacher": raw[route.teacher]}
        models |= {f"raw {name}": model for name, model in models.items()}
        stages: dict[str, list[str]] = {"teacher": [], "student": []}
        bridge: list[tuple[str, str]] = []
        for step in route.steps:
            role, stage = route.role(step), self.recipe.stage(route, step)
            if _taught(role, stage) and not bridge:
                bridge.append(("before", self.closeness(models, seed)))
            models[role] = self.train(Work(route, stage, role), seed, models)
            stages.setdefault(role, []).append(models[role])
            if _taught(role, stage):
                bridge.append((f"after {stage.name}", self.closeness(models, seed)))
        inherited = tuple(name for role, names in stages.items() if role != "student" for name in names)
        taught = bool(bridge)
        arm = Arm(
            name=route.name,
            title=route.title,
            family=axes.family(route),
            group="route" if route.name.startswith("R") else "endpoint",
            seed=seed,
            stages=(*inherited, *stages["student"]),
            inherited=inherited,
            endpoint=models["student"],
            evaluation=self._evaluate(models["student"], route.name, seed),
            student_before=self._evaluate(raw[route.student], f"raw {route.student}", seed),
            teacher={
                "name": route.teacher,
                "before": self._evaluate(raw[route.teacher], f"raw {route.teacher}", seed),
                "after": self._evaluate(models["teacher"], f"teacher of {route.name}", seed),
            }
            if taught
            else None,
            closeness=dict([*bridge[:-1], ("end", bridge[-1][1])]) if taught else None,
        )
        if not taught:
            return arm, None
        size = "same-size teacher" if route.teacher == "student" else route.teacher
        made = [step for step in route.steps if route.role(step) == "teacher"]
        name = "-".join((size, *(f"{step.stage.removeprefix('teacher-')}-{step.pool}" for step in made)))
        title = ", then ".join(f"{step.stage} on {axes.pool_of(route, step)}" for step in made)
        teacher = self._model_arm(name, title, seed, models["teacher"], tuple(stages["teacher"]))
        return arm, replace(teacher, name=axes.of_size(name, route.labels), family=name)

    def _model_arm(self, name: str, title: str, seed: int, model: str, stages: tuple[str, ...]) -> Arm:
        title = title if stages else f"the {title} before any label"
        return Arm(
            name=name,
            title=title,
            family=name,
            group="model",
            seed=seed,
            stages=stages,
            endpoint=model,
            evaluation=self._evaluate(model, name, seed),
        )

    def train(self, work: Work, seed: int, models: Mapping[str, str]) -> str:
        """A stage, with the recording that it reads if it reads one; `models`: name -> node of every model so far."""
        stage, role = work.stage, work.role
        writer = stage.sampler.writer
        known = {**models, "start": models[role]}
        unknown = [name for name in (*stage.teachers, *([writer] if writer else [])) if name not in known]
        if unknown:
            raise InputError(
                f"{work.route.name}, {stage.name}: asks for the model {unknown[0]!r:.60}{nearest(unknown[0], known)}; "
                f"there are {', '.join(known)}. Name it under models"
            )
        teachers = {name: known[name] for name in stage.teachers}
        parents = {"start": models[role]}
        if writer is not None:
            # the first teacher's distributions are recorded with the rollouts; without one, the writer's own
            scorer = next(iter(stage.teachers), writer)
            teachers.pop(scorer, None)
            whose = work.route.teacher if writer == "teacher" and work.route.teacher not in RESERVED else writer
            parents["recorded"] = self.rollouts((whose, known[writer]), known[scorer], stage.pool, seed)
        parents = {**teachers, **parents}
        settings: dict[str, Any] = {
            "pool": self.data.pools(seed).digest(stage.pool),
            "labels": self.data.content_of(stage.pool),
            "engine": self.recipe.engine.numerics,
        }
        played = {"teacher": work.route.teacher, "student": work.route.student}.get(role, role)
        adapter = self.recipe.all_models[played].adapter
        refuse_unlearnable(stage, played, self.recipe.all_models[played])
        if adapter is not None:
            settings["adapter"] = adapter
        parts = (*stage.sampler.made_of, *stage.signal.made_of)
        own = [source for part in parts if (source := source_of(type(part)))]
        if own:
            settings["own code"] = own
        if stage.reads_labels and stage.pool == "prompts":
            raise InputError(
                f"{work.route.name}, {stage.name}: reads labels, and the pool prompts has none; use pool, 1H or 2H"
            )
        if Need.DEMONSTRATIONS in stage.needs:
            self.data.refuse_without_demonstration(stage.name, stage.pool, seed)
        if Need.VERIFIER in stage.needs or stage.validation is not None:
            settings["grading"] = grading_identity(self.recipe.problems.grading)
        if stage.validation is not None:
            settings["validation"] = self.data.pools(seed).digest("validation")
        return self.add(
            Node(
                kind="train",
                title=f"{stage.name} on {stage.pool}{self._whose(work, played)}",
                seed=seed,
                parents=parents,
                settings=settings,
                stage=stage,
                pool=stage.pool,
                updates=stage.schedule.updates,
            )
        )

    def _whose(self, work: Work, played: str) -> str:
        """What a title adds where another than the recipe's student or teacher learns or is asked."""
        taught = f" from {work.route.teacher}" if _taught(work.role, work.stage) else ""
        return f", {played}" if played not in RESERVED else "" if work.route.teacher in RESERVED else taught

    def rollouts(self, writer: tuple[str, str], teacher: str, pool: str, seed: int) -> str:
        """Rollouts of a model (its name and its node) with a teacher's distributions."""
        recipe = self.recipe
        settings = {
            "pool": self.data.pools(seed).digest(pool),
            "labels": self.data.content_of(pool),
            "samples": recipe.cached_samples,
            "temperature": recipe.temperature,
            "max_response_tokens": recipe.max_response_tokens,
            "cache": recipe.cache,
            "engine": recipe.engine.numerics,
        }
        return self.add(
            Node(
                kind="rollouts",
                title=f"{writer[0]}'s rollouts on {pool}",
                seed=seed,
                parents={"writer": writer[1], "teacher": teacher},
                settings=settings,
                pool=pool,
                problems=len(self.data.pools(seed).part(pool)),
            )
        )

    def _evaluate(self, model: str, who: str, seed: int) -> dict[str, str]:
        """Benchmark -> the node that measures a model on it."""
        names = self.recipe.problems.names
        return {
            name: self._evaluate_on(name, model, who if len(names) == 1 else f"{who} on {name}", seed) for name in names
        }

    def _evaluate_on(self, benchmark: str, model: str, title: str, seed: int) -> str:
        evaluation, problems = self.recipe.evaluation, self.recipe.problems
        settings = {
            "benchmark": benchmark,
            "problems": self.data.benchmark_digest(benchmark),
            "grading": grading_identity(problems.grading_of(benchmark)),
            "samples": problems.samples_of(benchmark, evaluation.samples),
            "temperature": evaluation.temperature,
            "top_p": evaluation.top_p,
            "max_response_tokens": self.recipe.max_response_tokens,
            "engine": self.recipe.engine.numerics,
        }
        return self.add(
            Node(
                kind="evaluate",
                title=f"evaluate {title}",
                seed=seed,
                parents={"model": model},
                settings=settings,
                problems=len(self.data.benchmarks[benchmark].problems),
            )
        )

    def closeness(self, models: Mapping[str, str], seed: int) -> str:
        """How close the student of `models` is to their teacher."""
        recipe = self.recipe
        problems = min(recipe.evaluation.closeness_problems, len(self.data.pools(seed).part("pool")))
        settings = {
            "pool": self.data.pools(seed).digest("pool"),
            "problems": problems,
            "temperature": recipe.temperature,
            "max_response_tokens": recipe.max_response_tokens,
            "engine": recipe.engine.numerics,
        }
        parents = {"student": models["student"], "teacher": models["teacher"]}
        return self.add(
            Node(
                kind="closeness",
                title="closeness of student and teacher",
                seed=seed,
                parents=parents,
                settings=settings,
                pool="pool",
                problems=problems,
            )
        )


class Work(NamedTuple):
    """A stage that is to be trained: on which route, and who learns in it."""

    route: Route
    stage: Stage
    role: str


def _taught(role: str, stage: Stage) -> bool:
    """Whether the stage carries another model's behaviour into the student."""
    return role == "student" and bool({stage.sampler.writer, *stage.teachers} - {None, "student", "start"})


def build_graph(recipe: Recipe) -> Graph:
    """The graph of a recipe. Raises ContrastError or LabelError before anything is spent."""
    return GraphBuilder(recipe).build()
