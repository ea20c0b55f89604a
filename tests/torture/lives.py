"""`headwater run` that notes where it is, so that the one who kills it knows what was hit.

    NOTES=folder PROTOCOL=safe python lives.py run micro.yaml ...

`PROTOCOL=head-first` switches the commit protocol off, which is the control: the head is replaced before what it
names is there. Worker processes import this file as well, so they note and write like their parent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater import cli
from headwater.plan.node import Node
from headwater.run.committer import Committer
from headwater.run.execute import Executor
from headwater.store import Manifest, Store, measure

NOTES, PROTOCOL = Path(os.environ["NOTES"]), os.environ["PROTOCOL"]
WIDTH = 600
MADE = Counter[str]()
"""Steps by kind of stage that this process has made; a piece of work without steps counts as one."""


def note(kind: str, title: str, step: int, doing: str) -> None:
    """Overwrite this process's one line; a kill leaves what was written."""
    line = json.dumps([kind, title, step, doing, MADE])
    os.pwrite(FILE, line.ljust(WIDTH).encode(), 0)


FILE = os.open(NOTES / str(os.getpid()), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
_execute, _step, _commit, _write = Executor.execute, Committer.step, Executor._commit, Store._write


def execute(self: Executor, name: str) -> None:
    node = self.graph.nodes[name]
    MADE[_kind(node)] += not node.steps
    note(_kind(node), node.title, 0, "opens")
    _execute(self, name)
    note("", "", 0, "waits")


def step(self: Committer, made: int) -> None:
    MADE[_kind(self.node)] += 1
    note(_kind(self.node), self.node.title, made, "steps")
    _step(self, made)


def commit(self: Executor, node: Node, files: Mapping[str, Path | bytes], *, step: int, done: bool) -> None:
    note(_kind(node), node.title, step, "commits")
    _commit(self, node, files, step=step, done=done)
    note(_kind(node), node.title, step, "steps")


def _kind(node: Node) -> str:
    return node.stage.name if node.stage else node.kind


def head_first(
    self: Store, node: str, files: Mapping[str, Path | bytes], previous: Manifest | None, facts: Mapping[str, Any]
) -> Manifest:
    entries = {name: measure(files[name]) for name in sorted(files)}
    parent = previous.sha256 if previous else None
    self._replace_head(node, Manifest(node=node, files=entries, parent=parent, **facts))
    return _write(self, node, files, previous, facts)


Executor.execute, Committer.step, Executor._commit = execute, step, commit  # type: ignore[method-assign]
if PROTOCOL == "head-first":
    Store._write = head_first  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()
