"""The model card of an arm, in the form that hubs read: base model, data sets, licence, scores, route and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headwater.evaluation.estimate import average_at_k
from headwater.folder import RunFolder
from headwater.ledger import LABELS
from headwater.places import HUB_ID

PAPER = "https://arxiv.org/abs/2605.12483"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a person says of a model beside what its run knows."""

    base_model: str | None = None
    licence: str | None = None


def model_card(folder: RunFolder, arm: Mapping[str, Any], said: Said, *, adapter: bool = False) -> str:
    """Markdown with front matter. Names of local folders stay at home: only hub ids are named as base or data."""
    graph, recipe = folder.graph, folder.graph["recipe"]
    learner = "teacher" if _is_teacher(arm, graph) else "student"
    base = said.base_model or _hub_id(recipe[learner].get("path"))
    scores = _scores(folder, arm)
    data = [_hub_id((recipe["problems"].get("labels") or {}).get("path"))]
    data += [_hub_id(row["source"].get("path")) for row in recipe["problems"].get("benchmarks", {}).values()]
    head = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["headwater", "post-training", str(arm["name"])],
        "base_model": base,
        "license": said.licence,
        "datasets": sorted({name for name in data if name}) or None,
        "model-index": [{"name": f"{folder.name} {arm['name']}", "results": _results(scores)}] if scores else None,
    }
    front = yaml.safe_dump({key: value for key, value in head.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{_body(folder, arm, scores)}"


def _body(folder: RunFolder, arm: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    nodes = folder.graph["nodes"]
    lines = [
        f"# {folder.name}: {arm['name']}",
        "",
        f"{arm['title'][:1].upper()}{arm['title'][1:]}. Made by headwater, seed {arm['seed']} ({PAPER}).",
        "",
        "| stage | learner | labels read | updates |",
        "|---|---|---|---|",
    ]
    for name in arm["stages"]:
        node, used = nodes[name], folder.labels(name)
        labels = len(set().union(*(used.get(use, set()) for use in LABELS)))
        lines.append(f"| {node['title']} | {node['learner']} | {labels} | {node['updates']} |")
    lines += ["", "| benchmark | measured | % |", "|---|---|---|"]
    lines += [f"| {name} | avg@{found['average'].k} of {found['problems']} problems | {found['average']} |"
              for name, found in scores.items()]  # fmt: skip
    lines += ["", "± is the standard error over problems, of this one seed.", "", f"Node `{arm['endpoint']}`."]
    return "\n".join(lines) + "\n"


def _scores(folder: RunFolder, arm: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for benchmark, node in arm["evaluation"].items():
        data = folder.result(node, "scores.json")
        if data is not None:
            read = json.loads(data)
            average = average_at_k(read["correct"], read["samples"])
            found[benchmark] = {"average": average, "problems": average.problems}
    return found


def _results(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model-index form: a task, a data set and a metric each."""
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": name, "type": name},
            "metrics": [{"type": f"avg@{(average := found['average']).k}", "value": round(100 * average.mean, 2)}],
        }
        for name, found in scores.items()
    ]


def _is_teacher(arm: Mapping[str, Any], graph: Mapping[str, Any]) -> bool:
    if arm["group"] != "model":
        return False
    return "teacher" in str(arm["name"])


def _hub_id(path: Any) -> str | None:
    """A path that can only be a hub id."""
    return str(path) if path and "/" in str(path) and HUB_ID.fullmatch(str(path)) and not Path(path).exists() else None
