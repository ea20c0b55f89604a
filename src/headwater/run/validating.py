"""A stage watched on labelled problems that it does not train on: its score every so many updates, the best weights.

The score goes into the step's record as `validation`, the share of right answers. Each reading of an answer stands in
the ledger. With `keep: best` the weights of the best score so far (the earliest of equals) lie beside the learner's in
every commit, and the stage ends with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.evaluation.benchmark import Benchmark, evaluate
from headwater.interfaces import Generator, Learner, Verifier
from headwater.ledger import AnswerKey
from headwater.loop import VALIDATION, Stage
from headwater.records import Problem, Sampling, StepRecord

BEST = "best/"
"""Prefix of the best weights' files in a commit of a stage in progress."""


@dataclass(kw_only=True)
class Validator:
    """Measures one stage's learner. Live, and mutable: knows the best score so far."""

    stage: Stage
    problems: Sequence[Problem]
    answers: AnswerKey
    verifier: Verifier
    seed: int
    limit: int
    """response tokens"""
    folder: Path
    """where the best weights lie"""
    earlier: Sequence[StepRecord] = ()
    """steps that were made before, the best of which has its weights there"""
    best: float = field(init=False)
    _due: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self._due = frozenset(self.stage.validated)
        self.best = max((record.metrics.get(VALIDATION.metric, -1.0) for record in self.earlier), default=-1.0)

    def after(self, learner: Learner, generator: Generator) -> Mapping[str, float]:
        """What this update adds to its record; nothing where it is not measured."""
        if learner.version not in self._due:
            return {}
        score = self._score(generator, learner.version)
        if score > self.best:
            self.best = score
            if self.stage.keeps_best:
                learner.save(self.folder)
        return {VALIDATION.metric: score}

    def _score(self, generator: Generator, version: int) -> float:
        """The share of right answers; a response without a verdict is not right, as in every evaluation."""
        assert self.stage.validation is not None  # noqa: S101
        self.answers.at(version - 1)
        benchmark = Benchmark(
            name="validation",
            problems=tuple(self.problems),
            answers={p.problem_id: self.answers.read(p.problem_id, "validation") for p in self.problems},
            samples=self.stage.validation.samples,
            sampling=Sampling(temperature=self.stage.temperature, max_response_tokens=self.limit),
        )
        correct = evaluate(benchmark, generator, self.verifier, self.seed)["correct"]
        return float(sum(correct)) / (len(self.problems) * benchmark.samples)
