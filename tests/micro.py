"""A run so small that tests make it whole, kill it and make it again: two routes, 16 nodes, seconds of work."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.data.problems import RunData
from headwater.engines.cpu import products
from headwater.folder import LEDGER, RunFolder
from headwater.ledger import Ledger
from headwater.models.language_model import silence_progress
from headwater.plan import build_graph
from headwater.routes.recipe import Recipe, read_recipe
from headwater.run.consistency import settle_ledger
from headwater.run.execute import Executor
from headwater.store import REAL_DISK, Disk, Store

FILE = Path(__file__).with_suffix(".yaml")
HEADWATER = (sys.executable, "-m", "headwater.cli")


def micro(*overrides: str) -> Recipe:
    """The micro recipe, some of it changed."""
    return read_recipe(str(FILE), overrides)


def headwater(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command of headwater's, run to its end."""
    return subprocess.run([*HEADWATER, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def make(recipe: Recipe, root: Path, disk: Disk = REAL_DISK, nodes: Iterable[str] | None = None, **limits: Any) -> None:
    """Make every node of the recipe, or these, in this process, in order: what `headwater run` has its workers do.

    `limits` are the executor's: commit_seconds, stopping, engine.
    """
    silence_progress()
    products.keep("default")  # as a run of tiny networks has every worker do, in this process or another
    graph = build_graph(recipe)
    store = Store(root, disk)
    with store.lock():
        store.sweep()
        with Ledger(root / LEDGER) as ledger:
            settle_ledger(ledger, store)
            executor = Executor(graph=graph, store=store, ledger=ledger, **limits)
            for node in nodes or graph.nodes:
                executor.execute(node)


class MortalDisk(Disk):
    """A disk whose process is killed, as by kill -9, when it asks for its n-th operation."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def _ask(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def create(self, path: Path, pieces: Iterable[bytes]) -> None:
        self._ask()
        super().create(path, pieces)

    def sync(self, path: Path) -> None:
        self._ask()
        super().sync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._ask()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._ask()
        super().unlink(path)

    def link(self, source: Path, target: Path) -> None:
        self._ask()
        super().link(source, target)


def make_until_killed(root: Path, operations: int) -> None:
    """One life of a process that commits after every step and dies at its n-th disk operation."""
    torch.set_num_threads(1)
    make(micro(), root, MortalDisk(operations), commit_seconds=0)


def identity(root: Path) -> dict[str, Any]:
    """What a finished run made: the hash of each file of each node, and the ledger's digest, all verified."""
    store = Store(root)
    assert store.verify() == []
    made: dict[str, Any] = {}
    heads: dict[str, str] = {}
    for node in store.nodes():
        manifest = store.head(node)
        assert manifest is not None
        assert manifest.done
        made[node] = {name: entry.sha256 for name, entry in manifest.files.items()}
        heads[node] = manifest.about["ledger"]
    with Ledger(root / LEDGER) as ledger:
        ledger.verify(heads)
        return {**made, "ledger": ledger.digest()}


def heads(root: Path) -> dict[str, str]:
    """Node -> the hash of its last commit's manifest."""
    return {path.name: path.read_text() for path in sorted((root / "heads").iterdir())}


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that one test process fills and all of them read."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "filled").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fill(folder)
            (folder / "filled").touch()
    return folder


@dataclass(frozen=True)
class Finished:
    """`headwater run micro.yaml`, twice, and what it left. Read only: copy `root` before changing anything."""

    home: Path

    @property
    def root(self) -> Path:
        """The run's folder."""
        return self.home / "runs" / "micro"

    @cached_property
    def said(self) -> list[dict[str, Any]]:
        """What the two commands said: exit code, stdout, stderr, and the heads after each."""
        return json.loads((self.home / "said.json").read_text())

    @cached_property
    def folder(self) -> RunFolder:
        """The run as a reader sees it."""
        return RunFolder(self.root)

    def arm(self, name: str) -> dict[str, Any]:
        """One arm of the run's graph."""
        return next(arm for arm in self.folder.graph["arms"] if arm["name"] == name)

    def stages(self, arm: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The nodes of an arm's stages, in order, by fingerprint."""
        return ((name, self.folder.graph["nodes"][name]) for name in self.arm(arm)["stages"])


def finished(factory: pytest.TempPathFactory) -> Finished:
    """The finished micro run, made once for all test processes."""

    def fill(home: Path) -> None:
        shutil.copy(FILE, home / "micro.yaml")
        said = []
        for _ in range(2):
            done = headwater("run", "micro.yaml", "--workers", "1", cwd=home)
            root = home / "runs" / "micro"
            said.append({"code": done.returncode, "out": done.stdout, "err": done.stderr, "heads": heads(root)})
        (home / "said.json").write_text(json.dumps(said))

    return Finished(once(factory, "finished-micro-run", fill))


def pool_ids(recipe: Recipe, pool: str) -> set[str]:
    """The problems of one pool, for seed 0."""
    return {problem.problem_id for problem in RunData(recipe.problems).problems(pool, 0)}
