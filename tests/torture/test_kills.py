"""kill -9 at random moments of a run: it ends as if nobody had killed it, and not so without the commit protocol."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwater.folder import TIMINGS, RunFolder
from headwater.report import write_page
from micro import FILE, finished, headwater, identity

LIVES = Path(__file__).with_name("lives.py")
LAB = ("run", "lab", "--seeds", "1", "--routes", "R1,R2,R3-full,R6", "--name", "killed")
"""Every kind of stage, and every kind of node."""
SMALL = ("run", str(FILE), "--workers", "1")
STAGES = {
    *("pretrain", "teacher-rl", "teacher-sft", "warm-up", "on-policy-distillation", "teacher-sample-sft", "student-rl"),
}
OTHERS = {"rollouts", "evaluate", "closeness"}
DEATH = 120.0  # seconds after which workers that outlive their parent are a failure; it takes a tenth of one
EARLY = 0.1  # share of lives that end before their first step: while they sweep, roll back, start workers


@dataclass
class Killer:
    """Starts a run again and again and kills it. Mutable: knows what it has hit.

    A life is measured in steps of work, so that it reaches as far on a crowded machine as on an idle one; the
    moment after those steps is drawn at random from about the time that one takes.
    """

    home: Path
    command: Sequence[str]
    protocol: str = "safe"
    hit: list[tuple[str, str, int, str]] = field(default_factory=list)
    """(kind, title, step, doing) of each worker process at each kill"""
    kills: int = 0
    early: int = 0
    """kills before any worker had begun"""
    start: float = 2.0
    """seconds from the start of a run to its first work, as last measured"""
    slowest_death: float = 0.0
    """seconds until the last worker was gone, of lives whose workers had begun"""
    chance: random.Random = field(default_factory=lambda: random.Random(11))

    def life(self, longest: int, kinds: Collection[str] = ()) -> int | None:
        """One life of at most so many steps (of these kinds of work, where any are named), and a random moment.

        Returns its exit code when it ended by itself, None when it was killed.
        """
        notes = self.home / f"notes-{self.protocol}-{self.kills}"
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir(parents=True)
        begun = time.monotonic()
        with (self.home / "said").open("wb") as said:
            run = subprocess.Popen(
                [sys.executable, LIVES, *self.command],
                cwd=self.home,
                env={**os.environ, "NOTES": str(notes), "PROTOCOL": self.protocol, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        steps = self.chance.randrange(longest)
        if self.chance.random() < EARLY and not kinds:
            self._wait(run, self.chance.random() * self.start)
        else:
            while run.poll() is None and not any(noted(notes)):
                time.sleep(0.01)
            self.start = time.monotonic() - begun
            while run.poll() is None and made(notes, kinds) <= steps:
                time.sleep(0.01)
            worked = time.monotonic() - begun - self.start
            self._wait(run, self.chance.random() * worked / (made(notes, ()) + 1))
        if run.poll() is not None:
            return run.returncode
        self._kill(run, notes)
        shutil.rmtree(notes)
        return None

    @staticmethod
    def _wait(run: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return

    def _kill(self, run: subprocess.Popen[bytes], notes: Path) -> None:
        """The parent alone, or all at once; either way all are gone soon."""
        if self.chance.random() < 0.5:
            run.kill()
        else:
            os.killpg(run.pid, signal.SIGKILL)
        begun = time.monotonic()
        run.wait()
        while others := session(run.pid):
            assert time.monotonic() - begun < DEATH, f"{others} outlive their parent"
            time.sleep(0.005)
        self.kills += 1
        hit = [(kind, title, step, doing) for kind, title, step, doing, _ in noted(notes)]
        self.hit += hit
        if hit:
            self.slowest_death = max(self.slowest_death, time.monotonic() - begun)
        else:
            self.early += 1
        with (self.home / "kills.log").open("a") as log:
            log.write(f"{self.figures()}\n")

    def figures(self) -> str:
        kinds = Counter(kind for kind, *_ in self.hit if kind)
        commits = sum(doing == "commits" for *_, doing in self.hit)
        return (
            f"{self.kills} kills ({self.early} before the first step), {len(self.steps())} distinct steps, {commits} "
            f"workers hit within a commit, workers gone after at most {self.slowest_death:.2f} s; hit: {dict(kinds)}"
        )

    def steps(self) -> set[tuple[str, int]]:
        """Where workers were when they were killed."""
        return {(title, step) for kind, title, step, _ in self.hit if kind in STAGES}


def noted(notes: Path) -> list[tuple[str, str, int, str, dict[str, int]]]:
    """What each worker last said of itself: kind, title, step, doing, and the steps it has made by kind."""
    said = [path.read_text(errors="replace") for path in notes.iterdir()]
    found = []
    for line in said:
        try:
            found.append(tuple(json.loads(line)))
        except ValueError:  # it has not said a word yet, or is saying it
            continue
    return found


def made(notes: Path, kinds: Collection[str]) -> int:
    """Steps that all workers of this life have made, of these kinds or of any."""
    return sum(count for *_, steps in noted(notes) for kind, count in steps.items() if not kinds or kind in kinds)


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _belongs(folder, leader)]


def _belongs(folder: Path, leader: int) -> bool:
    try:
        state, _parent, _group, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(session) == leader and state != "Z"


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
        if (code := killer.life(longest=20)) is not None:
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
    longest = 2 * sum(node["updates"] for node in RunFolder(left_alone).graph["nodes"].values()) // 100
    killer = Killer(tmp_path, (*LAB, "--commit-seconds", "0.5"))
    root, runs = tmp_path / "runs" / "killed", 0
    while killer.kills < 100 or (STAGES | OTHERS) - {kind for kind, *_ in killer.hit}:
        missing = (STAGES | OTHERS) - {kind for kind, *_ in killer.hit} if killer.kills >= 100 else ()
        if (code := killer.life(1 if OTHERS & set(missing) else longest, missing)) is not None:
            assert code == 0, (tmp_path / "said").read_text()
            assert_same(root, left_alone, tmp_path)
            shutil.rmtree(root)
            runs += 1
    print(f"torture: lab run: uninterrupted {uninterrupted:.0f} s; {killer.figures()}")
    done = headwater(*LAB, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(root, left_alone, tmp_path)
    assert len(killer.steps()) >= 60
    assert any(doing == "commits" for *_, doing in killer.hit)
    print(f"torture: lab run: {runs + 1} killed runs compared, byte for byte, in {time.monotonic() - begun:.0f} s")


@pytest.mark.torture  # how many lives it takes is chance: no test for every commit
@pytest.mark.parametrize(("command", "longest"), [(SMALL, 20), (LAB, 40)], ids=["micro", "lab"])
def test_without_the_commit_protocol_the_same_kills_break_the_run(
    command: Sequence[str], longest: int, tmp_path: Path
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
