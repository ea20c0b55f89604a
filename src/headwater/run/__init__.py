"""From a recipe to a finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.folder import TIMINGS, read_sealed
from headwater.plan.graph import Graph
from headwater.run.measuring import evaluate_model
from headwater.run.workflow import RunOptions, run_recipe
from headwater.store import Store, run_folder

__all__ = ["RunOptions", "done_nodes", "evaluate_model", "measured_seconds", "run_recipe"]


def done_nodes(graph: Graph, runs: Path) -> dict[str, bool]:
    """Which nodes of the graph are finished in the run's folder."""
    root = run_folder(runs, graph.recipe.name)
    if not root.exists():
        return {}
    store = Store(root)
    heads: dict[str, Any] = {name: store.head(name) for name in graph.nodes}
    return {name: head is not None and head.done for name, head in heads.items()}


def measured_seconds(graph: Graph, runs: Path) -> dict[str, float]:
    """Seconds by node of the run's folder, as far as it has come."""
    timings = run_folder(runs, graph.recipe.name) / TIMINGS
    return read_sealed(timings) if timings.exists() else {}
