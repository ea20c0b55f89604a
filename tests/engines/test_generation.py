"""Sampling: the sampler is the trainer's own policy, alone or in company, to the last stop token."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from transformers import TopKLogitsWarper, TopPLogitsWarper

import tiny
from headwater.engines import generation
from headwater.engines.body import Body
from headwater.engines.generation import choose, draw_responses
from headwater.engines.local import LocalGenerator
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds
from headwater.records import Problem, Sampling, rollouts_of

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)


# one policy in the sampler and in the trainer


@FAMILIES
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_the_samplers_logprobs_are_those_of_a_plain_forward_pass(family, temperature):
    model = tiny.FAMILIES[family]()
    rollouts = tiny.draw(model, tiny.problems(7), samples=4, temperature=temperature, tokens=12)
    assert len({len(r.prompt_ids) for r in rollouts}) == 7
    assert len({len(r.response_ids) for r in rollouts}) > 2
    for one in rollouts:
        expected = tiny.token_logprobs(model, one, temperature)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, rtol=0, atol=1e-5)


def test_the_samplers_logprobs_belong_to_the_temperature_it_was_given():
    model = tiny.qwen()
    warm = torch.cat(
        [torch.tensor(r.logprobs) - tiny.token_logprobs(model, r) for r in tiny.draw(model, temperature=2)]
    )
    assert warm.abs().mean() > 1e-2


def test_a_model_that_counts_writes_the_count():
    model = tiny.counting()
    asked = [Problem(problem_id=word, prompt=f"h {word}", source="t") for word in "abcde"]
    for one in tiny.draw(model, asked, samples=2, tokens=3):
        last = one.prompt_ids[-1]
        assert one.response_ids == (last + 1, last + 2, last + 3)
        assert max(abs(logprob) for logprob in one.logprobs) < 1e-4


@FAMILIES
def test_temperature_zero_takes_the_likeliest_token(family):
    model = tiny.FAMILIES[family]()
    for one in tiny.draw(model, samples=2, temperature=0.0):
        with torch.no_grad():
            assert one.response_ids == tuple(tiny.forward(model, one).argmax(-1).tolist())


# the drawn tokens follow the model


def test_pairs_of_tokens_follow_the_models_joint_distribution():
    model = tiny.qwen(words=("<pad>", "<eos>", "a", "b", "c"))
    count, prompt = 8000, (2, 3)
    sampling = Sampling(temperature=1.3, max_response_tokens=2)
    seeds = [[Seeds(run=1, stream="s", step=0).of("p", i) for i in range(count)]]
    [drawn] = draw_responses(Body(model), [prompt], seeds, sampling, count)
    seen = {}
    for response in drawn:
        seen[response.ids] = seen.get(response.ids, 0) + 1
    expected = {(1,): None, **{pair: None for pair in itertools.product((0, 2, 3, 4), range(5))}}
    for ids in expected:
        expected[ids] = count * tiny.token_logprobs(model, tiny.rollout("p/0", prompt, ids), 1.3).sum().exp().item()
    assert sum(expected.values()) == pytest.approx(count, rel=1e-4)
    assert set(seen) <= set(expected)
    statistic = sum((seen.get(ids, 0) - mean) ** 2 / mean for ids, mean in expected.items())
    assert chi2.sf(statistic, len(expected) - 1) > 1e-3


def test_the_mean_importance_ratio_to_another_policy_is_one_within_its_error():
    model, other = tiny.qwen(seed=0), tiny.qwen(seed=1)
    rollouts = tiny.draw(model, tiny.problems(3), samples=1500, tokens=1)
    own = torch.tensor([r.logprobs[0] for r in rollouts])
    others = torch.cat([other_logprobs(other, r) for r in rollouts])
    ratio = torch.exp(others - own)
    error = ratio.std() / len(ratio) ** 0.5
    assert abs(ratio.mean() - 1) < 3 * error
    assert error < 0.05


_CACHE = {}


def other_logprobs(model, one):
    """As tiny.token_logprobs, each prompt read once."""
    if one.prompt_ids not in _CACHE:
        with torch.no_grad():
            _CACHE[one.prompt_ids] = torch.log_softmax(model.network(torch.tensor([one.prompt_ids])).logits[0, -1], -1)
    return _CACHE[one.prompt_ids][list(one.response_ids)]


def test_ratios_at_zero_staleness_are_one():
    model = tiny.llama()
    rollouts = tiny.draw(model, samples=8)
    ratio = torch.cat([torch.exp(tiny.token_logprobs(model, r) - torch.tensor(r.logprobs)) for r in rollouts])
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-5)


# a response does not depend on its company


@FAMILIES
def test_a_response_is_the_same_alone_in_any_order_and_in_waves_of_any_size(family):
    model, asked = tiny.FAMILIES[family](), tiny.problems(6)
    sampling, seeds = Sampling(max_response_tokens=10), Seeds(run=0, stream="tiny", step=0)

    def generated(chosen, rows):
        groups = LocalGenerator(model, None, EngineSettings(rows=rows)).generate(chosen, 3, sampling, seeds)
        assert [group.problem for group in groups] == list(chosen)
        return {r.rollout_id: r for r in rollouts_of(groups)}

    together = generated(asked, 512)
    alone = {name: r for problem in asked for name, r in generated([problem], 512).items()}
    for others in (alone, generated(asked[::-1], 512), generated(asked[3:] + asked[:3], 7), generated(asked, 1)):
        assert {name: r.response_ids for name, r in others.items()} == {n: r.response_ids for n, r in together.items()}
        for name, one in others.items():
            np.testing.assert_allclose(one.logprobs, together[name].logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 8, 20])
def test_no_more_responses_lie_side_by_side_than_memory_was_given_for(rows, monkeypatch):
    made = []

    class Counted(generation.SlotCache):
        def __init__(self, slots, *given):
            made.append(slots)
            super().__init__(slots, *given)

    sampling, seeds = Sampling(max_response_tokens=4), Seeds(run=0, stream="tiny", step=0)
    generator = LocalGenerator(tiny.qwen(), None, EngineSettings(rows=rows))
    generator.generate(tiny.problems(2), 8, sampling, seeds)  # an architecture is measured once, in slots of its own
    monkeypatch.setattr(generation, "SlotCache", Counted)
    groups = generator.generate(tiny.problems(2), 8, sampling, seeds)
    assert [len(group.rollouts) for group in groups] == [8, 8]
    assert made == [min(rows, 16)]


def test_fewer_samples_are_the_first_of_more():
    model = tiny.qwen()
    more = {r.rollout_id: r.response_ids for r in tiny.draw(model, samples=5)}
    fewer = {r.rollout_id: r.response_ids for r in tiny.draw(model, samples=2)}
    assert len(fewer) == 8
    assert fewer.items() <= more.items()


def test_steps_and_streams_draw_other_responses():
    model = tiny.qwen()
    first, again, later = (tiny.draw(model, samples=8, step=step) for step in (0, 0, 1))
    assert first == again
    assert [r.response_ids for r in first] != [r.response_ids for r in later]


# where a response ends


def test_any_of_several_stop_ids_ends_a_response_and_is_its_last_token():
    stop_ids = {1, 4, 6}
    model = tiny.llama(stop_ids=(4, 6))
    rollouts = tiny.draw(model, samples=40, tokens=8)
    ends = set()
    for one in rollouts:
        inner, last = one.response_ids[:-1], one.response_ids[-1]
        assert not stop_ids & set(inner)
        assert one.finish_reason == ("stop" if last in stop_ids else "length")
        assert len(one.response_ids) == 8 or one.finish_reason == "stop"
        assert len(one.logprobs) == len(one.response_ids)
        ends |= {last} & stop_ids
    assert ends == stop_ids
    assert any(one.finish_reason == "length" for one in rollouts)


def test_a_stop_at_the_last_allowed_token_is_a_stop():
    rollouts = tiny.draw(tiny.llama(stop_ids=(4, 6)), samples=40, tokens=2)
    reasons = {(len(one.response_ids), one.finish_reason) for one in rollouts}
    assert reasons == {(1, "stop"), (2, "stop"), (2, "length")}


def test_a_limit_of_one_token_gives_one_token():
    assert {len(one.response_ids) for one in tiny.draw(tiny.qwen(), tokens=1)} == {1}


def test_rollouts_carry_the_version_of_the_weights_that_drew_them():
    model = tiny.qwen()
    learner = tiny.learner(model)
    learner.version = 7
    assert {r.policy_version for r in tiny.draw(model, learner=learner)} == {7}
    assert {r.policy_version for r in tiny.draw(model)} == {-1}


# truncated sampling, in evaluation


GRID = torch.arange(4096) / 4096


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.8), (0, 0.05), (5, 0.7), (1, 1.0), (50, 0.999)])
@pytest.mark.parametrize("temperature", [0.6, 1.3])
def test_truncated_sampling_is_that_of_hugging_face_and_its_own_logprob_is_recorded(top_k, top_p, temperature):
    logits = torch.randn(1, 11, generator=torch.Generator().manual_seed(top_k)) * 2
    warped = logits / temperature
    for warper in ([TopKLogitsWarper(top_k)] if top_k else []) + ([TopPLogitsWarper(top_p)] if top_p < 1 else []):
        warped = warper(None, warped)
    expected = torch.log_softmax(warped, dim=-1)[0]
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, max_response_tokens=1)
    ids, logprobs = choose(logits.expand(len(GRID), -1), GRID, sampling)
    shares = torch.bincount(ids, minlength=11) / len(GRID)
    torch.testing.assert_close(shares, expected.exp(), rtol=0, atol=2 / 4096)
    assert not shares[expected == -torch.inf].any()
    torch.testing.assert_close(logprobs, expected[ids])


def test_no_uniform_number_draws_a_token_of_probability_zero():
    logits = torch.full((3, 6), -torch.inf)
    logits[:, 2], logits[:, 3] = 0.0, 1.0
    ends = torch.tensor([0.0, 0.5, 1 - 2**-24])
    ids, logprobs = choose(logits, ends, Sampling(max_response_tokens=1))
    assert set(ids.tolist()) <= {2, 3}
    assert torch.isfinite(logprobs).all()
