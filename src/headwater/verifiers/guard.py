"""What a grading process may not do: take much CPU time, memory or any file, open a socket, start a process,
run code made of text.

Limits are of the kernel (resource.setrlimit) and in CPU seconds, so that a loaded machine gives the same
verdicts. The second line is an audit hook, which Python cannot take out again: it refuses what a grader never
does, whoever asks. Neither is a sandbox against code that already runs; nothing here runs any. Linux only.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import sys
import threading
import time
from typing import Any

_REFUSED = ("socket.", "subprocess.", "os.", "shutil.", "ctypes.", "pty.", "urllib.", "http.", "ftplib.", "smtplib.")
_REFUSED_TOO = frozenset({"pickle.find_class", "sys.addaudithook", "code.__new__", "cpython.run_command"})
_ALLOWED = frozenset({"os.listdir", "os.scandir"})
"""What the import system does when a module is loaded late."""


class Forbidden(BaseException):
    """A refused action; no `except Exception` on the way may swallow it."""


def limit_process(memory_bytes: int) -> None:
    """Bound memory, files and core dumps of this process for good; units: bytes of address space."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        value = _at_most(kind, most)
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write to a file then fails with an error


def limit_cpu(seconds: float) -> None:
    """Kill this process after so many further seconds of its CPU time, user and system.

    The timer ends it to the millisecond, the kernel's limit two seconds later should the timer be lost.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    later = _at_most(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds) + 2)
    resource.setrlimit(resource.RLIMIT_CPU, (later, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _at_most(kind: int, value: int) -> int:
    """The value, or the limit that this process was born with if that is lower."""
    inherited = resource.getrlimit(kind)[1]
    return value if inherited == resource.RLIM_INFINITY else min(value, inherited)


def die_with_parent(descriptor: int, parent: int) -> None:
    """End this process at once when the other end of this pipe is closed, whatever it is doing.

    And within a second of its parent's end: a fork of the parent may hold that end open for longer.
    """

    def watch() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # hang-up alone is reported
        while not poll.poll(1000) and os.getppid() == parent:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def lock() -> None:
    """From here on this process refuses files, sockets, processes and code made of text, for good."""
    roots = tuple(os.path.abspath(path) + os.sep for path in {*sys.path, sys.prefix, sys.base_prefix} if path)
    suffixes = (".py", ".pyc", ".so")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            reads = mode in (None, "r", "rb") and not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            if not (reads and isinstance(path, str) and path.endswith(suffixes) and path.startswith(roots)):
                raise Forbidden(f"open {path!r:.80}")
        elif event in ("exec", "compile"):
            origin = arguments[0].co_filename if event == "exec" else arguments[1]
            if not str(origin).endswith(".py") and not str(origin).startswith("<frozen "):
                raise Forbidden(f"{event} of text ({origin!r:.80})")
        elif event in _REFUSED_TOO or (event.startswith(_REFUSED) and event not in _ALLOWED):
            raise Forbidden(event)

    sys.addaudithook(audit)
