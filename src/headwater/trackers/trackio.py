"""Trackio: a local database, or a Space that TRACKIO_SPACE_ID names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.trackers.run import TrackedRun


@dataclass(frozen=True)
class _Track:
    run: Any

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self.run.finish()


def opener(root: Path) -> Callable[[TrackedRun], _Track]:
    """Raises ImportError when trackio is not installed."""
    import trackio  # noqa: PLC0415

    def start(run: TrackedRun) -> _Track:
        with redirect_stdout(sys.stderr):  # what it says of its dashboard is no part of a command's output
            found = trackio.init(
                run.project,
                name=f"{run.name} {run.key}",
                group=run.group,
                config={**run.config, "arms": list(run.tags), "kind": run.kind},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return _Track(found)

    return start
