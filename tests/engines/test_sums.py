"""What adds up over passes: which tokens are compared, and that neither order nor cut changes a mean."""

import pytest

import tiny
from headwater.engines.settings import EngineSettings
from headwater.engines.sums import CHECKED, Sums, compared, stride_of
from headwater.signals import Imitation
from scripted import ONCE


def drawn(count, length, version=3):
    return [tiny.rollout(f"p{i}/0", (2,), (3,) * length, policy_version=version) for i in range(count)]


@pytest.mark.parametrize(("count", "length"), [(1, 5), (64, 1), (300, 7), (40, 500)])
def test_about_so_many_tokens_are_compared_and_each_but_once(count, length):
    rollouts = drawn(count, length)
    places, sampled = compared(rollouts, stride_of(count * length))
    assert len(set(places.tolist())) == len(places) == len(sampled)
    assert min(count * length, CHECKED) / 2 <= len(places) <= 2 * CHECKED


def test_which_tokens_are_compared_does_not_depend_on_the_cut():
    rollouts = drawn(50, 9)
    whole, _ = compared(rollouts, 4)
    parts = [compared([one], 4)[0] + 9 * i for i, one in enumerate(rollouts)]
    assert whole.tolist() == [place for part in parts for place in part.tolist()]


def test_rollouts_of_no_sampler_are_not_compared():
    assert compared(drawn(4, 9, version=-1), 1)[0].tolist() == []


def test_an_update_in_many_passes_measures_what_one_pass_measures():
    found = []
    for tokens in (1, 10**6):
        model = tiny.qwen()
        learner = tiny.learner(model, engine=EngineSettings(micro_batch_tokens=tokens))
        scored = Imitation().score(tiny.sample(model, learner=learner), tiny.workers(), ONCE)
        found.append(learner.update(scored, Imitation()))
    assert found[0].keys() == found[1].keys() >= {"sampler_gap", "sampler_gap_max"}
    for name in found[0].keys() - {"padding"}:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-4, abs=2e-6), name


def test_the_first_fault_is_kept():
    assert Sums.of([Sums(), Sums(fault="one"), Sums(fault="two")]).fault == "one"
    assert Sums.of([]) == Sums()
