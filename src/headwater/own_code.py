"""A user's own code from a file of theirs, named as path:name in a recipe: a reward function, a signal, a sampler.

    grading: {function: rewards.py:score}
    signal: {own: my_methods.py:Gated, threshold: 0.1}

Only what the recipe's author names is run. The file is read once: the bytes that are hashed are the bytes that run,
and no compiled copy of an earlier version is ever taken for them. It runs in the training process, without limits.

Left out: names of modules (what one means depends on the machine), and files beside this one, which its hash would
not cover; what it imports must be installed.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from headwater.errors import InputError

_DIGEST = "__headwater_sha256__"
"""Attribute of a module that was made of a user's file."""


class _Source(SourceLoader):
    """A module made of bytes that are at hand."""

    def __init__(self, path: Path, content: bytes):
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:
        """For tracebacks."""
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        """The bytes, whatever stands in the file by now."""
        return self._content


def digest_of(reference: str, place: str) -> str:
    """SHA-256 of the file that a path:name of this place in the recipe names, 64 hex digits.

    Raises InputError when it cannot be read.
    """
    return hashlib.sha256(_read(reference, place)[1]).hexdigest()


def load(reference: str, place: str, what: str, fits: Callable[[Any], bool]) -> Any:
    """What a path:name of this place in the recipe names. Runs the file.

    Args: what: it is called in messages, such as "function". fits: whether a thing of that name is one.
    Raises InputError when the file cannot be read or run, or has nothing of that name that fits.
    """
    path, content = _read(reference, place)
    name = reference.rpartition(":")[2]
    module = _run(path, content, place)
    found = getattr(module, name, None)
    if not fits(found):
        own = (key for key, value in vars(module).items() if fits(value) and inspect.getmodule(value) is module)
        there = [key for key in own if not key.startswith("_")]
        raise InputError(f"{place}: {path} has no {what} {name!r:.60}; it has {', '.join(there[:10]) or 'none'}")
    return found


def source_of(kind: type) -> str | None:
    """SHA-256 of the bytes that a class was loaded from, 64 hex digits; None for a class that is no user's own."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, _DIGEST, None)


def _read(reference: str, place: str) -> tuple[Path, bytes]:
    path = Path(reference.rpartition(":")[0]).expanduser()
    try:
        return path, path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{place}: {reference!r:.120} cannot be read ({reason}; in {Path.cwd()}); give path.py:name"
        ) from error


def _run(path: Path, content: bytes, place: str) -> Any:
    """The module of these bytes; the same bytes are run once in a process, so that their classes stay the same."""
    digest = hashlib.sha256(content).hexdigest()
    name = f"headwater_own_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_loader(name, _Source(path, content))
    assert spec is not None and spec.loader is not None  # noqa: S101  it has the loader that it was given
    module = module_from_spec(spec)
    setattr(module, _DIGEST, digest)
    sys.modules[name] = module  # dataclasses and annotations look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            raise InputError(f"{place}: {path}, line {error.lineno}: {error.msg}; it is no Python") from error
        raise InputError(
            f"{place}: {path} cannot be run ({type(error).__name__}: {error}); mend it, or install what it imports"
        ) from error
    return module
