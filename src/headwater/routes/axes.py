"""A route along an axis: the same stages with another teacher or fewer labels, under a name that says which.

`R3-full` with the model qwen3-14b as its teacher is `R3-full-qwen3-14b`; `R1-qwen3-14b` is direct GRPO on that model;
`R3-full-64` has 64 labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.errors import nearest
from headwater.routes.methods import TABLE
from headwater.routes.stages import Step
from headwater.routes.table import ALL, BY_NAME, DEFAULT, PAPER, R1, Route


def is_taught(route: Route) -> bool:
    """Whether the recipe's teacher has a part in it."""
    rows = [(route.role(step), TABLE[step.stage]) for step in route.steps]
    asks = any(role == "teacher" or row.sampler.writer or row.signal.teachers for role, row in rows)
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


def with_labels(route: Route, labels: int | None) -> Route:
    """The route on a nested pool of so many labels; as it is where it reads none, or for None."""
    rows = (TABLE[step.stage] for step in route.steps)
    if labels is None or not any(row.sampler.reads_labels or row.signal.reads_labels for row in rows):
        return route
    title = f"{route.title} ({labels} labels)"
    return route.rename(of_size(route.name, labels), title).model_copy(update={"labels": labels})


def of_size(name: str, labels: int | None) -> str:
    """An arm's name with its number of labels; None: the whole pool."""
    return name if labels is None else f"{name}-{labels}"


def family(route: Route) -> str:
    """The name that a route has on the whole pool."""
    return route.name if route.labels is None else route.name.removesuffix(of_size("", route.labels))


def pool_of(route: Route, step: Step) -> str:
    """The pool that a step is run on, as `problems.pools` calls it."""
    return step.pool if route.labels is None or step.pool == "prompts" else f"{step.pool} of {route.labels}"


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
                f"{', '.join(BY_NAME)}, each with -MODEL for another of the models and -N for N labels"
            )
        found[name] = route
    return tuple(found.values())


def named(name: str, models: Sequence[str]) -> Route | None:
    """The route of this name, with whatever model and number of labels; None where there is none."""
    base, _, size = name.rpartition("-")
    if size.isdecimal() and (whole := named(base, models)) is not None:
        found = with_labels(whole, int(size))
        return found if found.name == name else None
    bases = ((BY_NAME.get(name.removesuffix(f"-{model}")), model) for model in models)
    made = (direct(model) if base == R1 else with_teacher(base, model) for base, model in bases if base is not None)
    return BY_NAME.get(name) or next((route for route in made if route.name == name), None)


def along(routes: Iterable[Route], teachers: Sequence[str], labels: Sequence[int]) -> tuple[Route, ...]:
    """Every route once for each teacher, on the whole pool and with each of these numbers of labels.

    One without a teacher, or that reads no label, stays as it is.
    """
    taught = [with_teacher(route, model) for model in teachers for route in routes]
    made = (with_labels(route, size) for size in (None, *labels) for route in taught)
    return tuple({route.name: route for route in made}.values())
