"""What no hash of one file can say: ledger and commits, results and inputs, steps asked and done, belong together."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from headwater.errors import HeadwaterError, InputError, IntegrityError
from headwater.folder import LEDGER, RunFolder
from headwater.ledger import Ledger, genesis
from headwater.plan.graph import Graph, build_graph
from headwater.plan.node import Node
from headwater.run.consistency import inputs, refuse_mixed, refuse_unfinished, settle_ledger
from headwater.store import Store
from micro import Finished, finished, headwater, identity, micro

GRAPH = build_graph(micro())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


@pytest.fixture
def root(run: Finished, tmp_path: Path) -> Path:
    """A copy of the finished micro run."""
    return Path(shutil.copytree(run.root, tmp_path / "runs" / "micro"))


def named(title: str, graph: Graph = GRAPH) -> str:
    return next(name for name, node in graph.nodes.items() if node.title == title)


def settle(root: Path) -> None:
    with Ledger(root / LEDGER) as ledger:
        settle_ledger(ledger, Store(root))


def use(root: Path, stage: str, step: int) -> None:
    """A label use that was written before its step was committed."""
    with Ledger(root / LEDGER) as ledger:
        ledger.record(stage, step, "p", "answer")
        ledger.commit(stage)


# the ledger and the commits


def test_uses_of_steps_that_were_never_committed_go(run: Finished, root: Path) -> None:
    use(root, named("student-rl on 2H"), 99)
    use(root, "e" * 64, 0)  # a stage that never committed, and that no recipe makes any more
    with pytest.raises(IntegrityError):
        RunFolder(root).ledger_digest()
    settle(root)
    assert identity(root) == identity(run.root)


def test_settling_a_ledger_in_step_changes_nothing(root: Path) -> None:
    before = (root / LEDGER).read_bytes()
    settle(root)
    assert (root / LEDGER).read_bytes() == before


def test_a_ledger_that_two_folders_share_is_not_written(root: Path) -> None:
    other = root.with_name("other")
    subprocess.run(["cp", "-rl", root, other], check=True)  # a copy that takes no room
    with pytest.raises(InputError, match=r"ledger\.sqlite has a second name") as refused:
        settle(root)
    subprocess.run(["sh", "-c", str(refused.value).rpartition(": ")[2]], check=True)
    use(root, "e" * 64, 0)
    assert (other / LEDGER).read_bytes() != (root / LEDGER).read_bytes()
    settle(root)
    assert RunFolder(other).verify() == []


def test_the_uses_of_a_forgotten_stage_go(root: Path) -> None:
    stage = named("student-rl on 2H")
    Store(root).forget(stage)
    settle(root)
    with Ledger(root / LEDGER) as ledger:
        assert ledger.head(stage) == genesis(stage)


@pytest.mark.parametrize("lost", ["DELETE FROM uses WHERE stage = ? AND step = 3", "DELETE FROM uses WHERE stage = ?"])
def test_a_committed_step_without_its_uses_stops_the_run_and_the_report(root: Path, lost: str) -> None:
    with sqlite3.connect(root / LEDGER) as connection:
        connection.execute(lost, (named("student-rl on 2H"),))
    with pytest.raises(IntegrityError, match="do not belong together"):
        settle(root)
    with pytest.raises(IntegrityError, match="rows are missing or added"):
        RunFolder(root).ledger_digest()


def test_a_ledger_that_is_gone_stops_the_run(root: Path) -> None:
    (root / LEDGER).unlink()
    with pytest.raises(IntegrityError, match=LEDGER):
        settle(root)


# results and their inputs


def test_every_commit_says_what_it_was_made_from_and_by_what(root: Path) -> None:
    store = Store(root)
    for name, node in GRAPH.nodes.items():
        head = store.head(name)
        assert head is not None
        assert head.about["inputs"] == inputs(node, store)
        assert head.about["inputs"].keys() == node.parents.keys()
        assert head.about["code"].keys() >= {"headwater", "torch", "source"}
    refuse_mixed(GRAPH, store)


def other_bytes(store: Store, node: str) -> None:
    """Commit the node again with one byte of its weights changed: as remaking it on another machine may."""
    head = store.head(node)
    assert head is not None
    files = {name: store.read(node, name) for name in head.files}
    weights = files["model/model.safetensors"]
    files["model/model.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
    store.commit(node, files, step=head.step, done=True, about=head.about)


@pytest.mark.parametrize(
    ("parent", "child", "role"),
    [
        ("teacher-rl on 1H", "teacher's rollouts on 1H", "writer"),
        ("warm-up on 1H", "on-policy-distillation on 1H", "start"),
        ("student-rl on 2H", "evaluate R5-half", "model"),
    ],
)
def test_a_result_of_other_weights_is_refused(root: Path, parent: str, child: str, role: str) -> None:
    other_bytes(Store(root), named(parent))
    alone = replace(GRAPH, nodes={named(child): GRAPH.nodes[named(child)]}, arms=())
    with pytest.raises(IntegrityError, match=rf"{child} .*another {role} .*--redo {named(child)}"):
        refuse_mixed(alone, Store(root))


def test_a_model_of_ones_own_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    node = Node(kind="model", title="student", seed=0, settings={"path": str(tmp_path), "revision": None})
    before = inputs(node, Store(tmp_path / "run"))
    assert before.keys() == {"path"}
    (tmp_path / "config.json").write_text("{ }")
    assert inputs(node, Store(tmp_path / "run")) != before
    assert inputs(Node(kind="model", title="x", seed=0, settings={"path": "some/hub-id"}), Store(tmp_path)) == {}


def test_a_run_with_mixed_results_exits_4_and_names_the_node(run: Finished, root: Path) -> None:
    other_bytes(Store(root), named("student-rl on 2H"))
    done = headwater("run", run.home / "micro.yaml", cwd=root.parents[1])
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "evaluate R5-half" in done.stderr


# steps asked and steps done


def test_a_run_that_made_fewer_or_more_steps_than_asked_is_not_finished(root: Path) -> None:
    store, name = Store(root), named("warm-up on 1H")
    refuse_unfinished(GRAPH, store)
    head = store.head(name)
    assert head is not None
    files = {file: store.read(name, file) for file in head.files}
    for step, done in ((head.step - 1, True), (head.step + 1, True), (head.step, False)):
        store.commit(name, files, step=step, done=done, about=head.about)
        with pytest.raises(HeadwaterError, match=rf"{step} steps of {head.step}"):
            refuse_unfinished(GRAPH, store)
    store.forget(name)
    with pytest.raises(HeadwaterError, match="nothing of"):
        refuse_unfinished(GRAPH, store)
