"""kill -9 at random moments of a run: it ends as if nobody had killed it, and not so without the commit protocol."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwater.folder import TIMINGS, RunFolder
from headwater.report import write_page
from micro import FILE, finished, headwater, identity

LIVES = Path(__file__).with_name("lives.py")
LAB = ("run", "lab", "--routes", "R1,R2,R3-full,R6", "--name", "killed")
"""Every kind of stage, and every kind of node."""
SMALL = ("run", str(FILE), "--workers", "1")
STAGES = {
    *("pretrain", "teacher-rl", "teacher-sft", "warm-up", "on-policy-distillation", "teacher-sample-sft", "student-rl"),
}
DEATH = 60.0  # seconds after which workers that outlive their parent are a failure; it takes a tenth of one


@dataclass
class Killer:
    """Starts a run again and again and kills it. Mutable: knows what it has hit."""

    home: Path
    command: Sequence[str]
    protocol: str = "safe"
    hit: list[tuple[str, str, int, str]] = field(default_factory=list)
    """(kind, title, step, doing) of each worker process at each kill"""
    kills: int = 0
    slowest_death: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(11))

    def life(self, longest: float) -> int | None:
        """One life; its exit code when it ended by itself, None when it was killed."""
        notes = self.home / f"notes-{self.protocol}-{self.kills}"
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir(parents=True)
        with (self.home / "said").open("wb") as said:
            run = subprocess.Popen(
                [sys.executable, LIVES, *self.command],
                cwd=self.home,
                env={**os.environ, "NOTES": str(notes), "PROTOCOL": self.protocol, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            while run.poll() is None and not any(path.stat().st_size for path in notes.iterdir()):
                time.sleep(0.01)
            try:
                return run.wait(timeout=self.chance.random() * longest)
            except subprocess.TimeoutExpired:
                self._kill(run, notes)
        shutil.rmtree(notes)
        return None

    def _kill(self, run: subprocess.Popen[bytes], notes: Path) -> None:
        """The parent alone, or all at once; either way all are gone soon."""
        if self.chance.random() < 0.5:
            run.kill()
        else:
            os.killpg(run.pid, signal.SIGKILL)
        begun = time.monotonic()
        run.wait()
        workers = [int(path.name) for path in notes.iterdir() if int(path.name) != run.pid]
        while any(_alive(pid) for pid in workers):
            assert time.monotonic() - begun < DEATH, f"workers {workers} outlive their parent"
            time.sleep(0.005)
        self.slowest_death = max(self.slowest_death, time.monotonic() - begun)
        self.kills += 1
        for pid in workers:
            noted = (notes / str(pid)).read_text().strip() or "||0|waits"  # killed before its first word
            kind, title, step, doing = noted.split("|")
            self.hit.append((kind, title, int(step), doing))
        with (self.home / "kills.log").open("a") as log:
            log.write(f"{self.figures()}\n")

    def figures(self) -> str:
        kinds = Counter(kind for kind, *_ in self.hit)
        steps = {(title, step) for _, title, step, doing in self.hit if doing != "waits"}
        commits = sum(doing == "commits" for *_, doing in self.hit)
        return (
            f"{self.kills} kills, {len(steps)} distinct steps, {commits} workers hit within a commit, "
            f"workers gone after at most {self.slowest_death:.2f} s; hit: {dict(kinds)}"
        )


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def page(root: Path, where: Path) -> bytes:
    """The report, apart from the seconds that were measured."""
    (root / TIMINGS).unlink(missing_ok=True)
    write_page(RunFolder(root), where)
    return where.read_bytes()


def assert_same(killed: Path, left_alone: Path, scratch: Path) -> None:
    assert RunFolder(killed).verify() == []
    assert identity(killed) == identity(left_alone)
    assert page(killed, scratch / "killed.html") == page(left_alone, scratch / "alone.html")


def test_a_small_run_killed_again_and_again_ends_as_if_left_alone(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(finished(tmp_path_factory).root, tmp_path / "alone"))
    killer = Killer(tmp_path, (*SMALL, "--commit-seconds", "0"))
    while killer.kills < 3:
        if (code := killer.life(longest=1.5)) is not None:
            assert code == 0, (tmp_path / "said").read_text()
            shutil.rmtree(tmp_path / "runs")  # it ended before its killer came, and nothing is left to kill
    done = headwater(*SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "runs" / "micro", alone, tmp_path)
    print(f"torture: micro run: {killer.figures()}")


@pytest.mark.torture
def test_the_lab_killed_a_hundred_times_ends_as_if_left_alone(tmp_path: Path) -> None:
    begun = time.monotonic()
    alone = headwater(*LAB, cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    left_alone = (tmp_path / "runs" / "killed").rename(tmp_path / "alone")
    uninterrupted = time.monotonic() - begun
    killer = Killer(tmp_path, (*LAB, "--commit-seconds", "0.5"))
    root, runs = tmp_path / "runs" / "killed", 0
    while killer.kills < 100 or not {kind for kind, *_ in killer.hit} >= STAGES:
        if (code := killer.life(longest=4.0)) is not None:
            assert code == 0, (tmp_path / "said").read_text()
            assert_same(root, left_alone, tmp_path)
            shutil.rmtree(root)
            runs += 1
    print(f"torture: lab run: uninterrupted {uninterrupted:.0f} s; {killer.figures()}")
    done = headwater(*LAB, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(root, left_alone, tmp_path)
    steps = {(title, step) for _, title, step, _ in killer.hit}
    assert len(steps) >= 60
    assert any(doing == "commits" for *_, doing in killer.hit)
    print(f"torture: lab run: {runs + 1} killed runs compared, byte for byte, in {time.monotonic() - begun:.0f} s")


@pytest.mark.torture  # how many lives it takes is chance: no test for every commit
@pytest.mark.parametrize(("command", "longest"), [(SMALL, 1.5), (LAB, 6.0)], ids=["micro", "lab"])
def test_without_the_commit_protocol_the_same_kills_break_the_run(
    command: Sequence[str], longest: float, tmp_path: Path
) -> None:
    killer = Killer(tmp_path, (*command, "--commit-seconds", "0"), protocol="head-first")
    code = None
    while code in (None, 0) and killer.kills < 100:
        code = killer.life(longest)
        if code == 0:  # nobody was hit where it hurts: once more from the start
            shutil.rmtree(tmp_path / "runs")
    said = (tmp_path / "said").read_text()
    assert code == 4, said
    print(f"torture: control without the commit protocol: broken after {killer.kills} kills: {said.splitlines()[-1]}")
