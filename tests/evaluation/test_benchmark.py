"""A benchmark counts, by problem, what the verifier said of each sample, and trains nothing."""

import dataclasses
import math

import pytest
import torch

import tiny
from headwater.data.problems import RunData
from headwater.engines.local import LocalGenerator
from headwater.engines.settings import EngineSettings
from headwater.evaluation.benchmark import Benchmark, evaluate
from headwater.evaluation.estimate import average_at_k
from headwater.interfaces import Seeds
from headwater.models.family import build
from headwater.problems.arithmetic import VOCABULARY
from headwater.records import Sampling, Verdict, rollouts_of
from headwater.routes.recipe import read_recipe
from headwater.run.measuring import benchmark_of
from scripted import ScriptedGenerator, ScriptedVerifier, scripted_group

RIGHT, WRONG, UNGRADED = Verdict.CORRECT, Verdict.WRONG, Verdict.UNGRADED
VERDICTS = {"p0": [RIGHT, RIGHT, RIGHT, WRONG], "p1": [WRONG] * 4, "p2": [RIGHT, UNGRADED, WRONG, UNGRADED]}
LENGTHS = {"p0": (1, 2, 3, 4), "p1": (2, 2, 2, 2), "p2": (1, 1, 1, 1)}


def scripted(samples=4):
    """Three problems with the verdicts and lengths above, the responses of p1 cut off."""
    groups = {
        name: scripted_group(name, [(2,) * n for n in lengths], logprob=-0.5) for name, lengths in LENGTHS.items()
    }
    cut = tuple(dataclasses.replace(r, finish_reason="length") for r in groups["p1"].rollouts)
    groups["p1"] = dataclasses.replace(groups["p1"], rollouts=cut)
    verdicts = {f"{name}/{i}": verdict for name, row in VERDICTS.items() for i, verdict in enumerate(row)}
    benchmark = Benchmark(
        name="held-out",
        problems=tuple(group.problem for group in groups.values()),
        answers={"p0": "1", "p1": "2", "p2": "3"},
        samples=samples,
        sampling=Sampling(max_response_tokens=4),
    )
    return benchmark, ScriptedGenerator(by_problem=groups), ScriptedVerifier(verdicts=verdicts)


def test_at_temperature_zero_every_sample_is_the_likeliest_text_and_scores_as_one():
    recipe = read_recipe("lab", ("evaluation.temperature=0", "evaluation.samples=3"))
    benchmark = benchmark_of(recipe, RunData(recipe.problems).benchmarks["held-out"], "held-out")
    assert benchmark.sampling.temperature == 0
    benchmark = dataclasses.replace(benchmark, problems=benchmark.problems[:6])
    model = build(tiny.SHAPE, VOCABULARY, seed=0)
    generator = LocalGenerator(model, None, EngineSettings())
    groups = generator.generate(
        benchmark.problems, 3, benchmark.sampling, Seeds(run=0, stream="evaluate/held-out", step=0)
    )
    for one in rollouts_of(groups):
        with torch.no_grad():
            assert one.response_ids == tuple(tiny.forward(model, one).argmax(-1).tolist())
    odd = {r.rollout_id: RIGHT if r.response_ids[0] % 2 else WRONG for r in rollouts_of(groups)}
    scores = evaluate(benchmark, generator, ScriptedVerifier(verdicts=odd), seed=0)
    assert set(scores["correct"]) <= {0, 3}
    assert scores["mixed_groups"] == 0.0


def test_scores_are_counts_by_problem():
    benchmark, generator, verifier = scripted()
    scores = evaluate(benchmark, generator, verifier, seed=0)
    assert scores["problems"] == ["p0", "p1", "p2"]
    assert scores["correct"] == [3, 0, 1]
    assert scores["ungraded"] == [0, 0, 2]
    assert scores["samples"] == 4
    assert scores["response_tokens"] == 22 / 12
    assert scores["truncated"] == 4 / 12
    assert scores["entropy"] == pytest.approx(0.5)
    assert scores["mixed_groups"] == pytest.approx(2 / 3)


def test_the_verifier_is_asked_once_with_every_response_and_its_own_gold():
    benchmark, generator, verifier = scripted()
    evaluate(benchmark, generator, verifier, seed=0)
    [asked] = verifier.graded
    assert len(asked) == 12
    assert {name: gold for name, (gold, _) in asked.items()} == {
        f"{name}/{i}": benchmark.answers[name] for name in VERDICTS for i in range(4)
    }
    assert asked["p0/2"][1] == "2 2 2"


def test_one_sample_a_problem_has_no_mixed_groups():
    assert evaluate(*scripted(samples=1), seed=0)["mixed_groups"] == 0.0


class Short:
    """A response of at most the gold's number of words is right."""

    def grade(self, responses):
        return {name: RIGHT if len(text.split()) <= int(gold) else WRONG for name, (gold, text) in responses.items()}


def measured(problems, seed=0, samples=6, rows=512):
    benchmark = Benchmark(
        name="tiny",
        problems=tuple(problems),
        answers={problem.problem_id: "3" for problem in problems},
        samples=samples,
        sampling=Sampling(max_response_tokens=6),
    )
    return evaluate(
        benchmark, LocalGenerator(tiny.llama(stop_ids=(4, 6)), None, EngineSettings(rows=rows)), Short(), seed
    )


def test_a_models_scores_depend_on_the_seed_and_not_on_waves_or_order():
    problems = tiny.problems(8)
    scores = measured(problems)
    assert 0 < sum(scores["correct"]) < 48
    assert measured(problems, rows=7)["correct"] == scores["correct"]
    assert measured(problems[::-1])["correct"] == scores["correct"][::-1]
    assert measured(problems, seed=1)["correct"] != scores["correct"]


def test_scores_are_plain_data_that_the_statistics_read():
    scores = measured(tiny.problems(8))
    assert all(type(value) in (int, float, list) for value in scores.values())
    assert all(type(count) is int for count in scores["correct"])
    import numpy as np

    estimate = average_at_k(np.array(scores["correct"]), scores["samples"])
    assert estimate.mean == pytest.approx(sum(scores["correct"]) / 48)
    assert math.isfinite(scores["entropy"])


def test_measuring_leaves_the_model_as_it_is():
    model = tiny.qwen()
    before = tiny.weights(model)
    benchmark = dataclasses.replace(scripted()[0], problems=tuple(tiny.problems(3)))
    evaluate(benchmark, LocalGenerator(model, None, EngineSettings()), Short(), seed=0)
    tiny.assert_same_bits(tiny.weights(model), before)
    assert all(parameter.grad is None for parameter in model.network.parameters())
