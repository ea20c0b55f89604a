"""The run's lock: one writer, a refusal that names it, and no lock that outlives its process."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from headwater.errors import LockedError
from headwater.store import Store

FORK = multiprocessing.get_context("fork")

HOLD_WITH_A_CHILD = """
import subprocess, sys
from pathlib import Path
from headwater.store import Store

with Store(Path(sys.argv[1])).lock():
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def start(root: Path, barrier: Barrier, results: multiprocessing.SimpleQueue) -> None:
    barrier.wait()
    try:
        with Store(root).lock():
            results.put((os.getpid(), "won"))
            barrier.wait()
    except LockedError as error:
        results.put((os.getpid(), str(error)))
        barrier.wait()


def test_of_eight_starters_one_wins_and_seven_are_told_who(tmp_path: Path) -> None:
    for number in range(6):
        barrier, results = FORK.Barrier(8), FORK.SimpleQueue()
        # In later rounds the file still names a process that is gone.
        (tmp_path / "lock").write_text(said_by(pid=2**22 + number) if number % 2 else "")
        starters = [FORK.Process(target=start, args=(tmp_path, barrier, results)) for _ in range(8)]
        for starter in starters:
            starter.start()
        said = [results.get() for _ in starters]
        for starter in starters:
            starter.join()
        winners = [pid for pid, words in said if words == "won"]
        assert len(winners) == 1
        for _, words in said:
            if words != "won":
                assert f"pid {winners[0]} on host {socket.gethostname()}" in words
                assert re.search(r"started \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", words)


def said_by(*, pid: int = 1, host: str | None = None) -> str:
    host = socket.gethostname() if host is None else host
    return json.dumps({"host": host, "pid": pid, "started": "2026-01-01T00:00:00+00:00"})


def test_a_lock_is_free_again_after_its_block_and_keeps_no_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with store.lock():
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
            with pytest.raises(LockedError, match=f"pid {os.getpid()}"), store.lock():
                pass
        assert (tmp_path / "lock").read_text() == ""


def test_a_lock_is_not_entered_twice(tmp_path: Path) -> None:
    lock = Store(tmp_path).lock()
    with lock, pytest.raises(LockedError, match="already"):
        lock.acquire()


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"pid": "x"}', "\0" * 9000])
def test_strange_text_in_a_free_lock_hinders_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with Store(tmp_path).lock():
        pass


def test_a_killed_holders_lock_is_free_although_a_program_it_started_lives(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLD_WITH_A_CHILD, tmp_path]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(LockedError, match=f"pid {holder.pid}"), Store(tmp_path).lock():
                pass
            holder.kill()
            holder.wait()
            with Store(tmp_path).lock():
                os.kill(child, 0)  # it still runs
        finally:
            os.kill(child, 9)


def leave(lock: object) -> None:
    """A forked worker that unwinds through its parent's block."""
    lock.release()  # type: ignore[attr-defined]


def test_a_forked_child_cannot_give_its_parents_lock_away(tmp_path: Path) -> None:
    lock = Store(tmp_path).lock()
    with lock:
        child = FORK.Process(target=leave, args=(lock,))
        child.start()
        child.join()
        assert child.exitcode == 0
        with pytest.raises(LockedError), Store(tmp_path).lock():
            pass
    with Store(tmp_path).lock():
        pass


def test_a_lock_held_on_another_host_is_never_stolen(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(said_by(host="elsewhere", pid=77))
    with (tmp_path / "lock").open() as remote:
        fcntl.flock(remote, fcntl.LOCK_EX)  # as the file server would hold it for the other machine
        with (
            pytest.raises(LockedError, match=r"pid 77 on host elsewhere.*never taken over"),
            Store(tmp_path).lock(),
        ):
            pass
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


def test_a_file_system_without_locks_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "lock").write_text(said_by(host="elsewhere"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LockedError, match="supports no locks"), Store(tmp_path).lock():
        pass
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


def test_a_refused_starter_keeps_no_descriptor(tmp_path: Path) -> None:
    with Store(tmp_path).lock():
        before = opened_below(tmp_path)
        assert before
        for _ in range(3):
            with pytest.raises(LockedError), Store(tmp_path).lock():
                pass
        assert opened_below(tmp_path) == before
    assert opened_below(tmp_path) == []


def opened_below(folder: Path) -> list[str]:
    """What this process has open in the folder; descriptors of others come and go with the garbage collector."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(path for path in found if path.startswith(str(folder)))


def test_the_message_is_one_line(tmp_path: Path) -> None:
    with Store(tmp_path).lock(), pytest.raises(LockedError) as caught, Store(tmp_path).lock():
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
