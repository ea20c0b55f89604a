"""Validation: labels that no stage trains on, a curve of the learner on them, early stopping by choice, all counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from even_words import even

from headwater.data.problems import RunData
from headwater.engines.local import LocalGenerator
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError, Interrupted
from headwater.folder import LEDGER, RunFolder
from headwater.ledger import Ledger
from headwater.loop import Schedule, Validation
from headwater.models.language_model import LanguageModel
from headwater.plan import build_graph, plan
from headwater.plan.cost import Costs
from headwater.plan.graph import Graph
from headwater.store import Store
from micro import identity, make, micro

WATCHED = (
    "routes=[R1]",
    "problems.labelled=24",
    "problems.validation=8",
    "stages.student_rl.optimiser.learning_rate=3.0e-2",
    "problems.grading={}",
    f"problems.grading.function={Path(__file__).with_name('even_words.py')}:even",
)
LAST = (*WATCHED, "validation={every: 2, samples: 8}")
BEST = (*WATCHED, "validation={every: 2, samples: 8, keep: best}")


def made(root: Path, *changes: str) -> Graph:
    make(micro(*changes), root)
    return build_graph(micro(*changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Graph]]:
    roots = {name: tmp_path_factory.mktemp(name) for name in ("last", "best")}
    return {name: (root, made(root, *(LAST if name == "last" else BEST))) for name, root in roots.items()}


def student_rl(graph: Graph) -> str:
    return next(name for name, node in graph.nodes.items() if node.title == "student-rl on pool")


def curve(root: Path, node: str) -> dict[int, float]:
    lines = [json.loads(line) for line in Store(root).read(node, "metrics.jsonl").splitlines()]
    return {line["step"] + 1: line["metrics"]["validation"] for line in lines if "validation" in line["metrics"]}


# What is taken out of the pool


def test_validation_problems_are_labels_of_the_pool_that_no_stage_trains_on() -> None:
    data = RunData(micro(*LAST).problems)
    for seed in (0, 1):
        pools = data.pools(seed)
        held = set(pools.part("validation"))
        assert len(held) == 8
        assert held <= set(data.answers)
        assert held | set(pools.part("pool")) == set(data.answers)
        assert not held & set(pools.part("pool"))
        assert not held & set(data.benchmarks["held-out"].answers)
    assert data.pools(0).part("validation") == data.pools(1).part("validation")


def test_without_validation_every_node_is_as_it_was() -> None:
    plain = build_graph(micro())
    assert not any(node.stage and node.stage.validation for node in plain.nodes.values())
    assert "validation" not in json.dumps([dict(node.settings) for node in plain.nodes.values()], default=str)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("problems.validation=8",), "give both how stages are watched"),
        (("validation={every: 2}",), "give both how stages are watched"),
        (("problems.validation=16", "validation={every: 2}"), "leave none to train on"),
        (("problems.validation=3", "validation={every: 2}"), "cannot be halved"),
        (("problems.validation=8", "validation={every: 0}"), "validation.every = 0"),
    ],
)
def test_a_validation_that_cannot_be_is_refused(changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        micro(*changes)


def test_measurements_fall_on_ends_of_rollout_batches_and_on_the_last_update() -> None:
    def after(every: int, **schedule: Any) -> tuple[int, ...]:
        stage = next(node.stage for node in build_graph(micro()).nodes.values() if node.kind == "train")
        assert stage is not None
        changes = {"schedule": Schedule(problems=2, **schedule), "validation": Validation(every=every)}
        return stage.model_copy(update=changes).validated

    assert after(2, updates=5) == (2, 4, 5)
    assert after(10, updates=5) == (5,)
    assert after(3, updates=12, passes=4) == (4, 8, 12)
    assert after(6, updates=12, passes=4) == (8, 12)


# The curve


def test_the_curve_is_what_a_second_measurement_of_the_same_weights_finds(runs: dict[str, tuple[Path, Graph]]) -> None:
    root, graph = runs["last"]
    node = student_rl(graph)
    scores = curve(root, node)
    assert list(scores) == [2, 4, 6, 8]
    assert scores[8] == pytest.approx(measured_again(root, graph, node))


def measured_again(root: Path, graph: Graph, node: str) -> float:
    """The share of right answers of a node's model on the validation problems, with the same seeds, graded by hand."""
    from headwater.interfaces import Seeds
    from headwater.records import Sampling

    model = LanguageModel.load(Store(root).checkout(node, root / "tmp" / f"again-{node[:8]}", "model/"))
    problems = graph.data.problems("validation", 0)
    sampling = Sampling(temperature=1.0, max_response_tokens=graph.recipe.max_response_tokens)
    seeds = Seeds(run=0, stream="evaluate/validation", step=0)
    groups = LocalGenerator(model, None, EngineSettings()).generate(problems, 8, sampling, seeds)
    right = even([rollout.response_text for group in groups for rollout in group.rollouts], [])
    return sum(right) / len(right)


def test_the_last_weights_are_the_default_and_watching_changes_none(
    runs: dict[str, tuple[Path, Graph]], tmp_path: Path
) -> None:
    root, graph = runs["last"]
    seldom = made(tmp_path, *WATCHED, "validation={every: 8, samples: 2}")
    weights = [
        Store(place).head(student_rl(found)).files["model/model.safetensors"].sha256  # type: ignore[union-attr]
        for place, found in ((root, graph), (tmp_path, seldom))
    ]
    assert weights[0] == weights[1]


def test_early_stopping_ends_with_the_weights_of_the_best_score(runs: dict[str, tuple[Path, Graph]]) -> None:
    root, graph = runs["best"]
    node = student_rl(graph)
    scores = curve(root, node)
    assert scores == curve(runs["last"][0], student_rl(runs["last"][1]))
    assert max(scores.values()) > scores[8], "the recipe's rate is meant to overshoot; choose another one"
    assert measured_again(root, graph, node) == pytest.approx(max(scores.values()))
    files = Store(root).head(node).files  # type: ignore[union-attr]
    assert not any(name.startswith("best/") for name in files)


# What it costs


def test_the_ledger_counts_every_label_that_was_looked_at(runs: dict[str, tuple[Path, Graph]]) -> None:
    root, graph = runs["last"]
    node = student_rl(graph)
    with Ledger(root / LEDGER) as ledger:
        read, counts = ledger.labels(node), ledger.counts(node)
    assert len(read["answer"]) == 16
    assert read["validation"] == set(graph.data.pools(0).part("validation"))
    assert counts["validation"] == 4 * 8
    assert not read["validation"] & (read["answer"] | read["prompt"])
    spent = {arm["arm"]: arm["direct"] for arm in plan(graph, {}, {})["arms"]}
    assert spent["R1"] == 24


def test_a_dense_stage_that_is_watched_reads_validation_labels_and_no_other(tmp_path: Path) -> None:
    changes = ("problems.labelled=24", "problems.validation=8", "validation={every: 2}", "routes=[raw-bridge]")
    graph = made(tmp_path, *changes)
    with Ledger(tmp_path / LEDGER) as ledger:
        for name, node in graph.nodes.items():
            if node.kind == "train":
                read = ledger.labels(name)
                assert (read["answer"], read["demonstration"]) == (set(), set())
                assert len(read["validation"]) == 8
    spent = {arm["arm"]: (arm["direct"], arm["inherited"]) for arm in plan(graph, {}, {})["arms"]}
    assert spent["raw-bridge"] == (8, 0)


def test_the_plan_counts_what_is_written_to_be_looked_at() -> None:
    plain, watched = build_graph(micro("routes=[R1]")), build_graph(micro(*LAST))
    written = {len(g.data.labelled): Costs(g).of(student_rl(g)).generated for g in (plain, watched)}
    assert written[24] == written[16] + 4 * 8 * 8 * 14  # measurements, problems, responses, tokens
    best = build_graph(micro(*BEST))
    sizes = [Costs(g).of(student_rl(g)).working_disk for g in (watched, best)]
    assert sizes[1] == 2 * (sizes[0] or math.nan)


# Stopped and taken up


def test_stopped_after_every_step_a_watched_run_ends_as_if_never_stopped(
    runs: dict[str, tuple[Path, Graph]], tmp_path: Path
) -> None:
    stops = 0
    while True:
        try:
            make(micro(*BEST), tmp_path, stopping=lambda: True)
            break
        except Interrupted:
            stops += 1
    assert stops > 7
    assert identity(tmp_path) == identity(runs["best"][0])


def test_the_report_draws_the_curve(runs: dict[str, tuple[Path, Graph]]) -> None:
    from headwater.folder import GRAPH, seal, write_json
    from headwater.report.training import curves

    root, graph = runs["last"]
    write_json(root / GRAPH, seal(graph.plain({})))
    folder = RunFolder(root)
    found = [c for c in curves(folder, folder.graph) if c.metric == "validation"]
    assert [(c.stage, len(c.values)) for c in found] == [("student-rl", 4)]
