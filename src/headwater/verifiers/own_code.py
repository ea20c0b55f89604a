"""A user's own reward function from a file of theirs, named as path:function in a recipe.

    grading: {function: rewards.py:score}

The file is read once: the bytes that are hashed are the bytes that run, and no compiled copy of an earlier
version is ever taken for them. It is the user's code: it runs in the training process, without limits.

Left out: functions by module name (what a name means depends on the machine), and files beside this one, which
its hash would not cover; what it imports must be installed.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from headwater.errors import InputError
from headwater.verifiers.function import FunctionVerifier, RewardFunction


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


def digest_of(reference: str) -> str:
    """SHA-256 of the file that a path:function names, 64 hex digits. Raises InputError when it cannot be read."""
    return hashlib.sha256(_read(reference)[1]).hexdigest()


def load_function(reference: str, *, full_marks: float = 1.0) -> FunctionVerifier:
    """The verifier around the function that a path:function names; its labels are packed rows.

    Runs the file. Raises InputError when it cannot be read or run, or has no such function.
    """
    path, content = _read(reference)
    name = reference.rpartition(":")[2]
    module = _run(path, content)
    function: RewardFunction | None = getattr(module, name, None)
    if function is None or not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise InputError(
            f"grading.function: {path} has no function {name!r:.60}; it has {', '.join(there[:10]) or 'none'}"
        )
    if inspect.iscoroutinefunction(function):
        raise InputError(f"grading.function: {reference} is asynchronous; write it as a plain def")
    return FunctionVerifier(function=function, packed=True, full_marks=full_marks)


def _read(reference: str) -> tuple[Path, bytes]:
    path = Path(reference.rpartition(":")[0]).expanduser()
    try:
        return path, path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"grading.function: {reference!r:.120} cannot be read ({reason}; in {Path.cwd()}); give path.py:function"
        ) from error


def _run(path: Path, content: bytes) -> Any:
    name = f"headwater_reward_{hashlib.sha256(content).hexdigest()[:16]}"
    spec = spec_from_loader(name, _Source(path, content))
    assert spec is not None and spec.loader is not None  # noqa: S101  it has the loader that it was given
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and annotations look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"grading.function: {path}, line {error.lineno}: {error.msg}; it is no Python") from error
    except Exception as error:
        raise InputError(
            f"grading.function: {path} cannot be run ({type(error).__name__}: {error}); mend it, or install what "
            "it imports"
        ) from error
    return module
