"""The golden runs: two micro routes, step by step, as text that a refactor leaves alone.

    make golden      writes the files anew

A change of method rewrites them in the same commit, and its message says why. A file holds the identity of who
read which label (exactly) and, for each step, what it measured (to six digits; `test_golden.py` says how near
another machine must come).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from pathlib import Path

import torch

from headwater.folder import LEDGER
from headwater.plan import build_graph
from headwater.store import Store
from micro import make, micro

HERE = Path(__file__).parent
ROUTES = ("R5-half", "R3-full")
"""One more golden run is one more name here, and the command above."""

MEASURED = ("loss", "gradient_norm", "reward", "kl", "response_tokens")


def record(route: str, *changes: str) -> str:
    """Make the micro run of one route, some of it changed, and say what it did."""
    reward = f"problems.grading.function={HERE / 'graded_reward.py'}:share_of_digits"
    recipe = micro(f"routes=[{route}]", "problems.grading={}", reward, *changes)
    graph = build_graph(recipe)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(recipe, root)
        store = Store(root)
        lines = [f"route {route}"]
        for name, node in graph.nodes.items():
            if node.kind not in ("model", "train"):
                continue
            lines.append(f"{node.title}: labels {_labels(root, name)}")
            lines += [_step(json.loads(line)) for line in store.read(name, "metrics.jsonl").splitlines()]
        lines.append(f"ledger {_ledger(root, {name: node.title for name, node in graph.nodes.items()})}")
    return "\n".join(lines) + "\n"


def _step(line: dict) -> str:
    measured = line["metrics"]
    return f"  {line['step']}: " + " ".join(f"{name}={measured[name]:.6g}" for name in MEASURED if name in measured)


def _rows(root: Path) -> list[tuple]:
    with sqlite3.connect(root / LEDGER) as ledger:
        return ledger.execute("SELECT stage, step, use, problem_id FROM uses").fetchall()


def _labels(root: Path, node: str) -> int:
    """Distinct problems whose label the node has read."""
    return len({problem for stage, _, use, problem in _rows(root) if stage == node and use != "prompt"})


def _ledger(root: Path, titles: dict[str, str]) -> str:
    """Who read what when. By the stages' titles: their fingerprints are names of code as well."""
    rows = sorted((titles[stage], *use) for stage, *use in _rows(root))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def path(route: str) -> Path:
    """Where a route's golden run is written down."""
    return HERE / f"{route}.txt"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in ROUTES:
        path(each).write_text(record(each), encoding="utf-8")
