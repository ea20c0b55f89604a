"""The recipe: one frozen, validated value that says everything a run does.

A user writes it in YAML or Python; `read_recipe` gives one line with file, key, found and allowed when it is
wrong. A recipe holds names and numbers, never live things: it can be hashed, compared and sent away.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from yaml import YAMLError

from headwater.data.source import ProblemSource, source_model
from headwater.engines.settings import EngineSettings
from headwater.errors import ContrastError, InputError, nearest
from headwater.guard import Guard
from headwater.loop import Schedule, Stage, Validation
from headwater.models.choice import Count, ModelChoice
from headwater.recording import Recording
from headwater.routes import axes, batches, document, methods
from headwater.routes import contrast as contrasts
from headwater.routes.contrast import Contrast
from headwater.routes.settings import Evaluation, Stages, StageSettings
from headwater.routes.shipped import recipe_text, shipped
from headwater.routes.stages import Step
from headwater.routes.table import Route
from headwater.signals import Divergence, Reward
from headwater.value import Value

RESERVED = ("student", "teacher", "start", "recorded", "writer")
"""Names of models that mean something already."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
RUN_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$"


class Recipe(Value):
    """Everything a run does."""

    name: str = Field("lab", pattern=RUN_NAME, description="the run's folder")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one full repetition each")
    student: ModelChoice = Field(ModelChoice(), description="the small model that will be deployed")
    teacher: ModelChoice = Field(ModelChoice(), description="the strong model that can use a sparse reward")
    models: dict[str, ModelChoice] = Field({}, description="other models by name, for routes and signals that say so")
    problems: ProblemSource = Field(ProblemSource(), description="labels and benchmark")
    cached_samples: Count = Field(8, description="teacher rollouts a problem, recorded for the offline stages")
    temperature: float = Field(1.0, gt=0, description="of all training rollouts and their scoring")
    max_response_tokens: Count = Field(14, description="a response is cut there")
    reward: Reward = Field(Reward(), description="GRPO in both RL stages")
    distillation: Divergence = Field(Divergence(direction="reverse"), description="signal of OPD")
    cache: Recording = Field(Recording(), description="what is kept of the teacher's recorded distributions")
    stages: Stages = Field(Stages(), description="numbers of the six stages")
    validation: Validation | None = Field(None, description="how stages are watched on problems.validation; null: not")
    evaluation: Evaluation = Field(Evaluation(), description="how arms are measured")
    engine: EngineSettings = Field(EngineSettings(), description="device, precision and memory, one for the whole run")
    guard: Guard = Field(Guard(), description="when a collapsing stage is stopped; changes no result")
    routes: tuple[str, ...] | Literal["default", "all", "paper"] = Field("default", description="arms by name")
    teachers: tuple[str, ...] = Field(
        ("teacher",), min_length=1, description="models that teach, by name: these arms are made with each"
    )
    labels: tuple[Count, ...] = Field((), description="nested pools: arms that read labels are made with so many too")
    arms: tuple[Route, ...] = Field((), description="arms of your own")
    contrasts: tuple[Contrast, ...] = Field((), description="contrasts of your own, beside the paper's")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        """Arithmetic that cannot work is refused here, before anything is spent."""
        kind, labelled = self.problems.kind, self.problems.labelled
        for name, model in self.all_models.items():
            if kind != "arithmetic" and model.path is None:
                place = name if name in RESERVED else f"models.{name}"
                raise ValueError(
                    f"{place}.path: a model made here speaks the arithmetic task alone; give a model for {kind}"
                )
        trained = None if labelled is None else labelled - self.problems.validation
        if trained is not None and trained % 2:
            kept = f", less {self.problems.validation} of validation," if self.problems.validation else ""
            raise ValueError(f"problems.labelled: {labelled}{kept} cannot be halved; use an even number")
        if bool(self.problems.validation) != (self.validation is not None):
            raise ValueError(
                "validation: give both how stages are watched here, and how many labels for it: problems.validation"
            )
        asked = (*self.labels, *(route.labels for route in self.arms if route.labels is not None))
        unfit = next((n for n in asked if n % 2 or n > (trained or n)), None)
        if unfit is not None:
            raise ValueError(f"labels: {unfit}; use even numbers, and at most the {trained} of the pool")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names a seed twice; each repetition needs a seed of its own")
        wrong = [name for name in self.models if name in RESERVED or not MODEL_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"models: the name {wrong[0]!r:.60}; allowed: letters, digits and -, not one in use")
        unknown = next((name for name in self.teachers if name not in self.all_models), None)
        if unknown is not None:
            raise ValueError(f"teachers: no model {unknown!r:.60}; there are {', '.join(self.all_models)}")
        for route in self.routes_by_name().values():
            self._models_are_known(route)
            for step in route.steps if labelled is not None else ():
                self._schedule(route, step)
        return self

    def _models_are_known(self, route: Route) -> None:
        named = (route.teacher, route.student, *(step.learner for step in route.steps if step.learner))
        unknown = [name for name in named if name not in self.all_models]
        if unknown:
            near = nearest(unknown[0], self.all_models)
            raise ValueError(
                f"arms: {route.name} names the model {unknown[0]!r:.60}{near}; there are {', '.join(self.all_models)}"
            )

    @property
    def all_models(self) -> dict[str, ModelChoice]:
        """Every model by name: student, teacher and the others."""
        return {"student": self.student, "teacher": self.teacher, **self.models}

    def sized(self, available: int) -> Recipe:
        """This recipe with its number of labels written out: of all that there are, as many as fill whole batches.

        A label is left out rather than a batch cut short: every stage, on the pool and on a half, keeps batches of
        one size, and no batch holds a problem twice. Raises InputError when there are too few for one.
        """
        if self.problems.labelled is not None:
            return self
        stages = [getattr(self.stages, name) for name in type(self.stages).model_fields]
        sizes = [batches.of_rollouts(stage) for stage in stages]
        unit = math.lcm(*(2 * problems for problems in sizes))
        if available - self.problems.validation < unit:
            raise InputError(
                f"recipe {self.name}: problems.labelled: {available} problems are there, and batches of "
                f"{', '.join(map(str, sorted(set(sizes))))} problems on two halves need a multiple of {unit}; give a "
                "number, smaller batches or more problems"
            )
        labelled = available - (available - self.problems.validation) % unit
        return self.model_copy(update={"problems": self.problems.model_copy(update={"labelled": labelled})})

    def _schedule(self, route: Route, step: Step) -> Schedule:
        """A step's updates and batches: its own updates, and those of the stages that it replaces.

        On a nested pool it makes the updates that it makes on the whole one, in batches that fit.
        """
        key, size = f"stages.{step.stage.replace('-', '_')}", self._size(step, route.labels)
        settings = self.settings(step.stage, step)
        whole = self._size(step, None)
        total = step.budget * batches.updates(settings, whole)
        total += sum(batches.updates(self.settings(stage), whole) for stage in step.replaces)
        if route.labels is not None:
            settings = batches.fitted(settings, size)
        batches.refuse_unfit(settings, size, key, f"{step.pool} of {route.name}")
        batches.refuse_broken(settings, total, key, route.name)
        drawn = batches.of_rollouts(settings)
        return Schedule(
            updates=total,
            problems=settings.problems,
            rollout_problems=None if drawn == settings.problems else drawn,
            passes=settings.passes,
        )

    def _size(self, step: Step, labels: int | None) -> int:
        """Problems of a step's pool, or of the nested one with so many labels."""
        source = self.problems
        if source.labelled is None:
            raise ValueError("problems.labelled: not yet known; `sized` writes it out")
        whole = source.labelled - source.validation
        if step.pool == "prompts":
            return source.unlabelled or whole
        return (labels or whole) // (1 if step.pool == "pool" else 2)

    def settings(self, stage: str, step: Step | None = None) -> StageSettings:
        """The numbers that belong to a stage, with what a step of an arm sets otherwise. Raises ValueError."""
        usual: StageSettings = getattr(self.stages, stage.replace("-", "_"))
        if step is None or not step.settings:
            return usual
        if "max_prompt_tokens" in step.settings:
            raise ValueError(f"arms: {stage}.settings.max_prompt_tokens: one for all arms; set it under stages")
        try:
            whole = methods.merged(usual.model_dump(mode="json"), step.settings)
            return StageSettings.model_validate_json(json.dumps(whole))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise ValueError(f"arms: {stage}.settings.{key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error

    def routes_by_name(self) -> dict[str, Route]:
        """Every arm of the run. Raises ValueError for an unknown or repeated name."""
        whole = self.problems.labelled
        sizes = [size for size in self.labels if whole is None or size != whole - self.problems.validation]
        chosen = axes.along(axes.chosen(self.routes, self.all_models), self.teachers, sizes)
        names = [route.name for route in (*chosen, *self.arms)]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated:
            raise ValueError(f"arms: two arms are called {repeated!r}; give each a name of its own")
        return {route.name: route for route in (*chosen, *self.arms)}

    def all_contrasts(self) -> tuple[Contrast, ...]:
        """The paper's contrasts that these arms allow, and the recipe's own; checked. Raises ContrastError."""
        arms = self.routes_by_name()
        chosen = (*contrasts.declared_for(arms), *self.contrasts)
        contrasts.check(chosen, arms)
        for contrast in chosen if self.problems.labelled is not None else ():
            ours, theirs = (self._student_updates(arms[arm]) for arm in (contrast.treatment, contrast.control))
            if contrast.equal_updates and ours != theirs:
                raise ContrastError(
                    f"contrast {contrast.name!r}: declares equal updates, but the student makes {ours} in "
                    f"{contrast.treatment} and {theirs} in {contrast.control}. Choose epochs under stages so that "
                    "the two agree."
                )
        return chosen

    def _student_updates(self, route: Route) -> int:
        steps = (self.as_run(route, step) for step in route.steps if route.role(step) == "student")
        return sum(self._schedule(route, step).updates for step in steps)

    def as_run(self, route: Route, step: Step) -> Step:
        """A step with the stage that it is: what the student's own model learns as a teacher is the student's stage."""
        if route.role(step) != "teacher" or route.teacher != "student":
            return step
        return step.model_copy(update={"stage": methods.twin(step.stage)})

    def stage(self, route: Route, step: Step) -> Stage:
        """A step with this recipe's numbers: what the loop runs. Runs the code of a user's own methods."""
        step = self.as_run(route, step)
        row, settings = methods.TABLE[step.stage], self.settings(step.stage, step)
        place = f"stages.{step.stage.replace('-', '_')}"
        numbers = {
            "samples": settings.samples,
            "temperature": self.temperature,
            "max_response_tokens": self.max_response_tokens,
        }
        signal = getattr(self, row.shared) if row.shared else row.signal
        return Stage(
            name=step.stage,
            learner=row.learner,
            sampler=methods.edited_sampler(row.sampler, numbers, settings.sampler, f"{place}.sampler"),
            signal=methods.edited_signal(signal, settings.signal, f"{place}.signal", (self.reward, self.distillation)),
            pool=axes.pool_of(route, step),
            schedule=self._schedule(route, step),
            optimiser=settings.optimiser,
            validation=self.validation,
        )

    def own_methods(self) -> dict[str, str]:
        """path.py:Class -> SHA-256 of the file, of every method of a user's own in this recipe's arms."""
        found: dict[str, str] = {}
        for route in self.routes_by_name().values():
            for step in (self.as_run(route, step) for step in route.steps):
                settings = self.settings(step.stage, step)
                found |= methods.own_methods({"sampler": settings.sampler, "signal": settings.signal})
        return found


def read_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a YAML file, with dotted overrides such as `stages.student_rl.epochs=10`.

    Raises InputError: one line with file, line, key, what was found and what is allowed.
    """
    text = recipe_text(source) if source in shipped() else _file_text(source)
    data = _parse(source, text)
    for override in overrides:
        _override(data, override)
    return validate_recipe(data, source, text, overrides)


def validate_recipe(data: dict[str, Any], source: str, text: str = "", overrides: Sequence[str] = ()) -> Recipe:
    """Plain data as a Recipe. Raises InputError naming the first wrong key, and the override that set it."""
    try:
        recipe = Recipe.model_validate_json(json.dumps(data))
        recipe.all_contrasts()
    except ValidationError as error:
        raise InputError(_one_line(source, text, overrides, error)) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"recipe {source}: {error}") from error
    except InputError as error:
        raise type(error)(f"recipe {source}: {error}") from error
    return recipe


def _file_text(source: str) -> str:
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"recipe {source!r:.200}{nearest(source, shipped())}: cannot be read as UTF-8 text ({reason}); "
            "give a YAML file or one of "
            f"{', '.join(shipped())}"
        ) from error


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        data = document.plain_data(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(
            f"recipe {source}{line}: not YAML ({_problem(error)}); `headwater init lab` writes a valid file"
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            f"recipe {source}: found {type(data).__name__}, expected a mapping of keys such as name, seeds"
        )
    return data


def _problem(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or type(error).__name__).split())


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *parents, last = key.split(".")
    if not equals or not all((*parents, last)):
        raise InputError(f"override {override!r}: expected key=value, such as stages.student_rl.epochs=10")
    place = data
    for part in parents:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise InputError(f"override {override!r}: {part} is not a group of keys")
    try:
        place[last] = document.plain_data(value)
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"override {override!r:.200}: the value is not YAML ({_problem(error)}); quote it") from error


_UNION = ("literal[", "tuple[", "[", "bool")
"""How pydantic names a member of a union inside a place; no key of a recipe begins so."""


def _one_line(source: str, text: str, overrides: Sequence[str], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"] if not str(part).startswith(_UNION)]
    message = first["msg"].removeprefix("Value error, ")
    # A check of the whole recipe names its key at the start of its message.
    key = ".".join(place) or message.partition(":")[0]
    line = document.line_of(text, key.split("."))
    where = f"{source}{f', line {line}' if line else ''}"
    override = next((o for o in overrides if f"{key}.".startswith(f"{o.partition('=')[0]}.")), None)
    if override is not None:
        where = f"{source}, override {_brief(override)}"
    if first["type"] == "extra_forbidden":
        beside = _keys_beside(first["loc"])
        return f"recipe {where}: unknown key {key}{nearest(place[-1], beside)}; allowed here: {', '.join(beside)}"
    if not place:
        return f"recipe {where}: {message}"
    return f"recipe {where}: {key} = {_brief(first['input'])}; {message[:1].lower()}{message[1:]}"


def _brief(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=True)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys_beside(place: Sequence[str | int]) -> list[str]:
    """The keys that are allowed where this one stands."""
    kind: type[BaseModel] = Recipe
    for part in map(str, place[:-1]):
        if part.startswith("["):
            kind = source_model(part)
        elif part in kind.model_fields:
            kind = next(_models(kind.model_fields[part].annotation), kind)
    return list(kind.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's annotation speaks of: of `tuple[Route, ...]` it is Route."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
