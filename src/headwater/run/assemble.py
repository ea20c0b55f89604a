"""The live things of one stage, put together from a model and what the stage is given; and `train`, for notebooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from headwater import cache
from headwater.cache import CachedTeacher, Recording
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError, InputError
from headwater.fingerprint import fingerprint
from headwater.interfaces import Answers, Engine, Seeds, Teacher, Verifier, Workers
from headwater.ledger import AnswerKey, Ledger, NoAnswers
from headwater.loop import Accountant, Stage, run_stage
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.models.preflight import check_pair
from headwater.plan.graph import needs_reference
from headwater.records import Problem, Rollout, Sampling, StepRecord
from headwater.signals import Divergence
from headwater.verifiers.typed import TypedVerifier


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
    teacher: Teacher | None = None
    reference: Teacher | None = None
    recorded: Mapping[str, Sequence[Rollout]] = field(default_factory=dict)


def assemble(stage: Stage, model: ModelSource, given: Given, engine: Engine) -> Workers:
    """The learner on this model, and the workers around it. What was not given raises when it is used."""
    learner = engine.learner(model, stage)
    return Workers(
        learner=learner,
        generator=engine.generator(learner),
        teacher=given.teacher or _absent(stage, "teacher"),
        reference=given.reference or _absent(stage, "reference"),
        answers=given.answers,
        verifier=given.verifier or _absent(stage, "verifier"),
        recorded=given.recorded,
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
    seeds: Seeds = Seeds(run=0, stream="rollouts", step=0),  # noqa: B008  a frozen value
    recording: Recording = Recording(),  # noqa: B008
    engine: EngineSettings = EngineSettings(),  # noqa: B008
) -> CachedTeacher:
    """Record a teacher: its rollouts on these problems with its next-token distributions, for the offline stages.

    Args: samples: rollouts a problem. recording: what is kept of each distribution (every logprob by default).
    engine: device, precision and memory. Returns the cache that lies in `directory` now.
    """
    source = ModelSource(path="teacher")
    with open_engine(engine, {"teacher": model}) as opened:
        generator, teacher = opened.generator(source), opened.teacher(source)
        groups = generator.generate(problems, samples, sampling, seeds)
        cache.write(
            directory, groups, teacher, recording, temperature=sampling.temperature, vocabulary=model.vocabulary
        )
    return CachedTeacher(directory, engine.torch_device)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Answers by problem id, how they are graded, and the ledger that notes each use."""

    answers: Mapping[str, str] = field(repr=False)
    verifier: Verifier = field(default_factory=TypedVerifier)
    ledger: str = ":memory:"


def train(  # noqa: PLR0913
    stage: Stage,
    model: LanguageModel,
    problems: Sequence[Problem],
    *,
    teacher: LanguageModel | CachedTeacher | None = None,
    labels: Labels | None = None,
    seed: int = 0,
    engine: EngineSettings = EngineSettings(),  # noqa: B008
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> list[StepRecord]:
    """Run one stage on a model of your own, in this process; the model changes in place.

    Args: teacher: a live model, or a recorded cache for the offline stages. labels: needed by stages that read
    them. engine: device, precision and memory. Returns one record a step. Raises InputError when the stage needs
    what it was not given.
    """
    if stage.reads_labels and labels is None:
        raise InputError(f"{stage.name}: this stage reads labels; pass labels=Labels(answers={{problem_id: answer}})")
    if isinstance(stage.signal, Divergence) and teacher is None:
        raise InputError(f"{stage.name}: this stage follows a teacher; pass teacher=LanguageModel.load(...)")
    if isinstance(teacher, LanguageModel):
        check_pair(model, teacher)
    if isinstance(teacher, CachedTeacher):
        teacher.check_student(model.vocabulary, len(model.head[0]))
    live = {"student": model}
    if isinstance(teacher, LanguageModel):
        live["teacher"] = teacher
    if needs_reference(stage):
        live["reference"] = LanguageModel(network=copy.deepcopy(model.network), tokenizer=model.tokenizer)
    key = fingerprint({"stage": stage, "seed": seed, "problems": [problem.problem_id for problem in problems]})
    records: list[StepRecord] = []
    with Ledger(labels.ledger if labels else ":memory:") as ledger, open_engine(engine, live) as opened:
        answers: AnswerKey | NoAnswers = NoAnswers(stage.name)
        if labels is not None and stage.reads_labels:
            pool = frozenset(problem.problem_id for problem in problems)
            answers = AnswerKey(ledger=ledger, stage=key, stage_name=stage.name, pool=pool, answers=labels.answers)
        frozen = {role: opened.teacher(ModelSource(path=role)) for role in live if role != "student"}
        given = Given(
            problems=problems,
            answers=answers,
            verifier=labels.verifier if labels else None,
            teacher=teacher if isinstance(teacher, CachedTeacher) else frozen.get("teacher"),
            reference=frozen.get("reference"),
            recorded=teacher.rollouts.by_problem if isinstance(teacher, CachedTeacher) else {},
        )
        workers = assemble(stage, ModelSource(path="student"), given, opened)

        def note(record: StepRecord) -> None:
            records.append(record)
            on_step(record)

        run_stage(stage, workers, Accountant(ledger, key, answers), problems, seed=seed, on_step=note)
        ledger.commit(key)
    return records
