"""A run's scores as CSV: one line an arm, seed and benchmark, with the labels that its stages read."""

from __future__ import annotations

import csv
import io
import json

from headwater.evaluation.estimate import average_at_k
from headwater.folder import RunFolder
from headwater.ledger import LABELS

COLUMNS = (
    "arm", "seed", "benchmark", "done", "average", "standard_error", "problems", "samples", "updates", "labels_read",
    "lm_eval", "lm_eval_standard_error",
)  # fmt: skip


def scores_csv(folder: RunFolder) -> str:
    """`average`, `lm_eval` and their errors over problems are shares of one; empty where an arm is not measured yet."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    nodes = folder.graph["nodes"]
    for arm in folder.graph["arms"]:
        read: set[str] = set()
        for name in arm["stages"]:
            used = folder.labels(name)
            read = read.union(*(used.get(use, set()) for use in LABELS))
        updates = sum(nodes[name]["updates"] for name in arm["stages"])
        for benchmark, node in arm["evaluation"].items():
            data = folder.result(node, "scores.json")
            numbers: list[object] = ["", "", "", ""]
            if data is not None:
                scores = json.loads(data)
                found = average_at_k(scores["correct"], scores["samples"])
                numbers = [found.mean, found.standard_error, found.problems, found.k]
            said = folder.harness.get(node, {})
            harness = (said.get("mean", ""), said.get("standard_error", ""))
            line = [arm["name"], arm["seed"], benchmark, data is not None, *numbers, updates, len(read), *harness]
            rows.writerow(line)
    return text.getvalue()
