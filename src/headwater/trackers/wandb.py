"""Weights & Biases: as `wandb login` and the WANDB_ variables say; WANDB_MODE=offline needs neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        self.run.finish()


def opener(root: Path) -> Callable[[TrackedRun], _Track]:
    """Raises ImportError when wandb is not installed."""
    import wandb  # noqa: PLC0415

    def start(run: TrackedRun) -> _Track:
        found = wandb.init(
            project=run.project,
            id=run.key,
            name=run.name,
            group=run.group,
            job_type=run.kind,
            tags=list(run.tags),
            config=dict(run.config),
            resume="allow",
            reinit="create_new",  # stages run side by side
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        return _Track(found)

    return start
