"""Arms may differ in any setting of a stage, and a contrast must say so: limit, rate, samples, signal, sampler."""

from __future__ import annotations

import pytest

from headwater.errors import ContrastError, InputError
from headwater.loop import Stage
from headwater.plan import build_graph
from headwater.plan.cost import Costs
from micro import micro

STAGE = "on-policy-distillation"
DIFFERENT = {
    # what an arm sets otherwise: what its contrast must declare
    "sampler: {max_response_tokens: 9}": f"{STAGE}.sampler.max_response_tokens",
    "optimiser: {learning_rate: 5.0e-4}": f"{STAGE}.optimiser.learning_rate",
    "samples: 4": f"{STAGE}.samples",
    "epochs: 3": f"{STAGE}.epochs",
    "rollout_problems: 8": f"{STAGE}.rollout_problems",
    "passes: 2": f"{STAGE}.passes",
    "signal: {direction: jsd}": f"{STAGE}.signal.direction",
    "signal: {kind: imitation}": f"{STAGE}.signal",
    "sampler: {kind: recorded}": f"{STAGE}.sampler",
}


def arm(settings: str, declares: str) -> list[str]:
    """R3-full with one stage set otherwise, and its contrast with R3-full."""
    steps = f"{{stage: teacher-rl}}, {{stage: warm-up}}, {{stage: {STAGE}, settings: {{{settings}}}}}"
    return [
        "routes=[R3-full]",
        f"arms=[{{name: mine, steps: [{steps}]}}]",
        f"contrasts=[{{name: c, treatment: mine, control: R3-full, declares: [{declares}]}}]",
    ]


def stages(settings: str, declares: str) -> tuple[Stage, Stage]:
    """The stage in which they differ, of the arm and of R3-full."""
    recipe = micro(*arm(settings, declares))
    routes = recipe.routes_by_name()
    mine, usual = (recipe.stage(routes[name], routes[name].steps[-1]) for name in ("mine", "R3-full"))
    return mine, usual


@pytest.mark.parametrize("settings", DIFFERENT)
def test_an_arm_differs_in_what_it_sets_and_in_nothing_else(settings: str) -> None:
    mine, usual = stages(settings, DIFFERENT[settings])
    changed = [name for name in Stage.model_fields if getattr(mine, name) != getattr(usual, name)]
    assert len(changed) == 1
    assert build_graph(micro(*arm(settings, DIFFERENT[settings]))).nodes


@pytest.mark.parametrize("settings", DIFFERENT)
def test_a_contrast_that_does_not_say_so_is_refused_and_told_what_it_is(settings: str) -> None:
    with pytest.raises(ContrastError) as refused:
        micro(*arm(settings, "teacher"))
    assert f"differ in {DIFFERENT[settings]}." in str(refused.value)


def test_the_plan_counts_an_arms_own_length() -> None:
    graph = build_graph(micro(*arm("sampler: {max_response_tokens: 7}", f"{STAGE}.sampler.max_response_tokens")))
    costs = [Costs(graph).of(name) for name, node in graph.nodes.items() if node.title.startswith(STAGE)]
    assert sorted(cost.trained for cost in costs) == [16 * 2 * 7, 16 * 2 * 14]


def test_a_prompt_limit_is_one_for_all_arms() -> None:
    with pytest.raises(InputError, match="max_prompt_tokens: one for all arms"):
        micro(*arm("max_prompt_tokens: 3", "teacher"))
