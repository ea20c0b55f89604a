"""Extrapolation: the teacher at lambda 1, past it above, and in expectation the score function of its source."""

import pytest
import torch

from headwater.batch import TopKDistribution
from headwater.errors import ObjectiveError
from headwater.signals import Divergence
from headwater.signals.extrapolation import Extrapolation
from scripted import ScriptedTeacher
from tabular import (
    OTHER,
    RESPONSES,
    STUDENT,
    TEACHER,
    TableTeacher,
    apart,
    expected,
    measured,
    near,
    probability,
    said,
    scored,
    table,
)

pytestmark = pytest.mark.usefixtures("double")
RAW = table(7)
EVERY = {"p": (list(range(len(RESPONSES))), "c" * len(RESPONSES))}


def both(teacher=TEACHER, raw=RAW):
    return {"teachers": {"teacher": TableTeacher(logits=teacher), "raw teacher": TableTeacher(logits=raw)}}


@pytest.mark.parametrize(("strength", "alone"), [(1.0, TEACHER), (0.0, RAW)])
def test_at_one_it_is_distillation_from_the_teacher_and_at_zero_from_the_raw_one(strength, alone):
    found = measured(Extrapolation(strength=strength, limit=None), **both())
    near(found, measured(Divergence(direction="reverse"), teachers={"teacher": TableTeacher(logits=alone)}))


@pytest.mark.parametrize("estimator", ["exact", "sampled"])
def test_the_expected_gradient_is_that_of_the_score_function_with_the_advantage_of_its_source(estimator):
    signal = Extrapolation(strength=1.25, limit=None, estimator=estimator)
    advantage = 1.25 * (said(TEACHER) - said(RAW)) - (said(STUDENT) - said(RAW))
    leaf = STUDENT.clone().requires_grad_()
    loss = -(probability(STUDENT)[:, None] * advantage * said(leaf)).sum()
    (source,) = torch.autograd.grad(loss, leaf)
    near(expected(signal, scored(signal, groups=EVERY, **both()), STUDENT), source)


def test_a_logprob_is_moved_by_the_limit_at_most():
    far = {"teachers": {"teacher": TableTeacher(logits=TEACHER), "raw teacher": TableTeacher(logits=40 * RAW)}}
    target = scored(Extrapolation(strength=1.5, limit=0.7), **far).rollouts[0].target
    moved = target.logits() - target.teacher.logprobs()
    assert float(moved.abs().max()) == pytest.approx(0.7)


def test_both_teachers_move_it():
    signal = Extrapolation()
    usual = measured(signal, **both())
    apart(measured(signal, **both(teacher=OTHER)), usual)
    apart(measured(signal, **both(raw=OTHER)), usual)


def test_a_top_k_teacher_is_refused():
    top = TopKDistribution.from_logprobs(torch.zeros(3, 4).log_softmax(-1), 2)
    teacher = ScriptedTeacher(by_rollout={"p/0": top})
    with pytest.raises(ObjectiveError, match=r"extrapolation: needs every token's logprob .* TopKDistribution"):
        scored(Extrapolation(), groups={"p": ([3], "c")}, teachers={"teacher": teacher, "raw teacher": teacher})
