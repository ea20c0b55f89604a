"""The horizon: a response limit of the stage's own, as a function of the step."""

import pytest

from headwater.interfaces import At, Seeds
from headwater.samplers.horizon import Horizon
from headwater.samplers.on_policy import OnPolicy
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
