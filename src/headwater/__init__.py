"""headwater: spend scarce labels upstream, on the teacher; carry the behaviour down by a dense bridge.

The names below are the public ones. They are looked up on first use, so that `headwater --help`, the ledger,
the graders and the report never pay for importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.cache import CachedTeacher
    from headwater.engines.settings import EngineSettings
    from headwater.errors import HeadwaterError
    from headwater.folder import RunFolder
    from headwater.loop import Schedule, Stage
    from headwater.models.language_model import LanguageModel
    from headwater.optimiser import Optimiser
    from headwater.records import Message, Problem, Sampling
    from headwater.routes.recipe import Recipe, read_recipe
    from headwater.routes.table import Route
    from headwater.run.assemble import Labels, record, train
    from headwater.run.workflow import RunOptions, run_recipe
    from headwater.samplers import OnPolicy, Recorded
    from headwater.signals import Divergence, Imitation, Reward
    from headwater.verifiers.function import FunctionVerifier
    from headwater.verifiers.grading import Grading

_HOMES = {
    "CachedTeacher": "headwater.cache",
    "Divergence": "headwater.signals",
    "EngineSettings": "headwater.engines.settings",
    "FunctionVerifier": "headwater.verifiers.function",
    "Grading": "headwater.verifiers.grading",
    "HeadwaterError": "headwater.errors",
    "Imitation": "headwater.signals",
    "Labels": "headwater.run.assemble",
    "LanguageModel": "headwater.models.language_model",
    "Message": "headwater.records",
    "OnPolicy": "headwater.samplers",
    "Optimiser": "headwater.optimiser",
    "Problem": "headwater.records",
    "Recipe": "headwater.routes.recipe",
    "Recorded": "headwater.samplers",
    "Reward": "headwater.signals",
    "Route": "headwater.routes.table",
    "RunFolder": "headwater.folder",
    "RunOptions": "headwater.run.workflow",
    "Sampling": "headwater.records",
    "Schedule": "headwater.loop",
    "Stage": "headwater.loop",
    "read_recipe": "headwater.routes.recipe",
    "record": "headwater.run.assemble",
    "run_recipe": "headwater.run.workflow",
    "train": "headwater.run.assemble",
}

__all__ = [
    "CachedTeacher", "Divergence", "EngineSettings", "FunctionVerifier", "Grading", "HeadwaterError", "Imitation",
    "Labels", "LanguageModel", "Message", "OnPolicy", "Optimiser", "Problem", "Recipe", "Recorded", "Reward", "Route",
    "RunFolder", "RunOptions", "Sampling", "Schedule", "Stage", "read_recipe", "record", "run_recipe", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headwater' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
