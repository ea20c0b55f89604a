"""A bridge on prompts without labels: what it was shown stands in the ledger, and no answer was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.folder import LEDGER
from headwater.ledger import Ledger
from headwater.plan import build_graph
from headwater.plan.graph import Graph
from micro import make, micro

BRIDGE = (
    "{stage: warm-up, pool: prompts}, {stage: on-policy-distillation, pool: prompts}, {stage: student-rl, pool: 2H}"
)
SETTINGS = (
    f"arms=[{{name: wide, steps: [{{stage: teacher-rl, pool: 1H}}, {BRIDGE}]}}]",
    "routes=[]",
    "problems.unlabelled=8",
    "stages.teacher_rl.epochs=1",
    "stages.student_rl.epochs=1",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    root, recipe = tmp_path_factory.mktemp("prompts"), micro(*SETTINGS)
    graph = build_graph(recipe)
    make(recipe, root, nodes=[name for name, node in graph.nodes.items() if node.kind not in ("evaluate", "closeness")])
    return root, graph


def test_stages_on_prompts_read_no_label_and_those_before_and_after_read_their_halves(made: tuple[Path, Graph]) -> None:
    root, graph = made
    prompts = {problem.problem_id for problem in graph.data.unlabelled}
    halves = graph.data.pools(0)
    with Ledger(root / LEDGER) as ledger:
        read = {node.title: ledger.labels(name) for name, node in graph.nodes.items()}
    assert len(prompts) == 8
    for title in ("warm-up on prompts", "on-policy-distillation on prompts"):
        uses = read[title]
        assert uses.pop("prompt") == prompts, title
        assert not any(uses.values()), title
    assert not any(read["teacher's rollouts on prompts"].values())  # no learner was shown them yet
    for title, half in (("teacher-rl on 1H", "1H"), ("student-rl on 2H", "2H")):
        assert read[title]["answer"] == set(halves.part(half)), title
