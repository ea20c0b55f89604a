"""`headwater advise` on the micro recipe: ledger, sharing with the run, stopped and killed, and no benchmark met."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.advice.advise import advice
from headwater.advice.pilot import pilot, pilot_graph
from headwater.advice.words import lines
from headwater.data.problems import RunData
from headwater.engines.cpu import products
from headwater.engines.local import LocalGenerator
from headwater.errors import Interrupted
from headwater.folder import GRAPH, LEDGER, RunFolder
from headwater.ledger import Ledger
from headwater.models.language_model import silence_progress
from headwater.plan import build_graph
from headwater.records import Group, Problem
from headwater.report import summarise
from headwater.run.consistency import settle_ledger
from headwater.run.execute import Executor
from headwater.store import REAL_DISK, Disk, Store
from micro import FILE, MortalDisk, heads, headwater, identity, make, micro, once


def make_pilot(root: Path, disk: Disk = REAL_DISK, **limits: Any) -> None:
    """Every node of the micro recipe's pilot, in this process."""
    silence_progress()
    products.keep("default")
    graph, store = pilot_graph(micro()), Store(root, disk)
    with store.lock():
        store.sweep()
        with Ledger(root / LEDGER) as ledger:
            settle_ledger(ledger, store)
            executor = Executor(graph=graph, store=store, ledger=ledger, **limits)
            for node in graph.nodes:
                executor.execute(node)


def make_pilot_until_killed(root: Path, operations: int) -> None:
    torch.set_num_threads(1)
    make_pilot(root, MortalDisk(operations), commit_seconds=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`headwater advise`, then `headwater run`, then `headwater advise` again, and what they said."""

    def fill(folder: Path) -> None:
        shutil.copy(FILE, folder / "micro.yaml")
        said = []
        for command in (["advise", "--json"], ["run"], ["advise"]):
            done = headwater(command[0], "micro.yaml", "--workers", "1", *command[1:], cwd=folder)
            said.append({"code": done.returncode, "out": done.stdout, "err": done.stderr})
            said[-1]["heads"] = heads(folder / "runs" / "micro")
        (folder / "said.json").write_text(json.dumps(said))

    return once(tmp_path_factory, "advised-micro-run", fill)


@pytest.fixture(scope="module")
def said(home: Path) -> list[dict[str, Any]]:
    """Exit code, stdout, stderr and the heads after each command."""
    found: list[dict[str, Any]] = json.loads((home / "said.json").read_text())
    return found


@pytest.fixture(scope="module")
def piloted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pilot made in one go, in one process."""
    return once(tmp_path_factory, "piloted", make_pilot)


def test_the_advice_is_given_in_json_and_in_words(said: list[dict[str, Any]]) -> None:
    assert [one["code"] for one in said] == [0, 0, 0], [one["err"] for one in said]
    found = json.loads(said[0]["out"])
    assert found["ruling"]["route"] in ("upstream", "direct", "nobody", "not decided")
    assert found["decided"] == (found["ruling"]["route"] != "not decided")
    for name in ("student", "teacher", "student_mixed", "teacher_mixed", "kl", "overlap"):
        assert found["evidence"][name]["error"] >= 0
    for name in ("student_levels", "teacher_levels", "lead"):
        assert {"half", "whole"} == found["evidence"][name].keys()
        assert all(found["evidence"][name][labels]["error"] > 0 for labels in ("half", "whole"))
    assert found["before"]["labels"] == found["after"]["labels"] == 16
    assert 0 < found["after"]["flops"] <= found["before"]["flops"]
    assert found["after"]["seconds"] > 0
    assert {"R1", "R3-full", "R5-half"} == found["routes"].keys()
    assert found["routes"]["R5-half"]["labels"] == 16
    for part in (
        "rule ",
        "warm-up: ",
        "pass rate before any label",
        "KL(student",
        "the pilot cost 16 labels",
        "record",
    ):
        assert part in said[2]["out"]


def test_what_the_run_shares_is_made_once_and_what_is_done_is_not_made_again(said: list[dict[str, Any]]) -> None:
    first, second, third = (one["heads"] for one in said)
    shared = pilot(micro()).graph.nodes.keys() & build_graph(micro()).nodes.keys()
    assert len(shared) == 2
    assert {name: first[name] for name in first} == {name: second[name] for name in first}
    assert second == third
    assert set(second) == pilot(micro()).graph.nodes.keys() | build_graph(micro()).nodes.keys()


def test_a_run_after_a_pilot_ends_as_one_without(home: Path, tmp_path: Path) -> None:
    make(micro(), tmp_path)
    alone, after = identity(tmp_path), identity(home / "runs" / "micro")
    assert {name: after[name] for name in alone if name != "ledger"} == {
        name: made for name, made in alone.items() if name != "ledger"
    }


def test_the_ledger_notes_the_pilots_labels_as_the_pilots_and_the_runs_as_the_runs(home: Path) -> None:
    folder, planned = RunFolder(home / "runs" / "micro"), pilot(micro())
    read: set[str] = set()
    for name, node in planned.graph.nodes.items():
        used = folder.labels(name)
        assert not used["answer"]
        assert not used["demonstration"]
        reads = node.kind == "pass-rate" or (node.stage is not None and node.stage.reads_labels)
        assert bool(used["pilot"]) == reads
        read |= used["pilot"]
    assert read == set(planned.labels) == folder.piloted()
    assert [note for note in summarise(folder).notes if "a pilot read 16 labels of the pool" in note]
    for name in build_graph(micro()).nodes:
        assert not folder.labels(name)["pilot"]
    assert folder.verify() == []


def test_a_pilot_begins_the_run_that_follows(home: Path, tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    assert headwater("advise", "micro.yaml", "--set", "seeds=[1]", "--workers", "1", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs" / "micro" / GRAPH).is_file()
    other = headwater("run", "micro.yaml", "--set", "temperature=0.9", cwd=tmp_path)
    assert other.returncode == 2
    assert "temperature was 1.0, is now 0.9" in other.stderr


def test_another_recipe_in_the_folder_of_a_run_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "runs", tmp_path / "runs")
    shutil.copy(FILE, tmp_path)
    done = headwater("advise", "micro.yaml", "--set", "max_response_tokens=9", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_stopped_after_every_step_and_piece_a_pilot_ends_as_if_never_stopped(piloted: Path, tmp_path: Path) -> None:
    stops = 0
    while True:
        try:
            make_pilot(tmp_path, stopping=lambda: True)
            break
        except Interrupted:
            stops += 1
    assert stops > 5
    assert identity(tmp_path) == identity(piloted)


def test_killed_at_any_disk_operation_a_pilot_ends_as_if_never_killed(piloted: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headwater.run"])
    chance, codes = random.Random(3), []
    while not codes or codes[-1] != 0:
        process = context.Process(target=make_pilot_until_killed, args=(tmp_path, chance.randrange(60, 200)))
        process.start()
        process.join()
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
    assert len(codes) > 3
    assert identity(tmp_path) == identity(piloted)


class Sealed(Mapping[str, str]):
    """Answers whose ids may be known and which nobody may read."""

    def __init__(self, ids: Sequence[str]):
        self._ids = ids

    def __getitem__(self, problem_id: str) -> str:
        raise AssertionError(f"the benchmark's answer to {problem_id} was read")

    def __iter__(self) -> Any:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def test_no_model_meets_a_problem_of_the_benchmark_and_nobody_reads_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: set[str] = set()
    generate, benchmarks = LocalGenerator.generate, RunData.benchmarks.func  # type: ignore[attr-defined]

    def heard(self: LocalGenerator, problems: Sequence[Problem], *rest: Any) -> list[Group]:
        met.update(problem.problem_id for problem in problems)
        return generate(self, problems, *rest)

    def sealed(self: RunData) -> Any:
        found = {name: replace(held, answers=Sealed(list(held.answers))) for name, held in benchmarks(self).items()}
        return vars(self).setdefault("benchmarks", found)

    monkeypatch.setattr(LocalGenerator, "generate", heard)
    monkeypatch.setattr(RunData, "benchmarks", property(sealed))
    planned = pilot(micro())
    make_pilot(tmp_path)
    assert met == set(planned.labels)
    assert not met & {problem.problem_id for problem in planned.graph.data.benchmarks["held-out"].problems}
    with pytest.raises(AssertionError, match="was read"):  # the seal holds: a measurement on the benchmark breaks it
        make(micro(), tmp_path, nodes=list(build_graph(micro()).nodes)[:3])


def test_a_recipe_on_model_directories_is_advised_as_well(home: Path, tmp_path: Path) -> None:
    models = home / "runs" / "micro" / "models"
    shutil.copy(FILE, tmp_path)
    paths = [
        word
        for role in ("student", "teacher")
        for word in ("--set", f"{role}={{path: {models / f'raw-{role}-seed0'}}}")
    ]
    done = headwater("advise", "micro.yaml", "--name", "own", *paths, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "own, 16 labels: " in done.stdout


def test_the_words_say_what_the_numbers_say(home: Path) -> None:
    found = advice(pilot(micro()), RunFolder(home / "runs" / "micro"))
    text = "\n".join(lines(found))
    assert text.startswith("micro, 16 labels: ")
    assert f"rule {found.ruling.rule}" in text
    assert f"{100 * found.evidence.student.value:.1f} ±" in text
    assert f"{len(found.routes)}" == "3"
