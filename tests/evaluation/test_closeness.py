"""Closeness: the six measures against float64, and what they are for a model and itself."""

import pytest
import torch

import tiny
from headwater.batch import FullDistribution, TopKDistribution
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.evaluation.closeness import by_problem, closeness, compare, errors, means, total
from headwater.records import Group, Problem
from scripted import ScriptedTeacher, scripted_group

MEASURES = {"kl_teacher_student", "kl_student_teacher", "overlap", "top1", "student_entropy", "teacher_entropy"}


def scorer(model):
    return LocalTeacher(model, EngineSettings(micro_batch_tokens=60))


def test_a_model_and_itself_are_at_distance_zero_and_overlap_one():
    rollouts = tiny.draw(tiny.qwen())
    found = closeness(scorer(tiny.qwen()), scorer(tiny.qwen()), rollouts, 1.0)
    assert found["kl_teacher_student"] == found["kl_student_teacher"] == 0.0
    assert found["overlap"] == pytest.approx(1, abs=1e-6)
    assert found["student_entropy"] == found["teacher_entropy"] > 0
    assert found["tokens"] == sum(len(one.response_ids) for one in rollouts)


def in_double(student, teacher):
    """The measures from float64 probabilities, token by token and word by word."""
    p, q = teacher.double().exp(), student.double().exp()
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    return {
        "kl_teacher_student": (p * (p / q).log()).sum(-1),
        "kl_student_teacher": (q * (q / p).log()).sum(-1),
        "overlap": 1 - 0.5 * (p - q).abs().sum(-1),
        "top1": torch.stack([row[best] for row, best in zip(q, p.argmax(-1), strict=True)]),
        "student_entropy": -(q * q.log()).sum(-1),
        "teacher_entropy": -(p * p.log()).sum(-1),
    }


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_the_measures_of_two_models_are_those_of_float64(temperature):
    student, teacher = tiny.qwen(), tiny.llama()
    rollouts = tiny.draw(student, temperature=temperature)
    expected = {name: [] for name in MEASURES}
    with torch.no_grad():
        for one in rollouts:
            pair = [torch.log_softmax(tiny.forward(m, one, temperature).double(), -1) for m in (student, teacher)]
            for name, values in in_double(*pair).items():
                expected[name].append(values)
    found = closeness(scorer(student), scorer(teacher), rollouts, temperature)
    assert found.keys() == MEASURES | {"tokens"}
    for name, values in expected.items():
        assert found[name] == pytest.approx(torch.cat(values).mean().item(), abs=1e-5)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])
def test_the_measures_of_random_distributions_are_those_of_float64(sharpness):
    source = torch.Generator().manual_seed(0)
    student, teacher = (torch.log_softmax(sharpness * torch.randn(50, 200, generator=source), -1) for _ in range(2))
    expected = in_double(student, teacher)
    for name, values in compare(student, teacher).items():
        torch.testing.assert_close(values.double(), expected[name], rtol=1e-4, atol=1e-5)


def test_two_tokens_by_hand():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    found = {name: value.item() for name, value in compare(student, teacher).items()}
    assert found == pytest.approx(
        {
            "kl_teacher_student": 0.130812,
            "kl_student_teacher": 0.143841,
            "overlap": 0.75,
            "top1": 0.5,
            "student_entropy": 0.693147,
            "teacher_entropy": 0.562335,
        },
        abs=1e-6,
    )


def test_every_token_weighs_the_same_and_directions_swap_with_the_models():
    rollouts = tiny.draw(tiny.qwen())
    there = closeness(scorer(tiny.qwen()), scorer(tiny.qwen(seed=8)), rollouts, 1.0)
    back = closeness(scorer(tiny.qwen(seed=8)), scorer(tiny.qwen()), rollouts, 1.0)
    assert there["kl_teacher_student"] == pytest.approx(back["kl_student_teacher"])
    assert there["overlap"] == pytest.approx(back["overlap"])
    parts = [closeness(scorer(tiny.qwen()), scorer(tiny.qwen(seed=8)), [one], 1.0) for one in rollouts]
    mean = sum(part["overlap"] * part["tokens"] for part in parts) / there["tokens"]
    assert there["overlap"] == pytest.approx(mean, abs=1e-6)


def test_an_id_that_both_models_mask_adds_nothing():
    student = torch.tensor([[0.5, 0.5, 0.0]]).log()
    teacher = torch.tensor([[0.75, 0.25, 0.0]]).log()
    bare = compare(student[:, :2], teacher[:, :2])
    for name, value in compare(student, teacher).items():
        torch.testing.assert_close(value, bare[name])


def test_a_teacher_that_knows_three_tokens_is_compared_on_these_and_the_rest():
    [rollout] = scripted_group("p", [(2, 3)]).rollouts
    student, teacher = (torch.log_softmax(3 * torch.randn(2, 10), -1) for _ in range(2))
    top = TopKDistribution.from_logprobs(teacher, 3)
    exact = ScriptedTeacher(by_rollout={"p/0": FullDistribution(full=student)})
    found = closeness(exact, ScriptedTeacher(exact=False, by_rollout={"p/0": top}), [rollout], 1.0)
    p = torch.cat([top.top_logprobs, top.tail_logprob[:, None]], -1).double().exp()
    kept = student.gather(-1, top.token_ids).double().exp()
    q = torch.cat([kept, 1 - kept.sum(-1, keepdim=True)], -1)
    expected = {
        "kl_teacher_student": (p * (p / q).log()).sum(-1),
        "kl_student_teacher": (q * (q / p).log()).sum(-1),
        "overlap": torch.minimum(p, q).sum(-1),
        "top1": torch.stack([row[best] for row, best in zip(q, p[:, :3].argmax(-1), strict=True)]),
        "student_entropy": -(q * q.log()).sum(-1),
        "teacher_entropy": -(p * p.log()).sum(-1),
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values.mean().item(), abs=1e-5), name
    whole = closeness(exact, ScriptedTeacher(by_rollout={"p/0": FullDistribution(full=teacher)}), [rollout], 1.0)
    assert found["kl_teacher_student"] < whole["kl_teacher_student"]
    assert found["overlap"] > whole["overlap"]


def test_a_student_that_is_not_exact_is_refused():
    [rollout] = scripted_group("p", [(2, 3)]).rollouts
    full = torch.log_softmax(torch.randn(2, 10), -1)
    exact = ScriptedTeacher(by_rollout={"p/0": FullDistribution(full=full)})
    coarse = ScriptedTeacher(by_rollout={"p/0": TopKDistribution.from_logprobs(full, 3)})
    with pytest.raises(InputError, match="exact"):
        closeness(coarse, exact, [rollout], 1.0)


def test_the_errors_are_over_problems_and_those_of_equal_lengths_are_of_their_means():
    draw = torch.Generator().manual_seed(0)
    means_by_problem = torch.rand(30, generator=draw, dtype=torch.float64)
    equal = [{"kl": float(7 * mean), "tokens": 7.0} for mean in means_by_problem]
    assert errors(equal)["kl"] == pytest.approx(float(means_by_problem.std()) / 30**0.5)
    assert errors(equal[:1])["kl"] == 0.0


def test_the_errors_of_unequal_lengths_are_near_those_of_leaving_problems_out():
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, 12, (80,), generator=draw)
    values = torch.rand(80, generator=draw, dtype=torch.float64) * tokens
    problems = [{"kl": float(value), "tokens": float(count)} for value, count in zip(values, tokens, strict=True)]
    without = torch.tensor(
        [float((values.sum() - v) / (tokens.sum() - n)) for v, n in zip(values, tokens, strict=True)],
        dtype=torch.float64,
    )
    jackknife = float(((without - without.mean()) ** 2).sum() * 79 / 80) ** 0.5
    assert errors(problems)["kl"] == pytest.approx(jackknife, rel=0.03)


def test_the_sums_of_problems_are_those_of_their_rollouts_in_pieces_or_at_once():
    student, teacher = tiny.qwen(), tiny.llama()
    rollouts = tiny.draw(student)
    groups = [
        Group(problem=Problem(problem_id=str(i), prompt="?", source="tiny"), rollouts=tuple(part))
        for i, part in enumerate((rollouts[:1], rollouts[1:]))
    ]
    whole = by_problem(scorer(student), scorer(teacher), groups, 1.0)
    parts = [by_problem(scorer(student), scorer(teacher), [group], 1.0)[0] for group in groups]
    for name, value in closeness(scorer(student), scorer(teacher), rollouts, 1.0).items():
        assert means(total(whole))[name] == pytest.approx(value, abs=1e-6)
        assert means(total(parts))[name] == pytest.approx(value, abs=1e-5)
