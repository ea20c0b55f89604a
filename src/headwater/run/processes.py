"""Worker processes for independent nodes: one torch thread each, the longest chain of work first.

A node is a function of its parents, so the results are the same with one worker and with many. Workers die
with their parent; told to stop, they commit the step they are at.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from headwater import errors
from headwater.errors import HeadwaterError, Interrupted
from headwater.run.graph import Graph, Node

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

STEP_SECONDS = 0.2
"""A worker tells of its steps at most this often."""


class Observer(Protocol):
    """Who watches a run: progress displays."""

    def started(self, node: Node) -> None: ...
    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None: ...
    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a worker process is started with; all of it can be pickled by multiprocessing."""

    recipe_json: str
    root: Path
    commit_seconds: float


@dataclass(kw_only=True)
class _Worker:
    process: Any
    connection: Connection
    node: str | None = None


class Pool:
    """Runs the nodes of a graph in worker processes. Mutable: knows what is done, running and ready."""

    def __init__(self, graph: Graph, orders: Orders, workers: int, observer: Observer):
        self._graph = graph
        self._observer = observer
        self._orders = orders
        self._size = workers
        self._workers: list[_Worker] = []
        self._stopping = False
        self.seconds: dict[str, float] = {}

    def stop(self) -> None:
        """Ask every worker to commit and end (from a signal handler)."""
        self._stopping = True
        for worker in self._workers:
            if worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGTERM)

    def run(self, done: set[str]) -> None:
        """Make every node that is not done. Raises the first worker's error, or Interrupted when stopped."""
        remaining = [name for name in self._graph.nodes if name not in done]
        urgency = self._urgency()
        remaining.sort(key=lambda name: -urgency[name])
        failure: HeadwaterError | None = None
        try:
            self._start(min(self._size, len(remaining)))
            while remaining or any(worker.node for worker in self._workers):
                if failure is None and not self._stopping:
                    self._dispatch(remaining, done)
                busy = [worker for worker in self._workers if worker.node]
                if not busy:
                    break
                failure = self._listen(busy, done) or failure
                if failure is not None and not self._stopping:
                    self.stop()
        finally:
            self._end()
        if failure is not None:
            raise failure
        if self._stopping:
            raise Interrupted("run: stopped after a commit; the same command goes on where it stopped")
        if remaining:
            raise HeadwaterError(
                f"run: every worker process has ended and {len(remaining)} pieces of work are left (out of "
                "memory?); run the same command again, or with fewer --workers"
            )

    def _start(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        os.environ["OMP_NUM_THREADS"] = "1"  # inherited: two spinning threads on a busy machine crawl
        resource_tracker.ensure_running()  # its start would lift the block on signals below
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # inherited: a worker that still imports must not die
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, self._orders), daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(process=process, connection=ours))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _dispatch(self, remaining: list[str], done: set[str]) -> None:
        for worker in self._workers:
            if worker.node is None and worker.process.is_alive():
                ready = next((n for n in remaining if set(self._graph.nodes[n].parents.values()) <= done), None)
                if ready is None:
                    return
                remaining.remove(ready)
                worker.node = ready
                worker.connection.send(ready)
                self._observer.started(self._graph.nodes[ready])

    def _listen(self, busy: list[_Worker], done: set[str]) -> HeadwaterError | None:
        """Take in what the workers say; returns an error when one failed."""
        failure: HeadwaterError | None = None
        for connection in wait([worker.connection for worker in busy], timeout=1.0):
            worker = next(w for w in busy if w.connection is connection)
            name = worker.node or ""
            node = self._graph.nodes[name]
            try:
                kind, payload = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                worker.node = None
                failure = HeadwaterError(
                    f"{node.title}: its worker process ended without a word (out of memory?); "
                    "run the same command again"
                )
                continue
            if kind == "step":
                self._observer.stepped(node, *payload)
                continue
            worker.node = None
            if kind == "done":
                done.add(name)
                self.seconds[name] = payload[0]
                self._observer.finished(node, *payload)
            elif kind == "error" and not (self._stopping and payload[0] == "Interrupted"):
                failure = _rebuild(*payload)
        return failure

    def _end(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # an idle worker ends at the end of its input
        for worker in self._workers:
            worker.process.join(timeout=30)
            if worker.process.is_alive():
                worker.process.kill()

    def _urgency(self) -> dict[str, float]:
        """For each node the seconds of the longest chain of work that begins with it."""
        urgency = {name: node.cost for name, node in self._graph.nodes.items()}
        for name in reversed(list(self._graph.nodes)):  # children come after parents
            for parent in self._graph.nodes[name].parents.values():
                urgency[parent] = max(urgency[parent], self._graph.nodes[parent].cost + urgency[name])
        return urgency


def _rebuild(kind: str, message: str, trace: str) -> HeadwaterError:
    """A worker's error as the same error here; a bug keeps its traceback for --debug."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, HeadwaterError):
        error: HeadwaterError = found(message)
    else:
        error = HeadwaterError(f"{kind}: {message} (a bug in headwater; run again with --debug for the traceback)")
    error.add_note(trace)
    return error


def _work(connection: Connection, orders: Orders) -> None:
    """A worker's life: take a node, make it, say so; end when the parent closes the line or dies."""
    stop = _obey_signals()
    import torch  # noqa: PLC0415  only workers pay for it

    from headwater.folder import LEDGER  # noqa: PLC0415
    from headwater.ledger import Ledger  # noqa: PLC0415
    from headwater.models.language_model import silence_progress  # noqa: PLC0415
    from headwater.routes.recipe import Recipe  # noqa: PLC0415
    from headwater.run.execute import Executor  # noqa: PLC0415
    from headwater.run.graph import build_graph  # noqa: PLC0415
    from headwater.store import Store  # noqa: PLC0415

    torch.set_num_threads(1)
    silence_progress()
    last_told = 0.0

    def tell(node: Node, record: Any) -> None:
        nonlocal last_told
        if time.monotonic() - last_told >= STEP_SECONDS:
            last_told = time.monotonic()
            connection.send(("step", (record.step, dict(record.metrics))))

    executor = Executor(
        graph=build_graph(Recipe.model_validate_json(orders.recipe_json)),
        store=Store(orders.root),
        ledger=Ledger(orders.root / LEDGER),
        commit_seconds=orders.commit_seconds,
        on_step=tell,
        stopping=lambda: stop["asked"],
    )
    while True:
        try:
            name = connection.recv()
        except (EOFError, OSError):
            return
        begun = time.monotonic()
        try:
            executor.execute(name)
            connection.send(("done", (time.monotonic() - begun, executor.commit_cost)))
        except Exception as error:  # noqa: BLE001  everything is told to the parent, which decides
            with suppress(OSError):  # a parent that is gone decides nothing
                connection.send(("error", (type(error).__name__, str(error), traceback.format_exc())))


def _obey_signals() -> dict[str, bool]:
    """Leave Ctrl-C to the parent, note SIGTERM, and die with the parent where the kernel can promise it."""
    stop = {"asked": False}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.update(asked=True))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # held back since the parent started this process
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() == 1:  # the parent died before this line
            os._exit(1)
    return stop
