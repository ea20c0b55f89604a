"""Where a run stands while it works, in a file that `headwater status` reads: stages, steps, pace, a number each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.folder import STATE
from headwater.plan.node import Node

WRITE_SECONDS = 1.0


class State:
    """An observer. Mutable: knows what runs and how fast; the file is a convenience, never read by a run."""

    def __init__(self, work: Mapping[str, float], done: set[str], root: Path):
        self._path, self._work = root / STATE, work
        self._begun = time.monotonic()
        self._left = sum(flops for name, flops in work.items() if name not in done)
        self._made = 0.0
        self._running: dict[str, dict[str, Any]] = {}
        self._first: dict[str, tuple[int, float]] = {}
        self._written = 0.0

    def started(self, node: Node) -> None:
        """A worker took a node."""
        self._running[node.fingerprint] = {"title": node.title, "seed": node.seed, "steps": node.steps}
        self._write()

    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None:
        """A stage made a step: its pace since the first one that was told."""
        now, row = time.monotonic(), self._running[node.fingerprint]
        first, begun = self._first.setdefault(node.fingerprint, (step, now))
        row["step"] = step + 1
        names = [watch.metric for watch in node.stage.watch] if node.stage else []
        row["watched"] = next(({name: metrics[name]} for name in names if name in metrics), {})
        if step > first:
            row["seconds_left"] = (now - begun) / (step - first) * (node.steps - step - 1)
        if now - self._written > WRITE_SECONDS:
            self._write()

    def said(self, node: Node, kind: str, text: str) -> None:
        """Words for a person: the display has them."""

    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None:
        """A node was committed."""
        self._running.pop(node.fingerprint, None)
        amount = self._work[node.fingerprint]
        self._made, self._left = self._made + amount, self._left - amount
        self._write()

    def stopping(self) -> None:
        """The run was asked to stop: nothing to say that the lock does not say."""

    def close(self) -> None:
        """The run has ended, and nothing runs."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Replaced as a whole; a full disk is told by what matters, not here."""
        self._written = now = time.monotonic()
        left = (now - self._begun) * self._left / self._made if self._made else None
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps({"running": list(self._running.values()), "seconds_left": left}))
            new.replace(self._path)
        except OSError:
            return
