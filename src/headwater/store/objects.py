"""Files named by the hash of their content: written once, checked on every use."""

from __future__ import annotations

import errno
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from headwater.store.disk import Disk
from headwater.store.manifest import FileEntry, damage
from headwater.store.names import SHA256

PIECE = 4 * 2**20  # bytes read at a time


class Digest:
    """The bytes of a source, hashed and counted while they pass: what is named is what was written."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._size = 0

    def pieces(self) -> Iterator[bytes]:
        """The source's bytes in order."""
        if isinstance(self._source, bytes):
            yield self._count(self._source)
            return
        with self._source.open("rb") as file:
            while piece := file.read(PIECE):
                yield self._count(piece)

    def entry(self) -> FileEntry:
        """Hash and size of what has passed."""
        return FileEntry(sha256=self._hash.hexdigest(), size=self._size)

    def _count(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self._size += len(piece)
        return piece


def measure(source: Path | bytes) -> FileEntry:
    """Hash and size of a file or of bytes."""
    digest = Digest(source)
    for _ in digest.pieces():
        pass
    return digest.entry()


class Objects:
    """The folders of hashed and of temporary files. Mutable: remembers which folders it made."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.folder = root / "objects"
        self.temporary_folder = root / "tmp"
        self.disk = disk
        self._lasting: set[Path] = set()

    def path(self, sha256: str) -> Path:
        """Where the object of that hash lies."""
        return self.folder / sha256[:2] / sha256

    def temporary(self) -> Path:
        """A name in tmp/ that no process uses."""
        return self.temporary_folder / secrets.token_hex(16)

    def owns(self, source: Path | bytes) -> bool:
        """Whether the source lies in tmp/, where nothing has another owner."""
        return isinstance(source, Path) and self.temporary_folder in source.parents

    def holds(self, entry: FileEntry) -> bool:
        """Whether a good copy is there already; a damaged one counts as absent, so that a redo mends it."""
        path = self.path(entry.sha256)
        try:
            return path.stat().st_size == entry.size and measure(path) == entry
        except OSError:
            return False

    def read(self, sha256: str, node: str) -> bytes:
        """The object's bytes; IntegrityError names the file when it is missing or differs from its hash."""
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise damage(path, _unreadable(error), node) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damage(path, f"holds {len(data)} bytes that do not match the sha256 in its name", node)
        return data

    def check(self, entry: FileEntry, node: str) -> Path:
        """The object's path, after its size and hash were found right; IntegrityError otherwise."""
        path = self.path(entry.sha256)
        try:
            found = measure(path)
        except OSError as error:
            raise damage(path, _unreadable(error), node) from None
        if found != entry:
            wanted = f"the {entry.size} bytes that were written"
            raise damage(path, f"holds {found.size} bytes that differ from {wanted}", node)
        return path

    def all(self) -> Iterator[Path]:
        """Every object's path; strange files are left alone."""
        for path in self.folder.glob("??/*"):
            if SHA256.fullmatch(path.name) and path.name.startswith(path.parent.name):
                yield path

    def make_lasting(self, names: set[str], *, renames: dict[str, Path]) -> None:
        """Move synced temporary files to their names, and sync each folder of the names once."""
        folders = {self.path(name).parent for name in names}
        fresh = folders - self._lasting
        for folder in sorted(fresh):
            self.disk.make_folder(folder)
        for name, temporary in renames.items():
            self.disk.rename(temporary, self.path(name))
        for folder in sorted(folders):
            self.disk.sync(folder)
        if fresh:
            self.disk.sync(self.folder)
            self._lasting |= fresh


class Batch:
    """New objects on their way in: written under temporary names, then published together. Mutable."""

    def __init__(self, objects: Objects, lasting: dict[str, int]) -> None:
        """`lasting` holds the objects of the node's head, which are known to outlast a power cut."""
        self._objects = objects
        self._lasting = lasting
        self._names: set[str] = set()
        self._staged: dict[str, Path] = {}

    def add(self, source: Path | bytes) -> FileEntry:
        """Write the source to a temporary file, unless a good copy is stored; return hash and size.

        A file that lies in tmp/ is the store's already: it is hashed where it is, and taken instead of copied.
        """
        ours = self._objects.owns(source)
        if (ours or isinstance(source, bytes)) and self._has(entry := measure(source)):
            return entry
        temporary = self._objects.temporary()
        if ours and isinstance(source, Path):
            self._objects.disk.rename(source, temporary)
            self._staged[entry.sha256] = temporary
            self._objects.disk.protect(temporary)
            return entry
        digest = Digest(source)
        try:
            self._objects.disk.create(temporary, digest.pieces())
            entry = digest.entry()
            if self._has(entry):
                self._objects.disk.unlink(temporary)
            else:
                self._staged[entry.sha256] = temporary
        except OSError:
            _try_unlink(self._objects.disk, temporary)
            raise
        return entry

    def publish(self) -> None:
        """Sync every new file, rename all, sync each folder once: then all of them outlast a power cut."""
        for temporary in self._staged.values():
            self._objects.disk.sync(temporary)
        # An object that another process renamed a moment ago is there, but its folder may not be synced yet:
        # its name is among ours, so its folder is synced as well.
        self._objects.make_lasting(self._names | set(self._staged), renames=self._staged)

    def discard(self) -> None:
        """Remove what still has a temporary name."""
        for temporary in self._staged.values():
            _try_unlink(self._objects.disk, temporary)

    def _has(self, entry: FileEntry) -> bool:
        if entry.sha256 in self._staged:
            return True
        if not self._objects.holds(entry):
            return False
        if entry.sha256 not in self._lasting:
            self._names.add(entry.sha256)
        return True


def _unreadable(error: OSError) -> str:
    """What was found where an object should be; an error that says nothing about the object goes on."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "is missing"
    if error.errno in (errno.EIO, errno.EISDIR):
        return f"cannot be read ({error.strerror})"
    raise error


def _try_unlink(disk: Disk, path: Path) -> None:
    """Remove a temporary file; what cannot be removed now is swept at the next start."""
    with suppress(OSError):
        disk.unlink(path)
