"""MLflow: the store that MLFLOW_TRACKING_URI names, its own default otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.trackers.run import TrackedRun

KEY = "headwater.key"
LONGEST = 500
"""Characters of a parameter's value that every version takes."""


@dataclass(frozen=True)
class _Track:
    client: Any
    run_id: str
    metric: Any

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, [self.metric(name, value, now, step) for name, value in metrics.items()])

    def close(self) -> None:
        self.client.set_terminated(self.run_id)


def opener(root: Path) -> Callable[[TrackedRun], _Track]:
    """Raises ImportError when neither mlflow nor mlflow-skinny is installed."""
    from mlflow import MlflowClient  # noqa: PLC0415
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    client = MlflowClient()

    def start(run: TrackedRun) -> _Track:
        experiment = client.get_experiment_by_name(run.project)
        where = experiment.experiment_id if experiment else client.create_experiment(run.project)
        known = client.search_runs([where], f"tags.`{KEY}` = '{run.key}'", max_results=1)
        if known:
            client.update_run(known[0].info.run_id, status="RUNNING")
            return _Track(client, known[0].info.run_id, Metric)
        tags = {KEY: run.key, "kind": run.kind, "group": run.group, "arms": ", ".join(run.tags)}
        made = client.create_run(where, tags=tags, run_name=run.name).info.run_id
        client.log_batch(made, params=[Param(name, str(value)[:LONGEST]) for name, value in run.config.items()])
        return _Track(client, made, Metric)

    return start
