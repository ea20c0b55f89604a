"""The store among real processes: killed ones, many at once, and a disk that is full."""

from __future__ import annotations

import multiprocessing
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import ResourceError
from headwater.store import Disk, Manifest, Store

A, B = "a" * 64, "b" * 64
FORK = multiprocessing.get_context("fork")

COMMIT_FOREVER = """
import sys
from pathlib import Path
from headwater.store import Store

store = Store(Path(sys.argv[1]), prune_bytes=0)
node = "a" * 64
head = store.head(node)
step = head.step if head else 0
while True:
    step += 1
    files = {"step": b"%d" % step, "weights": (b"%d " % step) * 5000, "fixed": b"fixed"}
    store.commit(node, files, step=step, done=False, about={"step": step})
    print(step, flush=True)
"""


def in_a_fork(work: Callable[..., None], *arguments: object) -> int | None:
    """Run the work in a child process and return its exit code."""
    process = FORK.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def test_a_writer_killed_at_any_moment_leaves_a_verified_head(tmp_path: Path) -> None:
    chance = random.Random(3)
    last = 0
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", COMMIT_FOREVER, tmp_path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        last = int(writer.stdout.readline())
        time.sleep(chance.random() * 0.05)
        writer.kill()
        printed = [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
        last = max([last, *printed])
        writer.wait()
        writer.stdout.close()
        store = Store(tmp_path)
        head = store.head(A)
        assert head is not None
        # The writer may have been killed after its commit and before it said so.
        assert head.step in (last, last + 1)
        assert store.read(A, "step") == b"%d" % head.step
        assert store.read(A, "weights") == (b"%d " % head.step) * 5000
        assert store.verify() == []
    with store.lock():
        store.sweep()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert store.verify() == []


def commit_many(root: Path, node: str) -> None:
    store = Store(root, prune_bytes=0)
    for step in range(60):
        # Both nodes write the same objects, each time new ones, and prune them two commits later.
        files = {"shared": b"shared %d" % (step // 2) * 500, "own": f"{node} {step}".encode()}
        store.commit(node, files, step=step, done=step == 59, about={})


def test_processes_that_share_objects_and_prune_never_lose_one(tmp_path: Path) -> None:
    writers = [FORK.Process(target=commit_many, args=(tmp_path, node)) for node in (A, B)]
    for writer in writers:
        writer.start()
    store = Store(tmp_path)
    while any(writer.is_alive() for writer in writers):
        for node in (A, B):  # a reader beside the writers never meets a pruned commit
            if (head := store.head(node)) is not None:
                assert store.read(node, "own").startswith(node.encode())
                assert head.node == node
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert store.nodes() == [A, B]
    assert store.verify() == []
    for node in (A, B):
        head = store.head(node)
        assert head is not None and head.done
        assert store.read(node, "shared") == b"shared 29" * 500


class Overtaken(Disk):
    """A writer that another one overtakes by three commits, after it has looked for the objects it shares."""

    def __init__(self, overtake: Callable[[], None]) -> None:
        self.overtake = overtake

    def rename(self, source: Path, target: Path) -> None:
        overtake, self.overtake = self.overtake, lambda: None
        overtake()
        super().rename(source, target)


def test_a_neighbours_prune_waits_for_a_commit_that_relies_on_the_object(tmp_path: Path) -> None:
    fast = Store(tmp_path, prune_bytes=0)

    def steps(*numbers: int) -> None:
        for step in numbers:
            fast.commit(A, {"shared": b"shared %d" % step}, step=step, done=False, about={})

    steps(0)
    slow = Store(tmp_path, Overtaken(lambda: steps(1, 2, 3)))
    slow.commit(B, {"shared": b"shared 0"}, step=0, done=False, about={})
    assert slow.read(B, "shared") == b"shared 0"
    count = len(list(tmp_path.glob("objects/*/*")))
    steps(4)  # now nothing is in the way
    assert len(list(tmp_path.glob("objects/*/*"))) < count
    assert slow.verify() == []


def test_a_reader_that_commits_overtake_reads_the_new_one(tmp_path: Path) -> None:
    writer = Store(tmp_path, prune_bytes=0)

    def step(number: int) -> None:
        writer.commit(A, {"step": b"%d" % number}, step=number, done=False, about={})

    class SlowReader(Store):
        def _manifest(self, sha256: str, node: str, *, named_by: Path) -> Manifest:
            for number in pending:
                step(number)
            pending.clear()
            return super()._manifest(sha256, node, named_by=named_by)

    pending: list[int] = []
    step(0)
    pending += [1, 2, 3]
    assert SlowReader(tmp_path).read(A, "step") == b"3"


class Unmeasured(Disk):
    """A disk whose limits cannot be asked for: the failure comes in the middle of a write."""

    def file_size_limit(self) -> int | None:
        return None


def commit_over_the_limit(root: Path, disk: Disk, words: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    with pytest.raises(ResourceError) as caught:
        Store(root, disk).commit(A, {"small": b"1", "big": b"x" * 20_000}, step=1, done=True, about={})
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (Disk(), ["20000 bytes", "10000 are allowed", "big"]),
        (Unmeasured(), ["needs ", "are free", "too large"]),
    ],
)
def test_a_file_size_limit_is_told_and_leaves_the_last_commit(tmp_path: Path, disk: Disk, words: list[str]) -> None:
    store = Store(tmp_path)
    made = store.commit(A, {"small": b"0"}, step=0, done=False, about={})
    before = sorted(tmp_path.rglob("*"))
    assert in_a_fork(commit_over_the_limit, tmp_path, disk, words) == 0
    assert store.head(A) == made
    assert store.verify() == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_commit_that_cannot_fit_is_refused_before_it_writes(tmp_path: Path) -> None:
    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return 50_000

    store = Store(tmp_path / "run", Small())
    with pytest.raises(ResourceError, match=r"needs \d+ bytes, 50000 are free"):
        store.commit(A, {"big": b"x" * 60_000}, step=0, done=False, about={})
    assert not (tmp_path / "run").exists()
    store.commit(A, {"fits": b"x" * 30_000}, step=0, done=False, about={})
