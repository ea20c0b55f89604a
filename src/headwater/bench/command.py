"""`headwater bench`: chooses the cases, runs what the file does not hold yet, and prints what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headwater.bench.cases import WORKS, Case, choose
from headwater.bench.compare import Options, run_case
from headwater.bench.floor import probe
from headwater.bench.page import write_page
from headwater.bench.results import (
    code,
    figures,
    floor_seconds,
    new_document,
    ratios,
    read_document,
    write_document,
)
from headwater.bench.shapes import KERNELS, SHAPES
from headwater.errors import InputError


def chosen_cases(works: Sequence[str], shape: str | None) -> list[Case]:
    """The cases asked for. Raises InputError for a work or shape that is not there."""
    unknown = [work for work in works if work not in WORKS]
    if unknown:
        raise InputError(f"bench: no work {unknown[0]!r}; there are {', '.join(WORKS)}")
    if shape not in (None, *SHAPES, *KERNELS):
        raise InputError(f"bench: no shape {shape!r}; there are {', '.join([*SHAPES, *KERNELS])}")
    cases = choose(tuple(works), shape)
    if not cases:
        raise InputError(f"bench: {', '.join(works)} has no shape {shape}")
    return cases


def peers(names: Sequence[str], pythons: Sequence[str]) -> dict[str, str]:
    """Each peer's Python: this one, or what PEER=PYTHON says."""
    known = ("trl", "transformers", "vllm")
    chosen = dict.fromkeys(names, sys.executable)
    for entry in pythons:
        peer, equals, python = entry.partition("=")
        if not equals or not Path(python).is_file():
            raise InputError(f"bench: --peer-python {entry!r}: give PEER=PYTHON, such as trl=/path/to/venv/bin/python")
        chosen[peer] = str(Path(python).absolute())
    unknown = [peer for peer in chosen if peer not in known]
    if unknown:
        raise InputError(f"bench: no peer {unknown[0]!r}; there are {', '.join(known)}")
    return chosen


def measure(cases: Sequence[Case], options: Options, file: Path | None, console: Console, *, redo: bool) -> None:
    """Measure the cases, writing the file after each; a case that the file holds already is only printed.

    A case is measured again when headwater's engine changed since, when sides are asked for that it lacks, or with
    `redo`.
    """
    kept = file is not None and file.exists()
    document = read_document(file) if kept and file is not None else new_document(probe())
    for case in cases:
        entry = document["cases"].get(case.name)
        if redo or entry is None or not _covers(entry, options.sides(case)):
            entry = run_case(case, options, document["tuned"].setdefault(case.name, {}))
            document["cases"][case.name] = {**entry, "code": code()}
            if file is not None:
                write_document(file, document)
        show(case, document, console)


def make_page(file: Path | None, page: Path) -> None:
    """Write the page of a file of raw rounds."""
    if file is None:
        raise InputError("bench: --page needs the file that it is made from; add --json FILE")
    write_page(read_document(file), file, page)
    print(f"wrote {page}")


def _covers(entry: dict[str, Any], sides: Sequence[str]) -> bool:
    return entry["code"] == code() and set(sides) <= set(entry["sides"])


def show(case: Case, document: dict[str, Any], console: Console) -> None:
    """One case's sides and ratios."""
    entry = document["cases"][case.name]
    table = Table(title=case.name)
    for column in ("side", "micro", "s", "tokens/s", "generate", "score", "update", "padding", "MB", "floor"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for figure in figures(case, entry):
        parts = [
            f"{figure.parts[name]:.3f}" if name in figure.parts else "-" for name in ("generate", "score", "update")
        ]
        floor = floor_seconds(case, figure.side, document["peak"])
        own = figure.side.startswith("headwater")
        table.add_row(
            figure.side,
            str(figure.micro or "-"),
            f"{figure.seconds:.3f}",
            f"{figure.rate:,.0f}",
            *parts,
            f"{figure.padding:.1%}" if own else "-",
            f"{figure.peak / 2**20:,.0f}",
            f"{floor:.3f}" if own else "-",
        )
    console.print(table)
    for ratio in ratios(case, entry):
        console.print(
            f"{ratio.ours} / {ratio.theirs}: {ratio.time:.2f} x faster ({ratio.least:.2f} to {ratio.most:.2f}; bar "
            f"{ratio.bar.time:g}), {ratio.memory:.2f} x less memory (bar {ratio.bar.memory:g})"
            f"{'' if ratio.reached else ': NOT REACHED'}"
        )
