"""TensorBoard: event files in the run's own folder, under `tensorboard/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.trackers.run import TrackedRun


@dataclass(frozen=True)
class _Track:
    writer: Any

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


def opener(root: Path) -> Callable[[TrackedRun], _Track]:
    """Raises ImportError when tensorboard is not installed."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    def start(run: TrackedRun) -> _Track:
        folder = root / "tensorboard" / run.group / f"{run.name} {run.key}".replace(" ", "-")
        writer = SummaryWriter(str(folder), purge_step=run.first_step or None)
        if not run.first_step:
            writer.add_text("config", f"```json\n{json.dumps(run.config, indent=1)}\n```")
            writer.add_text("arms", ", ".join(run.tags))
        return _Track(writer)

    return start
