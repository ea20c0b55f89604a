"""Who watches a run beside its display: trackers, told of every step once, whatever was stopped and resumed.

Steps come live where they are slow enough to be told one by one, else when their stage is committed. What each
tracker knows stands in `tracking.json` of the run folder: names and counts, nothing else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from headwater.evaluation.estimate import average_at_k
from headwater.fingerprint import fingerprint, plain
from headwater.folder import write_json
from headwater.plan.graph import Graph
from headwater.plan.node import Arm, Node
from headwater.run.execute import METRICS
from headwater.run.processes import Observer
from headwater.store import Store
from headwater.trackers import Opener, Track, TrackedRun

TRACKING = "tracking.json"


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]):
        self._observers = tuple(observers)

    def started(self, node: Node) -> None:
        """A worker took a node."""
        for observer in self._observers:
            observer.started(node)

    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None:
        """A stage made a step."""
        for observer in self._observers:
            observer.stepped(node, step, metrics)

    def said(self, node: Node, kind: str, text: str) -> None:
        """Words for a person."""
        for observer in self._observers:
            observer.said(node, kind, text)

    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None:
        """A node was committed."""
        for observer in self._observers:
            observer.finished(node, seconds, commit_seconds)

    def stopping(self) -> None:
        """The run was asked to stop."""
        for observer in self._observers:
            observer.stopping()


class Tracking:
    """Tells one tracker of a run. Mutable: knows what it was told; a tracker that fails is left alone from then on."""

    def __init__(self, name: str, opener: Opener, graph: Graph, store: Store, console: Console):
        self._name, self._open, self._graph, self._store, self._console = name, opener, graph, store, console
        self._tracks: dict[str, Track] = {}
        self._path = store.root / TRACKING
        known = _read(self._path).get(name, {})
        self._token = str(known.get("token") or secrets.token_hex(4))
        """of this folder: a run made again elsewhere is another run to the tracker"""
        self._told: dict[str, int] = dict(known.get("told", {}))
        self._failed = False

    def catch_up(self, done: Iterable[str]) -> None:
        """Tell of what was finished while nobody tracked it."""
        for name in done:
            node = self._graph.nodes[name]
            if self._told.get(name, 0) < node.updates or node.kind == "evaluate":
                self.finished(node, 0.0, 0.0)

    def started(self, node: Node) -> None:
        """A node that is made from nothing has been told nothing of, also when it is made again."""
        if self._store.head(node.fingerprint) is None:
            self._told.pop(node.fingerprint, None)

    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None:
        """The next step that the tracker does not know; one that was left out waits for the commit."""
        if node.stage is not None and step == self._told.get(node.fingerprint, 0):
            self._guarded(self._log_steps, node, [(step, metrics)])

    def said(self, node: Node, kind: str, text: str) -> None:
        """Words for a person: the display has them."""

    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None:
        """All steps not told yet, or the scores of the arms that a measurement belongs to."""
        if node.stage is not None:
            lines = self._store.read(node.fingerprint, METRICS).splitlines()
            steps = [(record["step"], record["metrics"]) for record in map(json.loads, lines)]
            known = self._told.get(node.fingerprint, 0)
            self._guarded(self._log_steps, node, [step for step in steps if step[0] >= known])
        elif node.kind == "evaluate":
            scores = json.loads(self._store.read(node.fingerprint, "scores.json"))
            for arm in self._graph.arms:
                if node.fingerprint in arm.evaluation.values():
                    self._guarded(self._log_scores, node, arm, scores)
        if (track := self._tracks.pop(node.fingerprint, None)) is not None:
            self._guarded(track.close)
        self._save()

    def stopping(self) -> None:
        """Nothing to do: `close` follows."""

    def close(self) -> None:
        """End what is open; a stage that goes on later goes on in the same run of the tracker."""
        for track in self._tracks.values():
            self._guarded(track.close)
        self._tracks.clear()
        self._save()

    def _guarded(self, act: Any, *arguments: Any) -> None:
        """A tracker that cannot be reached costs its curves and never the run."""
        if self._failed:
            return
        try:
            act(*arguments)
        except Exception as error:  # noqa: BLE001  whatever a foreign library raises
            self._failed = True
            self._console.print(
                f"{self._name}: {type(error).__name__}: {error}; it is told no more, and the run goes on. The same "
                "command tells it the rest later.", markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    def _log_steps(self, node: Node, steps: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        name = node.fingerprint
        for step, metrics in steps:
            if name not in self._tracks:
                self._tracks[name] = self._open(self._stage_run(node))
            self._tracks[name].log(step, metrics)
            self._told[name] = step + 1

    def _log_scores(self, node: Node, arm: Arm, scores: Mapping[str, Any]) -> None:
        key = fingerprint([arm.name, arm.seed])[:16]
        average = average_at_k(scores["correct"], scores["samples"])
        benchmark = node.settings["benchmark"]
        if (told := f"{key}/{benchmark}") in self._told:
            return
        numbers = {f"{benchmark}/avg": average.mean, f"{benchmark}/standard_error": average.standard_error}
        track = self._open(self._run(key, arm.name, "result", (arm.name,), {"seed": arm.seed}, arm.seed))
        track.log(0, numbers)
        track.close()
        self._told[told] = 1

    def _stage_run(self, node: Node) -> TrackedRun:
        arms = sorted({arm.name for arm in self._graph.arms if node.fingerprint in (arm.endpoint, *arm.stages)})
        stage = node.stage
        config = {"seed": node.seed, "pool": node.pool, "updates": node.updates}
        config |= {} if stage is None else plain(stage.model_dump(mode="json"))
        return self._run(
            node.fingerprint[:16], node.title, stage.name if stage else node.kind, tuple(arms), config, node.seed,
            self._told.get(node.fingerprint, 0),
        )  # fmt: skip

    def _run(
        self, key: str, name: str, kind: str, tags: tuple[str, ...], config: dict[str, Any], seed: int, first: int = 0
    ) -> TrackedRun:
        return TrackedRun(
            key=f"{key}-{self._token}",
            project=self._graph.recipe.name,
            name=f"{name} seed {seed}",
            group=f"seed-{seed}",
            kind=kind,
            tags=tags,
            config=config,
            first_step=first,
        )

    def _save(self) -> None:
        known = _read(self._path)
        write_json(self._path, {**known, self._name: {"token": self._token, "told": self._told}})


def _read(path: Path) -> dict[str, Any]:
    """What trackers were told; a file that cannot be read is none: they are told again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
