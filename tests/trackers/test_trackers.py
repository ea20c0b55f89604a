"""Trackers by name, each against its real library, offline: every step once, also over a stop and a resume."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwater.errors import InputError, Interrupted
from headwater.folder import LEDGER
from headwater.ledger import Ledger
from headwater.plan import build_graph
from headwater.run.execute import Executor
from headwater.run.processes import Observer
from headwater.run.tracking import TRACKING, Tracking
from headwater.store import Store
from headwater.trackers import OPENERS, TrackedRun, opener
from micro import finished, micro

RUN = TrackedRun(
    key="abc-1", project="micro", name="student-rl on pool seed 0", group="seed-0", kind="student-rl",
    tags=("R1", "R7"),
    config={"seed": 0, "schedule": {"updates": 4}}, first_step=0,
)  # fmt: skip


@dataclass
class Told:
    """A tracker that keeps what it is told."""

    runs: dict[str, TrackedRun] = field(default_factory=dict)
    steps: dict[str, list[tuple[int, dict[str, float]]]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def start(self, run: TrackedRun) -> One:
        self.runs[run.key] = run
        self.open.add(run.key)
        return One(self, run.key)


@dataclass
class One:
    told: Told
    key: str

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.told.steps.setdefault(self.key, []).append((step, dict(metrics)))

    def close(self) -> None:
        self.told.open.discard(self.key)


def tracking(told: Any, root: Path, console: Console | None = None) -> Tracking:
    return Tracking("told", told, build_graph(micro()), Store(root), console or Console(quiet=True))


def work(root: Path, observer: Observer, stop_after: int | None = None) -> None:
    """Make the micro run's first stages in this process, told of as a run's workers would tell."""
    graph, count = build_graph(micro()), iter(range(10**6))
    with Store(root).lock(), Ledger(root / LEDGER) as ledger:
        executor = Executor(graph=graph, store=Store(root), ledger=ledger, commit_seconds=0)
        executor.on_step = lambda node, record: observer.stepped(node, record.step, dict(record.metrics))
        executor.stopping = lambda: stop_after is not None and next(count) >= stop_after
        for name, node in graph.nodes.items():
            observer.started(node)
            executor.execute(name)
            observer.finished(node, 0.0, 0.0)


def test_every_step_is_told_once_over_a_stop_and_a_resume(tmp_path: Path) -> None:
    told = Told()
    first = tracking(told.start, tmp_path)
    with pytest.raises(Interrupted):
        work(tmp_path, first, stop_after=16)
    first.close()
    assert not told.open
    second = tracking(told.start, tmp_path)  # another process, the same command
    work(tmp_path, second)
    second.close()
    graph = build_graph(micro())
    stages_told = {key: run.name for key, run in told.runs.items() if run.kind != "result"}
    by_stage = {name: [step for step, _ in told.steps[key]] for key, name in stages_told.items()}
    assert by_stage
    stages = [node for node in graph.nodes.values() if node.stage is not None]
    assert sorted(map(len, by_stage.values())) == sorted(node.updates for node in stages)
    assert all(steps == list(range(len(steps))) for steps in by_stage.values())
    results = {run.name for run in told.runs.values() if run.kind == "result"}
    assert {"R7 seed 0", "raw teacher seed 0"} <= results
    tags = {run.name: run.tags for run in told.runs.values()}
    assert set(tags["student-rl on 2H seed 0"]) == {"R5-half"}


def test_steps_that_were_told_of_too_fast_are_told_when_the_stage_is_committed(tmp_path: Path) -> None:
    told = Told()
    one = tracking(told.start, tmp_path)
    said = one.stepped
    one.stepped = lambda node, step, metrics: said(node, step, metrics) if step % 2 == 0 else None  # type: ignore[method-assign]
    work(tmp_path, one)
    for key, run in told.runs.items():
        if run.kind != "result":
            assert [step for step, _ in told.steps[key]] == list(range(run.config["updates"]))


def test_a_finished_run_can_be_tracked_afterwards(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    told = Told()
    root = finished(tmp_path_factory).root
    one = tracking(told.start, root)
    one._path = tmp_path / TRACKING  # the shared run stays as it is
    graph = build_graph(micro())
    one.catch_up(graph.nodes)
    assert sum(len(steps) for key, steps in told.steps.items() if told.runs[key].kind != "result") == sum(
        node.updates for node in graph.nodes.values()
    )


def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(run: TrackedRun) -> One:
        raise ConnectionError("no route to host")

    one = tracking(refuse, tmp_path, Console(width=200))
    work(tmp_path, one)
    one.close()
    assert capsys.readouterr().out.count("no route to host") == 1


def test_what_stays_in_the_folder_is_names_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-mine")
    one = tracking(Told().start, tmp_path)
    work(tmp_path, one)
    one.close()
    kept = json.loads((tmp_path / TRACKING).read_text())["told"]
    assert set(kept) == {"token", "told"}
    assert all(isinstance(count, int) for count in kept["told"].values())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret-of-mine" in path.read_bytes()]


def test_an_unknown_tracker_is_told_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--track wandbb \(did you mean wandb\?\); allowed: trackio, wandb"):
        opener("wandbb", tmp_path)


# The real libraries


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and every library's files under one folder."""
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "TRACKIO_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # mlflow counts its users
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_tensorboard(root: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(root.rglob("events.*")).parent
    found = EventAccumulator(str(folder))
    found.Reload()
    return {event.step: event.value for event in found.Scalars("reward")}


def read_mlflow(root: Path) -> dict[int, float]:
    from mlflow import MlflowClient

    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("micro").experiment_id])
    assert len(runs) == 1
    assert runs[0].data.tags["arms"] == "R1, R7"
    assert runs[0].info.status == "FINISHED"
    return {metric.step: metric.value for metric in client.get_metric_history(runs[0].info.run_id, "reward")}


def read_trackio(root: Path) -> dict[int, float]:
    rows: dict[int, float] = {}
    for path in root.rglob("*.db"):
        with sqlite3.connect(path) as database:
            for step, metrics in database.execute("SELECT step, metrics FROM metrics"):
                rows[step] = json.loads(metrics)["reward"]
    return rows


def read_wandb(root: Path) -> dict[int, float]:
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its service writes a run's last records after `finish` has returned; a process waits at its end
    rows: dict[int, float] = {}
    for path in sorted(root.rglob("*.wandb")):
        for data in wandb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "reward" in items:
                rows[record.history.step.num] = items["reward"]
    return rows


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of an offline run's file: LevelDB's log, blocks of 32 KiB behind a header of 7 bytes."""
    place, part = 7, b""
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:  # no header begins so near the end of a block
            place += 2**15 - place % 2**15
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield part
            part = b""


READERS: dict[str, Callable[[Path], dict[int, float]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
    "wandb": read_wandb,
}


@pytest.fixture(params=sorted(OPENERS))
def real(request: pytest.FixtureRequest, offline: Path) -> str:
    """A tracker whose library is here; `make integration` installs them all."""
    pytest.importorskip(request.param)
    return str(request.param)


def test_a_run_that_is_resumed_is_one_run_with_every_step(real: str, offline: Path) -> None:
    first = opener(real, offline)(RUN)
    for step in range(3):
        first.log(step, {"reward": step / 4, "loss": 1.0})
    first.close()
    time.sleep(1.1)  # wandb names an offline folder by the second
    again = opener(real, offline)(TrackedRun(**{**vars_of(RUN), "first_step": 3}))
    again.log(3, {"reward": 0.75, "loss": 0.5})
    again.close()
    assert READERS[real](offline) == pytest.approx({0: 0.0, 1: 0.25, 2: 0.5, 3: 0.75})


def vars_of(run: TrackedRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in TrackedRun.__dataclass_fields__}
