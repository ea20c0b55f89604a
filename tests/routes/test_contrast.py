"""Contrasts: two arms may differ in what is declared, in all of it, and in nothing else."""

import pytest

from headwater.errors import ContrastError
from headwater.routes.contrast import CONTRASTS, Contrast, check, declared_for, differences
from headwater.routes.stages import Step
from headwater.routes.table import ALL, BY_NAME, DEFAULT, Route

STAGES = Step.model_fields["stage"].annotation.__args__


def edits(arm, other, declared):
    """Every single change of an arm in a field that is not declared to differ, with what it is called.

    Left out: what a stage that only one arm has is run on, since "+stage" declares that stage as it is.
    """
    shared = {step.stage for step in arm.steps} & {step.stage for step in other.steps}
    own = {step.stage for step in arm.steps}

    def changed(steps):
        return Route(name=arm.name, teacher=arm.teacher, steps=tuple(steps))

    yield "other teacher", arm.model_copy(update={"teacher": {"teacher": "student", "student": "teacher"}[arm.teacher]})
    for place, step in enumerate(arm.steps):
        rest = [*arm.steps[:place], *arm.steps[place + 1 :]]
        if rest:
            yield f"without {step.stage}", changed(rest)
        yield f"{step.stage} twice", changed([*arm.steps, step])
        if step.stage in shared and f"{step.stage}.budget" not in declared:
            yield f"{step.stage} with twice the budget", arm.edit(step.stage, budget=2 * step.budget)
        if step.stage in shared and f"{step.stage}.pool" not in declared:
            for pool in sorted({"pool", "1H", "2H"} - {step.pool}):
                yield f"{step.stage} on {pool}", arm.edit(step.stage, pool=pool)
        if place and {step.stage, arm.steps[place - 1].stage} <= shared:
            yield "order", changed([*arm.steps[: place - 1], step, arm.steps[place - 1], *arm.steps[place + 1 :]])
    for stage in STAGES:
        if stage not in own:
            yield f"with {stage}", changed([*arm.steps, Step(stage=stage)])


BY_CONTRAST = {contrast.name: contrast for contrast in CONTRASTS}
SHIPPED = pytest.mark.parametrize("name", BY_CONTRAST)


@SHIPPED
def test_every_shipped_contrast_passes(name):
    check([BY_CONTRAST[name]], BY_NAME)


@SHIPPED
@pytest.mark.parametrize("side", ["treatment", "control"])
def test_any_single_undeclared_edit_of_an_arm_is_refused(name, side):
    contrast = BY_CONTRAST[name]
    arm = BY_NAME[getattr(contrast, side)]
    other = BY_NAME[contrast.control if side == "treatment" else contrast.treatment]
    tried = list(edits(arm, other, contrast.declares))
    assert len(tried) >= 6
    for what, edited in tried:
        with pytest.raises(ContrastError) as refused:
            check([contrast], {**BY_NAME, arm.name: edited})
            pytest.fail(f"{side} {what} was let through")
        assert name in str(refused.value)


@SHIPPED
def test_a_declared_difference_that_is_absent_is_refused(name):
    contrast = BY_CONTRAST[name]
    for extra in ("teacher", "order", "student-rl.budget", "-teacher-sft", "+student-rl", "+typo"):
        if extra not in contrast.declares:
            more = contrast.model_copy(update={"declares": (*contrast.declares, extra)})
            with pytest.raises(ContrastError, match=extra.replace("+", r"\+")):
                check([more], BY_NAME)


@SHIPPED
def test_a_difference_that_is_not_declared_is_refused_and_named(name):
    contrast = BY_CONTRAST[name]
    for left_out in contrast.declares:
        fewer = tuple(declared for declared in contrast.declares if declared != left_out) or ("nothing else",)
        with pytest.raises(ContrastError) as refused:
            check([contrast.model_copy(update={"declares": fewer})], BY_NAME)
        message = str(refused.value)
        assert left_out in message.split("differ in")[1]
        assert contrast.treatment in message
        assert contrast.control in message
        assert "\n" not in message


@pytest.mark.parametrize("side", ["treatment", "control"])
def test_an_unknown_arm_is_refused_with_those_there_are(side):
    unknown = CONTRASTS[0].model_copy(update={side: "R9"})
    with pytest.raises(ContrastError, match=r"no arm R9; there are .*R1"):
        check([unknown], BY_NAME)


def test_an_arm_against_itself_differs_in_nothing():
    for route in ALL:
        assert differences(route, route) == ()
    same = Contrast(name="same", treatment="R1", control="R1", declares=("teacher",))
    with pytest.raises(ContrastError, match="differ in nothing"):
        check([same], BY_NAME)


def test_a_difference_read_the_other_way_round_has_the_other_sign():
    flipped = {"+": "-", "-": "+"}
    for treatment in ALL:
        for control in ALL:
            there = {d.replace(d[0], flipped.get(d[0], d[0]), 1) for d in differences(treatment, control)}
            assert there == set(differences(control, treatment))


def test_no_two_routes_look_alike():
    for one in ALL:
        for other in ALL:
            same = one.teacher == other.teacher and one.steps == other.steps
            assert same or one is other or differences(one, other)


def test_a_stage_that_occurs_twice_is_a_difference():
    once = BY_NAME["R1"]
    again = Route(name="twice", steps=(*once.steps, Step(stage="student-rl", pool="1H")))
    assert differences(again, once) == ("+student-rl#2",)
    later = Route(name="later", steps=(*once.steps, Step(stage="student-rl", pool="2H")))
    assert differences(again, later) == ("student-rl#2.pool",)


def test_the_papers_contrasts_need_both_of_their_arms():
    arms = {route.name: route for route in DEFAULT}
    chosen = declared_for(arms)
    assert chosen
    assert all({c.treatment, c.control} <= arms.keys() for c in chosen)
    assert declared_for(BY_NAME) == CONTRASTS
    assert declared_for({"R1": BY_NAME["R1"]}) == ()
    assert len({contrast.name for contrast in CONTRASTS}) == len(CONTRASTS)
    assert all(contrast.question.endswith("?") for contrast in CONTRASTS)
