"""The hinted self-teacher: the same response behind another prompt, with the right hint or the control's wrong one."""

import dataclasses

import pytest
from pydantic import ValidationError

from headwater.interfaces import Need
from headwater.records import Message, Problem
from headwater.signals import Divergence
from headwater.signals.hinted import Hinted
from scripted import ScriptedAnswers, scripted_group
from tabular import GROUPS, OTHER, STUDENT, TEACHER, TableTeacher, apart, asked, measured, near

pytestmark = pytest.mark.usefixtures("double")
AFTER = {"mixed": "same", "same": "other", "other": "mixed"}


class Told(TableTeacher):
    """Says what TEACHER says behind a prompt with a hint, and what the student says without one."""

    def distributions(self, rollouts, temperature):
        self.logits = TEACHER if all(rollout.prompt_ids != (0,) for rollout in rollouts) else STUDENT
        self.prompts = [rollout.prompt_ids for rollout in rollouts]
        return super().distributions(rollouts, temperature)


def written(problem, text):
    """Every prompt is encoded as the lengths of its words."""
    (rollout,) = scripted_group(problem.problem_id, [(1,)]).rollouts
    return dataclasses.replace(rollout, prompt_ids=tuple(len(word) for word in str(problem.prompt).split()))


def given(**more):
    teacher = Told(logits=STUDENT)
    return teacher, {"teachers": {"start": teacher}, "written": written, **more}


def hints():
    return asked(answers=ScriptedAnswers(answers={name: f"hint {'x' * (9 + i)}" for i, name in enumerate(GROUPS)}))


def test_it_is_distillation_from_what_the_student_says_when_it_is_told():
    teacher, workers = given()
    found = measured(Hinted(template="{prompt} {hint}"), hints(), **workers)
    near(found, measured(Divergence(direction="reverse")))
    assert teacher.prompts[0] == (1, 4, 9)
    assert teacher.prompts[-1] == (1, 4, 11)


def test_the_wrong_hint_is_the_next_problems_and_both_are_read_as_labels():
    for wrong, last in ((False, 11), (True, 9)):
        teacher, workers = given()
        script = hints()
        measured(Hinted(template="{prompt} {hint}", wrong=wrong, hint="answer"), script, **workers)
        assert teacher.prompts[-1][-1] == last
        assert script.answers.reads == [(AFTER[name] if wrong else name, "answer") for name in GROUPS]


def test_a_demonstration_is_asked_for_as_one():
    script = hints()
    measured(Hinted(), script, **given()[1])
    assert {use for _, use in script.answers.reads} == {"demonstration"}
    assert Need.DEMONSTRATIONS in Hinted().needs
    assert Need.ANSWERS in Hinted(hint="answer").needs
    assert Hinted().teachers == ("start",)


def test_the_hint_goes_into_the_last_turn_of_a_conversation():
    turns = (Message(role="system", content="be brief"), Message(role="user", content="1+1"))
    asked_of = Problem(problem_id="p", prompt=turns)
    told = Hinted(template="{hint}: {prompt}")._told(asked_of, "2")
    assert told.prompt[0].content == "be brief"
    assert told.prompt[1].content == "2: 1+1"


def test_another_teacher_moves_it():
    teachers = {"start": TableTeacher(logits=OTHER)}
    apart(measured(Hinted(), hints(), teachers=teachers, written=written), measured(Divergence(direction="reverse")))


def test_a_template_without_the_hint_is_refused():
    with pytest.raises(ValidationError, match="must hold"):
        Hinted(template="{prompt}")
