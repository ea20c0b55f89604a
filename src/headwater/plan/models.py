"""Which of a recipe's models have a part in its run: one that no arm names is not opened, made or measured."""

from __future__ import annotations

from headwater.models.choice import ModelChoice
from headwater.routes.recipe import Recipe


def models_used(recipe: Recipe) -> dict[str, ModelChoice]:
    """The models that have a part in the run, by name: student and teacher, and others where an arm or a stage asks."""
    used = {"student", "teacher"}
    for route in recipe.routes_by_name().values():
        used |= {route.teacher, route.student, *(step.learner for step in route.steps if step.learner)}
        for stage in (recipe.stage(route, step) for step in route.steps if recipe.models):
            used |= {name.removeprefix("raw ") for name in (*stage.teachers, stage.sampler.writer or "")}
    return {name: model for name, model in recipe.all_models.items() if name in used}
