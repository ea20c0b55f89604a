"""Who may write a run: one process at a time, held by the kernel and released at its death.

The truth is `flock` on an open descriptor; the file's text (host, pid, start) is for people. The file is
never removed, since a lock on a removed file keeps nobody out. Without `flock` no run starts.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from headwater.errors import LockedError
from headwater.posix import fcntl
from headwater.store.disk import Disk

NAMING_TRIES = 50  # a starter takes the lock a moment before it has written its name
NAMING_PAUSE = 0.01  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds a lock; `started` is UTC in ISO form."""

    host: str
    pid: int
    started: str

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone; of another host nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False


class RunLock:
    """The lock of one run folder, a context manager. Mutable: holds a descriptor while it is taken."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._descriptor: int | None = None
        self._owner = 0

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock; LockedError names the process that has it. A dead process's text is overwritten."""
        if self._descriptor is not None:
            raise LockedError(f"lock: this process holds {self.path} already; use one lock for the whole run")
        descriptor = self._disk.open_lock(self.path)
        try:
            if not try_flock(descriptor, self.path, exclusive=True):
                raise self._refusal(descriptor)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            holder = Holder(host=socket.gethostname(), pid=os.getpid(), started=now)
            self._disk.rewrite(descriptor, json.dumps(asdict(holder)).encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._owner = descriptor, os.getpid()

    def release(self) -> None:
        """Give the lock back; in a forked child only the child's copy of the descriptor is closed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if self._owner == os.getpid():
                with suppress(OSError):  # the text is for people; the lock itself must go
                    self._disk.rewrite(descriptor, b"")
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _refusal(self, descriptor: int) -> LockedError:
        holder = None
        for _ in range(NAMING_TRIES):
            holder = _holder(descriptor)
            if holder is not None and not holder.has_ended:
                break
            time.sleep(NAMING_PAUSE)
        if holder is None:
            return LockedError(
                f"lock: another process holds {self.path} and has not written its name; "
                "wait until it ends, then run the same command again"
            )
        who = f"pid {holder.pid} on host {holder.host}, started {holder.started}"
        if holder.has_ended:
            return LockedError(
                f"lock: {self.path} was taken by {who}; that process has ended, but one that it started "
                f"still holds it; stop that one (fuser {self.path} shows it), then run the same command again"
            )
        if holder.host != socket.gethostname():
            return LockedError(
                f"lock: {self.path} is held by {who}, which is another machine; it is never taken over from "
                "here: stop the run there, then run the same command again"
            )
        return LockedError(
            f"lock: {self.path} is held by {who}; wait until it ends or stop it, then run the same command again"
        )


def holder_of(path: Path) -> Holder | None:
    """The process that writes a run now, as it wrote itself; None when nobody does. Takes no lock, not for a moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        holder = _holder(descriptor)
        return None if holder is None or holder.has_ended else holder
    finally:
        os.close(descriptor)


def try_flock(descriptor: int, path: Path, *, exclusive: bool) -> bool:
    """Whether the descriptor now has the lock; LockedError where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise LockedError(
                f"lock: {path}: this file system supports no locks ({error.strerror}), so a writer on "
                "another machine could not be seen; put the run folder on a local disk, or remount with flock"
            ) from None
        raise
    return True


@contextmanager
def gate(path: Path, disk: Disk, *, exclusive: bool, patience: float) -> Iterator[bool]:
    """Let many commits (shared) or one prune (exclusive) through; yields False after `patience` seconds."""
    descriptor = disk.open_lock(path)
    try:
        end = time.monotonic() + patience
        while not (passed := try_flock(descriptor, path, exclusive=exclusive)) and time.monotonic() < end:
            time.sleep(NAMING_PAUSE)
        yield passed
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> Holder | None:
    """Who wrote the lock file; None while the text is empty, half written or strange."""
    try:
        fields = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(host=str(fields["host"]), pid=int(fields["pid"]), started=str(fields["started"]))
    except (ValueError, KeyError, TypeError):
        return None
