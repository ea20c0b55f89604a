"""What was trained: a learning curve per node, and every stage's settings and identities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.report.results import printable, read_json, read_lines
from headwater.report.rows import Curve, NodeIdentity, StageRow

if TYPE_CHECKING:
    from headwater.folder import RunFolder

ORDER = ("model", "pretrain", "train", "rollouts", "closeness", "evaluate")
"""Kinds of work that stand side by side, in the order in which a run comes to them."""
CURVE_POINTS = 80


def _users(graph: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Node -> the arms that go through it."""
    users: dict[str, dict[str, None]] = {}
    for entry in graph["arms"]:
        for node in [*entry["stages"], *entry["evaluation"].values()]:
            users.setdefault(str(node), {})[entry["name"]] = None
    return {node: tuple(names) for node, names in users.items()}


def curves(folder: RunFolder, graph: Mapping[str, Any]) -> tuple[Curve, ...]:
    """The metric that tells most about each training node, and its score on validation problems where it has one.

    Values that are not finite are counted, not drawn.
    """
    users, found = _users(graph), []
    for node, entry in graph["nodes"].items():
        lines = read_lines(folder, node, "metrics.jsonl") if entry["kind"] in ("train", "pretrain") else []
        watched = [w for w in entry.get("watch", ()) if any(w["metric"] in line["metrics"] for line in lines)]
        if not watched:
            continue
        label = ", ".join(users.get(node, ())) or entry["title"]
        found += [_curve(entry, watch, lines, label) for watch in (watched[0], *map(_validated, watched[1:])) if watch]
    return tuple(found)


def _validated(watch: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A score on validation problems has a curve beside the metric that tells most."""
    return watch if watch["metric"] == "validation" else None


def _curve(entry: Mapping[str, Any], watch: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], label: str) -> Curve:
    metric = watch["metric"]
    points = [(line["step"], line["metrics"][metric]) for line in lines if metric in line["metrics"]]
    numbers = np.array(points, dtype=float)  # None becomes NaN
    finite = numbers[np.isfinite(numbers).all(axis=1)]
    blocks = [block.mean(axis=0) for block in np.array_split(finite, min(CURVE_POINTS, len(finite)) or 1) if len(block)]
    return Curve(
        stage=entry["stage"] or entry["kind"],
        pool=entry["pool"] or "",
        learner=entry["learner"] or "",
        metric=metric,
        measure=watch["label"],
        logarithmic=watch["logarithmic"],
        label=label,
        seed=entry["seed"],
        steps=tuple(float(block[0]) for block in blocks),
        values=tuple(float(block[1]) for block in blocks),
        not_finite=len(points) - len(finite),
    )


def stages(folder: RunFolder, graph: Mapping[str, Any]) -> tuple[StageRow, ...]:
    """Nodes side by side with those that differ in their seed alone."""
    users = _users(graph)
    alike: dict[str, list[str]] = {}
    for node, entry in graph["nodes"].items():
        same = {key: item for key, item in entry.items() if key not in ("seed", "parents")}
        same["settings"] = _settings(graph, entry)
        alike.setdefault(json.dumps([same, users.get(node, ())], sort_keys=True), []).append(node)
    kinds = {nodes[0]: ORDER.index(graph["nodes"][nodes[0]]["kind"]) for nodes in alike.values()}
    ran = sorted(alike.values(), key=lambda nodes: (_depth(graph, nodes[0]), kinds[nodes[0]]))
    return tuple(_stage(folder, graph, nodes, users.get(nodes[0], ())) for nodes in ran)


def _depth(graph: Mapping[str, Any], node: str) -> int:
    """How many pieces of work come before a node: what runs first stands first."""
    return max((1 + _depth(graph, parent) for parent in graph["nodes"][node]["parents"].values()), default=0)


def _settings(graph: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with each pool digest as the part it names, so that seeds differ in their identity alone."""
    parts = graph.get("pools", {}).get(str(entry["seed"]), {})
    names = {parts[part]["digest"]: f"digest of {part}" for part in ("pool", "1H", "2H") if part in parts}
    settings = entry["settings"] or {}
    return {key: names.get(item, item) if isinstance(item, str) else item for key, item in settings.items()}


def _stage(folder: RunFolder, graph: Mapping[str, Any], nodes: Sequence[str], arms: tuple[str, ...]) -> StageRow:
    first = graph["nodes"][nodes[0]]
    identities = []
    for node in nodes:
        timing = printable(read_json(folder, node, "timing.json")) or {}
        entry = graph["nodes"][node]
        identities.append(
            NodeIdentity(
                seed=entry["seed"],
                fingerprint=node,
                parents=entry["parents"],
                done=folder.done(node),
                seconds=timing.get("seconds"),
                tokens=timing.get("tokens"),
            )
        )
    texts = {name: first[name] or "" for name in ("title", "kind", "stage", "pool", "learner", "signal")}
    return StageRow(
        **texts,
        reads_labels=bool(first["reads_labels"]),
        updates=first["updates"] or 0,
        arms=arms,
        settings=_settings(graph, first),
        nodes=tuple(identities),
    )
