"""A recipe's benchmarks as they are sampled, and `headwater eval`: a model of anywhere on them."""

from __future__ import annotations

from typing import Any

from headwater.data.problems import RunData
from headwater.engines.opening import open_engine
from headwater.evaluation.benchmark import Benchmark, evaluate
from headwater.interfaces import Engine
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel, silence_progress
from headwater.problems.labels import LabelSet
from headwater.records import Sampling
from headwater.routes.recipe import Recipe
from headwater.run import responses
from headwater.run.auditing import Auditor
from headwater.run.responses import Kept, Watched


def benchmark_of(recipe: Recipe, held_out: LabelSet, name: str) -> Benchmark:
    """One of the recipe's benchmarks, as the recipe samples it."""
    evaluation = recipe.evaluation
    return Benchmark(
        name=name,
        problems=held_out.problems,
        answers=held_out.answers,
        samples=recipe.problems.samples_of(name, evaluation.samples),
        sampling=Sampling(
            temperature=evaluation.temperature,
            top_p=evaluation.top_p,
            max_response_tokens=recipe.max_response_tokens,
        ),
    )


def piece_of(engine: Engine, samples: int, sampling: Sampling) -> int:
    """Problems of one piece of a recording or a measurement: so many are in memory at a time, or lost by a kill."""
    return max(1, engine.piece // (samples * sampling.max_response_tokens))


def evaluate_model(source: str, recipe: Recipe, seed: int = 0) -> dict[str, tuple[dict[str, Any], list[Kept]]]:
    """Open a model directory or hub id and measure it: benchmark -> scores and responses, the primary one first."""
    silence_progress()
    graders = Auditor()
    measured: dict[str, tuple[dict[str, Any], list[Kept]]] = {}
    try:
        with open_engine(recipe.engine) as engine:
            generator, shown = engine.generator(ModelSource(path=source)), LanguageModel.outline(source).shown
            for name, held_out in RunData(recipe.problems).benchmarks.items():
                benchmark = benchmark_of(recipe, held_out, name)
                watched = Watched(shown, samples=responses.samples_kept(benchmark))
                verifier = watched.verifier(graders.verifier(recipe.problems.grading_of(name)))
                limit = recipe.reward.ungraded_limit
                heard = watched.generator(generator)
                piece = piece_of(engine, benchmark.samples, benchmark.sampling)
                scores = evaluate(benchmark, heard, verifier, seed, ungraded_limit=limit, piece=piece)
                measured[name] = ({**scores, "unanswered": watched.unanswered}, watched.all)
    finally:
        graders.close()
    return measured
