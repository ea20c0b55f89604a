"""A run whose stages train adapters: each node is a merged model with its adapter beside it."""

from __future__ import annotations

from pathlib import Path

from headwater.plan import build_graph
from headwater.routes.recipe import Recipe
from headwater.store import Store
from micro import make, micro

ADAPTED = micro("routes=[R3-full]", "teacher.adapter={rank: 2}", "student.adapter={rank: 2, alpha: 8}")


def test_each_stage_makes_a_merged_model_and_keeps_its_adapter(tmp_path: Path) -> None:
    make(ADAPTED, tmp_path, commit_seconds=0)
    store = Store(tmp_path)
    assert store.verify() == []
    stages = trained(ADAPTED)
    assert len(stages) == 3
    for name in stages:
        head = store.head(name)
        assert head is not None
        assert {"model/model.safetensors", "model/adapter/adapter_model.safetensors"} <= set(head.files)


def trained(recipe: Recipe) -> dict[str, str]:
    """Fingerprint and title of each stage that an arm runs."""
    return {name: node.title for name, node in build_graph(recipe).nodes.items() if node.kind == "train"}


def test_an_adapter_is_part_of_the_name_of_what_it_trains() -> None:
    plain = build_graph(micro("routes=[R3-full]"))
    kinds = [
        {node.fingerprint for node in g.nodes.values() if node.kind == "train"} for g in (plain, build_graph(ADAPTED))
    ]
    assert not kinds[0] & kinds[1]
    other = build_graph(micro("routes=[R3-full]", "teacher.adapter={rank: 2}"))
    shared = {node.title for node in other.nodes.values() if node.kind == "train" and node.fingerprint in kinds[1]}
    assert shared == {"teacher-rl on pool"}
