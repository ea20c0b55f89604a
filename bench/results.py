"""The file that a comparison leaves: raw rounds, and what follows from them (medians, ratios, bars)."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import headwater
from bench.cases import Bar, Case
from headwater.engines.cpu import processor
from headwater.errors import InputError
from headwater.fingerprint import fingerprint
from headwater.folder import write_json

SCHEMA = 1
MEASURED = ("batch.py", "cache.py", "engines", "models", "samplers", "signals")
"""What a measurement of ours depends on: when it changes, a case is measured again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What one side's rounds come to; medians over the rounds."""

    side: str
    micro: int | None
    seconds: float
    """CPU seconds a round"""
    tokens: float
    """response tokens a round"""
    parts: dict[str, float]
    """CPU seconds of generate, score, update"""
    padding: float
    peak: int
    """bytes above imports and weights"""
    whole: int
    """bytes resident at the peak, all included"""

    @property
    def rate(self) -> float:
        """Response tokens a CPU second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A side of ours against the fastest of some peers: how many times faster, and how many times less memory."""

    ours: str
    theirs: str
    time: float
    least: float
    """the lowest and the highest ratio of two rounds in turn"""
    most: float
    memory: float
    bar: Bar

    @property
    def reached(self) -> bool:
        """Whether both bars are."""
        return self.time >= self.bar.time and self.memory >= self.bar.memory


def figures(case: Case, entry: dict[str, Any]) -> list[Figures]:
    """Each side's medians, in the case's order."""
    return [_figures(side, entry["sides"][side]) for side in case.sides if side in entry["sides"]]


def _figures(side: str, measured: dict[str, Any]) -> Figures:
    rounds = measured["rounds"]
    names = dict.fromkeys(name for done in rounds for name in done["parts"])
    return Figures(
        side=side,
        micro=measured["micro"],
        seconds=statistics.median(done["seconds"] for done in rounds),
        tokens=statistics.median(done["tokens"] for done in rounds),
        parts={name: statistics.median(done["parts"].get(name, 0.0) for done in rounds) for name in names},
        padding=statistics.median(done.get("padding", 0.0) for done in rounds),
        peak=max(done["memory"]["peak"] - done["memory"]["base"] for done in rounds),
        whole=max(done["memory"]["peak"] for done in rounds),
    )


def ratios(case: Case, entry: dict[str, Any]) -> list[Ratio]:
    """What the case's bars ask for, as far as both sides were measured."""
    by_side = {figure.side: figure for figure in figures(case, entry)}
    found = []
    for bar in case.bars:
        theirs = [by_side[side] for side in bar.theirs if side in by_side]
        if bar.ours in by_side and theirs:
            fastest = max(theirs, key=lambda figure: figure.rate)
            found.append(_ratio(by_side[bar.ours], fastest, entry, bar))
    return found


def _ratio(ours: Figures, theirs: Figures, entry: dict[str, Any], bar: Bar) -> Ratio:
    """Per token, because ragged rounds differ a little in length."""
    rates = [
        [done["tokens"] / done["seconds"] for done in entry["sides"][side]["rounds"]]
        for side in (ours.side, theirs.side)
    ]
    paired = [own / their for own, their in zip(*rates, strict=True)]
    return Ratio(
        ours=ours.side,
        theirs=theirs.side,
        time=ours.rate / theirs.rate,
        least=min(paired),
        most=max(paired),
        memory=theirs.peak / max(ours.peak, 1),
        bar=bar,
    )


def new_document(peak: dict[str, float]) -> dict[str, Any]:
    """A file with no case in it yet."""
    return {"schema": SCHEMA, "machine": machine(), "peak": peak, "tuned": {}, "cases": {}}


def read_document(path: Path) -> dict[str, Any]:
    """What `write_document` wrote. Raises InputError for a file of another kind."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"bench: {path} cannot be read as JSON ({error}); give another file") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"bench: {path} is no file of schema {SCHEMA} of `python -m bench --json`; give another one")
    return document


def write_document(path: Path, document: dict[str, Any]) -> None:
    """As a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "cpu": str(processor.here()),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def code() -> str:
    """Hash of the source that the figures were made with."""
    package = Path(headwater.__file__).parent
    files = [path for name in MEASURED for path in _python_files(package / name)]
    return fingerprint({path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in files})


def _python_files(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))
