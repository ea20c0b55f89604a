"""headwater's side of a benchmark: the real learner, generator and teacher, one round a command.

Run by `living` as `python -m headwater.bench.side JOB`. A round is one step of the loop itself, one pass of the tiled
head, or one batch of responses.
"""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from headwater.batch import HiddenDistribution, Scored
from headwater.bench.protocol import Channel, Memory, Parts, read_job
from headwater.bench.recording import read_problems
from headwater.bench.shapes import SHAPES, Batch, KernelSize
from headwater.cache import CachedTeacher
from headwater.engines.cpu import products
from headwater.engines.head import Head, HeadBatch, tiled_backward
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Generator, Learner, Sampler, Seeds, Signal, Teacher, Verifier, Workers
from headwater.loop import Schedule, Stage, run_stage
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.models.outline import dimensions
from headwater.models.unpretrained import random_weights
from headwater.optimiser import Optimiser
from headwater.records import Grade, Group, Problem, Rollout, Sampling, StepRecord, Verdict, rollouts_of
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Reward

MANY = 1_000_000
RATE = 1e-6


class Rounds(ABC):
    """Something that can be done again and again."""

    @abstractmethod
    def round(self, parts: Parts) -> dict[str, float]:
        """Do it once, book its parts, and say how much was done (`tokens`) and how (`padding`)."""


class HashVerifier(Verifier):
    """Gives half of all responses a reward, by a hash of their text: every group of a step is mixed."""

    def grade(self, responses: Mapping[str, tuple[str, str]]) -> Mapping[str, Verdict | Grade]:
        """Right where the hash is odd."""
        return {
            name: Verdict.CORRECT if zlib.crc32(text.encode()) & 1 else Verdict.WRONG
            for name, (_, text) in responses.items()
        }


class NoLedger:
    """Answers that are never looked at, of steps that nobody counts."""

    def at(self, step: int) -> None:
        """Nothing is noted."""

    def expose(self, step: int, problems: Sequence[Problem]) -> None:
        """Nothing is written."""

    def read(self, problem_id: str, use: str = "answer") -> str:
        """No answer."""
        return ""


class Booked(Generator):
    """A generator whose time is booked."""

    def __init__(self, of: Generator):
        self.parts = Parts()
        self.tokens = 0
        """response tokens of the last update"""
        self._of = of

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        """As the generator does, booked as "generate"."""
        groups = self._of.generate(problems, samples, sampling, seeds)
        self.parts.part("generate")
        return groups

    def sync(self) -> None:
        """As the generator does, booked with the update that it follows."""
        self._of.sync()
        self.parts.part("update")


class BookedLearner(Learner):
    """A learner whose time is booked: what came before its update is "score"."""

    def __init__(self, of: Learner, booked: Booked):
        self._of = of
        self._booked = booked

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the learner."""
        return self._of.version

    def update(self, scored: Scored, signal: Signal) -> dict[str, float]:
        """As the learner does."""
        self._booked.parts.part("score")
        self._booked.tokens = sum(len(one.rollout.response_ids) for one in scored.rollouts)
        return self._of.update(scored, signal)

    def near(self, teacher: Teacher) -> Teacher:
        """As the learner does."""
        return self._of.near(teacher)

    def save(self, directory: Path) -> None:
        """As the learner does."""
        self._of.save(directory)

    def load(self, directory: Path) -> None:
        """As the learner does."""
        self._of.load(directory)


class Steps(Rounds):
    """Steps of the loop on one model."""

    def __init__(self, job: dict[str, Any], model: LanguageModel, engine: EngineSettings):
        batch = Batch(**job["batch"])
        self._problems = read_problems(job)
        self._stage = _stage(job["work"], batch)
        self._workers = self._assemble(job, model, engine)
        self._rows = batch.rows

    def _assemble(self, job: dict[str, Any], model: LanguageModel, engine: EngineSettings) -> Workers:
        live = {"student": model}
        if "teacher" in job and "cache" not in job:
            live["teacher"] = open_model(job, "teacher")
        opened = open_engine(engine, live)
        learner = opened.learner(ModelSource(path="student"), self._stage.training)
        teacher: Teacher | None = opened.teacher(ModelSource(path="teacher")) if "teacher" in live else None
        recorded: Mapping[str, Sequence[Rollout]] = {}
        if "cache" in job:
            teacher = cached = CachedTeacher(Path(job["cache"]))
            recorded = cached.rollouts.by_problem
        self._booked = Booked(opened.generator(learner))
        return Workers(
            learner=BookedLearner(learner, self._booked),
            generator=self._booked,
            teachers={} if teacher is None else {"teacher": teacher},
            reference=None,  # type: ignore[arg-type]
            answers=NoLedger(),
            verifier=HashVerifier(),
            recorded=recorded,
            written=model.written,
            temperature=1.0,
        )

    def round(self, parts: Parts) -> dict[str, float]:
        """One step of the loop: a stage that ends with the learner's next update."""
        self._booked.parts = parts
        schedule = self._stage.schedule.model_copy(update={"updates": self._workers.learner.version + 1})
        stage = self._stage.model_copy(update={"schedule": schedule})
        steps: list[StepRecord] = []
        run_stage(stage, self._workers, NoLedger(), self._problems, seed=0, on_step=steps.append)
        (step,) = steps
        return {"tokens": self._booked.tokens, "rows": self._rows, "padding": step.metrics.get("padding", 0.0)}


def _stage(work: str, batch: Batch) -> Stage:
    """The stage that a kind of work is steps of."""
    sampler: Sampler = OnPolicy(samples=batch.samples, max_response_tokens=batch.response_tokens)
    signal: Signal = Reward(kl_coefficient=0.0, zero_variance="keep")
    if work == "opd":
        signal = Divergence(direction="reverse")
    if work == "forward-kl":
        sampler, signal = Recorded(samples=batch.samples), Divergence(direction="forward")
    return Stage(
        name="bench",
        learner="student",
        sampler=sampler,
        signal=signal,
        schedule=Schedule(updates=MANY, problems=batch.prompts, order="given"),
        optimiser=Optimiser(learning_rate=RATE, warmup_share=0.0, final_share=1.0),
    )


class Generation(Rounds):
    """Batches of responses from one model."""

    def __init__(self, job: dict[str, Any], model: LanguageModel, engine: EngineSettings):
        self._batch = Batch(**job["batch"])
        self._problems = read_problems(job)
        self._generator = open_engine(engine, {"student": model}).generator(ModelSource(path="student"))
        self._step = 0

    def round(self, parts: Parts) -> dict[str, float]:
        """One batch."""
        start = self._step * self._batch.prompts % len(self._problems)
        problems = self._problems[start : start + self._batch.prompts]
        sampling = Sampling(max_response_tokens=self._batch.response_tokens)
        seeds = Seeds(run=0, stream="bench", step=self._step)
        groups = self._generator.generate(problems, self._batch.samples, sampling, seeds)
        parts.part("generate")
        self._step += 1
        return {"tokens": sum(len(rollout.response_ids) for rollout in rollouts_of(groups)), "rows": self._batch.rows}


class Kernel(Rounds):
    """The tiled head on full-vocabulary reverse KL, forward and backward."""

    def __init__(self, size: KernelSize, engine: EngineSettings):
        draw = torch.Generator().manual_seed(0)

        def noise(rows: int) -> torch.Tensor:
            return (torch.randn(rows, size.hidden, generator=draw) / size.hidden**0.5).to(engine.torch_device)

        self._size = size
        self._hidden = noise(size.tokens).mul_(size.hidden**0.5).requires_grad_()
        self._head = Head(weight=torch.nn.Parameter(noise(size.vocab)), tile=engine.tokens_a_tile(size.vocab))
        self._target = HiddenDistribution(hidden=noise(size.tokens).mul_(size.hidden**0.5), head=noise(size.vocab))

    def round(self, parts: Parts) -> dict[str, float]:
        """Loss and both gradients."""
        self._hidden.grad = self._head.weight.grad = None
        batch = HeadBatch(
            response_ids=torch.zeros(self._size.tokens, dtype=torch.long),
            target=self._target,
            weight=torch.full((self._size.tokens,), 1.0 / self._size.tokens),
        )
        tiled_backward(self._hidden, self._head, Divergence(direction="reverse"), batch)
        parts.part("update")
        return {"tokens": self._size.tokens}


def settings(setting: str, micro: int | None) -> EngineSettings:
    """The engine in a setting such as "bfloat16"."""
    return EngineSettings.model_validate({"precision": setting, "micro_batch_tokens": micro})


def open_model(job: dict[str, Any], role: str) -> LanguageModel:
    """The job's model, in memory; one that is too large for a file is made here, its frozen teacher in bfloat16."""
    if (shape := SHAPES.get(job[role])) is not None:
        dtype = torch.bfloat16 if role == "teacher" else torch.float32
        return random_weights(shape.config, 0, never_ends=job["never_ends"], dtype=dtype)
    model = LanguageModel.load(job[role])
    for parameter in model.network.parameters():
        parameter.data = parameter.data.clone()  # out of the file before memory is measured
    return model


class DeviceMemory(Memory):
    """Peak bytes allocated on the GPU."""

    def __init__(self) -> None:
        torch.cuda.reset_peak_memory_stats()
        self.base = torch.cuda.memory_allocated()

    @property
    def measured(self) -> dict[str, Any]:
        """As of the host's memory."""
        return {"base": self.base, "peak": torch.cuda.max_memory_allocated()}


def build(job: dict[str, Any]) -> tuple[Rounds, Memory]:
    """The work of a job, and the memory before it."""
    engine = settings(job["side"].removeprefix("headwater "), job["micro"])
    measure = DeviceMemory if torch.cuda.is_available() else Memory
    if job["work"] == "kl":
        rounds: Rounds = Kernel(KernelSize(**job["kernel"]), engine)
        return rounds, measure()
    model = open_model(job, "student")
    model.to(engine.torch_device)
    sizes = dimensions(model.network)
    products.keep(products.fitting(tiny=products.is_tiny(sizes.hidden, sizes.inner)))  # as a run chooses
    memory = measure()
    kind = Generation if job["work"] == "generation" else Steps
    return kind(job, model, engine), memory


def main() -> None:
    """Answer rounds until told to stop."""
    torch.set_num_threads(1)
    channel = Channel()
    rounds, memory = build(read_job(sys.argv[1]))
    channel.say(versions={"torch": torch.__version__})
    wait = torch.cuda.synchronize if torch.cuda.is_available() else None
    while channel.wait():
        parts = Parts(wait)
        done = rounds.round(parts)
        channel.say(**parts.measured, **done, memory=memory.measured)


if __name__ == "__main__":
    main()
