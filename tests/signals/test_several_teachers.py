"""Several teachers: one by each problem's source, or all of them in one distribution."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from headwater.batch import HiddenDistribution
from headwater.errors import InputError
from headwater.signals import Divergence
from headwater.signals.several_teachers import Mixed, SeveralTeachers
from scripted import ONCE
from tabular import GROUPS, OTHER, STUDENT, TEACHER, TableTeacher, apart, asked, gradient, group, measured, near, table

pytestmark = pytest.mark.usefixtures("double")
TEACHERS = {"one": TableTeacher(logits=TEACHER), "two": TableTeacher(logits=OTHER)}
SOURCES = {"mixed": "a", "same": "b", "other": "a"}
BY_SOURCE = SeveralTeachers(by_source={"a": "one", "b": "two"})


def groups():
    plain = [group(STUDENT, members, name) for name, (members, _) in GROUPS.items()]
    return [
        dataclasses.replace(one, problem=dataclasses.replace(one.problem, source=SOURCES[one.problem.problem_id]))
        for one in plain
    ]


def found(signal, teachers=TEACHERS):
    script = asked()
    workers = script.workers()
    workers.teachers = teachers
    scored = signal.score(groups(), workers, ONCE)
    return scored, gradient(signal, scored, STUDENT)


def alone(teacher, names):
    """Plain distillation of some of the problems, over the tokens of all."""
    some = {name: given for name, given in GROUPS.items() if name in names}
    share = sum(len(members) for members, _ in some.values()) / sum(len(members) for members, _ in GROUPS.values())
    return share * measured(Divergence(direction="reverse"), asked(some, teacher=teacher), groups=some)


def test_each_problem_has_the_teacher_of_its_source_and_who_served_is_noted():
    scored, gradient_found = found(BY_SOURCE)
    near(gradient_found, alone(TEACHER, {"mixed", "other"}) + alone(OTHER, {"same"}))
    assert (scored.metrics["served_one"], scored.metrics["served_two"]) == pytest.approx((7 / 9, 2 / 9))


def test_each_teacher_is_asked_for_its_own_rollouts_alone():
    teachers = {"one": TableTeacher(logits=TEACHER), "two": TableTeacher(logits=OTHER)}
    found(BY_SOURCE, teachers)
    assert teachers["two"].asked == [["same/0", "same/1"]]
    assert len(teachers["one"].asked[0]) == 7


def test_one_teacher_for_every_source_is_plain_distillation():
    near(found(SeveralTeachers(by_source={"a": "one", "b": "one"}))[1], alone(TEACHER, GROUPS))
    near(found(SeveralTeachers(weights={"two": 1.0}))[1], alone(OTHER, GROUPS))


def test_a_mixture_is_the_sum_of_the_teachers_probabilities():
    mixed = (0.25 * TEACHER.softmax(-1) + 0.75 * OTHER.softmax(-1)).log()
    near(found(SeveralTeachers(weights={"one": 0.25, "two": 0.75}))[1], alone(mixed, GROUPS))


@pytest.mark.parametrize("name", ["one", "two"])
def test_every_teacher_moves_it(name):
    changed = {**TEACHERS, name: TableTeacher(logits=table(9))}
    apart(found(BY_SOURCE, changed)[1], found(BY_SOURCE)[1])


def test_a_source_that_nobody_serves_is_refused():
    with pytest.raises(InputError, match="source 'b', which by_source does not name; it names a"):
        found(SeveralTeachers(by_source={"a": "one"}))


@pytest.mark.parametrize("given", [{}, {"by_source": {"a": "one"}, "weights": {"one": 1.0}}, {"weights": {"one": 0.5}}])
def test_who_teaches_must_be_said_in_one_way(given):
    with pytest.raises(ValidationError, match="weights"):
        SeveralTeachers(**given)


def test_teachers_with_heads_of_their_own_keep_them_when_rollouts_are_joined():
    heads = [torch.eye(3), 2 * torch.eye(3)]
    said = [HiddenDistribution(hidden=torch.tensor([[1.0, 2.0, 3.0]]), head=head) for head in heads]
    members = [Mixed(parts=tuple(said), weights=torch.tensor([row])) for row in ([1.0, 0.0], [0.0, 1.0])]
    joined = Mixed.join(members)
    apart_at_most = (joined.logits() - torch.cat([one.logprobs() for one in said])).abs().max()
    assert float(apart_at_most) < 1e-6
