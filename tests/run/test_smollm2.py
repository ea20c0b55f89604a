"""The recipes on SmolLM2: their label files are made as they say, and they plan without the model's weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater.plan import build_graph
from headwater.plan.preflight import check_labels
from headwater.problems.files import FileSource, read_problems
from headwater.problems.pools import find_overlaps
from headwater.routes.recipe import read_recipe

SUMS = Path(__file__).parents[2] / "docs" / "sums.py"


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the command of the recipes has made their files."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, SUMS, "data/sums"], check=True)
    return tmp_path / "data" / "sums"


def test_no_sum_is_in_the_pool_and_in_a_benchmark_in_either_order(at_home: Path) -> None:
    sets = [read_problems(FileSource(path=str(at_home / f"{name}.jsonl"))) for name in ("labels", "one-digit")]
    (labels, held_out) = sets
    assert not find_overlaps(labels.problems, {"held out": held_out.problems})["held out"].same
    asked = [{tuple(sorted(p.prompt[0].content.split()[2:5:2])) for p in found.problems} for found in sets]
    assert not asked[0] & asked[1]


@pytest.mark.parametrize("name", ["smollm2", "smollm2-short"])
def test_the_recipes_plan_and_their_labels_grade_right(at_home: Path, name: str) -> None:
    graph = build_graph(read_recipe(name))
    check_labels(graph)
    copy = next(arm for arm in graph.arms if arm.name == "copy-bridge")
    taught = [graph.nodes[node] for node in copy.stages]
    teacher = next(node for node in graph.nodes.values() if node.title == "teacher: models/smollm2")
    assert [node.parents["start"] for node in taught if node.title.startswith(("warm", "teacher"))] == [
        teacher.fingerprint
    ] * 2
