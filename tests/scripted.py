"""The fake for tests: workers that say what a dict tells them to, and remember what they were asked.

An answer, distribution or group that was not scripted raises KeyError with its id, so a test that asks too
much fails by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.batch import FullDistribution, Scored, TeacherDistribution, TopKDistribution
from headwater.interfaces import At, Engine, Generator, Learner, Seeds, Signal, Teacher, Training, Verifier, Workers
from headwater.models.choice import ModelSource
from headwater.records import Group, Problem, Rollout, Sampling, Verdict

ONCE = At(step=0, updates=1)
"""The only step of a stage."""


def scripted_group(
    problem_id: str, responses: Sequence[Sequence[int]], logprob: float = -1.0, version: int = 0
) -> Group:
    """A group with these response ids; rollout i is named "problem_id/i", and all logprobs are the same."""
    rollouts = (
        Rollout(
            rollout_id=f"{problem_id}/{i}",
            problem_id=problem_id,
            prompt_ids=(0,),
            response_ids=tuple(response_ids),
            response_text=" ".join(str(token) for token in response_ids),
            logprobs=(logprob,) * len(response_ids),
            policy_version=version,
            finish_reason="stop",
        )
        for i, response_ids in enumerate(responses)
    )
    return Group(problem=Problem(problem_id=problem_id, prompt="?", source="script"), rollouts=tuple(rollouts))


@dataclass(kw_only=True)
class ScriptedAnswers:
    """Answers by problem id; `reads` lists every (problem id, use) that was asked, in order."""

    answers: Mapping[str, str] = field(default_factory=dict)
    reads: list[tuple[str, str]] = field(default_factory=list)

    def at(self, step: int) -> None:
        """Steps are not noted."""

    def read(self, problem_id: str, use: str = "answer") -> str:
        self.reads.append((problem_id, use))
        return self.answers[problem_id]


@dataclass(kw_only=True)
class ScriptedVerifier(Verifier):
    """Verdicts by rollout id; `graded` lists each request. An id that was not scripted gets no verdict."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    graded: list[Mapping[str, tuple[str, str]]] = field(default_factory=list)

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> dict[str, Verdict]:
        self.graded.append(responses)
        return {name: self.verdicts[name] for name in responses if name in self.verdicts}


@dataclass(kw_only=True)
class ScriptedTeacher(Teacher):
    """Distributions and logprobs by rollout id; `asked` lists the rollout ids of each question."""

    exact: bool = True
    by_rollout: Mapping[str, TeacherDistribution] = field(default_factory=dict)
    token_logprobs: Mapping[str, Tensor] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        self.asked.append([rollout.rollout_id for rollout in rollouts])
        return [self.by_rollout[rollout.rollout_id] for rollout in rollouts]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[Float[Tensor, " token"]]:
        self.asked.append([rollout.rollout_id for rollout in rollouts])
        return [self.token_logprobs[rollout.rollout_id] for rollout in rollouts]


@dataclass(kw_only=True)
class ScriptedGenerator(Generator):
    """Groups by problem id, cut to the samples asked for."""

    by_problem: Mapping[str, Group] = field(default_factory=dict)

    def sync(self) -> None:
        """What it writes is scripted."""

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        groups = [self.by_problem[problem.problem_id] for problem in problems]
        return [Group(problem=group.problem, rollouts=group.rollouts[:samples]) for group in groups]


@dataclass(kw_only=True)
class ScriptedLearner(Learner):
    """Learns nothing: counts its updates and keeps what it was given."""

    version: int = 0
    batches: list[Scored] = field(default_factory=list)

    def update(self, scored: Scored, signal: Signal) -> dict[str, float]:
        self.batches.append(scored)
        self.version += 1
        return {"loss": 0.0}

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "version").write_text(str(self.version))

    def load(self, directory: Path) -> None:
        self.version = int((directory / "version").read_text())


@dataclass(kw_only=True)
class Script:
    """The scripted workers of one test, each typed as itself so that what it was asked can be read."""

    answers: ScriptedAnswers = field(default_factory=ScriptedAnswers)
    verifier: ScriptedVerifier = field(default_factory=ScriptedVerifier)
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    reference: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    generator: ScriptedGenerator = field(default_factory=ScriptedGenerator)
    learner: ScriptedLearner = field(default_factory=ScriptedLearner)
    recorded: Mapping[str, Sequence[Rollout]] = field(default_factory=dict)
    written: Mapping[tuple[str, str], Rollout] = field(default_factory=dict)
    """(problem id, text) -> the text as a response"""
    temperature: float = 1.0

    def workers(self) -> Workers:
        """The script as a stage's workers."""
        return Workers(
            learner=self.learner,
            generator=self.generator,
            teachers={"teacher": self.teacher},
            reference=self.reference,
            answers=self.answers,
            verifier=self.verifier,
            recorded=self.recorded,
            written=lambda problem, text: self.written[problem.problem_id, text],
            temperature=self.temperature,
        )


@dataclass(kw_only=True)
class CopiedLearner(ScriptedLearner):
    """Learns nothing, and saves the directory that it was made of."""

    source: Path

    def save(self, directory: Path) -> None:
        shutil.copytree(self.source, directory, copy_function=shutil.copyfile)
        super().save(directory / "training")

    def load(self, directory: Path) -> None:
        super().load(directory / "training")


class Sayer(Generator):
    """Says one word and ends, whatever it is asked."""

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        return [self._group(problem, samples, seeds) for problem in problems]

    def sync(self) -> None:
        """It says the same."""

    def _group(self, problem: Problem, samples: int, seeds: Seeds) -> Group:
        rollouts = (
            Rollout(
                rollout_id=f"{seeds.stream}/{seeds.step}/{problem.problem_id}/{sample}",
                problem_id=problem.problem_id,
                prompt_ids=(2, 3),
                response_ids=(4 + sample, 1),
                response_text="#",
                logprobs=(-1.0, -1.0),
                policy_version=-1,
                finish_reason="stop",
            )
            for sample in range(samples)
        )
        return Group(problem=problem, rollouts=tuple(rollouts))


@dataclass(kw_only=True)
class Undecided(Teacher):
    """Finds every token as likely as any other; says so of all of them, or of the first `known` alone."""

    words: int = 51
    known: int | None = None

    @property
    def exact(self) -> bool:  # type: ignore[override]
        return self.known is None

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        rows = (torch.full((len(rollout.response_ids), self.words), 1.0).log_softmax(-1) for rollout in rollouts)
        if self.known is None:
            return [FullDistribution(full=logprobs) for logprobs in rows]
        return [TopKDistribution.from_logprobs(logprobs, self.known) for logprobs in rows]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[Float[Tensor, " token"]]:
        return [torch.full((len(rollout.response_ids),), 1.0 / self.words).log() for rollout in rollouts]


@dataclass(kw_only=True)
class ScriptedEngine(Engine):
    """The second kind of engine: opens no model; `asked` lists what was made, of what."""

    known: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    slots = 1
    piece = 100

    def environment(self, slot: int) -> Mapping[str, str]:
        return {}

    def learner(self, model: ModelSource, training: Training) -> CopiedLearner:
        self.asked.append(("learner", str(model.path)))
        return CopiedLearner(source=Path(model.path))

    def generator(self, model: ModelSource | Learner) -> Sayer:
        self.asked.append(("generator", str(model.path) if isinstance(model, ModelSource) else "the learner"))
        return Sayer()

    def teacher(self, model: ModelSource) -> Undecided:
        self.asked.append(("teacher", str(model.path)))
        return Undecided(known=self.known)

    def close(self) -> None:
        self.closed = True
