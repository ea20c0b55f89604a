"""The order of work and the time left come from the FLOPs of a run's own models."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from headwater.plan import build_graph
from headwater.plan.cost import Costs, longest_chains, work
from headwater.run.progress import ProgressDisplay
from micro import micro


def test_work_is_that_of_the_models_and_not_of_the_lab() -> None:
    plain, wide = (build_graph(micro(*change)) for change in ((), ("teacher.shape.hidden_size=64",)))
    for graph in (plain, wide):
        assert work(graph) == {name: Costs(graph).of(name).flops for name in graph.nodes}
    of_title = [{graph.nodes[name].title: flops for name, flops in work(graph).items()} for graph in (plain, wide)]
    assert of_title[1]["pretrain the teacher"] > 3 * of_title[0]["pretrain the teacher"]
    assert of_title[1]["pretrain the student"] == of_title[0]["pretrain the student"]


def test_the_longest_chain_goes_first() -> None:
    graph = build_graph(micro())
    of = dict.fromkeys(graph.nodes, 1.0)
    chains = longest_chains(graph, of)
    for name, node in graph.nodes.items():
        for parent in node.parents.values():
            assert chains[parent] >= 1 + chains[name]
    (last,) = {
        chains[name] for name in graph.nodes if not any(name in n.parents.values() for n in graph.nodes.values())
    }
    assert last == 1


def test_time_left_is_foretold_from_the_share_of_the_work_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    graph = build_graph(micro())
    first, second, *_ = [node for node in graph.nodes.values() if node.updates]
    said = io.StringIO()
    display = ProgressDisplay({first.fingerprint: 30.0, second.fingerprint: 10.0}, set(), Console(file=said, width=200))
    display.started(second)
    clock[0] = 20.0
    display.finished(second, 20.0, 0.0)
    assert "about 1 min 00 s left" in said.getvalue()  # 10 of 40 took 20 s
    display.started(first)
    display.stepped(first, 0, {})
    clock[0] = 40.0
    display.stepped(first, first.updates // 2, {})  # a step in the middle of a long stage counts, too
    assert display._left() == "about 24 s left"
