"""What one commit of a node holds: its files by hash, its step, and what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from headwater.errors import InputError, IntegrityError
from headwater.fingerprint import canonical_json
from headwater.store.names import SHA256, check_file_names, check_node

FORMAT = 1
# The command that drops the head of a damaged node (`Store.forget`) and makes the stage again.
REDO = "headwater run RECIPE --redo {node}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """A stored file: the sha256 of its bytes (64 hex digits) and how many there are."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One commit of a node, stored as canonical JSON under its own sha256.

    `step` counts the stage's finished steps, `done` says that none is left, `about` is plain data (recipe
    and code identity, ledger head), `parent` is the sha256 of the node's previous manifest.
    """

    node: str
    step: int
    done: bool
    files: Mapping[str, FileEntry]
    about: Mapping[str, Any]
    parent: str | None

    @cached_property
    def content(self) -> bytes:
        """The bytes that are stored and hashed."""
        fields = {
            "format": FORMAT,
            "node": self.node,
            "step": self.step,
            "done": self.done,
            "files": {name: {"sha256": e.sha256, "size": e.size} for name, e in self.files.items()},
            "about": self.about,
            "parent": self.parent,
        }
        return f"{canonical_json(fields)}\n".encode()

    @cached_property
    def sha256(self) -> str:
        """The manifest's name in the store."""
        return hashlib.sha256(self.content).hexdigest()

    def objects(self) -> dict[str, int]:
        """Size in bytes by sha256 of every object that this commit needs, the manifest included."""
        return {self.sha256: len(self.content)} | {e.sha256: e.size for e in self.files.values()}

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The manifest that was written as these bytes; ValueError when they are none of this format."""
        try:
            fields = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
            manifest = cls(**fields)
            check_node(manifest.node)
            # A run folder may come from somebody else: its names are checked again before they become paths.
            check_file_names(manifest.files)
            names = [e.sha256 for e in manifest.files.values()] + [manifest.parent or "0" * 64]
            if not all(SHA256.fullmatch(name) for name in names) or manifest.content != data:
                raise ValueError("not written by headwater")
        except (AttributeError, KeyError, TypeError, RecursionError, InputError) as error:
            raise ValueError(f"not a manifest ({error})") from None
        return manifest


def damage(path: Path, found: str, node: str) -> IntegrityError:
    """The error for a stored file that is not what was written: the file, the finding, the next command."""
    return IntegrityError(f"store: {path} {found}; to drop this stage and make it again: {REDO.format(node=node)}")
