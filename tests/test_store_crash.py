"""The commit protocol on a simulated disk: whatever fails or is forgotten in a power cut, a commit is whole."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwater.errors import IntegrityError, ResourceError
from headwater.store import Disk, Manifest, Store

NODE = "a" * 64
OTHER = "b" * 64
FOLDER = -1
STATES = [
    {"model/weights": b"weights 0" * 40, "rng": b"same in every commit", "empty": b""},
    {"model/weights": b"weights 1" * 40, "rng": b"same in every commit"},
    {"model/weights": b"weights 2" * 40, "rng": b"same in every commit", "log": b"weights 0" * 40},
    {"model/weights": b"weights 3" * 40, "rng": b"same in every commit"},
]


class PowerCut(BaseException):
    """The simulated process or machine is gone: no handler of ordinary errors sees it."""


@dataclass
class Change:
    """Names that one operation gave (an inode) or took (None); they last once `folder` is synced."""

    folder: Path
    names: dict[Path, int | None]


@dataclass
class Platter:
    """What the machine would still know after a power cut, and what it has not yet written."""

    contents: list[bytes] = field(default_factory=list)  # by inode, as programs see it
    synced: dict[int, bytes] = field(default_factory=dict)
    cached: dict[Path, int] = field(default_factory=dict)
    lasting: dict[Path, int | None] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, folder: Path, names: dict[Path, int | None]) -> None:
        for path, inode in names.items():
            if inode is None:
                self.cached.pop(path, None)
            else:
                self.cached[path] = inode
        self.pending.append(Change(folder, names))

    def sync_file(self, path: Path) -> None:
        inode = self.cached[path]
        self.synced[inode] = self.contents[inode]

    def sync_folder(self, path: Path) -> None:
        for change in [c for c in self.pending if c.folder == path]:
            self.lasting |= change.names
            self.pending.remove(change)

    def reboot(self, base: Path, target: Path, chance: random.Random | None) -> Path:
        """Write what outlasts the power cut: with `chance` any part of what is unsynced, otherwise none."""
        names = dict(self.lasting)
        for change in self.pending:
            if chance is not None and chance.random() < 0.5:
                names |= change.names
        target.mkdir()
        for path in sorted(p for p, inode in names.items() if inode is not None):
            place = target / path.relative_to(base)
            if not place.parent.is_dir():
                continue
            inode = names[path]
            if inode == FOLDER:
                place.mkdir()
            elif inode is not None:
                place.write_bytes(self._content(inode, chance))
        return target

    def _content(self, inode: int, chance: random.Random | None) -> bytes:
        whole = self.contents[inode]
        if inode in self.synced:
            return self.synced[inode]
        if chance is None:
            return b""
        cut = chance.randrange(len(whole) + 1)
        return whole[:cut] + chance.choice([b"", b"\0" * (len(whole) - cut)])


class SimulatedDisk(Disk):
    """A real folder for the living program, a Platter for what a power cut leaves, one fault."""

    def __init__(self, platter: Platter, fault_at: int = -1, how: str = "cut") -> None:
        self.platter = platter
        self.fault_at = fault_at
        self.how = how
        self.operations: list[str] = []
        self.dead = False

    def make_folder(self, path: Path) -> None:
        if path.is_dir():
            return
        for _ in self._operation("make_folder"):
            super().make_folder(path)
            self.platter.change(path.parent, {path: FOLDER})

    def create(self, path: Path, pieces: Iterable[bytes]) -> None:
        data = b"".join(pieces)
        for share in self._operation("create", halves=True):
            data = data[: int(len(data) * share)]
            super().create(path, [data])
            self.platter.contents.append(data)
            self.platter.change(path.parent, {path: len(self.platter.contents) - 1})

    def sync(self, path: Path) -> None:
        for _ in self._operation("sync"):
            self._sync(path)

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            self.platter.sync_folder(path)
        else:
            self.platter.sync_file(path)

    def rename(self, source: Path, target: Path) -> None:
        for _ in self._operation("rename"):
            super().rename(source, target)
            self.platter.change(target.parent, {source: None, target: self.platter.cached[source]})

    def unlink(self, path: Path) -> None:
        for _ in self._operation("unlink"):
            super().unlink(path)
            if path in self.platter.cached:
                self.platter.change(path.parent, {path: None})

    def _operation(self, name: str, halves: bool = False) -> Iterator[float]:
        """Let the operation's body run (with the share of it to do), or fail before, within or after it."""
        if self.dead:
            raise PowerCut
        self.operations.append(name)
        if len(self.operations) - 1 != self.fault_at:
            yield 1.0
            return
        self.dead = self.how in ("cut", "half")
        if self.how == "late":
            yield 1.0
        if halves and self.how in ("half", "full"):
            yield 0.5
        if self.dead:
            raise PowerCut
        raise OSError(errno.ENOSPC if self.how == "full" else errno.EIO, f"simulated, at {name}")


class Hasty(Disk):
    """For the runs after a reboot, whose power is not cut again."""

    def sync(self, path: Path) -> None:
        pass


class FilesUnsynced(SimulatedDisk):
    def _sync(self, path: Path) -> None:
        if path.is_dir():
            self.platter.sync_folder(path)


class FoldersUnsynced(SimulatedDisk):
    def _sync(self, path: Path) -> None:
        if not path.is_dir():
            self.platter.sync_file(path)


class Trial:
    """One store on one simulated disk that has made some commits without a fault."""

    def __init__(
        self, folder: Path, commits: int, disk: type[SimulatedDisk] = SimulatedDisk, taken: bool = False
    ) -> None:
        self.base, self.taken = folder, taken
        folder.mkdir()
        self.platter = Platter()
        self.make = disk
        store = self.store(self.make(self.platter))
        self.before: Manifest | None = None
        for number in range(commits):
            self.before = commit(store, number)
        self.number = commits

    def store(self, disk: Disk) -> Store:
        return Store(self.base / "runs" / "run", disk, prune_bytes=0)

    def commit_with_fault(self, at: int, how: str) -> tuple[Manifest | None, BaseException | None, SimulatedDisk]:
        disk = self.make(self.platter, at, how)
        # A store that has seen its own earlier commits, so that this commit also prunes.
        store = self.store(disk)
        files = self.written(STATES[self.number]) if self.taken else STATES[self.number]
        try:
            return commit(store, self.number, files=files), None, disk
        except (PowerCut, OSError, ResourceError) as error:
            return None, error, disk

    def written(self, state: Mapping[str, bytes]) -> dict[str, Path | bytes]:
        """The state as files in the store's tmp/, which nobody has synced."""
        (work := self.base / "runs/run/tmp/work").mkdir()
        self.platter.change(work.parent, {work: FOLDER})
        files: dict[str, Path | bytes] = {}
        for number, (name, data) in enumerate(state.items()):
            files[name] = path = work / str(number)
            path.write_bytes(data)
            self.platter.contents.append(data)
            self.platter.change(work, {path: len(self.platter.contents) - 1})
        return files

    def lives(self) -> Iterator[Path]:
        """The folder as the next process sees it, and several that a power cut may leave."""
        yield self.base
        for number, chance in enumerate([None, *map(random.Random, range(2))]):
            yield self.platter.reboot(self.base, self.base.with_name(f"{self.base.name}.{number}"), chance)


def commit(store: Store, number: int, node: str = NODE, files: Mapping[str, Path | bytes] | None = None) -> Manifest:
    return store.commit(node, files or STATES[number], step=number, done=False, about={"number": number})


def expected(number: int, before: Manifest | None) -> Manifest:
    """The manifest of a commit that has not happened, made in memory."""
    from headwater.store.objects import measure

    files = {name: measure(data) for name, data in STATES[number].items()}
    parent = before.sha256 if before else None
    return Manifest(node=NODE, step=number, done=False, files=files, about={"number": number}, parent=parent)


def assert_whole(base: Path, allowed: list[Manifest | None], node: str = NODE) -> None:
    """The head is one of these commits, each of its files can be read, and the next run can go on from it."""
    store = Store(base / "runs" / "run", Hasty(), prune_bytes=0)
    for _ in ("as found", "after the sweep"):
        head = store.head(node)
        assert head in allowed
        if head is not None:
            assert {name: store.read(node, name) for name in head.files} == STATES[head.step]
        assert store.verify() == []
        store.sweep()
    commit(store, 3, node)
    assert store.verify() == []


@pytest.mark.parametrize(("commits", "taken"), [(0, False), (3, False), (3, True)])
@pytest.mark.parametrize("how", ["cut", "half", "late", "fail", "full"])
def test_a_fault_at_any_operation_leaves_the_old_commit_or_the_new_one(
    tmp_path: Path, commits: int, taken: bool, how: str
) -> None:
    reached = True
    at = 0
    while reached:
        trial = Trial(tmp_path / str(at), commits, taken=taken)
        new = expected(commits, trial.before)
        made, error, disk = trial.commit_with_fault(at, how)
        reached = len(disk.operations) > at
        allowed = [new] if made else [trial.before, new]
        if how == "full" and reached and error is not None:
            assert isinstance(error, ResourceError)
            assert [path.name for path in (trial.base / "runs/run").glob("tmp/*")] == ["work"] * taken
        for base in trial.lives():
            assert_whole(base, allowed)
        at += 1
    assert made == new
    assert at > 15
    assert ("unlink" in disk.operations) == (commits == 3)


@pytest.mark.parametrize("taken", [False, True], ids=["copied", "taken"])
@pytest.mark.parametrize("control", [FilesUnsynced, FoldersUnsynced])
def test_the_same_protocol_without_sync_fails_the_same_test(
    tmp_path: Path, control: type[SimulatedDisk], taken: bool
) -> None:
    broken = 0
    for at in range(25):
        trial = Trial(tmp_path / str(at), 1, control, taken)
        new = expected(1, trial.before)
        made, _, _ = trial.commit_with_fault(at, "cut")
        for base in trial.lives():
            try:
                assert_whole(base, [new] if made else [trial.before, new])
            except (AssertionError, IntegrityError):
                broken += 1
    assert broken > 0


def test_an_object_that_a_dead_neighbour_left_unsynced_is_synced_by_who_relies_on_it(tmp_path: Path) -> None:
    for at in range(40):
        trial = Trial(tmp_path / str(at), 0)
        trial.commit_with_fault(at, "cut")
        other = trial.store(SimulatedDisk(trial.platter))
        made = commit(other, 0, OTHER)
        for base in trial.lives():
            assert_whole(base, [made], OTHER)


@pytest.mark.parametrize("after_head", [-3, 1])
def test_a_sweep_cut_at_any_operation_loses_nothing(tmp_path: Path, after_head: int) -> None:
    operations = Trial(tmp_path / "clean", 3).commit_with_fault(-1, "cut")[2].operations
    died_at = max(at for at, name in enumerate(operations) if name == "rename") + after_head
    reached = True
    at = 0
    while reached:
        trial = Trial(tmp_path / str(at), 3)
        trial.commit_with_fault(died_at, "cut")
        head = trial.store(Disk()).head(NODE)
        disk = SimulatedDisk(trial.platter, at, "cut")
        with suppress(PowerCut):
            trial.store(disk).sweep()
        reached = disk.dead
        for base in trial.lives():
            assert_whole(base, [head] if disk.operations.count("unlink") else [trial.before, head])
        at += 1
    assert at > 2
