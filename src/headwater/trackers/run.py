"""One run of a tracker, as headwater means it: a stage, or the results of an arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker is told before any number."""

    key: str
    """the same whenever this stage goes on, so that a resumed run is continued; no two runs share one"""
    project: str
    name: str
    group: str
    kind: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    first_step: int
    """steps that the tracker knows already"""


class Track(Protocol):
    """A tracker's open run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step; steps come in order, each once."""

    def close(self) -> None:
        """End it in good order."""
