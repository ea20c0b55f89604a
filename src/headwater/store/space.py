"""Room on the disk: asked for before a commit starts, and told in bytes when it does not suffice."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import ResourceError
from headwater.store.disk import Disk

BLOCK = 4096  # bytes; a file takes whole blocks
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextmanager
def space_for(sizes: Mapping[str, int], *, node: str, root: Path, disk: Disk) -> Iterator[None]:
    """Guard a commit of files with these sizes in bytes.

    Raises ResourceError before a commit that cannot fit, and in place of the system's error in one that did
    not. Files that are stored already are counted too: until they are hashed, nobody knows that they are.
    """
    needed = sum(-(-size // BLOCK) * BLOCK for size in sizes.values()) + BLOCK
    largest = max(sizes, key=lambda name: sizes[name])
    limit = disk.file_size_limit()
    if limit is not None and sizes[largest] > limit:
        raise ResourceError(
            f"store: {largest} of node {node} needs a file of {sizes[largest]} bytes, {limit} are allowed "
            "(ulimit -f); raise that limit and run the same command again; the last commit is intact"
        )
    free = _free_bytes(root, disk)
    if needed > free:
        raise _full(node, root, f"needs {needed} bytes, {free} are free")
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            found = f"needs {needed} bytes, {_free_bytes(root, disk)} are free ({error.strerror})"
            raise _full(node, root, found) from error
        raise


def _full(node: str, root: Path, found: str) -> ResourceError:
    return ResourceError(
        f"store: a commit of node {node} to {root} {found}; "
        "make room and run the same command again; the last commit is intact"
    )


def _free_bytes(root: Path, disk: Disk) -> int:
    """Free bytes where the root is or will be."""
    path = root.absolute()
    return disk.free_bytes(next(folder for folder in (path, *path.parents) if folder.exists()))
