"""Which engine a recipe's `engine:` means: the one place where a kind of engine is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.engines.local_engine import LocalEngine
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Engine
from headwater.models.language_model import LanguageModel


def open_engine(settings: EngineSettings, live: Mapping[str, LanguageModel] | None = None) -> Engine:
    """An engine that computes as these settings say.

    Args: live: models of a notebook that are in memory already, by the path under which they will be asked for.
    """
    return LocalEngine(settings, live)
