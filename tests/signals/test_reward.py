"""GRPO against numbers worked by hand and against exact enumeration of every response."""

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from headwater.batch import NoTarget
from headwater.errors import GraderError, InputError, NumericError, ObjectiveError
from headwater.records import Verdict
from headwater.signals import PolicyTarget, Reward, group_advantages
from headwater.signals.policy import k3
from scripted import (
    ONCE,
    Script,
    ScriptedAnswers,
    ScriptedTeacher,
    ScriptedVerifier,
    scripted_group,
)

DOUBLE = torch.float64
LETTERS = {"c": Verdict.CORRECT, "w": Verdict.WRONG, "u": Verdict.UNGRADED}


def script_for(groups, verdicts, reference=None):
    """Workers that give the verdicts in order: "cw" is correct, wrong."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return Script(
        answers=ScriptedAnswers(answers={group.problem.problem_id: "42" for group in groups}),
        verifier=ScriptedVerifier(
            verdicts={r.rollout_id: LETTERS[v] for r, v in zip(rollouts, verdicts, strict=True) if v != "-"}
        ),
        reference=ScriptedTeacher(token_logprobs=reference or {}),
    )


def references(groups, value=-1.0):
    return {r.rollout_id: torch.full((len(r.response_ids),), value) for g in groups for r in g.rollouts}


def one_token(logprob, advantage, old=0.0, reference=None):
    """Logits [1 token, 2 vocab] whose token 0 has the logprob (float64), and a target for it."""
    logits = torch.tensor([[logprob, math.log1p(-math.exp(logprob))]], dtype=DOUBLE, requires_grad=True)
    target = PolicyTarget(
        advantage=torch.tensor([advantage], dtype=DOUBLE),
        old_logprobs=torch.tensor([old], dtype=DOUBLE),
        reference_logprobs=None if reference is None else torch.tensor([reference], dtype=DOUBLE),
    )
    return logits, torch.tensor([0]), target


# advantages


def test_advantages_are_the_reward_minus_the_groups_mean():
    assert group_advantages([1.0, 0.0, 0.0, 0.0], divide_by_std=False) == [0.75, -0.25, -0.25, -0.25]


def test_the_std_is_the_sample_std_plus_epsilon():
    advantages = group_advantages([1.0, 0.0, 0.0, 0.0], divide_by_std=True, epsilon=0.1)
    assert advantages == pytest.approx([0.75 / 0.6, -0.25 / 0.6, -0.25 / 0.6, -0.25 / 0.6])


def test_a_response_without_a_verdict_is_left_out_of_the_mean_and_has_advantage_zero():
    assert group_advantages([1.0, None, 0.0], divide_by_std=False) == [0.5, 0.0, -0.5]


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("divide_by_std", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_equal_rewards_have_advantage_exactly_zero(reward, divide_by_std, size):
    assert group_advantages([reward] * size, divide_by_std=divide_by_std) == [0.0] * size


def test_a_group_without_any_verdict_has_advantage_zero():
    assert group_advantages([None, None], divide_by_std=True) == [0.0, 0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused(bad):
    with pytest.raises(NumericError):
        group_advantages([0.0, bad], divide_by_std=True)


# the loss


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # on policy: the plain policy gradient
        (1.2, 1.0, -1.2, -1.2),  # inside the clip
        (1.4, 1.0, -1.3, 0.0),  # above 1 + high, wants more: clipped
        (0.8, 1.0, -0.8, -0.8),  # below 1 - low but the reward says up: free to come back
        (0.8, -1.0, 0.9, 0.0),  # below 1 - low, wants less: clipped
        (0.95, -1.0, 0.95, 0.95),  # inside the clip
        (1.4, -1.0, 1.4, 1.4),  # above 1 + high but the reward says down: free to come back
    ],
)
def test_the_lower_and_the_upper_clip_are_apart(ratio, advantage, value, slope):
    logprob = math.log(0.25)
    logits, ids, target = one_token(logprob, advantage, old=logprob - math.log(ratio))
    loss = Reward(clip_low=0.1, clip_high=0.3, kl_coefficient=0.0).loss(logits, ids, target)
    loss.sum().backward()
    assert loss.item() == pytest.approx(value)
    # d logprob / d logit of the token itself = 1 - p
    assert logits.grad[0, 0].item() == pytest.approx(slope * 0.75)


def test_k3_and_its_gradient_are_those_worked_by_hand():
    logprobs = torch.tensor([math.log(0.2), math.log(0.2), math.log(0.5)], dtype=DOUBLE, requires_grad=True)
    reference = torch.tensor([math.log(0.4), math.log(0.2), math.log(0.25)], dtype=DOUBLE)
    estimate = k3(logprobs, reference)
    estimate.sum().backward()
    assert estimate.tolist() == pytest.approx([2 - math.log(2) - 1, 0.0, 0.5 + math.log(2) - 1])
    assert logprobs.grad.tolist() == pytest.approx([1 - 2, 0.0, 1 - 0.5])


def test_the_expectation_of_k3_is_the_kl_to_the_reference():
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.log_softmax(torch.randn(2, 7, dtype=DOUBLE, generator=generator), dim=-1)
    exact = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * k3(policy, reference)).sum().item() == pytest.approx(exact.item(), abs=1e-12)


def test_k3_keeps_its_digits_close_to_the_reference():
    logprobs = torch.tensor([-1.0])
    reference = logprobs + 2**-12
    assert k3(logprobs, reference).item() == pytest.approx(2**-25, rel=2e-3)  # exp(d) - d - 1 gives 0


def test_the_kl_term_is_added_with_its_coefficient():
    logits, ids, target = one_token(math.log(0.2), 0.0, old=math.log(0.2), reference=math.log(0.4))
    loss = Reward(kl_coefficient=0.5).loss(logits, ids, target)
    assert loss.item() == pytest.approx(0.5 * (1 - math.log(2)))


def test_a_kl_term_without_reference_logprobs_is_refused():
    logits, ids, target = one_token(math.log(0.2), 0.0)
    with pytest.raises(ObjectiveError, match="reference"):
        Reward(kl_coefficient=0.5).loss(logits, ids, target)


def test_another_signals_target_is_refused():
    with pytest.raises(ObjectiveError, match="NoTarget"):
        Reward().loss(torch.zeros(1, 2), torch.tensor([0]), NoTarget())


# exact enumeration: an autoregressive policy over 5 tokens and 2 or 3 positions, one logit row a prefix


VOCAB = 5


def every_response(length):
    """All ids [response length], and for each token the row of the policy's table that it is drawn from."""
    responses = torch.tensor(list(itertools.product(range(VOCAB), repeat=length)))
    first_row = [sum(VOCAB**i for i in range(position)) for position in range(length)]
    prefix = torch.zeros(len(responses), dtype=torch.long)
    rows = []
    for position in range(length):
        rows.append(first_row[position] + prefix)
        prefix = prefix * VOCAB + responses[:, position]
    return responses, torch.stack(rows, dim=1), sum(VOCAB**i for i in range(length))


def response_probabilities(table, responses, rows):
    return torch.log_softmax(table, dim=-1)[rows, responses].sum(dim=1).exp()


def expected_gradient(signal, table, tokens, advantages, weights):
    """Gradient of sum weight x loss over responses (ids, rows) drawn from the present policy."""
    ids, rows = (part.reshape(-1) for part in tokens)
    logits = table.detach()[rows].requires_grad_()
    old = torch.log_softmax(logits, dim=-1).gather(1, ids[:, None])[:, 0].detach()
    length = tokens[0].shape[1]
    target = PolicyTarget(advantage=advantages.repeat_interleave(length), old_logprobs=old)
    signal.loss(logits, ids, target).backward(weights.repeat_interleave(length))
    return torch.zeros_like(table).index_add_(0, rows, logits.grad)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_with_any_fixed_baseline_the_expected_gradient_is_that_of_the_expected_reward(baseline):
    responses, rows, states = every_response(3)
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(states, VOCAB, dtype=DOUBLE, generator=generator).requires_grad_()
    reward = torch.rand(len(responses), dtype=DOUBLE, generator=generator)
    probability = response_probabilities(table, responses, rows)
    (exact,) = torch.autograd.grad((probability * reward).sum(), table)
    measured = expected_gradient(
        Reward(kl_coefficient=0.0), table, (responses, rows), reward - baseline, probability.detach()
    )
    torch.testing.assert_close(-measured, exact, rtol=0, atol=1e-12)


def test_centring_by_the_groups_own_mean_shrinks_the_expected_gradient_by_one_in_the_group():
    # Each reward is in its own baseline, so over groups of G the expectation is (G - 1) / G of the gradient.
    responses, rows, states = every_response(2)
    generator = torch.Generator().manual_seed(2)
    table = torch.randn(states, VOCAB, dtype=DOUBLE, generator=generator).requires_grad_()
    reward = (torch.rand(len(responses), generator=generator) < 0.4).to(DOUBLE)
    probability = response_probabilities(table, responses, rows)
    (exact,) = torch.autograd.grad((probability * reward).sum(), table)
    pairs = torch.cartesian_prod(torch.arange(len(responses)), torch.arange(len(responses)))
    advantages = torch.tensor(
        [group_advantages(reward[pair].tolist(), divide_by_std=False) for pair in pairs], dtype=DOUBLE
    )
    weights = probability.detach()[pairs].prod(dim=1, keepdim=True).expand(-1, 2) / 2
    members = pairs.reshape(-1)
    measured = expected_gradient(
        Reward(divide_by_std=False, kl_coefficient=0.0),
        table,
        (responses[members], rows[members]),
        advantages.reshape(-1),
        weights.reshape(-1),
    )
    torch.testing.assert_close(-measured, exact / 2, rtol=0, atol=1e-12)


# scoring


@pytest.mark.parametrize(
    ("signal", "short", "long"),
    [
        (Reward(kl_coefficient=0.0), 1 / 4, 1 / 4),
        (Reward(kl_coefficient=0.0, normalisation="sequence-mean"), 1 / 2, 1 / 6),
        (Reward(kl_coefficient=0.0, normalisation="constant", constant_length=10), 1 / 20, 1 / 20),
    ],
)
def test_the_three_normalisations_with_responses_of_one_and_three_tokens(signal, short, long):
    groups = [scripted_group("p", [[1], [1, 2, 3]])]
    scored = signal.score(groups, script_for(groups, "cw").workers(), ONCE)
    first, second = (item.weight.tolist() for item in scored.rollouts)
    assert first == pytest.approx([short])
    assert second == pytest.approx([long] * 3)


def test_dropped_groups_keep_their_tokens_in_the_normaliser():
    groups = [scripted_group("same", [[1, 2], [3]]), scripted_group("mixed", [[1], [2]])]
    scored = Reward(kl_coefficient=0.0).score(groups, script_for(groups, "cccw").workers(), ONCE)
    assert [item.rollout.rollout_id for item in scored.rollouts] == ["mixed/0", "mixed/1"]
    assert [item.weight.tolist() for item in scored.rollouts] == [pytest.approx([1 / 5])] * 2


@pytest.mark.parametrize("verdicts", ["ccwc", "wwcw", "wwww"])
def test_keep_and_drop_give_one_gradient_when_the_kl_is_off(verdicts):
    groups = [scripted_group("same", [[1, 2], [3]]), scripted_group("mixed", [[1], [2]])]
    table = torch.randn(4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))

    def gradient(zero_variance):
        parameter = table.clone().requires_grad_()
        signal = Reward(kl_coefficient=0.0, zero_variance=zero_variance)
        for item in signal.score(groups, script_for(groups, verdicts).workers(), ONCE).rollouts:
            ids = torch.tensor(item.rollout.response_ids)
            loss = signal.loss(parameter.expand(len(ids), -1), ids, item.target)
            loss.backward(item.weight.to(DOUBLE))
        return torch.zeros(4, dtype=DOUBLE) if parameter.grad is None else parameter.grad

    torch.testing.assert_close(gradient("keep"), gradient("drop"), rtol=0, atol=1e-15)


def test_when_every_group_is_dropped_nothing_is_left_and_nobody_asks_the_reference():
    groups = [scripted_group("p", [[1], [2]])]
    script = script_for(groups, "ww")
    scored = Reward().score(groups, script.workers(), ONCE)
    assert scored.rollouts == ()
    assert script.reference.asked == []
    assert scored.metrics["zero_variance_groups"] == 1


def test_the_metrics_are_those_counted_by_hand():
    groups = [scripted_group("a", [[1], [2, 3]]), scripted_group("b", [[4], [5]])]
    script = script_for(groups, "cwcc")
    scored = Reward(kl_coefficient=0.0).score(groups, script.workers(), ONCE)
    assert scored.metrics == {
        "reward": 0.75,
        "mixed_groups": 0.5,
        "zero_variance_groups": 1.0,
        "ungraded": 0.0,
        "dropped_rollouts": 2.0,
        "response_tokens": 1.25,
        "truncated": 0.0,
        "repetition": 0.0,
    }


def test_each_answer_is_read_once_and_all_responses_are_graded_in_one_request():
    groups = [scripted_group("a", [[1], [2]]), scripted_group("b", [[3], [4]])]
    script = script_for(groups, "cwcw")
    Reward(kl_coefficient=0.0).score(groups, script.workers(), ONCE)
    assert script.answers.reads == [("a", "answer"), ("b", "answer")]
    assert [list(request) for request in script.verifier.graded] == [["a/0", "a/1", "b/0", "b/1"]]
    assert script.verifier.graded[0]["b/1"] == ("42", "4")


def test_the_reference_is_asked_only_for_rollouts_that_train_and_only_with_a_coefficient():
    groups = [scripted_group("same", [[1], [2]]), scripted_group("mixed", [[1], [2, 3]])]
    script = script_for(groups, "cccw", references(groups, -2.0))
    scored = Reward().score(groups, script.workers(), ONCE)
    assert script.reference.asked == [["mixed/0", "mixed/1"]]
    assert scored.rollouts[1].target.reference_logprobs.tolist() == [-2.0, -2.0]
    script = script_for(groups, "cccw")
    scored = Reward(kl_coefficient=0.0).score(groups, script.workers(), ONCE)
    assert script.reference.asked == []
    assert scored.rollouts[0].target.reference_logprobs is None


@pytest.mark.parametrize("verdicts", ["cwu", "cw-"])  # "-": the verifier says nothing at all
def test_an_ungraded_rollout_is_counted_and_never_a_silent_zero(verdicts):
    groups = [scripted_group("p", [[1], [2], [3]])]
    signal = Reward(kl_coefficient=0.0, divide_by_std=False, ungraded_limit=0.5)
    scored = signal.score(groups, script_for(groups, verdicts).workers(), ONCE)
    assert [item.target.advantage.item() for item in scored.rollouts] == [0.5, -0.5, 0.0]
    assert scored.metrics["ungraded"] == 1
    assert scored.metrics["reward"] == 0.5


def test_too_many_ungraded_rollouts_stop_the_run():
    groups = [scripted_group("p", [[1]] * 200)]
    Reward().score(groups, script_for(groups, "cw" * 99 + "cu", references(groups)).workers(), ONCE)  # 0.5 % may
    with pytest.raises(GraderError, match="2 of 200"):
        Reward().score(groups, script_for(groups, "cw" * 99 + "uu", references(groups)).workers(), ONCE)


def test_without_one_verdict_there_is_no_mean_reward():
    groups = [scripted_group("p", [[1], [2]])]
    scored = Reward(ungraded_limit=1.0).score(groups, script_for(groups, "uu").workers(), ONCE)
    assert "reward" not in scored.metrics
    assert scored.rollouts == ()


def test_two_different_rollouts_with_one_id_are_refused():
    groups = [scripted_group("p", [[1], [2]]), scripted_group("p", [[3], [4]])]
    with pytest.raises(InputError, match="p/0"):
        Reward().score(groups, script_for(groups[:1], "cw").workers(), ONCE)


def test_a_constant_normaliser_needs_its_length():
    with pytest.raises(ValidationError, match="constant_length"):
        Reward(normalisation="constant")


def test_a_reward_reads_labels():
    assert Reward().reads_labels


# diagnostics


def test_the_diagnostics_are_those_worked_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.25, 0.25, 0.5]]))
    target = PolicyTarget(
        advantage=torch.tensor([1.0, 1.0, -1.0]),
        old_logprobs=torch.log(torch.tensor([0.5, 0.5, 0.4])),
        reference_logprobs=torch.log(torch.tensor([0.5, 0.5, 0.4])),
    )
    measured = Reward().diagnostics(logits, torch.tensor([0, 1, 0]), target)
    assert measured["entropy"].tolist() == pytest.approx([0.693147, 0.562335, 1.039721], abs=1e-5)
    assert measured["ratio"].tolist() == pytest.approx([1.0, 1.5, 0.625])
    assert measured["clip_fraction"].tolist() == [0.0, 1.0, 1.0]
    assert measured["reference_kl"][1].item() == pytest.approx(1 / 1.5 + math.log(1.5) - 1, abs=1e-6)
