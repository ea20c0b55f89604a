"""What the two ends of a benchmark say to each other: a job file, and a line of JSON a round.

A *side* (headwater, or a peer with its own Python) is a process that stays alive between rounds, so its start-up
is never counted and rounds of several sides can take turns. This file imports the standard library alone: a
peer's environment need not hold what headwater needs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROC = Path("/proc/self")


class Channel:
    """A side's end: it answers each command with one line. What libraries print goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def wait(self) -> bool:
        """Wait for the next command; False when there are no more rounds."""
        return sys.stdin.readline().strip() == "round"

    def say(self, **measured: Any) -> None:
        """Answer the last command, or (first of all) say that the side stands."""
        print(json.dumps(measured), file=self._out, flush=True)


class Parts:
    """Seconds of one round, split by part: each `part` books the time since the last call.

    CPU seconds of this process; where a GPU does the work, `wait` waits for it and seconds are those of the clock.
    """

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        self._wait = wait
        self._marks = self._now()
        self._wall = 0.0
        self.seconds: dict[str, float] = {}

    def part(self, name: str) -> None:
        """What was done since the last call belongs to this part."""
        before, self._marks = self._marks, self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + self._marks[0] - before[0]
        self._wall += self._marks[1] - before[1]

    def _now(self) -> tuple[float, float]:
        """What counts, and the clock."""
        if self._wait is None:
            return time.process_time(), time.perf_counter()
        self._wait()
        return time.perf_counter(), time.perf_counter()

    @property
    def measured(self) -> dict[str, Any]:
        """For `Channel.say`: seconds in all, those of the clock, and the parts."""
        return {"seconds": sum(self.seconds.values()), "wall": self._wall, "parts": self.seconds}


class Memory:
    """Peak resident bytes above what imports and weights take."""

    def __init__(self) -> None:
        """Take the present size as the base, and forget the peak of the start where the system can do that."""
        self.base = _status("VmRSS") or _maxrss()
        self.reset = _forget_peak()

    @property
    def measured(self) -> dict[str, Any]:
        """Bytes: `base`, and `peak` in all since then."""
        peak = (_status("VmHWM") if self.reset else None) or _maxrss()
        return {"base": self.base, "peak": max(peak, self.base)}  # the kernel counts the two at different moments


def _forget_peak() -> bool:
    try:
        (PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        lines = (PROC / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), None)


def _maxrss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read_job(path: str) -> dict[str, Any]:
    """The job file, with this process pinned to the job's core."""
    job: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    if job.get("core") is not None and sys.platform == "linux":
        os.sched_setaffinity(0, {job["core"]})
    return job
