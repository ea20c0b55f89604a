"""A recipe's benchmarks as they are sampled, and `headwater eval`: a model of anywhere on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headwater.data.problems import RunData
from headwater.engines.opening import open_engine
from headwater.evaluation.benchmark import Benchmark, evaluate
from headwater.interfaces import Engine
from headwater.ledger import AnswerKey
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel, silence_progress
from headwater.plan.node import Node
from headwater.problems.labels import LabelSet
from headwater.records import Problem, Sampling
from headwater.routes.recipe import Recipe
from headwater.run import responses
from headwater.run.auditing import Auditor
from headwater.run.responses import Kept, Watched
from headwater.verifiers.grading import Grading


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


def measured_on(
    node: Node, recipe: Recipe, data: RunData, key: Callable[[str, Sequence[Problem]], AnswerKey]
) -> tuple[Benchmark, Grading]:
    """What a node measures a model on, and how that is graded: a benchmark, or its pool.

    Of a pool each answer is read from the key when it is needed, as the labels that they are.
    """
    if node.pool is None:
        name = str(node.settings["benchmark"])
        return benchmark_of(recipe, data.benchmarks[name], name), recipe.problems.grading_of(name)
    settings, problems = node.settings, data.problems(node.pool, node.seed)
    pool = Benchmark(
        name=str(node.pool),
        problems=tuple(problems),
        answers=_Read(key(node.pool, problems), {problem.problem_id: place for place, problem in enumerate(problems)}),
        samples=settings["samples"],
        sampling=Sampling(temperature=settings["temperature"], max_response_tokens=settings["max_response_tokens"]),
    )
    return pool, recipe.problems.grading


class _Read(Mapping[str, str]):
    """Answers by problem id, read from a key as they are asked for.

    The ledger's step of a read is the problem's place, so that its rows do not depend on where the work was cut.
    """

    def __init__(self, key: AnswerKey, places: Mapping[str, int]):
        self._key, self._places = key, places

    def __getitem__(self, problem_id: str) -> str:
        self._key.at(self._places[problem_id])
        return self._key.read(problem_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


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
