"""What a pilot and each route cost: labels, response tokens, arithmetic, time; at most before, as measured after."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headwater.advice.pilot import Pilot
from headwater.errors import InputError
from headwater.evaluation.closeness import SAMPLES
from headwater.folder import RunFolder
from headwater.plan.cost import Cost, Costs, total
from headwater.plan.graph import Graph, build_graph
from headwater.plan.node import Node
from headwater.routes.recipe import Recipe
from headwater.routes.table import BY_NAME

PRICED = ("R1", "R3-full", "R5-half")
"""Labels on the student, on the teacher, and on either."""
COMPARED = ("R1", "R3-full")
"""What a pilot chooses between: its own cost is told as a share of theirs."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Labels that are read; response tokens generated and trained on; FLOPs and seconds, None where not known."""

    labels: int
    generated: int
    trained: int
    flops: float | None
    seconds: float | None


def foreseen(pilot: Pilot) -> Price:
    """What the pilot costs at most, raw models aside: the run needs them whatever it does."""
    return _at_most(pilot.graph, _made(pilot.graph), len(pilot.labels), None)


def spent(pilot: Pilot, folder: RunFolder) -> Price:
    """What the finished pilot took: labels by the ledger, seconds by the clock, tokens and FLOPs at their real lengths.

    Responses of a recording are counted at their full length, as no count of them is kept.
    """
    costs, generated, trained, flops = Costs(pilot.graph), 0.0, 0.0, 0.0
    read: set[str] = set()
    nodes = _made(pilot.graph)
    for name in nodes:
        cost, share = costs.of(name), _share_of_limit(pilot.graph, name, folder)
        generated, trained = generated + share * cost.generated, trained + share * cost.trained
        flops += share * (cost.flops or 0.0)
        read |= folder.labels(name)["pilot"]
    known = None not in [costs.of(name).flops for name in nodes]
    return Price(
        labels=len(read),
        generated=round(generated),
        trained=round(trained),
        flops=flops if known else None,
        seconds=sum(folder.seconds.get(name, 0.0) for name in nodes),
    )


def routes(recipe: Recipe, speed: float | None) -> dict[str, Price]:
    """What each route costs at most with one seed, raw models and measurements aside. `speed`: FLOPs a second.

    A route that the recipe's numbers do not allow (batches that do not divide a half) is left out.
    """
    found = {}
    for name in PRICED:
        only = recipe.model_copy(
            update={"routes": (), "arms": (BY_NAME[name],), "contrasts": (), "seeds": recipe.seeds[:1]}
        )
        try:
            graph = build_graph(only)
        except (InputError, ValueError):
            continue
        arm = next(arm for arm in graph.arms if arm.name == name)
        nodes = _behind(graph, arm.endpoint)
        labels: set[str] = set()
        for node in (graph.nodes[one] for one in nodes):
            if node.stage is not None and node.stage.reads_labels:
                labels |= set(graph.data.pools(node.seed).ids[str(node.pool)])
        found[name] = _at_most(graph, nodes, len(labels), speed)
    return found


def speed(price: Price) -> float | None:
    """FLOPs a second of what was done."""
    return price.flops / price.seconds if price.flops and price.seconds else None


def share(price: Price, others: Iterable[Price]) -> float | None:
    """The price's FLOPs as a share of the sum of others'."""
    sizes = [other.flops for other in others]
    whole = None if None in sizes else sum(size or 0.0 for size in sizes)
    return price.flops / whole if price.flops is not None and whole else None


def _made(graph: Graph) -> list[str]:
    return [name for name, node in graph.nodes.items() if node.kind != "model"]


def _behind(graph: Graph, endpoint: str) -> list[str]:
    """Everything that a model comes from, itself included, but for raw models."""
    found, left = set(), [endpoint]
    while left:
        name = left.pop()
        if name not in found and graph.nodes[name].kind != "model":
            found.add(name)
            left += graph.nodes[name].parents.values()
    return sorted(found)


def _at_most(graph: Graph, nodes: Iterable[str], labels: int, flops_per_second: float | None) -> Price:
    costs = Costs(graph)
    whole: Cost = total([costs.of(name) for name in nodes])
    seconds = whole.flops / flops_per_second if flops_per_second and whole.flops is not None else None
    return Price(labels=labels, generated=whole.generated, trained=whole.trained, flops=whole.flops, seconds=seconds)


def _share_of_limit(graph: Graph, name: str, folder: RunFolder) -> float:
    """Mean length of a node's responses as a share of the longest that is allowed."""
    node, limit = graph.nodes[name], graph.recipe.max_response_tokens
    mean = {"train": _trained_length, "pass-rate": _sampled_length, "closeness": _scored_length}.get(node.kind)
    found = None if mean is None else mean(node, name, folder)
    return 1.0 if found is None else found / limit


def _trained_length(node: Node, name: str, folder: RunFolder) -> float | None:
    lines = [json.loads(line)["metrics"] for line in (folder.result(name, "metrics.jsonl") or b"").splitlines()]
    lengths = [line["response_tokens"] for line in lines if "response_tokens" in line]
    return sum(lengths) / len(lengths) if lengths else None


def _sampled_length(node: Node, name: str, folder: RunFolder) -> float | None:
    return float(_read(folder, name, "scores.json")["response_tokens"])


def _scored_length(node: Node, name: str, folder: RunFolder) -> float | None:
    found = _read(folder, name, "closeness.json")
    tokens = found["student_states"]["tokens"] + found["teacher_states"]["tokens"]
    return float(tokens) / (2 * node.problems * SAMPLES)


def _read(folder: RunFolder, node: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.result(node, name) or b"{}")
    return found
