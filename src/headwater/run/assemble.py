"""The live things of one stage, put together from a model and what the stage is given; and `train`, for notebooks."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from headwater import cache
from headwater.cache import CachedTeacher
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError, InputError
from headwater.fingerprint import fingerprint
from headwater.interfaces import Answers, Engine, Need, Seeds, Teacher, Verifier, Workers, reads_teachers
from headwater.ledger import AnswerKey, Ledger, NoAnswers
from headwater.loop import Accountant, Stage, run_stage
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.models.preflight import check_pair
from headwater.recording import Recording
from headwater.records import Problem, Rollout, Sampling, StepRecord
from headwater.run.measuring import piece_of
from headwater.verifiers.function import FunctionVerifier, RewardFunction
from headwater.verifiers.grading import Grading, make_verifier

LEARNER, REFERENCE = "the learner", "its reference"
"""Names of live models in `train`, which no teacher has."""


class _Absent:
    """Stands for what a stage was not given; any use raises with the stage's name."""

    def __init__(self, stage: str, what: str):
        self._stage, self._what = stage, what

    def __getattr__(self, name: str) -> NoReturn:
        raise HeadwaterError(f"{self._stage}: this stage was given no {self._what}, and its signal asks for one")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a stage gets beside its learner; what it does not need may be missing."""

    problems: Sequence[Problem]
    answers: Answers
    verifier: Verifier | None = None
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    reference: Teacher | None = None
    recorded: Mapping[str, Sequence[Rollout]] = field(default_factory=dict)
    written: Callable[[Problem, str], Rollout] | None = None


def assemble(stage: Stage, model: ModelSource, given: Given, engine: Engine) -> Workers:
    """The learner on this model, and the workers around it. What was not given raises when it is used."""
    learner = engine.learner(model, stage.training)
    near = (lambda teacher: teacher) if reads_teachers(stage.signal) else learner.near
    return Workers(
        learner=learner,
        generator=engine.generator(learner),
        teachers={name: near(teacher) for name, teacher in given.teachers.items()},
        reference=given.reference or _absent(stage, "reference"),
        answers=given.answers,
        verifier=given.verifier or _absent(stage, "verifier"),
        recorded=given.recorded,
        written=given.written or _absent(stage, "tokenizer"),
        temperature=stage.temperature,
    )


def _absent(stage: Stage, what: str) -> Any:
    return _Absent(stage.name, what)


def record(  # noqa: PLR0913  a notebook's settings are parameters
    model: LanguageModel,
    problems: Sequence[Problem],
    directory: Path,
    *,
    samples: int,
    sampling: Sampling,
    teacher: LanguageModel | None = None,
    seeds: Seeds = Seeds(run=0, stream="rollouts", step=0),  # noqa: B008  a frozen value
    recording: Recording = Recording(),  # noqa: B008
    engine: EngineSettings = EngineSettings(),  # noqa: B008
) -> CachedTeacher:
    """Record a model's rollouts on these problems with a teacher's next-token distributions, for the offline stages.

    Args: samples: rollouts a problem. teacher: whose distributions; None: the model's own. recording: what is kept of
    each distribution (every logprob by default). engine: device, precision and memory. Returns the cache that lies in
    `directory` now.
    """
    live = {"writer": model, "teacher": teacher or model}
    with open_engine(engine, live) as opened:
        generator, scorer = opened.generator(ModelSource(path="writer")), opened.teacher(ModelSource(path="teacher"))
        about: dict[str, Any] = {"temperature": sampling.temperature, "vocabulary": model.vocabulary}
        size = piece_of(opened, samples, sampling)
        for first in range(0, len(problems), size):
            groups = generator.generate(problems[first : first + size], samples, sampling, seeds)
            cache.write(directory, groups, scorer, recording, first=first, **about)
    return CachedTeacher(directory, engine.torch_device)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Answers by problem id, how they are graded, and the ledger that notes each use.

    `verifier`: a `Grading`, which is what a recipe gives; a plain reward function in TRL's form; or a verifier.
    """

    answers: Mapping[str, str] = field(repr=False)
    verifier: Grading | RewardFunction | Verifier = field(default_factory=lambda: Grading(extractor="marker"))
    ledger: str = ":memory:"

    @property
    def grader(self) -> Verifier:
        """The verifier; a grading or a plain function becomes one."""
        if isinstance(self.verifier, Grading):
            return make_verifier(self.verifier)
        return FunctionVerifier(function=self.verifier) if callable(self.verifier) else self.verifier


def train(  # noqa: PLR0913
    stage: Stage,
    model: LanguageModel,
    problems: Sequence[Problem],
    *,
    teacher: LanguageModel | CachedTeacher | None = None,
    teachers: Mapping[str, LanguageModel | CachedTeacher] = types.MappingProxyType({}),
    labels: Labels | None = None,
    seed: int = 0,
    engine: EngineSettings = EngineSettings(),  # noqa: B008
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> list[StepRecord]:
    """Run one stage on a model of your own, in this process; the model changes in place.

    Args: teacher: a live model, or a recorded cache for the offline stages. teachers: others, by the names that the
    stage's signal asks. labels: needed by stages that read them. engine: device, precision and memory. Returns one
    record a step. Raises InputError when the stage needs what it was not given.
    """
    named = dict(teachers) if teacher is None else {"teacher": teacher, **teachers}
    if stage.reads_labels and labels is None:
        raise InputError(f"{stage.name}: this stage reads labels; pass labels=Labels(answers={{problem_id: answer}})")
    missing = [name for name in stage.teachers if name not in named]
    if missing:
        raise InputError(f"{stage.name}: this stage follows a {missing[0]}; pass teacher=LanguageModel.load(...)")
    for one in named.values():
        if isinstance(one, LanguageModel):
            check_pair(model, one)
        else:
            one.check_student(model.vocabulary, len(model.head[0]))
    recorded = named.get(stage.sampler.writer or "")
    live = {name: one for name, one in named.items() if isinstance(one, LanguageModel)}
    live[LEARNER] = model
    if Need.REFERENCE in stage.needs:
        live[REFERENCE] = LanguageModel(network=copy.deepcopy(model.network), tokenizer=model.tokenizer)
    key = fingerprint({"stage": stage, "seed": seed, "problems": [problem.problem_id for problem in problems]})
    records: list[StepRecord] = []
    with Ledger(labels.ledger if labels else ":memory:") as ledger, open_engine(engine, live) as opened:
        answers: AnswerKey | NoAnswers = NoAnswers(stage.name)
        if labels is not None and stage.reads_labels:
            pool = frozenset(problem.problem_id for problem in problems)
            answers = AnswerKey(ledger=ledger, stage=key, stage_name=stage.name, pool=pool, answers=labels.answers)
        given = Given(
            problems=problems,
            answers=answers,
            verifier=labels.grader if labels else None,
            teachers={
                name: one if isinstance(one, CachedTeacher) else opened.teacher(ModelSource(path=name))
                for name, one in named.items()
            },
            reference=opened.teacher(ModelSource(path=REFERENCE)) if REFERENCE in live else None,
            recorded=recorded.rollouts.by_problem if isinstance(recorded, CachedTeacher) else {},
            written=model.written,
        )
        workers = assemble(stage, ModelSource(path=LEARNER), given, opened)

        def note(record: StepRecord) -> None:
            records.append(record)
            on_step(record)

        run_stage(stage, workers, Accountant(ledger, key, answers), problems, seed=seed, on_step=note)
        ledger.commit(key)
    return records
