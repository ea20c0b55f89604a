"""The one door to the disk: every write, sync, rename and unlink of the store goes through here.

The tests put a simulated disk behind the same door, which fails, forgets and reorders at every operation.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headwater.posix import resource


class Disk:
    """The operating system's files. Errors are the system's own OSError."""

    def make_folder(self, path: Path) -> None:
        """Make one folder; one that is there already is fine."""
        with suppress(FileExistsError):
            os.mkdir(path)

    def create(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Write a new read-only file, without syncing it; raises FileExistsError when the name is taken."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            for piece in pieces:
                _write_all(descriptor, piece)
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Wait until a file's content, or a folder's list of names, would outlast a power cut."""
        # A write error that nobody has seen yet is reported to a descriptor opened later, too (Linux 4.16).
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder its new name, in place of a file that had it."""
        os.replace(source, target)

    def protect(self, path: Path) -> None:
        """Make a file read-only, as `create` does."""
        os.chmod(path, 0o444)

    def unlink(self, path: Path) -> None:
        """Remove a file's name; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all that is in it; one that is gone already is fine."""
        with suppress(FileNotFoundError):
            shutil.rmtree(path)

    def open_lock(self, path: Path) -> int:
        """A descriptor, not inherited by other programs, of a file that is made when it is not there; of no link."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    def rewrite(self, descriptor: int, data: bytes) -> None:
        """Replace the content of an open lock file. Not atomic: such content is only ever shown to people."""
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        _write_all(descriptor, data)

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write on the path's file system."""
        return shutil.disk_usage(path).free

    def file_size_limit(self) -> int | None:
        """Bytes that one file may have in this process (ulimit -f), None without a limit."""
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return None if limit == resource.RLIM_INFINITY else limit


def _write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: one write call may take fewer than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


REAL_DISK = Disk()
