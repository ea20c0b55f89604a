"""The pilot: what is measured before a route is chosen, as nodes beside those of the run; all on problems of the pool.

    pass rates       of both raw models on the pilot's problems: reads labels
    a tenth of GRPO  on either model, on these problems, and the pass rates after it: reads labels
    closeness        of the raw student to the teacher after that, on states of the student: reads none
    a short bridge   from that teacher into the raw student, and the pass rate after it: training reads none

The labels are those of the pool "pilot", noted in the ledger as `pilot`. Raw models, and what else the run would make
the same, are made once for both. No model meets a problem of a benchmark here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from headwater.loop import Schedule, Stage
from headwater.plan.graph import Graph, GraphBuilder, Work
from headwater.plan.node import Arm, Node
from headwater.problems.pools import PILOT
from headwater.routes.recipe import Recipe
from headwater.routes.table import R1, R3, Route
from headwater.verifiers.grading import grading_identity

SAMPLES = 8
"""Responses to each problem whose share of right ones is a pass rate."""
RL_SHARE = 0.1
"""Of a route's GRPO, in updates."""
BRIDGE_SHARE = 0.1
"""Of a route's bridge, in updates of either stage."""
BRIDGE_PASSES = 32
"""Most passes of the bridge over the pilot's problems: as many as the lab's own make over theirs."""
RL_ROUTES = {"student": R1, "teacher": R3}
"""Role -> the route that begins with GRPO on it."""


@dataclass(frozen=True)
class Pilot:
    """The pilot's graph, and what each of its nodes is in it."""

    graph: Graph
    nodes: Mapping[str, str]
    """what is measured or made -> node: "student", "student after RL", "closeness" and so on"""

    measured = (*RL_ROUTES, *(f"{role} after RL" for role in RL_ROUTES), "student after bridge")
    """nodes that hold pass rates"""

    @property
    def seed(self) -> int:
        """The seed it is made with: the recipe's first."""
        return self.graph.recipe.seeds[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The problems whose answers it reads."""
        return self.graph.data.pools(self.seed).ids[PILOT]

    def updates(self, role: str) -> int:
        """Updates that the whole of GRPO makes on a model."""
        route = RL_ROUTES[role]
        return self.graph.recipe.stage(route, route.steps[0]).updates


def pilot_graph(recipe: Recipe) -> Graph:
    """The graph of `pilot`, for workers."""
    return pilot(recipe).graph


def pilot(recipe: Recipe) -> Pilot:
    """Every node of the pilot of a recipe, with its first seed."""
    builder = GraphBuilder(recipe)
    builder.data.check()
    return _Plan(builder).pilot()


class _Plan:
    """Adds the pilot's nodes one after another."""

    def __init__(self, builder: GraphBuilder):
        self._builder, self._recipe = builder, builder.recipe
        self._seed = builder.recipe.seeds[0]
        self._pool = builder.data.pools(self._seed)
        self._problems = len(self._pool.ids[PILOT])

    def pilot(self) -> Pilot:
        raw = {role: self._builder.model(role, self._seed) for role in RL_ROUTES}
        raw |= {f"raw {role}": model for role, model in raw.items()}
        nodes = {role: self._pass_rate(raw[role], f"raw {role}") for role in RL_ROUTES}
        learned = {role: self._learned(route, role, raw) for role, route in RL_ROUTES.items()}
        nodes |= {f"{role} after RL": self._pass_rate(model, f"{role} after RL") for role, model in learned.items()}
        nodes |= {f"{role} RL": model for role, model in learned.items()}
        taught = {**raw, "teacher": learned["teacher"]}
        nodes["closeness"] = self._builder.closeness(taught, self._seed)
        bridged = self._bridged(taught)
        nodes |= {"bridge": bridged, "student after bridge": self._pass_rate(bridged, "student after the bridge")}
        arms = [
            Arm(
                name=f"raw {role}",
                title=f"the {role} before any label",
                group="model",
                seed=self._seed,
                stages=(),
                endpoint=raw[role],
                evaluation={},
            )
            for role in RL_ROUTES
        ]
        return Pilot(self._builder.graph(arms), nodes)

    def _learned(self, route: Route, role: str, raw: Mapping[str, str]) -> str:
        """A tenth of a route's first stage, and no more passes over the pilot's problems than it makes over its pool.

        The second limit keeps a pilot on 128 problems from learning them by heart where the pool has thousands.
        """
        step = route.steps[0]
        stage = self._recipe.stage(route, step)
        passes = self._recipe.settings(stage.name, step).epochs
        return self._train(route, role, self._shortened(stage, RL_SHARE, most=passes), raw)

    def _bridged(self, raw: Mapping[str, str]) -> str:
        """The raw student after the first part of each stage of R3's bridge, from the teacher of `raw`."""
        models = dict(raw)
        for step in (step for step in R3.steps if R3.role(step) == "student"):
            stage = self._shortened(self._recipe.stage(R3, step), BRIDGE_SHARE, most=BRIDGE_PASSES)
            models["student"] = self._train(R3, "student", stage, models)
        return models["student"]

    def _train(self, route: Route, role: str, stage: Stage, models: Mapping[str, str]) -> str:
        return self._builder.train(Work(route, stage, role), self._seed, models)

    def _shortened(self, stage: Stage, share: float, most: int) -> Stage:
        """The stage with a share of its updates, on the pilot's problems: at most `most` passes over them.

        Its batches are the recipe's, or smaller where these do not divide the pilot's problems.
        """
        batch = max(size for size in range(1, stage.schedule.problems + 1) if self._problems % size == 0)
        updates = min(ceil(share * stage.updates), most * self._problems // batch)
        schedule = Schedule(updates=updates, problems=batch, order=stage.schedule.order)
        return stage.model_copy(update={"pool": PILOT, "schedule": schedule})

    def _pass_rate(self, model: str, who: str) -> str:
        recipe = self._recipe
        settings = {
            "pool": self._pool.digests[PILOT],
            "labels": self._builder.data.label_digest,
            "grading": grading_identity(recipe.problems.grading),
            "samples": SAMPLES,
            "temperature": recipe.temperature,
            "max_response_tokens": recipe.max_response_tokens,
            "engine": recipe.engine.numerics,
        }
        return self._builder.add(
            Node(
                kind="pass-rate",
                title=f"pass rate of the {who}",
                seed=self._seed,
                parents={"model": model},
                settings=settings,
                pool=PILOT,
                problems=self._problems,
            )
        )
