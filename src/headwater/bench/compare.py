"""Runs a case: every side in a process of its own, warmed up, then round by round in turn.

Ours, theirs, ours, theirs: whatever else the machine does falls on all sides alike. Each side works with the
micro-batch that a small sweep found best for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.bench.cases import Case
from headwater.bench.inputs import micro_batches, write_inputs
from headwater.bench.shapes import SHAPES
from headwater.engines.process import environment
from headwater.errors import InputError

TIE = 1.1
"""Of micro-batches whose times differ by less, the smallest is best: it takes the least memory. Rounds of one and the
same side differ by as much on a machine that others use too."""
LARGE = 50_000_000
"""Parameters above which only the sides that a bar compares are held in memory together."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a comparison is run."""

    pythons: dict[str, str] = field(default_factory=dict)
    """peer -> the Python of its environment; peers that are not here are left out"""
    precision: str | None = None
    repeat: int = 5
    core: int | None = None
    say: Callable[[str], None] = print

    def sides(self, case: Case) -> tuple[str, ...]:
        """The case's sides that were asked for and can be run."""
        ours = [side for side in case.ours if self.precision in (None, side.split(" ")[1])]
        theirs = [side for side in case.sides if side.split(" ")[0] in self.pythons]
        return (*ours, *theirs)


class Side:
    """A living side: a process that does a round at each word."""

    def __init__(self, side: str, job: dict[str, Any], python: str, directory: Path):
        self.name = side
        path = directory / f"{side.replace(' ', '-')}-{job['micro']}.json"
        path.write_text(json.dumps({**job, "side": side}), encoding="utf-8")
        self._log = path.with_suffix(".log")
        source = str(Path(__file__).parents[2])
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603  the user's own Python
                [python, "-m", f"headwater.bench.{_module(side)}", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(source, ours=side.startswith("headwater")),
            )
        try:
            self.versions: dict[str, str] = self._read()["versions"]
        except BaseException:
            self.stop()
            raise

    def round(self) -> dict[str, Any]:
        """One round, and what was measured of it."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # its end is told by the answer that does not come
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            last = " | ".join(self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
            raise InputError(f"bench: {self.name} ended with {self._process.returncode}: {last}")
        measured: dict[str, Any] = json.loads(line)
        return measured

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _module(side: str) -> str:
    modules = {"headwater": "side", "trl": "peer_trl", "transformers": "peer_generate", "vllm": "peer_generate"}
    return modules[side.split(" ", maxsplit=1)[0]]


def _environment(source: str, *, ours: bool) -> dict[str, str]:
    """One thread, no network, no compile workers beside the one that is measured; ours as `headwater run` starts it."""
    return {
        **os.environ,
        **(environment(os.environ) if ours else {}),
        "PYTHONPATH": source,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


def run_case(case: Case, options: Options, tuned: dict[str, Any]) -> dict[str, Any]:
    """Measure a case; `tuned` maps a side to what its sweep found, and is filled where it was empty."""
    sides = options.sides(case)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        directory = Path(name)
        job = {**write_inputs(case, directory), "core": options.core, "micro": None}
        measured: dict[str, Any] = {}
        for side in sides:
            if case.batch is not None and case.work != "generation" and side not in tuned:
                tuned[side] = _sweep(case, side, job, options, directory)
        for group in _together(case, sides):
            jobs = {side: {**job, "micro": best_micro(tuned.get(side))} for side in group}
            measured |= _in_turn(case, jobs, options, directory)
    return {"sides": {side: measured[side] for side in sides}, "load": os.getloadavg()[0]}


def _sweep(case: Case, side: str, job: dict[str, Any], options: Options, directory: Path) -> dict[str, float]:
    """Seconds of a step at each micro-batch, from the largest down until two in a row are slower than the best.

    For a large model one slower micro-batch ends the sweep, and one step measures each.
    """
    assert case.batch is not None  # noqa: S101  the caller looked
    large = SHAPES[case.shape].parameters > LARGE
    seconds: dict[str, float] = {}
    for micro in micro_batches(side, case.batch):
        with _alive({side: {**job, "micro": micro}}, options, directory) as (living,):
            living.round()
            seconds[str(micro)] = min(living.round()["seconds"] for _ in range(1 if large else 2))
        options.say(f"{case.name}: {side} at micro-batch {micro}: {seconds[str(micro)]:.3f} s")
        patience = 1 if large else 2
        last = list(seconds.values())
        if len(last) > patience and min(last[-patience:]) > TIE * min(last):
            break
    return seconds


def best_micro(swept: dict[str, float] | None) -> int | None:
    """The smallest of those that tie with the fastest; None where nothing was swept."""
    if not swept:
        return None
    fastest = min(swept.values())
    return min(int(micro) for micro, seconds in swept.items() if seconds <= TIE * fastest)


def _in_turn(case: Case, jobs: dict[str, Any], options: Options, directory: Path) -> dict[str, Any]:
    """Rounds of every side in turn, after one of each that does not count."""
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in jobs}
    with _alive(jobs, options, directory) as living:
        for number in range(min(options.repeat, case.repeat or options.repeat) + 1):
            for side in living:
                done = side.round()
                if number:
                    rounds[side.name].append(done)
                    options.say(f"{case.name}: {side.name}: round {number}: {done['seconds']:.3f} s")
        return {
            side.name: {"micro": jobs[side.name]["micro"], "versions": side.versions, "rounds": rounds[side.name]}
            for side in living
        }


@contextlib.contextmanager
def _alive(jobs: dict[str, Any], options: Options, directory: Path) -> Iterator[list[Side]]:
    pythons = {"headwater": sys.executable, "transformers": sys.executable, **options.pythons}
    with contextlib.ExitStack() as stack:
        living = []
        for name, job in jobs.items():
            living.append(Side(name, job, pythons[name.split(" ")[0]], directory))
            stack.callback(living[-1].stop)
        yield living


def _together(case: Case, sides: Sequence[str]) -> list[list[str]]:
    """Which sides live at the same time: all, or for a large model those which a bar compares."""
    if case.shape not in SHAPES or SHAPES[case.shape].parameters < LARGE:
        return [list(sides)]
    groups = [{side} for side in sides]
    for bar in case.bars:
        joined = [group for group in groups if group & {bar.ours, *bar.theirs}]
        groups = [group for group in groups if group not in joined]
        groups.append(set().union(*joined))
    return [[side for side in sides if side in group] for group in groups if group]
