"""The store itself: commit, load, check out, forget and sweep the nodes of a run.

Each node has one writer; several processes may commit different nodes at once and share objects. Of each node
the last two commits are kept. Older objects go in two ways. `commit` prunes what its own node has left behind
once that exceeds `PRUNE_BYTES`, with the gate closed so that no other commit is under way; when one is, it
prunes later. `sweep`, at the start of a run, removes everything that no kept commit reaches.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from headwater.errors import InputError, IntegrityError, LockedError
from headwater.fingerprint import plain
from headwater.store.disk import REAL_DISK, Disk
from headwater.store.lock import Holder, RunLock, gate, holder_of
from headwater.store.manifest import FileEntry, Manifest, damage
from headwater.store.names import SHA256, check_file_names, check_node
from headwater.store.objects import Batch, Digest, Objects
from headwater.store.space import FULL, require_space, sizes_of, space_for

PRUNE_BYTES = 64 * 2**20  # a process leaves at most about this much behind before it prunes
COMMIT_PATIENCE = 600.0  # seconds that a commit waits for a prune, which takes far less
SWEEP_PATIENCE = 30.0  # seconds that a sweep waits for the commit of a worker whose parent was killed
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)

Result = TypeVar("Result")
Source = Path | bytes | FileEntry
"""Where the content of a file that is committed comes from."""


class Store:
    """A run folder made as trustworthy as a small database. Mutable: remembers what it may prune.

    Making a Store touches nothing on the disk. Errors: IntegrityError names a damaged file, ResourceError the
    bytes needed and free, InputError a bad name.
    """

    def __init__(self, root: Path, disk: Disk = REAL_DISK, *, prune_bytes: int = PRUNE_BYTES) -> None:
        self.root = root
        self._disk = disk
        self._objects = Objects(root, disk)
        self._heads = root / "heads"
        self._prepared = False
        self._left_behind: dict[str, int] = {}
        self._prune_bytes = prune_bytes

    def commit(
        self, node: str, files: Mapping[str, Source], *, step: int, done: bool, about: Mapping[str, Any]
    ) -> Manifest:
        """Store these files as the node's new state, all or nothing; returns after it outlasts a power cut.

        Files are copied, and those that lie in the store's own tmp/ are taken: a model is written once, not twice.
        An entry of the node's last commit stands for the file that is stored already, which is not read again.
        Raises ResourceError when the disk is too small, with the last commit intact and nothing left over.
        """
        check_node(node)
        check_file_names(files)
        if not isinstance(step, int) or step < 0:
            raise InputError(f"store: step {step!r} of node {node} is not a count; use 0, 1, 2, ...")
        kept = {name: file for name, file in files.items() if isinstance(file, FileEntry)}
        written = {n: f for n, f in files.items() if not isinstance(f, FileEntry) and not self._objects.owns(f)}
        with space_for(sizes_of(written, about, len(files)), node=node, root=self.root, disk=self._disk):
            self._prepare()
            with gate(self.root / "gate", self._disk, exclusive=False, patience=COMMIT_PATIENCE) as passed:
                if not passed:
                    raise LockedError(f"store: {self.root / 'gate'} stayed closed; another process hangs in a prune")
                previous = self.head(node)
                if kept and (previous is None or not set(kept.values()) <= set(previous.files.values())):
                    raise InputError(f"store: node {node} is to keep a file that its last commit does not have")
                manifest = self._write(node, files, previous, {"step": step, "done": done, "about": plain(about)})
        self._leave_behind(previous, manifest)
        if sum(self._left_behind.values()) > self._prune_bytes:
            self._prune()
        return manifest

    def require(self, node: str, sizes: Mapping[str, int]) -> None:
        """Raise ResourceError, before the work begins, when files of these sizes in bytes cannot be stored."""
        require_space(sizes, node=node, root=self.root, disk=self._disk)

    def head(self, node: str) -> Manifest | None:
        """The node's last commit, None when it never committed.

        Raises IntegrityError when the head or its manifest is damaged: an older commit is never used instead.
        """
        return self._at_head(node, lambda manifest: manifest)

    def result(self, node: str) -> Manifest | None:
        """The node's last commit where that finished it, else None."""
        head = self.head(node)
        return head if head is not None and head.done else None

    def read(self, node: str, name: str) -> bytes:
        """One file of the node's head, its size and hash checked now."""

        def verified(manifest: Manifest) -> bytes:
            entry = manifest.files.get(name)
            if entry is None:
                raise InputError(f"store: node {node} has no file {name!r}; it has {sorted(manifest.files)}")
            data = self._objects.read(entry.sha256, node)
            if len(data) != entry.size:
                raise damage(self._objects.path(entry.sha256), f"holds {len(data)} bytes, not {entry.size}", node)
            return data

        return self._present(node, self._at_head(node, verified))

    def checkout(self, node: str, directory: Path, prefix: str = "") -> Path:
        """Lay out the head's files under `prefix`, which is cut off, as checked hard links in `directory`.

        Returns `directory`. A folder that is there is replaced as a whole once the new one is complete. Links
        share the stored bytes: treat them as read-only. Across file systems the files are copied. Nothing is
        synced: after a power cut, check out again.
        """
        if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
            raise InputError(f"store: {directory} is not a folder; check out into a folder of its own")
        if self.root.resolve().is_relative_to(directory.resolve()):
            raise InputError(f"store: {directory} holds the store itself; check out into a folder of its own")
        directory.parent.mkdir(parents=True, exist_ok=True)
        aside = directory.parent / f".{directory.name}.{secrets.token_hex(8)}"

        def laid_out(manifest: Manifest) -> Path:
            self._disk.remove_tree(aside)
            self._lay_out(manifest, aside, prefix)
            return directory

        try:
            self._present(node, self._at_head(node, laid_out))
            if directory.exists():
                old = aside.with_name(f"{aside.name}.old")
                self._disk.rename(directory, old)
                self._disk.rename(aside, directory)
                self._disk.remove_tree(old)
            else:
                self._disk.rename(aside, directory)
        finally:
            self._disk.remove_tree(aside)
        return directory

    def nodes(self) -> list[str]:
        """The nodes that have committed, sorted."""
        if not self._heads.is_dir():
            return []
        return sorted(path.name for path in self._heads.iterdir() if SHA256.fullmatch(path.name))

    def forget(self, node: str) -> None:
        """Drop a node's head, so that the node starts anew; its objects go with the next sweep."""
        check_node(node)
        self._prepare()
        self._disk.unlink(self._heads / node)
        self._disk.sync(self._heads)

    def verify(self) -> list[IntegrityError]:
        """Hash every file of every kept commit, and return one error for each that is damaged."""
        found: list[IntegrityError] = []
        for node in self.nodes():
            while True:
                before = self._head_line(node)
                errors = list(self._damage_of(node))
                if not errors or before == self._head_line(node):  # otherwise a commit came between
                    break
            found += errors
        return found

    def sweep(self) -> int:
        """Delete temporary files and objects that no kept commit needs; returns how many went.

        Call it with the lock held and before workers start. A damaged head stops it before it deletes.
        """
        self._prepare()
        with gate(self.root / "gate", self._disk, exclusive=True, patience=SWEEP_PATIENCE) as passed:
            if not passed:
                raise LockedError(
                    f"store: a worker of an earlier run still commits to {self.root} "
                    f"(fuser {self.root / 'gate'} shows it); stop it, then run the same command again"
                )
            needed = self._needed()
            self._disk.sync(self._heads)  # else a power cut may bring back a head whose objects go now
            spare = [path for path in self._objects.all() if path.name not in needed]
            for path in spare:
                self._disk.unlink(path)
            leftover = list(self._objects.temporary_folder.iterdir())
            for path in leftover:
                if path.is_dir() and not path.is_symlink():
                    self._disk.remove_tree(path)
                else:
                    self._disk.unlink(path)
        return len(spare) + len(leftover)

    def lock(self) -> RunLock:
        """The run's lock for `with store.lock():`; LockedError on entering when another process has it."""
        try:
            self._prepare()
            os.close(self._disk.open_lock(self.root / "lock"))
        except OSError as error:
            if error.errno in FULL:
                raise
            raise InputError(
                f"store: {self.root} cannot be made or written ({error.strerror}); give another folder with --runs, or "
                "change its rights"
            ) from error
        return RunLock(self.root / "lock", self._disk)

    def holder(self) -> Holder | None:
        """The process that writes this run now; None when nobody does."""
        return holder_of(self.root / "lock")

    # -- writing

    def _prepare(self) -> None:
        """Make the folders, each synced into its parent, once per process."""
        if self._prepared:
            return
        above = self.root.absolute().parents
        for folder in reversed(above):
            if not folder.exists():
                self._disk.make_folder(folder)
        for folder in (self.root, self._objects.folder, self._heads, self._objects.temporary_folder):
            self._disk.make_folder(folder)
        self._refuse_links()
        self._disk.sync(self.root)
        for folder in above:  # also those that were there: who made them may have died before syncing them
            with suppress(PermissionError):  # a folder of somebody else that we may only pass through
                self._disk.sync(folder)
            if folder.is_mount():
                break
        self._prepared = True

    def _refuse_links(self) -> None:
        """InputError for a folder from elsewhere that would have us write, or delete, outside of it."""
        inner = (self._heads, self._objects.temporary_folder, self._objects.folder, *self._objects.folder.glob("??"))
        for path in (*inner, self.root / "lock", self.root / "gate"):
            if path.is_symlink():
                raise InputError(f"store: {path} is a symbolic link; a run keeps its files in its own folder")

    def _write(
        self,
        node: str,
        files: Mapping[str, Source],
        previous: Manifest | None,
        facts: Mapping[str, Any],
    ) -> Manifest:
        """Objects and manifest first, all synced; then the head, which makes them visible."""
        batch = Batch(self._objects, previous.objects() if previous else {})
        try:
            sources = {name: files[name] for name in sorted(files)}
            entries = {n: s if isinstance(s, FileEntry) else batch.add(s) for n, s in sources.items()}
            parent = previous.sha256 if previous else None
            manifest = Manifest(node=node, files=entries, parent=parent, **facts)
            batch.add(manifest.content)
            batch.publish()
            self._replace_head(node, manifest)
        except OSError:
            batch.discard()
            raise
        return manifest

    def _replace_head(self, node: str, manifest: Manifest) -> None:
        temporary = self._objects.temporary()
        try:
            self._disk.create(temporary, [f"{manifest.sha256}\n".encode()])
            self._disk.sync(temporary)
            self._disk.rename(temporary, self._heads / node)
        except OSError:
            with suppress(OSError):
                self._disk.unlink(temporary)
            raise
        self._disk.sync(self._heads)

    # -- reading

    def _head_line(self, node: str) -> bytes | None:
        """What the node's head file holds, None when there is none."""
        try:
            return (self._heads / node).read_bytes()
        except FileNotFoundError:
            return None

    def _pointer(self, node: str) -> str | None:
        """The sha256 that the node's head names."""
        check_node(node)
        line = self._head_line(node)
        if line is None:
            return None
        text = line.decode("ascii", "replace")
        if len(line) != 65 or not text.endswith("\n") or not SHA256.fullmatch(text[:-1]):
            found = f"holds {len(line)} bytes that are not one manifest's sha256"
            raise damage(self._heads / node, found, node)
        return text[:-1]

    def _at_head(self, node: str, use: Callable[[Manifest], Result]) -> Result | None:
        """Use the node's head; again when it moved meanwhile, since the commit we looked at may be pruned."""
        while (pointer := self._pointer(node)) is not None:
            try:
                return use(self._manifest(pointer, node, named_by=self._heads / node))
            except IntegrityError:
                if self._pointer(node) == pointer:
                    raise
        return None

    def _manifest(self, sha256: str, node: str, *, named_by: Path) -> Manifest:
        path = self._objects.path(sha256)
        if not path.exists():
            raise damage(path, f"is missing, though {named_by} names it", node)
        try:
            manifest = Manifest.from_bytes(self._objects.read(sha256, node))
        except ValueError as error:
            raise damage(path, f"is {error}, though {named_by} names it", node) from None
        if manifest.node != node:
            raise damage(named_by, f"names a manifest of another node ({manifest.node})", node)
        return manifest

    def _present(self, node: str, value: Result | None) -> Result:
        if value is None:
            raise InputError(f"store: node {node} has no commit in {self.root}; run its stage first")
        return value

    def _lay_out(self, manifest: Manifest, target: Path, prefix: str) -> None:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        names = [name for name in sorted(manifest.files) if name.startswith(start)]
        if start and not names:
            raise InputError(f"store: node {manifest.node} has no file under {start!r}")
        self._disk.make_folder(target)
        for name in names:
            path = target / name[len(start) :]
            for folder in reversed(path.relative_to(target).parents):
                self._disk.make_folder(target / folder)
            entry = manifest.files[name]
            self._link_or_copy(self._objects.check(entry, manifest.node), path, entry, manifest.node)

    def _link_or_copy(self, source: Path, target: Path, entry: FileEntry, node: str) -> None:
        try:
            self._disk.link(source, target)
        except FileNotFoundError:
            raise damage(source, "is missing", node) from None
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            digest = Digest(source)
            self._disk.create(target, digest.pieces())
            if digest.entry() != entry:
                raise damage(source, "changed while it was copied", node) from None

    # -- clearing

    def _kept(self, node: str) -> list[Manifest]:
        """The node's last two commits."""
        head = self.head(node)
        if head is None:
            return []
        if head.parent is None:
            return [head]
        return [head, self._manifest(head.parent, node, named_by=self._objects.path(head.sha256))]

    def _needed(self) -> set[str]:
        """The sha256 of every object that a kept commit of any node needs."""
        return {name for node in self.nodes() for manifest in self._kept(node) for name in manifest.objects()}

    def _damage_of(self, node: str) -> Iterator[IntegrityError]:
        """One error for each damaged file of the node's kept commits."""
        try:
            for manifest in self._kept(node):
                for entry in manifest.files.values():
                    try:
                        self._objects.check(entry, node)
                    except IntegrityError as error:
                        yield error
        except IntegrityError as error:
            yield error

    def _leave_behind(self, previous: Manifest | None, manifest: Manifest) -> None:
        """Note the objects of the commit that is now third."""
        if previous is None or previous.parent is None:
            return
        # A damaged third commit is nobody's any more; the next sweep removes it.
        with suppress(IntegrityError, OSError):
            old = self._manifest(previous.parent, manifest.node, named_by=self._objects.path(previous.sha256))
            kept = previous.objects() | manifest.objects()
            self._left_behind |= {name: size for name, size in old.objects().items() if name not in kept}

    def _prune(self) -> None:
        """Delete what this process left behind and no node needs; put off while another process commits."""
        with gate(self.root / "gate", self._disk, exclusive=True, patience=0.0) as passed:
            if not passed:
                return
            # The commit has succeeded: what goes wrong here is met again, and told, by the next sweep.
            with suppress(IntegrityError, OSError):
                needed = self._needed()
                self._disk.sync(self._heads)  # else a power cut may bring back a head whose objects go now
                for name in self._left_behind.keys() - needed:
                    self._disk.unlink(self._objects.path(name))
            self._left_behind = {}
