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
from typing import Literal, Protocol, Self

import numpy as np
from pydantic import Field, SerializeAsAny, model_validator

from headwater.errors import InputError
from headwater.fingerprint import LATER, derive_seed
from headwater.interfaces import Answers, At, Need, Sampler, Seeds, Signal, Training, Watch, Workers
from headwater.ledger import Ledger
from headwater.optimiser import Optimiser
from headwater.records import Group, Problem, StepRecord
from headwater.value import Value


class Schedule(Value):
    """How many updates, on how many problems each, and how many of them are made of one batch of rollouts.

    A rollout batch is drawn at once, cut into the batches of its updates, and gone through `passes` times. With one
    update a rollout batch the policy that learns is the one that sampled: the importance ratio is 1, and no clip range
    does anything.
    """

    updates: int = Field(ge=1, description="optimiser steps")
    problems: int = Field(ge=1, description="problems of one update")
    order: Literal["shuffled", "given"] = Field("shuffled", description="a new permutation each epoch, or as listed")
    rollout_problems: int | None = Field(
        None, ge=1, description="problems of one rollout batch; null: those of one update", json_schema_extra=LATER
    )
    passes: int = Field(1, ge=1, description="times that a rollout batch is gone through", json_schema_extra=LATER)

    @model_validator(mode="after")
    def _batches_are_whole(self) -> Self:
        if self.drawn % self.problems:
            raise ValueError(
                f"rollout_problems: {self.drawn} are no multiple of the {self.problems} problems of an update"
            )
        if self.updates % self.updates_a_batch:
            raise ValueError(
                f"updates: {self.updates} are no whole number of rollout batches of {self.updates_a_batch} updates"
            )
        return self

    @property
    def drawn(self) -> int:
        """Problems of one rollout batch."""
        return self.rollout_problems or self.problems

    @property
    def updates_a_batch(self) -> int:
        """Updates made of one rollout batch."""
        return self.passes * self.drawn // self.problems

    def parts(self, groups: Sequence[Group]) -> list[Sequence[Group]]:
        """A rollout batch as the batches of its updates, in one pass; the same in every pass."""
        return [groups[first : first + self.problems] for first in range(0, self.drawn, self.problems)]

    def batch(self, problems: Sequence[Problem], seed: int, step: int) -> list[Problem]:
        """The problems of the rollout batch that begins at an update: a function of it alone, so that a resume repeats
        and skips nothing."""
        size, first = len(problems), step // self.updates_a_batch * self.drawn
        places = range(first, first + self.drawn)
        if self.order == "given":
            return [problems[place % size] for place in places]
        orders = {epoch: _permutation(seed, epoch, size) for epoch in {place // size for place in places}}
        return [problems[orders[place // size][place % size]] for place in places]


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(size)


class Validation(Value):
    """Labelled problems that no stage trains on, to look at while one trains: the curve of its learner on them.

    They are labels, and the ledger counts them. The last weights are a stage's result; `best` is early stopping.
    """

    every: int = Field(ge=1, description="updates between two measurements; the last is measured always")
    samples: int = Field(4, ge=1, description="responses to each problem, with the same seeds every time")
    keep: Literal["last", "best"] = Field("last", description="weights that a stage ends with: its last, or the best")


VALIDATION = Watch("validation", "right answers on validation problems")


class Stage(Value):
    """One row of the table with its numbers: a value, with no live thing in it."""

    name: str = Field(description="the row of the table")
    learner: Literal["teacher", "student"] = Field("student", description="who changes")
    sampler: SerializeAsAny[Sampler] = Field(description="whose states")
    signal: SerializeAsAny[Signal] = Field(description="what scores them")
    pool: str = Field("pool", description="whose problems: pool, 1H or 2H")
    schedule: Schedule = Field(description="how long")
    optimiser: Optimiser = Field(Optimiser(), description="how far each step goes")
    validation: Validation | None = Field(None, description="how it is watched; null: not", json_schema_extra=LATER)

    @property
    def keeps_best(self) -> bool:
        """Whether it ends with the weights that did best on the validation problems."""
        return self.validation is not None and self.validation.keep == "best"

    @property
    def validated(self) -> tuple[int, ...]:
        """After how many updates its learner is measured on the validation problems: where a rollout batch ends."""
        if self.validation is None:
            return ()
        every, batch, last = self.validation.every, self.schedule.updates_a_batch, self.schedule.updates
        ends = range(batch, last + 1, batch)
        return tuple(end for end in ends if end // every > (end - batch) // every or end == last)

    @property
    def updates(self) -> int:
        """Steps of the loop."""
        return self.schedule.updates

    @property
    def training(self) -> Training:
        """What its learner must know."""
        return Training(
            optimiser=self.optimiser,
            updates=self.schedule.updates,
            updates_a_batch=self.schedule.updates_a_batch,
            temperature=self.temperature,
        )

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
        return (*self.signal.watch, *self.sampler.watch, *([VALIDATION] if self.validation else []))


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


class Unaccounted:
    """The account of pretraining: its exercises belong to no pool, so there is nothing to note."""

    def expose(self, step: int, problems: Sequence[Problem]) -> None:
        """Nothing to note."""


def run_stage(
    stage: Stage,
    workers: Workers,
    ledger: Account,
    problems: Sequence[Problem],
    *,
    seed: int,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> None:
    """Run a stage from the learner's version, where a rollout batch begins, to its last update.

    Args: problems: the stage's pool, in a fixed order. seed: the run's seed; everything random derives from it.
    on_step: told of each update. What is committed at the end of a rollout batch can be taken up again.
    Raises InputError when the pool is smaller than one batch.
    """
    schedule = stage.schedule
    if len(problems) < schedule.drawn:
        raise InputError(
            f"{stage.name}: pool {stage.pool} has {len(problems)} problems, a step needs {schedule.drawn}. "
            "Use fewer problems an update, or a larger pool."
        )
    order_seed = derive_seed(seed, stage.name, "order")
    for first in range(workers.learner.version, schedule.updates, schedule.updates_a_batch):
        batch = schedule.batch(problems, order_seed, first)
        at, seeds = At(step=first, updates=schedule.updates), Seeds(run=seed, stream=stage.name, step=first)
        ledger.expose(first, batch)  # account
        groups = stage.sampler.sample(batch, workers, seeds, at)  # sample
        scored = [stage.signal.score(part, workers, at) for part in schedule.parts(groups)]  # score
        for step, part in enumerate(schedule.passes * scored, first):
            metrics = workers.learner.update(part, stage.signal)  # update
            if step + 1 == first + schedule.updates_a_batch:
                workers.sync()  # the sampler sees the new weights
            on_step(StepRecord(step=step, metrics={**part.metrics, **metrics}))
