"""Room on the disk: asked for before a commit starts, and told in bytes when it does not suffice."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.errors import ResourceError
from headwater.fingerprint import canonical_json
from headwater.store.disk import REAL_DISK, Disk

BLOCK = 4096  # bytes; a file takes whole blocks
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
RUST_ERRNO = re.compile(r"os error (\d+)")  # safetensors tells the system's error in words


def sizes_of(files: Mapping[str, Path | bytes], about: Mapping[str, Any], entries: int) -> dict[str, int]:
    """Bytes of each file that is written, and about as many as the manifest of so many entries will have."""
    sizes = {name: len(f) if isinstance(f, bytes) else f.stat().st_size for name, f in files.items()}
    return sizes | {"the manifest": len(canonical_json(about).encode()) + 256 * entries + 512}


def require_space(sizes: Mapping[str, int], *, node: str, root: Path, disk: Disk) -> int:
    """Raise ResourceError when files of these sizes in bytes cannot be written now; returns the bytes they take."""
    needed = sum(-(-size // BLOCK) * BLOCK for size in sizes.values()) + BLOCK
    largest = max(sizes, key=lambda name: sizes[name])
    limit = disk.file_size_limit()
    if limit is not None and sizes[largest] > limit:
        raise ResourceError(
            f"store: {largest} of node {node} needs a file of {sizes[largest]} bytes, {limit} are allowed "
            "(ulimit -f); raise that limit and run the same command again; the last commit is intact"
        )
    free = free_bytes(root, disk)
    if needed > free:
        raise _full(node, root, f"needs {needed} bytes, {free} are free")
    return needed


@contextmanager
def space_for(sizes: Mapping[str, int], *, node: str, root: Path, disk: Disk) -> Iterator[None]:
    """Guard a commit of files with these sizes in bytes.

    Raises ResourceError before a commit that cannot fit, and in place of the system's error in one that did
    not. Files that are stored already are counted too: until they are hashed, nobody knows that they are.
    """
    needed = require_space(sizes, node=node, root=root, disk=disk)
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            found = f"needs {needed} bytes, {free_bytes(root, disk)} are free ({error.strerror})"
            raise _full(node, root, found) from error
        raise


@contextmanager
def full_disk_named(work: str, root: Path, disk: Disk = REAL_DISK) -> Iterator[None]:
    """ResourceError in place of the system's or safetensors' word for a full disk, met anywhere in this work."""
    try:
        yield
    except Exception as error:
        told = RUST_ERRNO.search(str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number not in FULL:
            raise
        limit = disk.file_size_limit()
        allowed = "" if limit is None else f"; a file may have {limit} bytes (ulimit -f)"
        raise ResourceError(
            f"{work}: a file could not be written whole in {root} ({os.strerror(number)}), {free_bytes(root, disk)} "
            f"bytes are free{allowed}; make room and run the same command again; the last commit is intact"
        ) from error


def _full(node: str, root: Path, found: str) -> ResourceError:
    return ResourceError(
        f"store: a commit of node {node} to {root} {found}; "
        "make room and run the same command again; the last commit is intact"
    )


def free_bytes(root: Path, disk: Disk) -> int:
    """Free bytes where the root is or will be."""
    path = root.absolute()
    return disk.free_bytes(next(folder for folder in (path, *path.parents) if folder.exists()))
