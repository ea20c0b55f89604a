"""Claims about the grading processes: they can be lost without harm, and none is left behind."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.errors import GraderError
from headwater.records import Verdict
from headwater.verifiers import pool as pool_module
from headwater.verifiers.expression import ExpressionJudge
from headwater.verifiers.pool import Task, WorkerPool

ROOT = Path(__file__).resolve().parents[2]
FITS = Task(r"\frac{\sqrt{3}}{2}", r"\sqrt{0.75}")
HANGS = Task("1", r"\sum_{k=1}^{10^{8}} \frac{1}{k^2+k+1}")
"""Math-Verify as it ships works on this for minutes; this package's grader refuses it at once."""
SWELLS = Task("1", "10^{10^{10}}")


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, cpu_seconds=1.5, memory_bytes=1 << 30)
    yield pool
    pool.close()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_task_that_hangs_or_swells_loses_its_own_verdict_and_no_other() -> None:
    begin = time.process_time()
    second = WorkerPool(1, kind="second", cpu_seconds=1.5, memory_bytes=1 << 30)
    assert second.run([FITS, HANGS, FITS, SWELLS, FITS]) == [True, None, True, None, True]
    assert second.lost == 2
    assert len(second.pids) == 1
    second.close()
    assert time.process_time() - begin < 1  # waiting costs this process nothing


def test_nothing_hangs_in_the_grader_itself(pool: WorkerPool) -> None:
    assert pool.run([HANGS, SWELLS]) == [False, False]
    assert pool.slowest < 1


def test_a_process_that_does_nothing_is_replaced(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_STUCK_SECONDS", 1.0)
    assert pool.run([FITS]) == [True]
    stopped = pool.pids[0]
    os.kill(stopped, signal.SIGSTOP)
    assert pool.run([FITS, FITS]) == [None, True]
    assert not lives(stopped)


def test_a_process_that_died_while_idle_costs_no_verdict(pool: WorkerPool) -> None:
    pool.run([FITS])
    os.kill(pool.pids[0], signal.SIGKILL)
    time.sleep(0.1)
    assert pool.run([FITS]) == [True]
    assert pool.lost == 0


def test_close_leaves_no_process_and_the_next_run_starts_one(pool: WorkerPool) -> None:
    pool.run([FITS])
    pids = pool.pids
    pool.close()
    assert not any(lives(pid) for pid in pids)
    assert pool.pids == []
    assert pool.run([FITS]) == [True]


def test_a_forgotten_pool_leaves_no_process() -> None:
    pool = WorkerPool(1, cpu_seconds=1.5, memory_bytes=1 << 30)
    pool.run([FITS])
    pids = pool.pids
    del pool
    assert not any(lives(pid) for pid in pids)


def test_a_killed_parent_leaves_no_process_even_if_it_is_busy() -> None:
    code = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(ROOT / "src")!r})
from headwater.verifiers.pool import Task, WorkerPool
pool = WorkerPool(1, kind="second", cpu_seconds=60.0, memory_bytes=1 << 30)
pool.run([Task{tuple(FITS)!r}])
print(pool.pids[0], flush=True)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
pool.run([Task{tuple(HANGS)!r}])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == -signal.SIGKILL, said.stderr
    pid = int(said.stdout)
    deadline = time.monotonic() + 20
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(pid)


def in_a_fork(work: Callable[[], bool]) -> bool:
    """What the work says in a fork of this process, which ends as Python ends, with its finalizers."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            atexit._run_exitfuncs()
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_a_fork_has_processes_of_its_own_and_leaves_the_parents_alone(pool: WorkerPool) -> None:
    before = children_of(os.getpid()) - set(pool.pids)
    pool.run([FITS])
    ours = pool.pids
    with pool._lock:  # held by some thread at the moment of the fork
        assert in_a_fork(lambda: pool.pids == [] and pool.run([FITS]) == [True] and pool.pids != ours)
        assert in_a_fork(lambda: True)
    assert pool.pids == ours and all(map(lives, ours))
    assert pool.run([FITS]) == [True]
    assert children_of(os.getpid()) - before == set(ours)


def test_a_fork_that_outlives_its_parent_keeps_no_process_alive() -> None:
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT / "src")!r})
from headwater.verifiers.pool import Task, WorkerPool
pool = WorkerPool(1, cpu_seconds=60.0, memory_bytes=1 << 30)
pool.run([Task{tuple(FITS)!r}])
print(pool.pids[0], flush=True)
if (fork := os.fork()) == 0:
    time.sleep(60)
print(fork, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        grader, fork = int(parent.stdout.readline()), int(parent.stdout.readline())
    try:
        deadline = time.monotonic() + 20
        while lives(grader) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not lives(grader)
        assert lives(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_three_failed_starts_in_a_row_stop_the_grader(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_START", "raise SystemExit({0!r})")
    with pytest.raises(GraderError, match="three times in a row"):
        pool.run([FITS])


def test_a_library_that_is_missing_is_named(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = pool_module._START.replace("from headwater", "sys.modules['math_verify'] = None; from headwater")
    monkeypatch.setattr(pool_module, "_START", broken)
    with pytest.raises(GraderError, match=r"does not start .*math_verify"):
        pool.run([FITS])


def test_verdicts_go_to_the_rollouts_they_belong_to_whatever_fails() -> None:
    judge = ExpressionJudge(workers=2)
    answers = {
        "none": (r"\sqrt{2}", None),
        "right": (r"\sqrt{2}", r"\sqrt{\frac{4}{2}}"),
        "again": (r"\sqrt{2}", r"\sqrt{\frac{4}{2}}"),
        "half": (r"\sqrt{2}", r"\frac{2}{\sqrt2}"),
        "wrong": (r"\sqrt{2}", r"\sqrt{3}"),
        "same": (r"\sqrt{2}", r"\sqrt2"),
    }
    try:
        verdicts = judge.judge(answers)
    finally:
        judge.close()
    assert list(verdicts) == list(answers)
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.CORRECT} == {
        "right",
        "again",
        "half",
        "same",
    }
    assert Verdict.UNGRADED not in verdicts.values()
