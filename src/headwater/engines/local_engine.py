"""The engine that computes in this process, on one device: frozen models are opened once and shared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from weakref import WeakValueDictionary

import torch

from headwater.engines.local import LocalGenerator, LocalLearner, LocalTeacher
from headwater.engines.process import environment
from headwater.engines.settings import PIECE, EngineSettings
from headwater.errors import HeadwaterError
from headwater.interfaces import Engine, Learner, Training
from headwater.models import adapters
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.posix import cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Which GPUs a process sees, by number or name, joined by commas."""


class LocalEngine(Engine):
    """Everything in this process. A notebook's own models go by the names under which they are given."""

    def __init__(self, settings: EngineSettings, live: Mapping[str, LanguageModel] | None = None):
        self._settings = settings
        self._live = dict(live or {})
        self._frozen: WeakValueDictionary[str, LanguageModel] = WeakValueDictionary()

    @property
    def slots(self) -> int:
        """One a GPU, or one a core that this process may use."""
        if self._settings.kind == "cuda":
            return torch.cuda.device_count()
        return cores()

    def environment(self, slot: int) -> Mapping[str, str]:
        """Slots beyond the number of GPUs share them."""
        found = environment(os.environ)
        if self._settings.kind == "cuda":
            chosen = os.environ.get(VISIBLE)
            gpus = chosen.split(",") if chosen else [str(gpu) for gpu in range(self.slots)]
            found[VISIBLE] = gpus[slot % len(gpus)]
        return found

    @property
    def piece(self) -> int:
        """Enough for a full batch of rows."""
        return PIECE[self._settings.kind]

    def learner(self, model: ModelSource, training: Training) -> LocalLearner:
        """A model of its own, so that no teacher changes with it."""
        opened = self._open(model)
        if model.adapter is not None:
            adapters.attach(opened.network, model.adapter, model.adapter_seed)
        return LocalLearner(opened, training, self._settings)

    def generator(self, model: ModelSource | Learner) -> LocalGenerator:
        """It shares the learner's weights, or those of a teacher of the same source."""
        if isinstance(model, ModelSource):
            return LocalGenerator(self._open_frozen(model), None, self._settings)
        if isinstance(model, LocalLearner):
            return LocalGenerator(model.model, model, self._settings)
        raise HeadwaterError(f"engine: a {type(model).__name__} is of another engine; make both with one")

    def teacher(self, model: ModelSource) -> LocalTeacher:
        """It shares the weights of a generator of the same source."""
        return LocalTeacher(self._open_frozen(model), self._settings)

    def close(self) -> None:
        """Nothing was started; models go with what holds them."""

    def _open(self, model: ModelSource) -> LanguageModel:
        return self._live.get(str(model.path)) or LanguageModel.load(model.path, dtype="auto")

    def _open_frozen(self, model: ModelSource) -> LanguageModel:
        opened = self._frozen.get(str(model.path)) or self._open(model)
        self._frozen[str(model.path)] = opened
        return opened
