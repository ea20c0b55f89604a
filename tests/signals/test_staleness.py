"""Staleness: recorded states learn as they would, and the overlap with fresh ones is said."""

import dataclasses

import pytest
import torch

from headwater.errors import ObjectiveError
from headwater.interfaces import At
from headwater.records import Group
from headwater.signals import Divergence
from headwater.signals.staleness import Staleness
from scripted import ONCE, ScriptedLearner
from tabular import OTHER, RESPONSES, STUDENT, TableTeacher, asked, group, measured, near, probability, scored

pytestmark = pytest.mark.usefixtures("double")


class Moved(ScriptedLearner):
    def present(self):
        return TableTeacher(logits=OTHER)


def test_the_gradient_is_that_of_the_wrapped_signal():
    near(measured(Staleness(), asked(learner=Moved())), measured(Divergence(direction="reverse")))


def test_fresh_states_overlap_wholly():
    found = scored(Staleness()).metrics
    assert found["fresh_overlap"] == pytest.approx(1.0)
    assert found["drift"] == pytest.approx(0.0, abs=1e-12)


def test_its_expectation_over_old_responses_is_the_mass_that_both_policies_share():
    found = [
        scored(Staleness(), asked({"p": ([i], "c")}, learner=Moved()), groups={"p": ([i], "c")}).metrics
        for i in range(len(RESPONSES))
    ]
    then, now = probability(STUDENT), probability(OTHER)
    overlaps = torch.tensor([metrics["fresh_overlap"] for metrics in found])
    assert float((then * overlaps).sum()) == pytest.approx(float(torch.minimum(then, now).sum()))
    drifts = torch.tensor([metrics["drift"] for metrics in found])
    assert 3 * float((then * drifts).sum()) == pytest.approx(float((then * (then / now).log()).sum()))


def test_it_looks_at_every_so_many_steps_alone():
    at = [scored(Staleness(every=3), at=At(step=step, updates=9)).metrics for step in range(4)]
    assert ["fresh_overlap" in metrics for metrics in at] == [True, False, False, True]


def test_states_that_nobody_sampled_are_refused():
    (rollout,) = group(STUDENT, [3]).rollouts
    made = [Group(problem=group(STUDENT, [3]).problem, rollouts=(dataclasses.replace(rollout, logprobs=()),))]
    with pytest.raises(ObjectiveError, match="carry no logprobs"):
        Staleness().score(made, asked().workers(), ONCE)
