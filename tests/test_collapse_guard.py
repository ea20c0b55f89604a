"""The guard: a stage that collapses is stopped with its reason, and never for anything but patience used up."""

from __future__ import annotations

import pytest

from headwater.errors import NumericError
from headwater.guard import Guard
from headwater.records import StepRecord
from headwater.value import Value

GUARD = Guard(reference_kl=2.0, entropy=0.1, truncated=0.5, repetition=0.6, mixed_groups=0.2, patience=3)
HEALTHY = {"reference_kl": 0.1, "entropy": 1.0, "truncated": 0.0, "repetition": 0.1, "mixed_groups": 0.8}
BROKEN = {"reference_kl": 2.5, "entropy": 0.05, "truncated": 0.75, "repetition": 0.9, "mixed_groups": 0.1}


def steps(*metrics: dict[str, float]) -> list[StepRecord]:
    return [StepRecord(step=number, metrics=of_step) for number, of_step in enumerate(metrics)]


@pytest.mark.parametrize("name", BROKEN)
def test_a_limit_broken_for_all_its_patience_stops_the_stage_with_the_reason(name: str) -> None:
    broken = {**HEALTHY, name: BROKEN[name]}
    with pytest.raises(NumericError) as caught:
        GUARD.check("student-rl on 2H", steps(HEALTHY, broken, broken, broken))
    said = str(caught.value)
    assert caught.value.exit_code == 5
    assert "\n" not in said
    limit = Value.model_dump(GUARD)[name]
    for part in ("student-rl on 2H, step 3", name, f"{BROKEN[name]:g}", f"{limit:g}", "3 steps", f"guard.{name}"):
        assert part in said


@pytest.mark.parametrize("name", BROKEN)
def test_one_good_step_within_the_patience_is_enough(name: str) -> None:
    broken = {**HEALTHY, name: BROKEN[name]}
    GUARD.check("stage", steps(broken, broken, HEALTHY, broken, broken))


@pytest.mark.parametrize("name", BROKEN)
def test_a_limit_that_is_null_is_off(name: str) -> None:
    off = GUARD.model_copy(update={name: None})
    off.check("stage", steps(*[{**HEALTHY, name: BROKEN[name]}] * 9))


SIGNS = ("reference_kl", "truncated", "repetition")


@pytest.mark.parametrize("name", SIGNS)
def test_no_sign_of_a_collapse_is_believed_while_the_reward_holds(name: str) -> None:
    """As of a model whose answers come before the limit of a few tokens, and whose responses go on beyond it."""
    sign = {**HEALTHY, name: BROKEN[name]}
    GUARD.check("stage", steps(*[{**sign, "reward": 0.05 + 0.02 * step} for step in range(40)]))
    GUARD.check("stage", steps(*[{**sign, "reward": 0.5} for _ in range(40)]))


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("rewards", [[0.0] * 40, [0.1] * 10 + [0.8] * 20 + [0.3] * 10], ids=["never any", "lost again"])
def test_a_sign_is_believed_where_there_is_no_reward_or_it_is_lost(name: str, rewards: list[float]) -> None:
    sign = {**HEALTHY, name: BROKEN[name]}
    with pytest.raises(NumericError, match=name):
        GUARD.check("stage", steps(*[{**sign, "reward": reward} for reward in rewards]))


@pytest.mark.parametrize("name", ["entropy", "mixed_groups"])
def test_what_a_recipe_itself_bounds_is_bounded_whatever_the_reward(name: str) -> None:
    with pytest.raises(NumericError, match=name):
        GUARD.check("stage", steps(*[{**HEALTHY, name: BROKEN[name], "reward": 0.9} for _ in range(40)]))


def test_the_limit_itself_is_allowed() -> None:
    at_limit = {"reference_kl": 2.0, "entropy": 0.1, "truncated": 0.5, "repetition": 0.6, "mixed_groups": 0.2}
    GUARD.check("stage", steps(*[at_limit] * 9))


def test_what_a_stage_does_not_measure_cannot_stop_it() -> None:
    GUARD.check("stage", steps(*[{"loss": 1e9}] * 9))


def test_a_stage_younger_than_the_patience_goes_on() -> None:
    GUARD.check("stage", steps(BROKEN, BROKEN))
    GUARD.check("stage", [])


def test_the_defaults_let_a_healthy_stage_alone() -> None:
    Guard().check("stage", steps(*[HEALTHY] * 100))


@pytest.mark.parametrize("gap", [0.06, float("nan")])
def test_a_sampler_that_is_another_policy_stops_the_stage_at_once(gap: float) -> None:
    with pytest.raises(NumericError, match="stage, step 1: sampled logprobs are") as caught:
        GUARD.check("stage", steps(HEALTHY, {**HEALTHY, "sampler_gap": gap}))
    assert caught.value.exit_code == 5
    GUARD.check("stage", steps({**HEALTHY, "sampler_gap": 0.04}))
    GUARD.model_copy(update={"sampler_gap": None}).check("stage", steps({**HEALTHY, "sampler_gap": gap}))
