"""Placebos: what a signal reads is taken from another problem, or says the same of all, and the machinery stays."""

import pytest
import torch

from headwater.errors import ObjectiveError
from headwater.interfaces import Need
from headwater.records import Verdict
from headwater.signals import Divergence, Reward
from headwater.signals.placebo import Placebo
from headwater.signals.sampled import Sampled
from scripted import ScriptedAnswers
from tabular import GROUPS, ROWS, STUDENT, TEACHER, TableTeacher, apart, asked, measured, near, said, scored

pytestmark = pytest.mark.usefixtures("double")
GRPO = Reward(kl_coefficient=0.0)
AFTER = {"mixed": "same", "same": "other", "other": "mixed"}


def test_a_shuffled_teacher_says_of_each_token_what_it_says_of_the_next_problem():
    found = scored(Placebo(what="shuffled-teacher", of=Divergence(direction="reverse")))
    for member in found.rollouts:
        problem, nth = member.rollout.rollout_id.split("/")
        members = GROUPS[AFTER[problem]][0]
        near(member.target.made, TEACHER[ROWS[members[int(nth) % len(members)]]])


def test_a_shuffled_teacher_gives_another_gradient_and_one_that_says_the_same_everywhere_does_not():
    signal = Divergence(direction="reverse")
    placebo = Placebo(what="shuffled-teacher", of=signal)
    apart(measured(placebo), measured(signal))
    same = TEACHER[:1].expand_as(TEACHER)
    near(measured(placebo, asked(teacher=same)), measured(signal, asked(teacher=same)))


def test_a_shuffled_teachers_word_on_a_token_is_of_its_shuffled_distribution():
    found = scored(Placebo(what="shuffled-teacher", of=Sampled()), groups={"a": ([3], "c"), "b": ([40], "c")})
    member = found.rollouts[0]
    under = torch.log_softmax(TEACHER[ROWS[40]], -1).gather(1, torch.tensor(member.rollout.response_ids)[:, None])[:, 0]
    near(member.target.advantage, under - said(STUDENT)[3])


def test_shuffled_labels_are_read_from_the_next_problem_and_the_ledger_hears_of_those():
    script = asked()
    scored(Placebo(what="shuffled-labels", of=GRPO), script)
    assert script.answers.reads == [(AFTER[name], "answer") for name in GROUPS]
    assert {gold for gold, _ in script.verifier.graded[0].values()} == {f"answer of {name}" for name in GROUPS}
    assert script.verifier.graded[0]["same/0"][0] == "answer of other"


def test_a_constant_reward_leaves_grpo_without_a_step_and_reads_no_label():
    script = asked(answers=ScriptedAnswers())
    placebo = Placebo(what="constant-reward", of=GRPO)
    assert scored(placebo, script).rollouts == ()
    assert (script.answers.reads, script.verifier.graded) == ([], [])
    assert not placebo.needs & {Need.ANSWERS, Need.VERIFIER}


def test_a_fixed_advantage_pushes_every_sampled_token_alike():
    placebo = Placebo(what="constant-reward", advantage=-0.5, of=GRPO.model_copy(update={"zero_variance": "keep"}))
    leaf = STUDENT.clone().requires_grad_()
    members = [i for given, _ in GROUPS.values() for i in given]
    (pushed,) = torch.autograd.grad(0.5 * said(leaf)[members].mean(), leaf)
    near(measured(placebo), pushed)


def test_a_self_teacher_has_nothing_to_teach_at_the_start():
    teachers = {"start": TableTeacher(logits=STUDENT)}
    signal = Divergence(direction="reverse", teacher="start")
    near(measured(signal, teachers=teachers), torch.zeros_like(STUDENT))


def test_a_step_of_one_problem_has_no_other_to_take_from():
    with pytest.raises(ObjectiveError, match="a step of one problem has no other"):
        scored(Placebo(what="shuffled-labels", of=GRPO), groups={"p": ([3, 40], "cw")})


def test_what_the_placebo_of_a_reward_gives_away_is_what_is_graded():
    swapped = {"a": ([3, 40], "cw"), "b": ([5, 6], "ww")}
    found = scored(Placebo(what="shuffled-labels", of=GRPO), groups=swapped)
    assert {member.rollout.problem_id for member in found.rollouts} == {"a"}
    assert Verdict.CORRECT.reward == 1.0
