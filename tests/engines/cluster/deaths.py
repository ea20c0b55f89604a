"""A run by its command, whose processes are killed and stopped at random moments until it ends."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from micro import HEADWATER, alive, children

STOPS = 6
"""each so many-th death is a SIGSTOP, where it is not the driver's turn; all others are SIGKILL"""


def processes(command=None):
    """What computes: process ids by kind. The driver is the one worker process of this run's command."""
    found = {"rank": [], "vllm": [], "driver": []}
    for pid in sorted(int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()):
        words = _words(pid)
        if words.startswith("ray::WatchedRank"):
            found["rank"].append(pid)
        elif "serve_vllm" in words:
            found["vllm"].append(pid)
    if command is not None and alive(command):
        found["driver"] = [pid for pid in children(command) if "spawn_main" in _words(pid)]
    return found


def _words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Deaths:
    """Kills until so many have died, then leaves the run alone. Mutable: knows whom it has hit, and how."""

    def __init__(self, count, ranks, longest=8.0, seed=0):
        self.hit, self.pids = Counter(), []
        self._count, self._ranks, self._longest = count, ranks, longest
        self._draw = random.Random(seed)

    def __len__(self):
        return len(self.pids)

    @property
    def enough(self):
        """Whether all that were asked for have died."""
        return len(self) >= self._count

    def until_it_ends(self, home, *command):
        """Give the command again and again, as a person would, until it ends well. A wrong exit code fails the test."""
        while True:
            with (home / "said").open("wb") as said:
                run = subprocess.Popen(
                    [*HEADWATER, *map(str, command)], cwd=home, stdout=said, stderr=subprocess.STDOUT
                )
                while run.poll() is None:
                    self._strike(run)
            if run.returncode == 0:
                return
            assert run.returncode == 6, (home / "said").read_text()  # a process that computes died

    def _strike(self, run):
        """Wait for ranks, then for a moment, and kill one of what is there."""
        if (
            self.enough
            or len(processes()["rank"]) != self._ranks
            or self._ends_within(run, self._draw.uniform(0, self._longest))
        ):
            self._ends_within(run, 0.2)
            return
        there = [(kind, pid) for kind, pids in processes(run.pid).items() for pid in pids]
        if not any(kind == "rank" for kind, _ in there):
            return
        kind, pid = self._draw.choice(there)
        stop = kind != "driver" and len(self) % STOPS == STOPS - 1  # a driver that somebody stops is theirs to wake
        try:
            os.kill(pid, signal.SIGSTOP if stop else signal.SIGKILL)
        except ProcessLookupError:
            return
        self.hit[kind, "stopped" if stop else "killed"] += 1
        self.pids.append(pid)
        while alive(pid) and run.poll() is None:
            time.sleep(0.1)

    @staticmethod
    def _ends_within(run, seconds):
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def left(seconds=60):
    """Ranks and engines that are still there after a while."""
    deadline = time.monotonic() + seconds
    while True:
        there = processes()
        found = [pid for kind in ("rank", "vllm") for pid in there[kind] if alive(pid)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
