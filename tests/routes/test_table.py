"""Routes are values, and each control is an edit of the route that it controls."""

import pytest
from pydantic import ValidationError

from headwater.errors import InputError
from headwater.fingerprint import fingerprint
from headwater.routes.contrast import differences
from headwater.routes.stages import Step, student_rl, teacher_sft, warm_up
from headwater.routes.table import ALL, BY_NAME, DEFAULT, Route


def stages(name):
    return [(step.stage, step.pool, step.budget) for step in BY_NAME[name].steps]


TEACHER_RL, TEACHER_SFT, SAMPLES = "teacher-rl", "teacher-sft", "teacher-sample-sft"
WARM_UP, OPD, STUDENT_RL = "warm-up", "on-policy-distillation", "student-rl"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("R1", [(STUDENT_RL, "pool", 1)]),
        ("R1-double", [(STUDENT_RL, "pool", 2)]),
        ("R2", [(TEACHER_RL, "1H", 1), (SAMPLES, "1H", 1), (STUDENT_RL, "2H", 1)]),
        ("R3-full", [(TEACHER_RL, "pool", 1), (WARM_UP, "pool", 1), (OPD, "pool", 1)]),
        ("R5-half", [(TEACHER_RL, "1H", 1), (WARM_UP, "1H", 1), (OPD, "1H", 1), (STUDENT_RL, "2H", 1)]),
        ("R5-bridge", [(TEACHER_RL, "1H", 1), (WARM_UP, "1H", 1), (OPD, "1H", 1)]),
        ("R6", [(TEACHER_SFT, "1H", 1), (WARM_UP, "1H", 1), (OPD, "1H", 1), (STUDENT_RL, "2H", 1)]),
        ("R7", [(TEACHER_RL, "1H", 1), (WARM_UP, "1H", 1), (OPD, "1H", 1), (STUDENT_RL, "1H", 1)]),
        ("R8", [(TEACHER_RL, "1H", 1), (OPD, "1H", 1), (STUDENT_RL, "2H", 1)]),
        ("raw-bridge", [(WARM_UP, "pool", 1), (OPD, "pool", 1)]),
        ("rl-opd", [(TEACHER_RL, "pool", 1), (OPD, "pool", 1)]),
        ("rl-opd-equal", [(TEACHER_RL, "pool", 1), (OPD, "pool", 1)]),
        ("rl-sample-sft", [(TEACHER_RL, "pool", 1), (SAMPLES, "pool", 1)]),
        ("sft-bridge", [(TEACHER_SFT, "pool", 1), (WARM_UP, "pool", 1), (OPD, "pool", 1)]),
        ("same-size-bridge", [(TEACHER_RL, "pool", 1), (WARM_UP, "pool", 1), (OPD, "pool", 1)]),
        ("copy-bridge", [(TEACHER_RL, "pool", 1), (WARM_UP, "pool", 1), (OPD, "pool", 1)]),
    ],
)
def test_a_route_is_these_stages_on_these_pools(name, expected):
    assert stages(name) == expected


@pytest.mark.parametrize(
    ("control", "treatment", "difference"),
    [
        ("R7", "R5-half", ("student-rl.pool",)),
        ("R8", "R5-half", ("+warm-up",)),
        ("R6", "R5-half", ("+teacher-rl", "-teacher-sft")),
        ("R2", "R5-half", ("+warm-up", "+on-policy-distillation", "-teacher-sample-sft")),
        ("R5-bridge", "R5-half", ("+student-rl",)),
        ("R1", "R1-double", ("student-rl.budget",)),
        ("raw-bridge", "R3-full", ("+teacher-rl",)),
        ("same-size-bridge", "R3-full", ("teacher",)),
        ("sft-bridge", "R3-full", ("+teacher-rl", "-teacher-sft")),
    ],
)
def test_a_control_differs_from_its_treatment_in_what_it_isolates(control, treatment, difference):
    assert differences(BY_NAME[treatment], BY_NAME[control]) == difference


def test_every_teacher_meets_every_transfer():
    for source in ("raw", "sft", "rl", "same-size"):
        bridge = BY_NAME["R3-full" if source == "rl" else f"{source}-bridge"]
        assert differences(bridge, BY_NAME[f"{source}-opd"]) == ("+warm-up",)
        assert differences(bridge, BY_NAME[f"{source}-opd-equal"]) == ("+warm-up", "on-policy-distillation.replaces")
        assert bridge.teacher == ("student" if source == "same-size" else "teacher")


def test_names_are_unique_and_no_two_routes_do_the_same():
    assert len(BY_NAME) == len(ALL) + 1  # copy-bridge
    same = {route.rename("R", "").model_dump_json() for route in BY_NAME.values()}
    assert len(same) == len(BY_NAME)
    assert all(route in ALL for route in DEFAULT)
    assert all(route.title for route in ALL)


# edits


def test_an_edit_is_a_new_value_and_leaves_the_old_one():
    old = BY_NAME["R5-half"]
    before = fingerprint(old)
    for new in (
        old.edit("student-rl", pool="1H"),
        old.without("warm-up"),
        old.swap("teacher-rl", teacher_sft("1H")),
        old.rename("other", "title"),
    ):
        assert fingerprint(new) != before
    assert fingerprint(old) == before
    assert old.edit("student-rl", pool="2H") == old


@pytest.mark.parametrize("edit", ["edit", "without", "swap"])
def test_editing_a_stage_that_a_route_lacks_is_refused(edit):
    arguments = {"edit": {"pool": "1H"}, "without": {}, "swap": {"step": warm_up("1H")}}[edit]
    with pytest.raises(InputError, match="route R1: no stage warm-up; it has student-rl"):
        getattr(BY_NAME["R1"], edit)("warm-up", **arguments)


def test_a_route_without_stages_is_refused():
    with pytest.raises(InputError, match="no stage would be left"):
        BY_NAME["R1"].without("student-rl")
    with pytest.raises(ValidationError):
        Route(name="empty", steps=())


@pytest.mark.parametrize("changes", [{"pool": "3H"}, {"budget": 0}, {"budget": 1.5}, {"epochs": 2}])
def test_an_edit_to_something_impossible_is_refused(changes):
    with pytest.raises(ValidationError):
        BY_NAME["R1"].edit("student-rl", **changes)


def test_a_seventh_stage_is_refused():
    with pytest.raises(ValidationError):
        Step(stage="rl")


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", ".hidden", "x" * 65, "a/b", "a\n"])
def test_a_name_that_could_leave_the_run_folder_is_refused(name):
    with pytest.raises(ValidationError):
        Route(name=name, steps=(student_rl("pool"),))
