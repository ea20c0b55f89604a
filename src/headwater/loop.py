"""The one loop: account, sample, score, update, sync. Six stages are six settings of it.

| stage | learner (who changes) | sampler (whose states) | signal (what scores them) | reads labels? |
|---|---|---|---|---|
| teacher RL | teacher | on policy | reward | yes |
| teacher SFT | teacher | recorded: demonstrations | imitation | yes |
| warm-up | student | recorded: teacher's rollouts | divergence, forward | no |
| on-policy distillation | student | on policy | divergence, reverse | no |
| teacher-sample SFT | student | recorded: teacher's rollouts | imitation | no |
| student RL | student | on policy | reward | yes |

A control that runs other code than its treatment is not a control: so every route is made of the same
stages, and every stage of these five lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np
from pydantic import Field, SerializeAsAny

from headwater.errors import InputError
from headwater.fingerprint import derive_seed
from headwater.interfaces import Answers, At, Need, Sampler, Seeds, Signal, Watch, Workers
from headwater.ledger import Ledger
from headwater.optimiser import Optimiser
from headwater.records import Problem, StepRecord
from headwater.value import Value


class Schedule(Value):
    """How many updates, and on how many problems each."""

    updates: int = Field(ge=1, description="steps of the loop")
    problems: int = Field(ge=1, description="problems of one step")
    order: Literal["shuffled", "given"] = Field("shuffled", description="a new permutation each epoch, or as listed")

    def batch(self, problems: Sequence[Problem], seed: int, step: int) -> list[Problem]:
        """The problems of one step: a function of the step alone, so that a resume repeats and skips nothing."""
        size = len(problems)
        places = range(step * self.problems, (step + 1) * self.problems)
        if self.order == "given":
            return [problems[place % size] for place in places]
        orders = {epoch: _permutation(seed, epoch, size) for epoch in {place // size for place in places}}
        return [problems[orders[place // size][place % size]] for place in places]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(size)


class Stage(Value):
    """One row of the table with its numbers: a value, with no live thing in it."""

    name: str = Field(description="the row of the table")
    learner: Literal["teacher", "student"] = Field("student", description="who changes")
    sampler: SerializeAsAny[Sampler] = Field(description="whose states")
    signal: SerializeAsAny[Signal] = Field(description="what scores them")
    pool: str = Field("pool", description="whose problems: pool, 1H or 2H")
    schedule: Schedule = Field(description="how long")
    optimiser: Optimiser = Field(Optimiser(), description="how far each step goes")

    @property
    def updates(self) -> int:
        """Steps of the loop."""
        return self.schedule.updates

    @property
    def temperature(self) -> float:
        """What logits are divided by, in sampling, scoring and learning."""
        return self.sampler.temperature

    @property
    def needs(self) -> frozenset[Need]:
        """What its sampler and its signal ask of the workers."""
        return self.sampler.needs | self.signal.needs

    @property
    def reads_labels(self) -> bool:
        """Whether any part of the stage reads an answer."""
        return self.sampler.reads_labels or self.signal.reads_labels

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models that are asked what comes next, each once."""
        return tuple(dict.fromkeys((*self.sampler.teachers, *self.signal.teachers)))

    @property
    def watch(self) -> tuple[Watch, ...]:
        """What a curve and a progress bar show of it, the most telling first."""
        return (*self.signal.watch, *self.sampler.watch)


class Account(Protocol):
    """What the loop tells of its steps."""

    def expose(self, step: int, problems: Sequence[Problem]) -> None: ...


class Accountant:
    """Tells the ledger which problems a step trains on, and the answer key which step is reading."""

    def __init__(self, ledger: Ledger, stage: str, answers: Answers):
        self._ledger = ledger
        self._stage = stage
        self._answers = answers

    def expose(self, step: int, problems: Sequence[Problem]) -> None:
        """These prompts are trained on at this step."""
        self._answers.at(step)
        self._ledger.expose(self._stage, step, problems)


def run_stage(
    stage: Stage,
    workers: Workers,
    ledger: Account,
    problems: Sequence[Problem],
    *,
    seed: int,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> None:
    """Run a stage from the learner's version to its last update, telling `on_step` of each.

    Args: problems: the stage's pool, in a fixed order. seed: the run's seed; everything random derives from it.
    Raises InputError when the pool is smaller than one batch.
    """
    if len(problems) < stage.schedule.problems:
        raise InputError(
            f"{stage.name}: pool {stage.pool} has {len(problems)} problems, a step needs {stage.schedule.problems}. "
            "Use fewer problems an update, or a larger pool."
        )
    order_seed = derive_seed(seed, stage.name, "order")
    for step in range(workers.learner.version, stage.schedule.updates):
        batch = stage.schedule.batch(problems, order_seed, step)
        at, seeds = At(step=step, updates=stage.schedule.updates), Seeds(run=seed, stream=stage.name, step=step)
        ledger.expose(step, batch)  # account
        groups = stage.sampler.sample(batch, workers, seeds, at)  # sample
        scored = stage.signal.score(groups, workers, at)  # score
        metrics = workers.learner.update(scored, stage.signal)  # update
        workers.sync()  # the sampler sees the new weights
        on_step(StepRecord(step=step, metrics={**scored.metrics, **metrics}))
