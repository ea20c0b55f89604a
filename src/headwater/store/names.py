"""Names that become paths: runs, nodes and files inside a manifest. A name never leaves its folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from headwater.errors import InputError

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def contained_name(name: str) -> str:
    """The run's name itself, when it is safe as one folder's name; InputError otherwise."""
    if isinstance(name, str) and RUN_NAME.fullmatch(name) and not name.endswith("."):
        return name
    raise InputError(
        f"run name: {name!r:.80} is not allowed; use 1 to 64 of the characters A-Z a-z 0-9 . _ - "
        "that start with a letter or digit and do not end with a dot"
    )


def run_folder(base: Path, name: str) -> Path:
    """The absolute folder of a run, symbolic links followed; InputError when that lies outside of base."""
    path = base / contained_name(name)
    try:
        home, folder = base.resolve(), path.resolve()
        folder.exists()  # a path that is too long is found here, before anything is made
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"run name: {str(path)!r:.200} cannot be resolved ({reason}); remove that link, or give another folder "
            "with --runs"
        ) from None
    if home in folder.parents:
        return folder
    raise InputError(f"run name: {path} leads to {folder}, outside of {home}; remove that link or rename the run")


def check_node(node: str) -> None:
    """InputError unless the node's name is a fingerprint."""
    if not (isinstance(node, str) and SHA256.fullmatch(node)):
        raise InputError(f"store: node {node!r:.80} is not a fingerprint of 64 hex digits")


def check_file_names(names: Iterable[str]) -> None:
    """InputError unless every name is a relative posix path and no name is also a folder of another."""
    known = set(names)
    for name in known:
        if reason := _unfit(name):
            raise InputError(f"store: file name {name!r:.200} {reason}; use a relative path such as model/config.json")
    for name in known:
        if clash := next((str(p) for p in PurePosixPath(name).parents if str(p) in known), None):
            raise InputError(f"store: {clash!r} is both a file and the folder of {name!r}; rename one of them")


def _unfit(name: str) -> str | None:
    """Why the name is no relative posix path that every file system of ours can hold."""
    if not isinstance(name, str) or not name:
        return "is empty or no text"
    if "\0" in name or "\\" in name:
        return "has a NUL or a backslash"
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if any(part in (b"", b".", b"..") for part in parts):
        return "is absolute or has an empty, '.' or '..' part"
    if any(len(part) > 255 for part in parts):
        return "has a part of more than 255 bytes"
    return None
