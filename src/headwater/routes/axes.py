"""A route along an axis: the same stages with another teacher, under a name that says which.

`R3-full` with the model qwen3-14b as its teacher is `R3-full-qwen3-14b`; `R1-qwen3-14b` is direct GRPO on that model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.errors import nearest
from headwater.routes.methods import TABLE
from headwater.routes.stages import Step
from headwater.routes.table import ALL, BY_NAME, DEFAULT, PAPER, R1, Route


def is_taught(route: Route) -> bool:
    """Whether the recipe's teacher has a part in it."""
    rows = [TABLE[step.stage] for step in route.steps]
    asks = any(row.learner == "teacher" or row.sampler.writer or row.signal.teachers for row in rows)
    return asks and route.teacher == "teacher"


def with_teacher(route: Route, model: str) -> Route:
    """The route with another of the recipe's models as its teacher; as it is where it has none."""
    if model == "teacher" or not is_taught(route):
        return route
    title = f"{route.title} ({model})"
    return route.rename(f"{route.name}-{model}", title).model_copy(update={"teacher": model})


def direct(model: str) -> Route:
    """Direct GRPO on a model other than the student: the very stage that makes it an RL'd teacher on the whole pool."""
    step = Step(stage="teacher-rl", pool="pool", learner="student")
    return Route(name=f"{R1.name}-{model}", title=f"direct GRPO on {model}", student=model, steps=(step,))


def chosen(routes: Sequence[str] | str, models: Iterable[str]) -> tuple[Route, ...]:
    """The routes of a group, or of these names. Raises ValueError for a name that is unknown or stands twice.

    Args: models: the recipe's, by name. "paper" is the arms of the paper's tables, with direct GRPO on each model.
    """
    larger = [model for model in models if model != "student"]
    groups = {"default": DEFAULT, "all": ALL, "paper": (*PAPER, *map(direct, larger))}
    if isinstance(routes, str):
        return groups[routes]
    found: dict[str, Route] = {}
    for name in routes:
        if name in found:
            raise ValueError(f"routes: two arms are called {name!r}; give each a name of its own")
        route = named(name, larger)
        if route is None:
            raise ValueError(
                f"routes: no route {name!r}{nearest(name, BY_NAME)}; allowed: {', '.join(groups)}, or of "
                f"{', '.join(BY_NAME)}, each with -MODEL for another of the models"
            )
        found[name] = route
    return tuple(found.values())


def named(name: str, models: Iterable[str]) -> Route | None:
    """The route of this name, with whatever model in its place; None where there is none."""
    bases = ((BY_NAME.get(name.removesuffix(f"-{model}")), model) for model in models)
    made = (direct(model) if base == R1 else with_teacher(base, model) for base, model in bases if base is not None)
    return BY_NAME.get(name) or next((route for route in made if route.name == name), None)


def along(routes: Iterable[Route], teachers: Sequence[str]) -> tuple[Route, ...]:
    """Every route once for each teacher; those without one stay as they are."""
    made = (with_teacher(route, model) for model in teachers for route in routes)
    return tuple({route.name: route for route in made}.values())
