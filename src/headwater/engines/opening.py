"""Which engine a recipe's `engine:` means: the one place where a kind of engine is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.engines.local_engine import LocalEngine
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.interfaces import Engine
from headwater.models.language_model import LanguageModel


def open_engine(settings: EngineSettings, live: Mapping[str, LanguageModel] | None = None) -> Engine:
    """An engine that computes as these settings say.

    Args: live: models of a notebook that are in memory already, by the path under which they will be asked for.
    """
    if settings.cluster is None:
        return LocalEngine(settings, live)
    try:
        from headwater.engines.cluster.engine import ClusterEngine  # noqa: PLC0415  needs packages of its own
    except ImportError as error:
        raise InputError(
            f"engine.cluster: {error.name} is not installed; `pip install 'headwater[cluster]'`, or leave it out"
        ) from error
    return ClusterEngine(settings, settings.cluster, live)
