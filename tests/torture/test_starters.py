"""Eight starters of one run at once, again and again: one works, seven are refused and told who does."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import Interrupted
from headwater.folder import RunFolder
from micro import FILE, HEADWATER

STARTERS = 8
REAL_ROUNDS = 20  # each costs eight starts of Python and torch
PATIENCE = 120.0


def start(home: Path, ready: Any, refused: Any, results: Any) -> None:
    """One `headwater run`; the one that gets to work does so until all others have been refused."""
    from headwater import cli
    from headwater.run import workflow

    def work(*_: object) -> None:
        for _other in range(STARTERS - 1):
            if not refused.acquire(timeout=PATIENCE):
                raise TimeoutError("not everyone was refused")
        raise Interrupted("test: the others were refused")

    workflow._make = work
    sys.argv = ["headwater", "run", str(FILE), "--runs", str(home)]
    said, code = io.StringIO(), 0
    ready.wait()
    with contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
    results.put((os.getpid(), code, said.getvalue()))
    if code == 3:
        refused.release()


def assert_one_writer(results: list[tuple[int, int, str]], ended: int) -> None:
    [winner] = [pid for pid, code, _ in results if code == ended]
    lines = [said for _, code, said in results if code == 3]
    assert len(lines) == STARTERS - 1, results
    for said in lines:
        assert said.count("\n") == 1
        assert f"pid {winner} on host {socket.gethostname()}, started " in said
        assert re.search(r"started \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", said)


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.torture)])
def test_of_eight_starters_one_works_and_seven_exit_3(tmp_path: Path, rounds: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headwater.cli", "headwater.run"])
    for _ in range(rounds):
        ready, refused, results = context.Barrier(STARTERS), context.Semaphore(0), context.SimpleQueue()
        starters = [context.Process(target=start, args=(tmp_path, ready, refused, results)) for _ in range(STARTERS)]
        for starter in starters:
            starter.start()
        said = [results.get() for _ in starters]
        for starter in starters:
            starter.join()
        assert_one_writer(said, ended=75)
    print(f"torture: {rounds} times {STARTERS} starters: one writer each time, {STARTERS - 1} clear refusals")


@pytest.mark.torture
def test_eight_real_commands_at_once(tmp_path: Path) -> None:
    """The same from eight shells: the one that works is stopped once the others are refused, and goes on later."""
    command = [*HEADWATER, "run", FILE, "--runs", tmp_path, "--workers", "1"]
    for number in range(REAL_ROUNDS):
        last = number == REAL_ROUNDS - 1
        starters = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(STARTERS)
        ]
        ended: list[subprocess.Popen[str]] = []
        while len(ended) < STARTERS - 1:
            ended = [starter for starter in starters if starter.poll() is not None]
            time.sleep(0.05)
        for starter in starters:
            if starter not in ended and not last:
                starter.terminate()
        said = [(starter.pid, starter.communicate()[1], starter.returncode) for starter in starters]
        assert_one_writer([(pid, code, text) for pid, text, code in said], ended=0 if last else 75)
        assert RunFolder(tmp_path / "micro").verify() == []
    assert not list((tmp_path / "micro" / "tmp").iterdir())
    print(
        f"torture: {REAL_ROUNDS} times {STARTERS} real commands at once on one folder: one writer each time, "
        f"{STARTERS - 1} clear refusals, and a finished run at the end"
    )
