"""The errors a person can meet, each with the exit code that a shell sees.

    HeadwaterError
    |- InputError          2   a recipe, data file or argument is wrong
    |  |- ContrastError    2   two arms differ in more than they declare
    |  |- LabelError       2   an answer was asked for outside the stage's pool, or a pool overlaps a benchmark
    |  `- ObjectiveError   2   a loss that has no gradient, or the wrong one
    |- LockedError         3   another process writes this run
    |- IntegrityError      4   stored bytes are not what was written
    |- NumericError        5   a loss, gradient, logprob or reward is not finite; a run collapses
    |- ResourceError       6   disk or memory does not suffice
    |  `- EngineLost       6   a process that computes died or stands still; a run goes on from its last commit
    |- GraderError         7   too many responses could not be graded
    `- Interrupted        75   stopped by a signal; the same command goes on

A message is one line: what failed, where, what was found and what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Callable, Iterable


class HeadwaterError(Exception):
    """Base of every error that headwater raises on purpose; `exit_code` is the process's status."""

    exit_code = 1


class InputError(HeadwaterError):
    """Something a person wrote is wrong: a recipe, a data file, an argument."""

    exit_code = 2


class ContrastError(InputError):
    """Two arms of a contrast differ in more than the contrast declares."""


class LabelError(InputError):
    """An answer was asked for where none may be read."""


class ObjectiveError(InputError):
    """An objective that cannot teach what it claims to teach."""


class LockedError(HeadwaterError):
    """Another process writes this run."""

    exit_code = 3


class IntegrityError(HeadwaterError):
    """Stored bytes differ from what their manifest says."""

    exit_code = 4


class NumericError(HeadwaterError):
    """A number that must be finite is not, or a run has collapsed."""

    exit_code = 5


class ResourceError(HeadwaterError):
    """Disk or memory does not suffice."""

    exit_code = 6


class EngineLost(ResourceError):
    """A process that computes died, or stands still; what was committed is safe, and a new one goes on from there."""


class GraderError(HeadwaterError):
    """Too many responses could not be graded."""

    exit_code = 7


class Interrupted(HeadwaterError):
    """Stopped by a signal after a commit; the same command goes on where this one stopped."""

    exit_code = 75


def says_no_memory(error: Exception) -> bool:
    """Whether an error of Python's, torch's or the system's says that memory ran out: a ResourceError in our words."""
    if isinstance(error, HeadwaterError):
        return False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)


def nearest(found: str, known: Iterable[str], say: Callable[[str], str] = str) -> str:
    """What was probably meant, for the middle of a message: " (did you mean R1?)", or nothing."""
    near = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f" (did you mean {say(near[0])}?)" if near else ""
