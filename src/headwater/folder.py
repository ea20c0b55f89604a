"""A run folder as a reader sees it: the graph, verified results, and which labels each stage used. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from headwater.errors import InputError, IntegrityError
from headwater.ledger import Ledger
from headwater.store import Store

GRAPH = "graph.json"
RECIPE = "recipe.json"
"""The recipe with every default written out: a file that `headwater run` takes."""
TIMINGS = "timings.json"
LEDGER = "ledger.sqlite"


class RunFolder:
    """One run on disk, finished or not. Reads only; every result is checked against its manifest."""

    def __init__(self, root: Path):
        """Raises InputError when there is no run at `root`."""
        if not (root / GRAPH).is_file():
            raise InputError(f"run: no run at {root} (no {GRAPH}); start one with `headwater run lab`")
        self.root = root
        self._store = Store(root)

    @cached_property
    def graph(self) -> dict[str, Any]:
        """The graph of the run as plain data."""
        try:
            graph = json.loads((self.root / GRAPH).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{self.root / GRAPH}: {error}; `headwater run` with --change rewrites it") from error
        if not isinstance(graph, dict) or not {"name", "recipe", "nodes", "arms"} <= graph.keys():
            raise IntegrityError(f"{self.root / GRAPH}: not a graph; `headwater run` with --change rewrites it")
        return graph

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.graph["name"])

    def done(self, node: str) -> bool:
        """Whether the node is finished."""
        head = self._store.head(node)
        return head is not None and head.done

    def step(self, node: str) -> int:
        """Steps committed so far."""
        head = self._store.head(node)
        return head.step if head is not None else 0

    def result(self, node: str, name: str) -> bytes | None:
        """One file of a finished node, verified; None when the node is not done or has no such file."""
        if name == "timing.json":
            seconds = self._timings.get(node)
            return None if seconds is None else json.dumps({"seconds": seconds}).encode()
        head = self._store.head(node)
        if head is None or not head.done or name not in head.files:
            return None
        return self._store.read(node, name)

    @cached_property
    def _timings(self) -> Mapping[str, float]:
        return read_timings(self.root)

    def labels(self, node: str) -> dict[str, set[str]]:
        """Use ("prompt", "answer", "demonstration") -> problems of which this stage made that use."""
        return self._ledger.labels(node)

    def ledger_digest(self) -> str:
        """One hash of every label use of the run; raises IntegrityError when a chain is broken."""
        self._ledger.verify()
        return self._ledger.digest()

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.root / LEDGER)


def read_timings(root: Path) -> dict[str, float]:
    """Seconds by node, as measured; empty when nothing was measured. Not part of any identity."""
    try:
        return {str(k): float(v) for k, v in json.loads((root / TIMINGS).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
