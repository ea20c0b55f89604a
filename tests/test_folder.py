"""A run folder as a reader sees it: damage to any file that a report is made from is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from headwater.errors import IntegrityError
from headwater.folder import GRAPH, LEDGER, TIMINGS, RunFolder, read_sealed, seal, write_json
from headwater.ledger import Ledger
from headwater.report import summarise
from micro import finished


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of the finished micro run."""
    return Path(shutil.copytree(finished(tmp_path_factory).root, tmp_path / "micro"))


def replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.chmod(0o644)
    path.write_bytes(data.replace(old, new, 1))


def test_a_finished_run_is_whole(root: Path) -> None:
    assert RunFolder(root).verify() == []


def test_what_is_sealed_comes_back_and_another_value_does_not(tmp_path: Path) -> None:
    path, value = tmp_path / "x.json", {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    write_json(path, seal(value))
    assert read_sealed(path) == value
    write_json(path, {**seal(value), "a": [1, 2.5, None, "u"]})
    with pytest.raises(IntegrityError, match=r"x\.json: its content does not match"):
        read_sealed(path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_changed_number_in_the_graph_is_found_by_report(root: Path) -> None:
    replace(root / GRAPH, b'"updates": 4', b'"updates": 5')
    with pytest.raises(IntegrityError, match=GRAPH):
        summarise(RunFolder(root))


def test_a_changed_time_is_found_by_report(root: Path) -> None:
    name = next(iter(json.loads((root / TIMINGS).read_text())))
    replace(root / TIMINGS, name.encode(), name[:-1].encode() + b"?")
    with pytest.raises(IntegrityError, match=TIMINGS):
        summarise(RunFolder(root))


def test_a_ledger_that_lost_its_last_rows_is_found_by_report(root: Path) -> None:
    with Ledger(root / LEDGER) as ledger:
        stage = next(stage for stage in ledger.heads() if ledger.counts(stage)["answer"])
        ledger._connection.execute("DELETE FROM uses WHERE stage = ? AND step > 0", (stage,))
        ledger.verify()  # the chain alone is whole: only the commit knows better
    with pytest.raises(IntegrityError, match=stage):
        summarise(RunFolder(root))


def test_a_ledger_that_is_gone_is_not_an_empty_one(root: Path) -> None:
    (root / LEDGER).unlink()
    with pytest.raises(IntegrityError, match=LEDGER):
        summarise(RunFolder(root))
    assert not (root / LEDGER).exists()


def test_a_model_that_was_handed_out_and_changed_is_found_by_verify(root: Path) -> None:
    weights = root / "models" / "R7-seed0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    [found] = RunFolder(root).verify()
    assert "R7-seed0" in str(found)
