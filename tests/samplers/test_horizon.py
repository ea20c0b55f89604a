"""The horizon: a response limit of the stage's own, as a function of the step."""

from dataclasses import replace

import pytest

from headwater.alarms import of_stage
from headwater.errors import NumericError
from headwater.guard import Guard
from headwater.interfaces import At, Seeds
from headwater.records import StepRecord, rollouts_of
from headwater.samplers.horizon import Horizon
from headwater.samplers.on_policy import OnPolicy
from headwater.signals.responses import response_metrics
from scripted import Script, ScriptedGenerator, scripted_group


class Noting(ScriptedGenerator):
    """Notes how it was asked."""

    def generate(self, problems, samples, sampling, seeds):
        self.asked = (samples, sampling)
        return super().generate(problems, samples, sampling, seeds)


def limits(sampler, updates=5):
    group = scripted_group("p", [(1, 2)])
    script = Script(generator=Noting(by_problem={"p": group}))
    found = []
    for step in range(updates):
        seeds = Seeds(run=0, stream="s", step=step)
        sampler.sample([group.problem], script.workers(), seeds, At(step=step, updates=updates))
        found.append(script.generator.asked[1].max_response_tokens)
    assert script.generator.asked[0] == sampler.samples
    assert script.generator.asked[1].temperature == sampler.temperature
    return found


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"first": 2}, [2, 5, 8, 11, 14]),
        ({"first": 6, "last": 6}, [6] * 5),
        ({"first": 14, "last": 2}, [14, 11, 8, 5, 2]),
        ({"first": 99, "last": 99}, [14] * 5),
    ],
)
def test_the_limit_goes_in_a_line_and_never_past_the_recipes(settings, found):
    assert limits(Horizon(samples=3, temperature=0.5, max_response_tokens=14, **settings)) == found


def test_at_the_recipes_limit_it_is_on_policy_and_whole():
    assert limits(Horizon(first=14, max_response_tokens=14)) == limits(OnPolicy(max_response_tokens=14))
    assert Horizon(first=14, max_response_tokens=14).whole
    assert not Horizon(first=4, max_response_tokens=14).whole
    assert not Horizon(first=14, last=4, max_response_tokens=14).whole
    assert OnPolicy().whole


def test_what_a_steps_own_limit_ends_is_not_truncated_and_stops_no_stage():
    endless = scripted_group("p", [(1, 2)])
    endless = replace(endless, rollouts=tuple(replace(one, finish_reason="length") for one in endless.rollouts))
    script = Script(generator=ScriptedGenerator(by_problem={"p": endless}))
    records = {}
    for name, sampler in (("own", Horizon(first=4, max_response_tokens=14)), ("recipe's", OnPolicy())):
        drawn = [
            sampler.sample(
                [endless.problem], script.workers(), Seeds(run=0, stream="s", step=step), At(step=step, updates=60)
            )
            for step in range(30)
        ]
        records[name] = [
            StepRecord(step=step, metrics=response_metrics(rollouts_of(groups))) for step, groups in enumerate(drawn)
        ]
    Guard().check("stage", records["own"])
    assert not {alarm.kind for alarm in of_stage("stage", records["own"], done=True)} & {"cut off"}
    with pytest.raises(NumericError, match="truncated is 1"):
        Guard().check("stage", records["recipe's"])
    assert {alarm.kind for alarm in of_stage("stage", records["recipe's"], done=True)} & {"cut off"}
