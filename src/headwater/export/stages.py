"""An arm's stages as another trainer needs them: who learns, from which model on, on which rows, with which numbers.

Left out: what a trainer of another house has no place for. Whoever writes for one names it (`Written.notes`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.data.problems import RunData
from headwater.errors import InputError, nearest
from headwater.folder import RunFolder, begun
from headwater.loop import Stage
from headwater.optimiser import Optimiser
from headwater.plan import build_graph
from headwater.records import Problem
from headwater.routes import axes
from headwater.routes.recipe import Recipe
from headwater.routes.table import Route
from headwater.store import run_folder

ROLES = ("teacher", "student")
TOKENS_A_PASS = 2**15
"""Response tokens at most of one forward and backward pass, where a trainer asks for a micro-batch: a start, to be
raised as far as memory goes."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stage of the arm."""

    role: str
    """who learns: student or teacher"""
    stage: Stage
    number: int

    @property
    def folder(self) -> str:
        """Where its model goes, under the results."""
        return f"{self.number}-{self.stage.name}"

    @property
    def rollouts(self) -> int:
        """Responses of one update."""
        return self.stage.schedule.problems * self.stage.sampler.samples

    @property
    def pool(self) -> str:
        """Its rows' file, without the suffix."""
        return self.stage.pool.replace(" ", "-")

    def line(self) -> str:
        """What it is, in a line."""
        schedule = self.stage.schedule
        return (
            f"{self.stage.name} on {self.stage.pool}, {self.role}: {schedule.updates} updates of {schedule.problems} "
            f"problems, {self.stage.sampler.samples} responses each"
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An arm of a recipe at one seed."""

    recipe: Recipe
    """with its number of labels written out"""
    route: Route
    seed: int
    data: RunData
    parts: tuple[Part, ...]
    models: dict[str, str]
    """role -> directory or hub id of the raw model"""

    def template(self, role: str) -> dict[str, Any]:
        """Arguments of the chat template."""
        return self.recipe.all_models[getattr(self.route, role)].template


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, how to run it, and what is not in it."""

    command: str
    notes: Sequence[str]

    def __str__(self) -> str:
        return "\n".join([self.command, *(f"note: {note}" for note in self.notes)])


def exported(recipe: Recipe, arm: str | None, seed: int | None, runs: Path) -> Exported:
    """An arm of a recipe, a route of the paper, or the headline's arm; the raw models of its run where it makes them.

    Raises InputError for an arm or seed that is not there, another learner than teacher and student, or models that are
    not made yet.
    """
    routes = recipe.routes_by_name()
    contrasts = recipe.all_contrasts()
    name = arm or (contrasts[0].treatment if contrasts else next(iter(routes)))
    route = routes.get(name) or axes.named(name, [model for model in recipe.all_models if model != "student"])
    if route is None:
        raise InputError(f"export: no arm {name!r:.60}{nearest(name, routes)}; there are {', '.join(routes)}")
    chosen = recipe.seeds[0] if seed is None else seed
    if chosen not in recipe.seeds:
        raise InputError(f"export: no seed {chosen}; the recipe has {', '.join(map(str, recipe.seeds))}")
    others = [route.role(step) for step in route.steps if route.role(step) not in ROLES]
    if others:
        raise InputError(f"export: {name} trains {others[0]}; only arms of one teacher and one student can be written")
    graph = build_graph(recipe)
    parts = tuple(
        Part(role=route.role(step), stage=graph.recipe.stage(route, step), number=number)
        for number, step in enumerate(route.steps, 1)
    )
    models = {role: _place(graph.recipe, getattr(route, role), chosen, runs) for role in ROLES}
    return Exported(recipe=graph.recipe, route=route, seed=chosen, data=graph.data, parts=parts, models=models)


def _place(recipe: Recipe, model: str, seed: int, runs: Path) -> str:
    """Where a raw model lies: what the recipe says, or what its run has made and handed out."""
    path = recipe.all_models[model].path
    if path is not None:
        return str(Path(path).resolve()) if Path(path).exists() else path
    root = run_folder(runs, recipe.name)
    if not begun(root):
        raise InputError(
            f"export: {model} is made by the run {recipe.name}, which has not begun; `headwater run` first, or give "
            f"{model}.path"
        )
    folder = RunFolder(root)
    return str(folder.model(folder.arm(f"raw {model}", seed)).resolve())


def rows_by_pool(arm: Exported) -> dict[str, list[dict[str, Any]]]:
    """The rows of every pool of the arm, by its file: prompts, with their answers where a stage reads them."""
    read = {part.pool for part in arm.parts if part.stage.reads_labels}
    problems = {part.pool: arm.data.problems(part.stage.pool, arm.seed) for part in arm.parts}
    return {pool: rows_of(found, arm.data.answers if pool in read else None) for pool, found in problems.items()}


def rows_of(problems: Sequence[Problem], answers: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Problems as rows: prompt (text, or messages) and, where there are answers, answer."""
    found: list[dict[str, Any]] = []
    for problem in problems:
        prompt = problem.prompt
        chat = prompt if isinstance(prompt, str) else [{"role": m.role, "content": m.content} for m in prompt]
        found.append({"prompt": chat, **({} if answers is None else {"answer": answers[problem.problem_id]})})
    return found


def a_pass(part: Part, longest: int) -> int:
    """Responses of one forward and backward pass: as many of an update as are at most `TOKENS_A_PASS` tokens."""
    most = max(1, TOKENS_A_PASS // longest)
    return max(n for n in range(1, min(part.rollouts, most) + 1) if part.rollouts % n == 0)


def warm_up(optimiser: Optimiser, updates: int) -> int:
    """Updates over which the rate rises."""
    return math.ceil(optimiser.warmup_share * updates)


KEPT = "reward.zero_variance: groups of equal rewards stay in the batch, for their KL to the reference"


def common_notes(arm: Exported) -> list[str]:
    """What no other trainer has a place for."""
    found = [
        "nobody counts who reads which label there: headwater's ledger is of its own runs",
        "problems come in the other trainer's order, which its seed shuffles",
    ]
    if any(part.stage.validation for part in arm.parts):
        found.append("validation: a stage is not watched on labels kept for it, and its last weights are its result")
    if any(arm.recipe.all_models[getattr(arm.route, role)].stop_ids for role in ROLES):
        found.append("stop_ids: put them into the models' generation_config.json as eos_token_id")
    if any(arm.recipe.all_models[getattr(arm.route, role)].quantise for role in ROLES):
        found.append("quantise: the model is opened there in all its bits")
    if any(arm.recipe.all_models[getattr(arm.route, role)].path is None for role in ROLES):
        found.append("a lab model learns some weights at rates of their own (headwater_learning_rate_scales)")
    return found
