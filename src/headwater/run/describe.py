"""What a run will do, in words: the graph, label spend, updates and tokens, and what is done already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from headwater.run.graph import Graph, Node


def plan_rows(graph: Graph, done: Mapping[str, bool]) -> list[dict[str, Any]]:
    """One row a node of work on a model: arm names, stage, pool, labels it may read, updates, tokens at most."""
    users: dict[str, list[str]] = {}
    for arm in graph.arms:
        for name in arm.stages:
            users.setdefault(name, []).append(arm.name)
    rows = []
    for name, node in graph.nodes.items():
        if node.stage is None:
            continue
        reads = node.stage.reads_labels
        rows.append(
            {
                "node": name,
                "seed": node.seed,
                "stage": node.title,
                "learner": node.stage.learner,
                "labels": _pool_size(graph, node) if reads else 0,
                "updates": node.updates,
                "tokens_at_most": _tokens(graph, node),
                "arms": sorted(set(users.get(name, []))),
                "done": done.get(name, False),
            }
        )
    return rows


def print_plan(graph: Graph, done: Mapping[str, bool], console: Console) -> None:
    """The plan as a table and a sum."""
    table = Table(title=f"plan of {graph.recipe.name}", title_justify="left")
    for heading, justify in (
        ("seed", "right"),
        ("stage", "left"),
        ("learner", "left"),
        ("labels", "right"),
        ("updates", "right"),
        ("tokens <=", "right"),
        ("for arms", "left"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    rows = plan_rows(graph, done)
    for row in rows:
        table.add_row(
            str(row["seed"]),
            row["stage"],
            row["learner"],
            str(row["labels"] or "-"),
            str(row["updates"]),
            f"{row['tokens_at_most']:,}",
            ", ".join(row["arms"]) or "all",
            "done" if row["done"] else "",
        )
    console.print(table)
    finished = sum(done.get(name, False) for name in graph.nodes)
    problems = graph.recipe.problems
    contrasts = graph.recipe.all_contrasts()
    console.print(
        f"{len(graph.arms)} arms and models, {len(graph.nodes)} pieces of work ({finished} done), "
        f"{problems.labelled} labels in the pool, {len(contrasts)} contrasts checked: "
        "every pair of arms differs in what it declares and in nothing else."
    )


def _pool_size(graph: Graph, node: Node) -> int:
    return len(graph.data.problems(str(node.pool), node.seed))


def _tokens(graph: Graph, node: Node) -> int:
    """Response tokens that the stage trains on, at most."""
    assert node.stage is not None  # noqa: S101
    samples: int = node.stage.sampler.samples
    return node.updates * node.stage.schedule.problems * samples * graph.recipe.max_response_tokens
