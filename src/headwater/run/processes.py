"""Worker processes for independent nodes: one torch thread each, the longest chain of work first.

A node is a function of its parents, so the results are the same with one worker and with many. Workers die
with their parent. Told to stop, they commit the step they are at, or drop work that has no steps; told twice,
they end at once, and the last commits are good.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headwater import errors
from headwater.errors import HeadwaterError, InputError, Interrupted, ResourceError, says_no_memory
from headwater.fingerprint import fingerprint
from headwater.plan.cost import longest_chains
from headwater.plan.graph import Graph
from headwater.plan.node import Node
from headwater.routes.recipe import Recipe

if TYPE_CHECKING:
    from headwater.run.execute import Executor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

STEP_SECONDS = 0.2
"""A worker tells of its steps at most this often."""

SECOND_WISH = 1.0
"""Seconds after a first signal from which another one is a second wish, and not the first one passed on by a shell."""


class Observer(Protocol):
    """Who watches a run: progress displays."""

    def started(self, node: Node) -> None: ...
    def stepped(self, node: Node, step: int, metrics: Mapping[str, float]) -> None: ...
    def said(self, node: Node, kind: str, text: str) -> None: ...
    def finished(self, node: Node, seconds: float, commit_seconds: float) -> None: ...
    def stopping(self) -> None: ...


Build = Callable[[Recipe], Graph]
"""What makes the graph of a recipe: a function at the top of a module, so that a worker process can be told it."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a worker process is started with; all of it can be pickled by multiprocessing."""

    recipe_json: str
    build: Build
    work: str
    """hash of the graph's nodes: a worker reads the problem files itself, and they must be the parent's"""
    root: Path
    commit_seconds: float
    environments: tuple[Mapping[str, str], ...]
    """what each worker's process is started with: one worker a slot of the engine"""


@dataclass(kw_only=True)
class _Worker:
    process: Any
    connection: Connection
    node: str | None = None


class Pool:
    """Runs the nodes of a graph in worker processes. Mutable: knows what is done, running and ready."""

    def __init__(self, graph: Graph, orders: Orders, work: Mapping[str, float], observer: Observer):
        self._graph = graph
        self._work = work
        self._observer = observer
        self._orders = orders
        self._workers: list[_Worker] = []
        self._stopping = False
        self._asked: float | None = None
        self._killed = False
        self.seconds: dict[str, float] = {}

    def interrupt(self) -> None:
        """From a signal handler: ask every worker to commit and end, and end them all when asked once more."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            self.stop()
            self._observer.stopping()
        elif now - self._asked > SECOND_WISH:
            self._killed = True
            for worker in self._workers:
                worker.process.kill()

    def stop(self) -> None:
        """Ask every worker to commit and end."""
        self._stopping = True
        for worker in self._workers:
            if worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGTERM)

    def run(self, done: set[str]) -> None:
        """Make every node that is not done. Raises the first worker's error, or Interrupted when stopped."""
        remaining = [name for name in self._graph.nodes if name not in done]
        chains = longest_chains(self._graph, self._work)
        remaining.sort(key=lambda name: -chains[name])
        failure: HeadwaterError | None = None
        try:
            self._start(self._orders.environments[: len(remaining)])
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
        if self._killed:
            raise Interrupted("run: stopped at once; the same command goes on from the last commits")
        if self._stopping:
            raise Interrupted("run: stopped after a commit; the same command goes on where it stopped")
        if remaining:
            raise HeadwaterError(
                f"run: every worker process has ended and {len(remaining)} pieces of work are left (out of "
                "memory?); run the same command again, or with fewer --workers"
            )

    def _start(self, environments: Sequence[Mapping[str, str]]) -> None:
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # its start would lift the block on signals below
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # inherited: a worker that still imports must not die
        try:
            for environment in environments:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, self._orders), daemon=True)
                with _inherited(environment):
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
                try:
                    worker.connection.send(ready)
                except OSError:  # it has ended since
                    continue
                remaining.remove(ready)
                worker.node = ready
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
            except (EOFError, OSError):  # gone, perhaps in the middle of a word
                worker.node = None
                if not self._killed:
                    failure = _ended(worker, node)
                continue
            if kind == "step":
                self._observer.stepped(node, *payload)
                continue
            if kind == "word":
                self._observer.said(node, *payload)
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


@contextmanager
def _inherited(environment: Mapping[str, str]) -> Iterator[None]:
    """Variables that a process which is started in here has from its first line on."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _ended(worker: _Worker, node: Node) -> HeadwaterError:
    """The error for a worker that is gone: what ended it, and what to do."""
    worker.process.join(timeout=5)
    code = worker.process.exitcode
    if code == -signal.SIGKILL:
        return ResourceError(
            f"{node.title}: its worker process was killed (SIGKILL), as the kernel does when memory runs out; the last "
            "commit is intact: run the same command again, with fewer --workers"
        )
    how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
    return HeadwaterError(
        f"{node.title}: its worker process ended {how} and without a word; the last commit is intact: run the same "
        "command again"
    )


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
    wish = _Wish()
    _obey_signals(wish)
    try:
        executor = _executor(connection, orders, wish)
    except Exception as error:  # noqa: BLE001  everything is told to the parent, which decides
        _tell(connection, error)
        return
    while True:
        try:
            name = connection.recv()
        except (EOFError, OSError):
            executor.close()
            return
        begun = time.monotonic()
        try:
            with wish.obeyed_at_once(executor.graph.nodes[name].stage is None):
                executor.execute(name)
            connection.send(("done", (time.monotonic() - begun, executor.commit_cost)))
        except Exception as error:  # noqa: BLE001  as above
            _tell(connection, error)


def _executor(connection: Connection, orders: Orders, wish: _Wish) -> Executor:
    """What a worker works with; its steps are told to the parent now and then."""
    import torch  # noqa: PLC0415  only workers pay for it

    from headwater.engines.cpu import products  # noqa: PLC0415
    from headwater.folder import LEDGER, RunFolder  # noqa: PLC0415
    from headwater.ledger import Ledger  # noqa: PLC0415
    from headwater.models.language_model import silence_progress  # noqa: PLC0415
    from headwater.run.execute import Executor  # noqa: PLC0415
    from headwater.run.identity import PRODUCTS  # noqa: PLC0415
    from headwater.store import Store  # noqa: PLC0415

    torch.set_num_threads(1)
    silence_progress()
    graph = orders.build(Recipe.model_validate_json(orders.recipe_json))
    if fingerprint(list(graph.nodes)) != orders.work:
        raise InputError(
            f"run {graph.recipe.name}: a file of problems, or the code, changed while the run began; run the same "
            "command again"
        )
    products.keep(RunFolder(orders.root).graph["identity"][PRODUCTS])
    last_told = 0.0

    def tell(node: Node, record: Any) -> None:
        nonlocal last_told
        if time.monotonic() - last_told >= STEP_SECONDS:
            last_told = time.monotonic()
            connection.send(("step", (record.step, dict(record.metrics))))

    return Executor(
        graph=graph,
        store=Store(orders.root),
        ledger=Ledger(orders.root / LEDGER),
        commit_seconds=orders.commit_seconds,
        on_step=tell,
        on_word=lambda node, kind, said: connection.send(("word", (kind, said))),
        stopping=lambda: wish.stop,
    )


def _tell(connection: Connection, error: Exception) -> None:
    """Say to the parent what went wrong; one that is gone decides nothing."""
    kind = ResourceError.__name__ if says_no_memory(error) else type(error).__name__
    with suppress(OSError):
        connection.send(("error", (kind, str(error), traceback.format_exc())))


class _Wish:
    """Whether this worker has been asked to stop. Mutable; set by a signal handler."""

    def __init__(self) -> None:
        self.stop = False
        self._at_once = False

    def note(self, *_: object) -> None:
        """The handler: a stage stops after its step, and work without steps where it is, since none of it is kept."""
        self.stop = True
        if self._at_once:
            self._at_once = False
            raise Interrupted("stopped; run again to go on")

    @contextmanager
    def obeyed_at_once(self, at_once: bool) -> Iterator[None]:
        """While this work goes on."""
        self._at_once = at_once
        try:
            if at_once and self.stop:
                self.note()
            yield
        finally:
            self._at_once = False


def _obey_signals(wish: _Wish) -> None:
    """Leave Ctrl-C to the parent, note SIGTERM, and die with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, wish.note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # held back since the parent started this process
    if sys.platform == "linux":  # at once, and whatever this process is doing
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    threading.Thread(target=_die_with_parent, daemon=True).start()  # a parent that died before this line, too


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
