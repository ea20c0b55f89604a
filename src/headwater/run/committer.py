"""Commits work in progress, of a stage, a recording or a measurement: by time, when told to stop, at its end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from headwater.errors import Interrupted
from headwater.loop import Stage
from headwater.models import adapters
from headwater.models.choice import ModelSource
from headwater.models.language_model import LanguageModel
from headwater.plan.node import Node
from headwater.store import Manifest, Source

METRICS_LINE = 1024
"""Bytes that a step's metrics take, at most."""
SHARE = 10
"""Work gives at most one part in so many of its time to its commits."""

Files = Callable[[Path, bool], Mapping[str, Source]]
"""What a commit holds, given a folder to write in and whether the work is done."""


class Commit(Protocol):
    """Stores a node's files as its new state."""

    def __call__(self, node: Node, files: Mapping[str, Source], *, step: int, done: bool) -> None: ...


@dataclass(kw_only=True)
class Committer:
    """Keeps one node's work: after any of its steps, what is committed can be taken up again. Mutable."""

    node: Node
    files: Files
    store: Commit
    folder: Path
    stopping: Callable[[], bool]
    seconds: float
    """between commits, at least"""
    _last: float = field(init=False, default_factory=time.monotonic)
    _took: float = field(init=False, default=0.0)

    def step(self, made: int) -> None:
        """After each step but the last, so many of which are made now. Raises Interrupted when told to stop."""
        if made >= self.node.steps:
            return
        if self.stopping():
            self.commit(made, done=False)
            raise Interrupted(f"{self.node.title}: stopped after step {made} of {self.node.steps}; run again to go on")
        if time.monotonic() - self._last > self._pause:
            self.commit(made, done=False)

    @property
    def _pause(self) -> float:
        """Seconds between commits: as asked, and more where they would take over a tenth of the time."""
        return max(self.seconds, (SHARE - 1) * self._took) if self.seconds else 0.0

    def commit(self, made: int, *, done: bool) -> None:
        """All that the work has made, as one."""
        begun = time.monotonic()
        folder = self.folder / f"commit-{made}"
        self.store(self.node, self.files(folder, done), step=made, done=done)
        shutil.rmtree(folder, ignore_errors=True)
        self._last = time.monotonic()
        self._took = self._last - begun


def stage_sizes(model: ModelSource, stage: Stage, head: Manifest | None) -> dict[str, int]:
    """Bytes by file that a stage still writes at its peak: three commits, less those that are there.

    Three, because the older of the two that are kept goes only after the new one is safe. Each holds another learner
    where the stage keeps its best weights.
    """
    stored = 0 if head is None else 1 if head.parent is None else 2
    outline = LanguageModel.outline(model.path, dtype="auto")
    weights = trained = outline.size
    if model.adapter is not None:
        trained = adapters.parameters_added(outline.network, model.adapter) * outline.network.dtype.itemsize
    sizes: dict[str, int] = {}
    for copy in range(stored, 3):
        sizes |= {f"weights {copy}": weights, f"moments {copy}": 2 * trained}
        sizes |= {f"the best {copy}": weights + 2 * trained} if stage.keeps_best else {}
        sizes[f"metrics {copy}"] = stage.updates * METRICS_LINE
    return sizes


def files_in(directory: Path, prefix: str) -> dict[str, Source]:
    """The files of a folder by their names in a commit: the prefix, then their place in the folder."""
    return {
        f"{prefix}{path.relative_to(directory).as_posix()}": path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def as_json(value: Any) -> bytes:
    """Plain data as a file, in ASCII: an answer may hold halves of surrogate pairs, which UTF-8 cannot write."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode("ascii")
