"""Runs a case: every side in a process of its own, warmed up, then round by round in turn.

Ours, theirs, ours, theirs: whatever else the machine does falls on all sides alike. Each side works with the
micro-batch that a small sweep found best for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cases import Case
from headwater.bench.inputs import write_inputs
from headwater.bench.living import OURS, Side
from headwater.bench.shapes import SHAPES, Batch
from headwater.engines.settings import MICRO_BATCH

CACHED = 4096
TIE = 1.1
"""Of micro-batches whose times differ by less, the smallest is best: it takes the least memory. Rounds of one and the
same side differ by as much on a machine that others use too."""
HERE = Path(__file__).parents[1]
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


def _module(side: str, work: str) -> str:
    if work == "kl" and not side.startswith("headwater"):
        return "bench.peer_kernel"
    modules = {
        "headwater": OURS,
        "trl": "bench.peer_trl",
        "transformers": "bench.peer_generate",
        "vllm": "bench.peer_generate",
    }
    return modules[side.split(" ", maxsplit=1)[0]]


def run_case(case: Case, options: Options, tuned: dict[str, Any]) -> dict[str, Any]:
    """Measure a case; `tuned` maps a side to what its sweep found, and is filled where it was empty."""
    sides = options.sides(case)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        directory = Path(name)
        job = {**write_inputs(case.work, directory), "core": options.core, "micro": None}
        measured: dict[str, Any] = {}
        for side in sides:
            if case.work.batch is not None and case.work.kind != "generation" and side not in tuned:
                tuned[side] = _sweep(case, side, job, options, directory)
        for group in _together(case, sides):
            jobs = {side: {**job, "micro": best_micro(tuned.get(side))} for side in group}
            measured |= _in_turn(case, jobs, options, directory)
    return {"sides": {side: measured[side] for side in sides}, "load": os.getloadavg()[0]}


def _sweep(case: Case, side: str, job: dict[str, Any], options: Options, directory: Path) -> dict[str, float]:
    """Seconds of a step at each micro-batch, from the largest down until two in a row are slower than the best.

    For a large model one slower micro-batch ends the sweep, and one step measures each.
    """
    assert case.work.batch is not None
    large = SHAPES[case.work.shape].parameters > LARGE
    seconds: dict[str, float] = {}
    for micro in micro_batches(side, case.work.batch):
        with _alive({side: {**job, "micro": micro}}, options, directory) as (living,):
            living.round()
            seconds[str(micro)] = min(living.round()["seconds"] for _ in range(1 if large else 2))
        options.say(f"{case.name}: {side} at micro-batch {micro}: {seconds[str(micro)]:.3f} s")
        patience = 1 if large else 2
        last = list(seconds.values())
        if len(last) > patience and min(last[-patience:]) > TIE * min(last):
            break
    return seconds


def micro_batches(side: str, batch: Batch) -> tuple[int, ...]:
    """What a side's sweep may choose from, largest first: rows of one pass for a peer, padded tokens for headwater.

    headwater's begin at CACHED tokens, above which it was slower at every shape, and its default is among them.
    """
    rows = [batch.rows // 2**k for k in range(9) if batch.rows % 2**k == 0]
    if not side.startswith("headwater"):
        return tuple(row for row in rows if row)
    tokens = {row * batch.length for row in rows if row}
    tokens |= {MICRO_BATCH["cpu"]} if max(tokens) > MICRO_BATCH["cpu"] else set()
    return tuple(size for size in sorted(tokens, reverse=True) if size <= CACHED) or (min(tokens),)


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
            living.append(
                Side(name, job, pythons[name.split(" ")[0]], directory, module=_module(name, job["work"]), home=HERE)
            )
            stack.callback(living[-1].stop)
        yield living


def _together(case: Case, sides: Sequence[str]) -> list[list[str]]:
    """Which sides live at the same time: all, or for a large model those which a bar compares."""
    if case.work.shape not in SHAPES or SHAPES[case.work.shape].parameters < LARGE:
        return [list(sides)]
    groups = [{side} for side in sides]
    for bar in case.bars:
        joined = [group for group in groups if group & {bar.ours, *bar.theirs}]
        groups = [group for group in groups if group not in joined]
        groups.append(set().union(*joined))
    return [[side for side in sides if side in group] for group in groups if group]
