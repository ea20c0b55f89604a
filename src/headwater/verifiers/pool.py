"""A few grading processes that can be killed: each gets one task at a time, and a lost task loses no other.

A process is replaced after any failure and after 2,000 tasks. It is killed from here only when it has used no
CPU time for 60 seconds: it is then stuck and not slow, however loaded the machine is; CPU time itself is
limited by the kernel, inside the process. The children see no environment variable and no open file of ours, and
end with the process that started them. A fork of that process has no grading process until it needs one: the
children answer to their parent alone.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headwater.errors import GraderError

_TASKS_PER_PROCESS = 2_000
_STUCK_SECONDS = 60.0
_STARTS = 3
"""Starts that may fail in a row."""
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from headwater.verifiers.worker import main; main({!r}, {}, {}, {})"
)


class Task(NamedTuple):
    """What a process is asked."""

    gold: str
    answer: str


@dataclass(eq=False)
class _Child:
    """One process. Mutable: what it was asked and what it has said so far."""

    process: subprocess.Popen[bytes]
    task: int | None = None
    ready: bool = False
    done: int = 0
    heard: bytearray = field(default_factory=bytearray)
    cpu: float = 0.0
    progress: float = field(default_factory=time.monotonic)

    def say(self, number: int, task: Task) -> bool:
        """Hand over a task; False when the process is gone."""
        assert self.process.stdin is not None  # noqa: S101  opened with a pipe
        line = json.dumps({"task": number, **task._asdict()}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            return False
        self.task = number
        self.progress = time.monotonic()
        return True

    def hear(self) -> list[dict[str, Any]] | None:
        """Whole lines that have come; None when the process has ended."""
        assert self.process.stdout is not None  # noqa: S101
        chunk = os.read(self.process.stdout.fileno(), 65536)
        if not chunk:
            return None
        self.heard += chunk
        *lines, rest = bytes(self.heard).split(b"\n")
        self.heard = bytearray(rest)
        return [json.loads(line) for line in lines]

    def stuck(self) -> bool:
        """Whether it has used no CPU time for 60 seconds."""
        cpu = _cpu_seconds(self.process.pid)
        if cpu is None or cpu > self.cpu:
            self.cpu, self.progress = cpu or self.cpu, time.monotonic()
        return time.monotonic() - self.progress > _STUCK_SECONDS

    def kill(self) -> None:
        """End it and wait until it is gone."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a task that was never read
                    pipe.close()
        self.process.wait()

    def forget(self) -> None:
        """Close a forked copy's ends of the pipes; what the parent was writing is not ours to send."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.raw.close()  # type: ignore[attr-defined]  # beneath the buffer, which is not flushed


class WorkerPool:
    """At most `size` grading processes of one kind ("decide" or "second"; see `worker.py`).

    They start when they are first needed and are gone after `close`, or with this process.
    """

    def __init__(self, size: int, *, kind: str = "decide", cpu_seconds: float, memory_bytes: int):
        self._size = size
        self._settings = (kind, float(cpu_seconds), int(memory_bytes))
        self._children: list[_Child] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._failed_starts = 0
        self.slowest = 0.0
        """CPU seconds of the longest task that ended by itself"""
        self.lost = 0
        """tasks over which a process failed"""
        self._finalizer = weakref.finalize(self, _kill_all, self._children, self._owner)

    def run(self, tasks: Sequence[Task]) -> list[bool | None]:
        """Each task's verdict, in order; None where a process failed over it.

        Raises GraderError when three starts in a row fail.
        """
        self._leave_the_parents()
        with self._lock:
            return _Round(self, tasks).play()

    def close(self) -> None:
        """End the processes; the next `run` starts new ones."""
        self._leave_the_parents()
        with self._lock:
            _kill_all(self._children)

    @property
    def pids(self) -> list[int]:
        """The processes that live now."""
        self._leave_the_parents()
        return [child.process.pid for child in self._children]

    def _leave_the_parents(self) -> None:
        """In a fork, begin anew: processes, pipes and a lock that may be held belong to the parent."""
        if os.getpid() == self._owner:
            return
        self._finalizer.detach()
        for child in self._children:
            child.forget()
        self._children, self._owner, self._lock = [], os.getpid(), threading.Lock()
        self._finalizer = weakref.finalize(self, _kill_all, self._children, self._owner)

    def free_child(self) -> _Child | None:
        """A process without a task, a new one if there is room for it."""
        for child in self._children:
            if child.task is None:
                return child
        if len(self._children) >= self._size:
            return None
        child = _Child(_start(self._settings))
        self._children.append(child)
        return child

    def replace(self, child: _Child) -> None:
        """Kill a process; the next free child is a new one."""
        child.kill()
        self._children.remove(child)
        if child.ready:
            self._failed_starts = 0
            return
        self._failed_starts += 1
        if self._failed_starts >= _STARTS:
            self._failed_starts = 0
            raise GraderError(
                "expression grader: its process ended before it was ready, three times in a row; is there "
                "memory for it, and are math-verify and sympy installed? Try `headwater verify` on one line"
            )


class _Round:
    """One `run`: what is still to be asked, who works on what, and what came back."""

    def __init__(self, pool: WorkerPool, tasks: Sequence[Task]):
        self.pool = pool
        self.tasks = tasks
        self.waiting = deque(range(len(tasks)))
        self.verdicts: list[bool | None] = [None] * len(tasks)
        self.busy: dict[_Child, int] = {}

    def play(self) -> list[bool | None]:
        with selectors.DefaultSelector() as selector:
            try:
                while self.waiting or self.busy:
                    self._hand_out(selector)
                    for key, _ in selector.select(timeout=1.0):
                        self._listen(key.data, selector)
                    for child in [child for child in self.busy if child.stuck()]:
                        self._lose(child, selector)
            except BaseException:  # interrupted: a half-heard process would answer the next round
                for child in list(self.busy):
                    child.kill()
                    self.pool._children.remove(child)
                raise
        return self.verdicts

    def _hand_out(self, selector: selectors.BaseSelector) -> None:
        while self.waiting and (child := self.pool.free_child()) is not None:
            number = self.waiting.popleft()
            if not child.say(number, self.tasks[number]):  # it died while idle: not this task's doing
                self.waiting.appendleft(number)
                self.pool.replace(child)
                continue
            self.busy[child] = number
            assert child.process.stdout is not None  # noqa: S101
            selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _listen(self, child: _Child, selector: selectors.BaseSelector) -> None:
        replies = child.hear()
        if replies is None:
            self._lose(child, selector)
            return
        for reply in replies:
            if reply.get("ready") is False:
                raise GraderError(f"expression grader: it does not start ({reply['reason']})")
            if reply.get("ready"):
                child.ready = True
            elif "failure" in reply:
                self._lose(child, selector)
            elif reply["task"] == child.task:
                self._settle(child, selector)
                self.verdicts[reply["task"]] = reply["right"]
                self.pool.slowest = max(self.pool.slowest, reply["cpu"])
                if child.done >= _TASKS_PER_PROCESS:
                    self.pool.replace(child)

    def _settle(self, child: _Child, selector: selectors.BaseSelector) -> None:
        assert child.process.stdout is not None  # noqa: S101
        selector.unregister(child.process.stdout)
        del self.busy[child]
        child.task = None
        child.done += 1

    def _lose(self, child: _Child, selector: selectors.BaseSelector) -> None:
        """The process failed over its task, which stays without a verdict; before it was ready, it is asked again."""
        number = self.busy[child]
        self._settle(child, selector)
        if child.ready:
            self.pool.lost += 1
        else:
            self.waiting.appendleft(number)
        self.pool.replace(child)


def _start(settings: tuple[str, float, int]) -> subprocess.Popen[bytes]:
    code = _START.format(*settings, os.getpid())
    paths = [os.path.abspath(path) for path in sys.path if path]
    environment = {"PYTHONHASHSEED": "0"}  # one order of sets, so one verdict
    if "LD_LIBRARY_PATH" in os.environ:  # without it some Pythons do not start
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return subprocess.Popen(  # noqa: S603  our own interpreter and our own code
        [sys.executable, "-B", "-s", "-c", code, json.dumps(paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,  # a Ctrl-C at the terminal must not lose a verdict that is then committed
    )


def _kill_all(children: list[_Child], owner: int | None = None) -> None:
    """End them all; a fork of their owner that ends before it needs a grader has none to end."""
    while children and owner in (None, os.getpid()):
        children.pop().kill()


def _cpu_seconds(pid: int) -> float | None:
    """CPU time of a process, user and system, in seconds; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
