"""Killed, orphaned, stopped or interrupted, at whatever moment: the same command goes on and ends the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import Interrupted
from headwater.plan import build_graph
from headwater.run.processes import SECOND_WISH, _Wish
from headwater.store import Store
from micro import (
    FILE,
    HEADWATER,
    Finished,
    alive,
    children,
    finished,
    heads,
    headwater,
    identity,
    make,
    make_until_killed,
    micro,
)

PATIENCE = 300.0
"""Seconds after which a wait is a failure; no test passes or fails by speed below that."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def wait_for(what: str, happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)


# Inside one process, step by step and operation by operation


def test_stopped_after_every_step_of_every_stage_a_run_ends_as_if_never_stopped(run: Finished, tmp_path: Path) -> None:
    stops = []
    while True:
        try:
            make(micro(), tmp_path, stopping=lambda: True)
            break
        except Interrupted as error:
            stops.append(str(error).partition(";")[0])
    stages = [node for node in build_graph(micro()).nodes.values() if node.stage]
    assert stops == [
        f"{node.title}: stopped after step {step} of {node.updates}"
        for node in stages
        for step in range(1, node.updates)  # the last step ends the stage: nothing is left to stop
    ]
    assert identity(tmp_path) == identity(run.root)


def test_killed_at_any_disk_operation_a_run_ends_as_if_never_killed(run: Finished, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # a fork of a process that never trained
    context.set_forkserver_preload(["headwater.run"])
    chance, codes = random.Random(7), []
    while not codes or codes[-1] != 0:
        process = context.Process(target=make_until_killed, args=(tmp_path, chance.randrange(60, 240)))
        process.start()
        process.join()
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
    assert len(codes) > 8
    assert identity(tmp_path) == identity(run.root)


# From the shell


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """`headwater run` as the leader of a process group of its own."""
    shutil.copy(FILE, home)
    command = [*HEADWATER, "run", "micro.yaml", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=home, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def running(started: subprocess.Popen[str], what: str, happened: Callable[[], bool]) -> None:
    """Wait until it happened, while the run still works."""
    wait_for(what, lambda: happened() or started.poll() is not None)
    assert started.poll() is None, started.communicate()


def imports_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def holder(root: Path) -> int | None:
    """Who holds the run's lock, by its own account."""
    try:
        return int(json.loads((root / "lock").read_text())["pid"])
    except (OSError, ValueError):
        return None


def committed(root: Path) -> dict[str, str]:
    return heads(root) if (root / "heads").exists() else {}


def test_killed_orphaned_stopped_and_interrupted_one_run_ends_as_if_left_alone(run: Finished, tmp_path: Path) -> None:
    root = tmp_path / "runs" / "micro"
    # kill -9 of the whole group
    started = start(tmp_path, "--commit-seconds", "0", "--workers", "2")
    running(started, "a first commit", lambda: len(committed(root)) >= 1)
    os.killpg(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL

    # kill -9 of the parent alone: its workers die with it
    before = len(committed(root))
    started = start(tmp_path, "--commit-seconds", "0", "--workers", "1")
    running(started, "a later commit", lambda: len(committed(root)) > before)
    family = children(started.pid)
    assert len(family) >= 2  # a worker, and multiprocessing's own resource tracker
    started.kill()
    started.wait()
    wait_for("the workers' death", lambda: not any(alive(pid) for pid in family))

    # Ctrl-C in the terminal, while the workers still import: everyone in the group gets it
    started = start(tmp_path, "--workers", "1")
    running(started, "a worker's import of torch", lambda: any(map(imports_torch, children(started.pid))))
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate()
    assert started.returncode == 75, said
    assert len(said.splitlines()) == 1, said
    assert "goes on where it stopped" in said

    # SIGTERM to the parent, in the middle of the work
    before = len(committed(root))
    started = start(tmp_path, "--commit-seconds", "0", "--workers", "1")
    running(started, "a later commit", lambda: len(committed(root)) > before)
    started.terminate()
    _, said = started.communicate()
    assert started.returncode == 75, said
    assert len(said.splitlines()) == 1, said
    assert "goes on where it stopped" in said
    assert len(committed(root)) < len(build_graph(micro()).nodes), "the run was over before it was stopped"

    done = headwater("run", "micro.yaml", "--workers", "1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert identity(root) == identity(run.root)


def test_a_worker_that_is_killed_or_hangs_neither_loses_the_run_nor_lets_it_claim_to_be_done(tmp_path: Path) -> None:
    root = tmp_path / "runs" / "micro"
    # kill -9 of a worker alone, as when memory runs out: the run does not claim to be done
    before = len(committed(root))
    started = start(tmp_path, "--commit-seconds", "0", "--workers", "1")
    running(started, "a later commit", lambda: len(committed(root)) > before)
    os.kill(next(pid for pid in children(started.pid) if imports_torch(pid)), signal.SIGKILL)
    _, said = started.communicate()
    assert started.returncode == 6, said
    assert len(said.splitlines()) == 1, said
    assert "was killed (SIGKILL), as the kernel does when memory runs out" in said

    # a worker that hangs: the first Ctrl-C waits for its commit, a second one ends the run
    before = len(committed(root))
    started = start(tmp_path, "--commit-seconds", "0", "--workers", "1")
    running(started, "a later commit", lambda: len(committed(root)) > before)
    os.kill(next(pid for pid in children(started.pid) if imports_torch(pid)), signal.SIGSTOP)
    started.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(timeout=2 * SECOND_WISH)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate()
    assert started.returncode == 75, said
    assert said == "headwater: run: stopped at once; the same command goes on from the last commits\n"
    assert Store(root).verify() == []


def test_work_without_steps_stops_where_it_is_and_a_stage_after_its_step() -> None:
    wish = _Wish()
    with pytest.raises(Interrupted), wish.obeyed_at_once(True):
        wish.note()
        raise AssertionError("went on")
    with pytest.raises(Interrupted), wish.obeyed_at_once(True):
        raise AssertionError("a worker that was asked before began")
    stage = _Wish()
    with stage.obeyed_at_once(False):
        stage.note()
    assert stage.stop


def test_a_second_starter_exits_3_names_the_first_and_touches_nothing(run: Finished, tmp_path: Path) -> None:
    root = tmp_path / "micro"
    shutil.copytree(run.root, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "lock"}
    with Store(root).lock():
        second = headwater("run", run.home / "micro.yaml", "--runs", tmp_path, cwd=tmp_path)
    assert second.returncode == 3
    assert len(second.stderr.splitlines()) == 1
    assert f"pid {os.getpid()} on host " in second.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "lock"} == before


def test_a_lock_left_by_a_killed_run_is_no_obstacle(run: Finished, tmp_path: Path) -> None:
    root = tmp_path / "micro"
    shutil.copytree(run.root, root)
    (root / "lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "2020-01-01T00:00:00+00:00"}))
    with Store(root).lock():
        assert holder(root) == os.getpid()
