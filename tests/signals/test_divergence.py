"""Divergences against values worked by hand, float64 autograd and exact enumeration of the sampled token."""

import itertools
import math
from functools import partial

import pytest
import torch

from headwater.batch import FullDistribution, HiddenDistribution, NoTarget, TopKDistribution
from headwater.errors import ObjectiveError
from headwater.signals import Divergence
from headwater.signals.divergence import (
    buckets,
    dense_advantage,
    forward_kl,
    jsd,
    refuse_missing_mass,
    reverse_kl,
    sampled_reverse_kl,
)
from scripted import ONCE, Script, ScriptedTeacher, scripted_group

DOUBLE = torch.float64
EXACT = [
    Divergence(direction="forward"),
    Divergence(direction="reverse"),
    Divergence(direction="jsd", beta=0.3),
]
DIVERGENCES = [forward_kl, reverse_kl, partial(jsd, beta=0.3)]
SAMPLED = Divergence(direction="reverse", estimator="sampled")


def distributions(tokens, vocab, seed, sharpness=1.0, dtype=DOUBLE):
    """Two random sets of logprobs [tokens vocab]: student, teacher."""
    logits = torch.randn(2, tokens, vocab, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    student, teacher = torch.log_softmax(sharpness * logits, dim=-1).to(dtype)
    return student, teacher


def gradient(loss_of, logits):
    """d (sum of losses) / d logits."""
    leaf = logits.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss_of(leaf).sum(), leaf)
    return found


# values and gradients


def test_forward_is_weighed_by_the_teacher_and_reverse_by_the_student():
    student = torch.log(torch.tensor([[0.5, 0.5]], dtype=DOUBLE))
    teacher = torch.log(torch.tensor([[0.9, 0.1]], dtype=DOUBLE))
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert forward_kl(student, teacher).item() == pytest.approx(forward)
    assert reverse_kl(student, teacher).item() == pytest.approx(reverse)


def test_jsd_measures_both_sides_from_the_mixture():
    student = torch.log(torch.tensor([[0.5, 0.5]], dtype=DOUBLE))
    teacher = torch.log(torch.tensor([[0.9, 0.1]], dtype=DOUBLE))
    mixture = [0.25 * 0.9 + 0.75 * 0.5, 0.25 * 0.1 + 0.75 * 0.5]
    from_teacher = 0.9 * math.log(0.9 / mixture[0]) + 0.1 * math.log(0.1 / mixture[1])
    from_student = 0.5 * math.log(0.5 / mixture[0]) + 0.5 * math.log(0.5 / mixture[1])
    assert jsd(student, teacher, 0.25).item() == pytest.approx(0.25 * from_teacher + 0.75 * from_student)


def test_the_gradient_of_forward_kl_is_student_minus_teacher():
    student, teacher = distributions(4, 6, seed=0)
    found = gradient(lambda logits: forward_kl(torch.log_softmax(logits, -1), teacher), student)
    torch.testing.assert_close(found, student.exp() - teacher.exp(), rtol=0, atol=1e-12)


def test_the_gradient_of_reverse_kl_is_the_students_centred_log_ratio():
    student, teacher = distributions(4, 6, seed=1)
    found = gradient(lambda logits: reverse_kl(torch.log_softmax(logits, -1), teacher), student)
    ratio = student - teacher
    centred = ratio - (student.exp() * ratio).sum(-1, keepdim=True)
    torch.testing.assert_close(found, student.exp() * centred, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_the_gradient_of_jsd_is_that_of_finite_differences(beta):
    student, teacher = distributions(3, 5, seed=2)
    leaf = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: jsd(torch.log_softmax(logits, -1), teacher, beta), leaf)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_gradient_over_top_k_and_tail_is_that_of_finite_differences(divergence, k):
    student, teacher = distributions(3, 5, seed=3)
    top = TopKDistribution.from_logprobs(teacher, k)
    leaf = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: divergence(*buckets(torch.log_softmax(logits, -1), top)), leaf)


def test_two_prefixes_and_two_directions_are_four_losses():
    student, teacher = distributions(2, 6, seed=4)  # row 0: a student's prefix, row 1: a teacher's
    losses = [*forward_kl(student, teacher).tolist(), *reverse_kl(student, teacher).tolist()]
    assert all(abs(a - b) > 1e-3 for a, b in itertools.combinations(losses, 2))


@pytest.mark.parametrize("signal", EXACT)
@pytest.mark.parametrize("k", [None, 3])
def test_the_divergence_from_oneself_is_zero(signal, k):
    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(5))
    logprobs = torch.log_softmax(logits, dim=-1)
    target = FullDistribution(full=logprobs) if k is None else TopKDistribution.from_logprobs(logprobs, k)
    assert signal.loss(logits, torch.zeros(50, dtype=torch.long), target).abs().max() <= 1e-6


def test_what_the_teacher_rules_out_is_infinite_and_not_clamped():
    student = torch.log(torch.tensor([[0.5, 0.5]]))
    teacher = torch.log(torch.tensor([[1.0, 0.0]]))
    assert reverse_kl(student, teacher).item() == math.inf
    assert forward_kl(student, teacher).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("signal", EXACT)
@pytest.mark.parametrize("k", [None, 2, 3])
def test_ids_masked_on_both_sides_change_neither_value_nor_gradient(signal, k):
    student, teacher = distributions(4, 3, seed=6, dtype=torch.float32)
    wide = [torch.cat([side, torch.full((4, 2), -math.inf)], dim=-1) for side in (student, teacher)]
    ids = torch.zeros(4, dtype=torch.long)

    def target(logprobs):
        return FullDistribution(full=logprobs) if k is None else TopKDistribution.from_logprobs(logprobs, k)

    narrow_gradient = gradient(lambda logits: signal.loss(logits, ids, target(teacher)), student)
    wide_gradient = gradient(lambda logits: signal.loss(logits, ids, target(wide[1])), wide[0])
    torch.testing.assert_close(wide_gradient[:, :3], narrow_gradient, rtol=0, atol=1e-6)
    assert wide_gradient[:, 3:].abs().max() == 0
    measured = signal.diagnostics(wide[0], ids, target(wide[1]))
    for name, values in signal.diagnostics(student, ids, target(teacher)).items():
        torch.testing.assert_close(measured[name], values, rtol=0, atol=1e-6)


# limits of JSD


def test_jsd_at_beta_zero_and_one_is_forward_and_reverse_kl():
    student, teacher = distributions(5, 6, seed=7)
    assert torch.equal(jsd(student, teacher, 0.0), forward_kl(student, teacher))
    assert torch.equal(jsd(student, teacher, 1.0), reverse_kl(student, teacher))


@pytest.mark.parametrize(("beta", "limit"), [(1e-5, forward_kl), (1 - 1e-5, reverse_kl)])
def test_the_limits_are_those_of_jsd_over_beta_times_its_complement(beta, limit):
    student, teacher = distributions(5, 6, seed=8)
    scaled = jsd(student, teacher, beta) / (beta * (1 - beta))
    torch.testing.assert_close(scaled, limit(student, teacher), rtol=1e-3, atol=1e-6)


def test_jsd_at_one_half_is_symmetric_and_at_most_log_two():
    student, teacher = distributions(20, 6, seed=9, sharpness=20.0)
    torch.testing.assert_close(jsd(student, teacher, 0.5), jsd(teacher, student, 0.5))
    assert jsd(student, teacher, 0.5).max() <= math.log(2)


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_mixture_outside_its_ends_is_refused(beta):
    with pytest.raises(ObjectiveError, match="beta"):
        jsd(*distributions(1, 3, seed=0), beta)


# top k with its tail


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_top_k_with_its_tail_grows_with_k_from_zero_to_the_full_divergence(divergence, sharpness):
    student, teacher = distributions(100, 7, seed=10, sharpness=sharpness)
    full = divergence(student, teacher)
    last = torch.zeros(100, dtype=DOUBLE)
    for k in range(1, 8):
        value = divergence(*buckets(student, TopKDistribution.from_logprobs(teacher, k)))
        assert (value >= last - 1e-12).all()
        last = value
    torch.testing.assert_close(last, full, rtol=0, atol=1e-12)


def test_the_students_tail_is_exact_in_float32_however_small():
    logits = torch.tensor([[20.0, 18.0, -12.0, -13.0, -14.0]])
    teacher = TopKDistribution.from_logprobs(torch.log_softmax(logits, -1), 2)
    exact = torch.log_softmax(logits.double(), -1)[:, 2:].logsumexp(-1)
    found = buckets(torch.log_softmax(logits, -1), teacher)[0][:, -1]
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)  # about -32: 1 - kept would give log 0


def test_two_hundred_steps_of_top_k_reverse_kl_keep_the_mass_in_the_top_k():
    # Without the tail bucket a student lowers its loss by moving mass out of the top k (verl#5041).
    start, teacher = distributions(8, 20, seed=11, sharpness=2.0)
    top = TopKDistribution.from_logprobs(teacher.float(), 4)
    logits = start.float().clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.1)
    signal = Divergence(direction="reverse")
    for _ in range(200):
        optimiser.zero_grad()
        signal.loss(logits, torch.zeros(8, dtype=torch.long), top).sum().backward()
        optimiser.step()
    kept = torch.softmax(logits.detach(), -1).gather(-1, top.token_ids).sum(-1)
    assert (kept >= top.top_logprobs.exp().sum(-1) - 1e-3).all()


@pytest.mark.parametrize("divergence", [forward_kl, reverse_kl])
def test_what_is_refused_does_go_wrong_a_top_k_sum_without_tail_is_negative(divergence):
    student, teacher = (torch.log(torch.tensor([row], dtype=DOUBLE)) for row in ([0.6, 0.3, 0.1], [0.5, 0.25, 0.25]))
    if divergence is reverse_kl:
        student, teacher = teacher, student
    assert divergence(student[:, :2], teacher[:, :2]).item() < 0
    assert divergence(*buckets(student, TopKDistribution.from_logprobs(teacher, 2))).item() > 0


# the sampled estimator


def test_the_expected_gradient_of_the_sampled_estimator_is_that_of_reverse_kl():
    student, teacher = distributions(3, 7, seed=12)  # three fixed prefixes

    def expected(logits):
        logprobs = torch.log_softmax(logits, -1)
        per_token = sampled_reverse_kl(logprobs.reshape(-1), teacher.reshape(-1)).reshape(3, 7)
        return logprobs.detach().exp() * per_token

    exact = gradient(lambda logits: reverse_kl(torch.log_softmax(logits, -1), teacher), student)
    torch.testing.assert_close(gradient(expected, student), exact, rtol=0, atol=1e-12)


def test_a_sum_over_the_support_as_an_advantage_has_no_expected_gradient():
    student, teacher = distributions(1, 7, seed=13)
    advantage = reverse_kl(student, teacher)

    def expected(logits):
        logprobs = torch.log_softmax(logits, -1)
        return logprobs.detach().exp() * advantage * logprobs

    assert gradient(expected, student).abs().max() < 1e-12
    with pytest.raises(ObjectiveError, match="does not depend on the sampled token"):
        dense_advantage(student, teacher)


def test_back_propagating_the_sampled_log_ratio_leaves_the_teacher_out():
    student, teacher = distributions(1, 7, seed=14)
    first = gradient(lambda logits: (torch.log_softmax(logits, -1) - teacher)[:, 2], student)
    other = gradient(lambda logits: (torch.log_softmax(logits, -1) - 2 * teacher)[:, 2], student)
    assert torch.equal(first, other)
    with pytest.raises(ObjectiveError, match="score function"):
        dense_advantage(student[0].clone().requires_grad_(), teacher[0])


def test_the_dense_advantage_is_the_log_ratio_of_teacher_and_student():
    found = dense_advantage(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -0.5]))
    assert found.tolist() == [-2.0, 1.5]


# every dense signal


@pytest.mark.parametrize(("signal", "k"), [*itertools.product(EXACT, [None, 3]), (SAMPLED, None)])
def test_another_teacher_gives_another_gradient(signal, k):
    student, teacher = distributions(4, 6, seed=15, dtype=torch.float32)
    other = torch.log_softmax(teacher + torch.linspace(0, 0.5, 6), dim=-1)
    ids = torch.tensor([0, 1, 2, 3])

    def found(logprobs):
        target = FullDistribution(full=logprobs) if k is None else TopKDistribution.from_logprobs(logprobs, k)
        return gradient(lambda logits: signal.loss(logits, ids, target), student)

    assert (found(teacher) - found(other)).abs().amax(dim=-1).min() > 1e-4


@pytest.mark.parametrize(("sharpness", "tolerance"), [(1.0, 1e-4), (12.0, 1e-3)])
@pytest.mark.parametrize(("signal", "divergence"), zip(EXACT, DIVERGENCES, strict=True))
def test_bfloat16_logits_are_measured_in_float32(signal, divergence, sharpness, tolerance):
    logits = sharpness * torch.randn(2, 64, 500, generator=torch.Generator().manual_seed(16))
    student, teacher = logits.bfloat16()
    exact = divergence(*(torch.log_softmax(side.double(), -1) for side in (student, teacher)))
    target = FullDistribution(full=torch.log_softmax(teacher.float(), -1))
    found = signal.loss(student.float(), torch.zeros(64, dtype=torch.long), target)
    assert (found - exact).abs().max() <= tolerance


def test_a_teachers_hidden_states_say_the_same_as_its_logprobs():
    hidden, head = torch.randn(4, 3), torch.randn(6, 3)
    logits, ids = torch.randn(4, 6), torch.tensor([0, 1, 2, 3])
    exact = HiddenDistribution(hidden=hidden, head=head, temperature=0.6)
    full = FullDistribution(full=torch.log_softmax(hidden @ head.T / 0.6, dim=-1))
    for signal in [*EXACT, SAMPLED]:
        torch.testing.assert_close(signal.loss(logits, ids, exact), signal.loss(logits, ids, full))


# scoring


def test_scoring_asks_the_teacher_once_and_reads_no_label():
    groups = [scripted_group("a", [[1], [2, 3]]), scripted_group("b", [[4]])]
    targets = {
        name: FullDistribution(full=torch.log_softmax(torch.randn(length, 5), -1))
        for name, length in [("a/0", 1), ("a/1", 2), ("b/0", 1)]
    }
    script = Script(teacher=ScriptedTeacher(by_rollout=targets))
    scored = Divergence(direction="forward").score(groups, script.workers(), ONCE)
    assert script.teacher.asked == [["a/0", "a/1", "b/0"]]
    assert script.answers.reads == []
    assert script.verifier.graded == []
    assert not Divergence(direction="forward").reads_labels
    assert [item.weight.tolist() for item in scored.rollouts] == [[0.25], [0.25, 0.25], [0.25]]
    assert all(item.target is targets[item.rollout.rollout_id] for item in scored.rollouts)
    assert scored.metrics == {"response_tokens": 4 / 3, "truncated": 0.0, "repetition": 0.0}


def test_no_rollouts_ask_no_teacher():
    script = Script()
    assert Divergence(direction="reverse").score([scripted_group("a", [])], script.workers(), ONCE).rollouts == ()
    assert script.teacher.asked == []


# refusals


@pytest.mark.parametrize("direction", ["forward", "jsd"])
def test_the_sampled_estimator_is_refused_for_any_other_direction(direction):
    with pytest.raises(ObjectiveError, match="sampled"):
        Divergence(direction=direction, estimator="sampled")


def test_the_sampled_estimator_is_refused_without_an_exact_teacher():
    top = TopKDistribution.from_logprobs(torch.log_softmax(torch.randn(1, 5), -1), 2)
    script = Script(teacher=ScriptedTeacher(by_rollout={"a/0": top}))
    with pytest.raises(ObjectiveError, match="exact"):
        SAMPLED.score([scripted_group("a", [[1]])], script.workers(), ONCE)
    with pytest.raises(ObjectiveError, match="exact"):
        SAMPLED.loss(torch.zeros(1, 5), torch.tensor([0]), top)


@pytest.mark.parametrize("tail", [-math.inf, math.nan, 0.0])
@pytest.mark.parametrize("direction", ["forward", "reverse", "jsd"])
def test_a_top_k_whose_mass_is_not_one_is_refused(direction, tail):
    top = TopKDistribution(
        token_ids=torch.tensor([[0, 1], [0, 1]]),
        top_logprobs=torch.log(torch.tensor([[0.6, 0.4], [0.5, 0.3]])),
        tail_logprob=torch.tensor([-math.inf, tail]),
    )
    script = Script(teacher=ScriptedTeacher(by_rollout={"a/0": top}))
    with pytest.raises(ObjectiveError, match="position 1"):
        Divergence(direction=direction).score([scripted_group("a", [[1, 2]])], script.workers(), ONCE)


def test_half_precision_storage_is_not_missing_mass():
    logprobs = torch.log_softmax(3 * torch.randn(200, 50, generator=torch.Generator().manual_seed(17)), -1)
    top = TopKDistribution.from_logprobs(logprobs, 8)
    refuse_missing_mass(
        TopKDistribution(
            token_ids=top.token_ids,
            top_logprobs=top.top_logprobs.bfloat16(),
            tail_logprob=top.tail_logprob.bfloat16(),
        )
    )


def test_another_signals_target_is_refused():
    with pytest.raises(ObjectiveError, match="NoTarget"):
        Divergence(direction="forward").loss(torch.zeros(1, 2), torch.tensor([0]), NoTarget())


# diagnostics


def test_the_diagnostics_are_those_worked_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    teacher = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    signal = Divergence(direction="forward")
    exact = signal.diagnostics(logits, torch.tensor([0]), FullDistribution(full=teacher))
    assert exact["entropy"].item() == pytest.approx(1.5 * math.log(2))
    assert exact["overlap"].item() == pytest.approx(0.2 + 0.25 + 0.25)
    assert exact["top1"].item() == pytest.approx(0.25)
    assert exact["kl"].item() == pytest.approx(forward_kl(logits, teacher).item())
    bucketed = signal.diagnostics(logits, torch.tensor([0]), TopKDistribution.from_logprobs(teacher, 1))
    assert bucketed["overlap"].item() == pytest.approx(0.25 + 0.5)
    assert bucketed["top1"].item() == pytest.approx(0.25)


def test_a_heavy_tail_is_not_the_teachers_likeliest_token():
    teacher = torch.log(torch.tensor([[0.3, 0.25, 0.25, 0.2]]))
    logits = torch.log(torch.tensor([[0.7, 0.1, 0.1, 0.1]]))
    measured = Divergence(direction="forward").diagnostics(
        logits, torch.tensor([0]), TopKDistribution.from_logprobs(teacher, 1)
    )
    assert measured["top1"].item() == pytest.approx(0.7)


def test_the_sampled_estimator_reports_the_exact_divergence():
    student, teacher = distributions(3, 6, seed=18, dtype=torch.float32)
    target = FullDistribution(full=teacher)
    measured = SAMPLED.diagnostics(student, torch.tensor([0, 1, 2]), target)
    torch.testing.assert_close(measured["kl"], reverse_kl(student, teacher))
