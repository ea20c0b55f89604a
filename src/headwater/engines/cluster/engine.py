"""The engine of a recipe with `engine.cluster`: fronts in this process, and the ranks behind them.

The loop is that of one process. A front names what it stands for; the ranks hold it. When a front is given up, so is
what it stands for, at the next call.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from headwater.batch import HiddenDistribution, PerToken, Scored, TeacherDistribution
from headwater.engines.cluster.group import Group
from headwater.engines.cluster.share import deal
from headwater.engines.cluster.teacher import Promised
from headwater.engines.local_engine import PIECE
from headwater.engines.process import environment
from headwater.engines.settings import Cluster, EngineSettings
from headwater.errors import EngineLost, HeadwaterError, InputError
from headwater.interfaces import Engine, Generator, Learner, Seeds, Signal, Teacher, Training
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.records import Group as Responses
from headwater.records import Problem, Rollout, Sampling

F = TypeVar("F", bound="_Front")


class ClusterEngine(Engine):
    """Ranks are started when the first thing is made, and again after they were lost."""

    def __init__(self, settings: EngineSettings, cluster: Cluster, live: Mapping[str, LanguageModel] | None = None):
        if live:
            raise InputError("engine.cluster: a model in this process's memory learns here; leave engine.cluster out")
        self._settings, self._cluster = settings, cluster
        self._group: Group | None = None
        self._given_up: list[str] = []
        self._count = itertools.count()

    @property
    def slots(self) -> int:
        """One piece of work at a time has all the GPUs."""
        return 1

    def environment(self, slot: int) -> Mapping[str, str]:
        """The one process sees every GPU; Ray gives each rank its own."""
        return environment(os.environ)

    @property
    def piece(self) -> int:
        """A full batch of rows for each rank."""
        return self._cluster.gpus * PIECE[self._settings.kind]

    def learner(self, model: ModelSource, training: Training) -> ClusterLearner:
        """Sharded over the ranks, with the frozen models that were opened before it at hand."""
        name = self._named("learner", model)
        self.ranks.all("open_learner", name, model, training)
        return self._front(ClusterLearner(self.ranks, name, model))

    def generator(self, model: ModelSource | Learner) -> ClusterGenerator:
        """Whole models, one a rank, opened when the first response is asked for."""
        if isinstance(model, ClusterLearner):
            return ClusterGenerator(self.ranks, model.name, model.source, model)
        if not isinstance(model, ModelSource):
            raise HeadwaterError(f"engine: a {type(model).__name__} is of another engine; make both with one")
        return self._front(ClusterGenerator(self.ranks, self._named("writer", model), model, None))

    def teacher(self, model: ModelSource) -> ClusterTeacher:
        """Sharded over the learner's own ranks."""
        name = self._named("teacher", model)
        self.ranks.all("open_teacher", name, model)
        return self._front(ClusterTeacher(self.ranks, name))

    def close(self) -> None:
        """End the ranks."""
        if self._group is not None:
            self._group.close()
            self._group = None

    @property
    def ranks(self) -> Group:
        """The ranks as they are, or new ones."""
        if self._group is None or not len(self._group):
            self._group = Group(self._settings, self._cluster)
            self._given_up.clear()
        elif self._given_up:
            names = list(self._given_up)
            self._given_up.clear()
            self._group.all("forget", names)
        return self._group

    def _front(self, front: F) -> F:
        """The front; with it goes what it stands for."""
        weakref.finalize(front, self._given_up.append, front.name)
        return front

    def _named(self, kind: str, model: ModelSource) -> str:
        return f"{kind} {next(self._count)} of {model.path}"


class _Front:
    """What stands in this process for something that the ranks hold; useless once they are lost."""

    def __init__(self, ranks: Group, name: str):
        self._held, self.name = ranks, name

    @property
    def _ranks(self) -> Group:
        if not len(self._held):
            raise EngineLost("engine: the ranks that held this are gone")
        return self._held

    def _dealt(self, method: str, name: str, rollouts: Sequence[Rollout], *more: Any) -> list[Any]:
        """What a model says of each rollout, each asked on one rank; in the order of the rollouts."""
        parts = deal(rollouts, len(self._ranks))
        found = self._ranks.each(method, [(name, [rollouts[i] for i in part], *more) for part in parts])
        by_index = {i: one for part, own in zip(parts, found, strict=True) for i, one in zip(part, own, strict=True)}
        return [by_index[i] for i in range(len(rollouts))]


class ClusterLearner(_Front, Learner):
    """The model that learns on the ranks."""

    def __init__(self, ranks: Group, name: str, source: ModelSource):
        super().__init__(ranks, name)
        self.source, self.version = source, 0
        self.changes = 0
        """how often the weights became others"""

    def update(self, scored: Scored, signal: Signal) -> dict[str, float]:
        """Each rank is sent its share of the batch alone."""
        parts = deal([member.rollout for member in scored.rollouts], len(self._ranks))
        shares = [(Scored(rollouts=tuple(scored.rollouts[i] for i in part)), signal) for part in parts]
        metrics: dict[str, float] = self._ranks.each("update", shares)[0]
        self.version += 1
        self.changes += 1
        return metrics

    def present(self) -> Teacher:
        """The weights as they are now, asked on the ranks that hold them."""
        return ClusterTeacher(self._ranks, self.name)

    def near(self, teacher: Teacher) -> Teacher:
        """A teacher on these ranks is asked there, pass by pass; any other is asked here, beforehand."""
        return Promised(teacher.name, teacher) if isinstance(teacher, ClusterTeacher) else teacher

    def save(self, directory: Path) -> None:
        """The first rank writes it, as one process would; it must see this folder."""
        self._ranks.all("save", directory)

    def load(self, directory: Path) -> None:
        """Every rank reads its part; it must see this folder."""
        self.version = self._ranks.all("load", directory)[0]
        self.changes += 1


class ClusterTeacher(_Front, Teacher):
    """A model on the ranks, asked from here: exact, with its hidden states and its head sent back."""

    exact = True

    def __init__(self, ranks: Group, name: str):
        super().__init__(ranks, name)
        self._head: HiddenDistribution | None = None

    def distributions(self, rollouts: Sequence[Rollout], temperature: float) -> list[TeacherDistribution]:
        """One HiddenDistribution a rollout, made by the ranks."""
        states = self._dealt("hidden", self.name, rollouts)
        if self._head is None:
            self._head = self._ranks.each("head", [(self.name,)], ranks=[0])[0]
        return [replace(self._head, hidden=hidden, temperature=temperature) for hidden in states]

    def logprobs(self, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """Logprob of each response token."""
        return self._dealt("logprobs", self.name, rollouts, temperature)


class ClusterGenerator(_Front, Generator):
    """Whole copies of one model, one a rank; each writes the responses to its share of the problems."""

    def __init__(self, ranks: Group, name: str, source: ModelSource, learner: ClusterLearner | None):
        super().__init__(ranks, name)
        self._source, self._learner = source, learner
        self._opened = False
        self._taken = -1

    def sync(self) -> None:
        """The learner's weights are brought when responses are next asked for: a stage may ask for none."""

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Responses]:
        """Problems in turn to the ranks; a response follows from its own seed, so who writes it does not matter."""
        if not self._opened:
            self._ranks.all("open_writer", self.name, self._source)
            self._opened = True
        if self._learner is not None and self._taken != self._learner.changes:
            self._bring(self._learner)
        count = len(self._ranks)
        given = [(self.name, problems[rank::count], samples, sampling, seeds) for rank in range(count)]
        found = self._ranks.each("generate", given)
        return [found[i % count][i // count] for i in range(len(problems))]

    def _bring(self, learner: ClusterLearner) -> None:
        """Every writer takes up the learner's weights and says which version it has."""
        versions = self._ranks.all("sync")
        if set(versions) != {learner.version}:
            raise HeadwaterError(f"sync: the learner is at version {learner.version}, the writers are at {versions}")
        self._taken = learner.changes
