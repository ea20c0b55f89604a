"""What one rank holds and does: a part of the learner and of each frozen model, and a writer of its own.

It knows nothing of Ray, which only starts, watches and ends it. But for `generate`, all ranks make the same calls in
the same order.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from headwater.batch import HiddenDistribution, PerToken, Scored
from headwater.engines.cluster.learner import ShardedLearner
from headwater.engines.cluster.teacher import AskedOnRanks, ShardedTeacher
from headwater.engines.cluster.weights import plain
from headwater.engines.cluster.writer import OwnWriter, VllmWriter, Writer
from headwater.engines.settings import EngineSettings
from headwater.errors import HeadwaterError
from headwater.interfaces import Seeds, Signal, Training
from headwater.models import adapters
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel, silence_progress
from headwater.records import Group, Problem, Rollout, Sampling


class Rank:
    """One process of a group."""

    def __init__(self, settings: EngineSettings):
        silence_progress()
        torch.set_num_threads(1)
        self._settings = settings
        self._mesh: DeviceMesh | None = None
        self._learner: tuple[str, ShardedLearner] | None = None
        self._teachers: dict[str, ShardedTeacher] = {}
        self._present: AskedOnRanks | None = None
        """the learner's weights as they are, once they were asked for since the last update"""
        self._writers: dict[str, Writer] = {}
        self.beats = 0
        """passes made: the count of a rank that is stuck stands still"""

    def join(self, address: str, rank: int, ranks: int, patience: float) -> None:
        """Find the others at this address (tcp://host:port)."""
        device = self._settings.kind
        backend = "nccl" if device == "cuda" else "gloo"
        timeout = datetime.timedelta(seconds=patience)
        dist.init_process_group(backend, init_method=address, rank=rank, world_size=ranks, timeout=timeout)
        self._mesh = DeviceMesh(device, list(range(ranks)))

    # what is opened

    def open_teacher(self, name: str, model: ModelSource) -> None:
        """Take up a part of a frozen model."""
        if name not in self._teachers:
            self._teachers[name] = ShardedTeacher(self._opened(model), self._settings, self._ranks)

    def open_learner(self, name: str, model: ModelSource, training: Training) -> None:
        """Take up a part of a model that learns; it takes the place of the one before."""
        self._learner = self._present = None
        opened = self._opened(model)
        if model.adapter is not None:
            adapters.attach(opened.network, model.adapter, model.adapter_seed)
            adapters.refuse_packed(opened.network)
        self._learner = name, ShardedLearner(opened, training, self._settings, self._ranks, self._teachers)

    def open_writer(self, name: str, model: ModelSource) -> None:
        """Hold a whole model to write with; under a learner's name, one that `sync` brings up to date."""
        cluster = self._settings.cluster
        if name in self._writers:
            return
        if cluster is not None and cluster.generator == "vllm":
            self._writers[name] = VllmWriter(Path(model.path), cluster.vllm_python, self._settings, self._beat)
        else:
            self._writers[name] = OwnWriter(self._opened(model), self._settings)

    def forget(self, names: Sequence[str]) -> None:
        """Give up what nothing asks any more."""
        for name in names:
            if self._learner is not None and self._learner[0] == name:
                self._learner = self._present = None
            self._teachers.pop(name, None)
            if (writer := self._writers.pop(name, None)) is not None:
                writer.close()

    def _opened(self, model: ModelSource) -> LanguageModel:
        opened = LanguageModel.load(model.path, dtype="auto")
        opened.body.register_forward_pre_hook(self._beat)
        return opened

    def _beat(self, *_: object) -> None:
        self.beats += 1

    # what is asked

    def update(self, part: Scored, signal: Signal) -> dict[str, float]:
        """This rank's share of an update; the metrics are those of the whole batch."""
        self._present = None
        return self._learning.update(part, signal)

    def sync(self) -> int:
        """Bring the learner's weights to this rank's writer; the version that it has now."""
        name, learner = self._named
        learner.drop_gradients()
        return self._writers[name].take(plain(learner.model), learner.version)

    def generate(
        self, name: str, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds
    ) -> list[Group]:
        """Responses of this rank's own writer; other ranks may do something else meanwhile."""
        return self._writers[name].generate(problems, samples, sampling, seeds)

    def logprobs(self, name: str, rollouts: Sequence[Rollout], temperature: float) -> list[PerToken]:
        """What a model gives the tokens of this rank's rollouts."""
        return self._asked(name).logprobs(rollouts, temperature)

    def hidden(self, name: str, rollouts: Sequence[Rollout]) -> list[Float[Tensor, "token hidden"]]:
        """A model's hidden states at the response tokens of this rank's rollouts, on the CPU."""
        return self._asked(name).hidden(rollouts)

    def head(self, name: str) -> HiddenDistribution:
        """How a model makes logits, on the CPU: a distribution over no tokens yet."""
        return self._asked(name).head.to(torch.device("cpu"))

    def save(self, directory: Path) -> None:
        """Write the learner; the first rank does."""
        self._learning.save(directory)

    def load(self, directory: Path) -> int:
        """Take up this rank's part of a checkpoint; its version."""
        self._present = None
        self._learning.load(directory)
        return self._learning.version

    def _asked(self, name: str) -> AskedOnRanks:
        if self._learner is None or self._learner[0] != name:
            return self._teachers[name]
        if self._present is None:
            self._present = self._learning.asked()
        return self._present

    @property
    def _learning(self) -> ShardedLearner:
        return self._named[1]

    @property
    def _named(self) -> tuple[str, ShardedLearner]:
        if self._learner is None:
            raise HeadwaterError("learner: it was not opened")
        return self._learner

    @property
    def _ranks(self) -> DeviceMesh:
        if self._mesh is None:
            raise HeadwaterError("rank: it has not joined the others")
        return self._mesh
