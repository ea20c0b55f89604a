"""`headwater bench`: our own side of each work that is asked for, round by round, as a table."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headwater.bench.floor import floor_seconds, probe
from headwater.bench.inputs import write_inputs
from headwater.bench.living import Side
from headwater.bench.work import Work, on_shape
from headwater.errors import InputError

PARTS = ("generate", "score", "update")


def measure(works: Sequence[str], shape: str, precision: str | None, micro: int | None, repeat: int) -> None:
    """Print a table a work, a row a precision. Raises InputError for a work or a shape that is not there."""
    if not works:
        raise InputError("bench: name a work, such as grpo, opd or generation (headwater bench --help lists them)")
    chosen = [on_shape(work, shape) for work in works]
    peak, console = probe(), Console()
    for work in chosen:
        table = Table(title=work.name)
        for column in ("precision", "s", "tokens/s", *PARTS, "MB", "floor s"):
            table.add_column(column, justify="left" if column == "precision" else "right", no_wrap=True)
        precisions = ("float32",) if work.kind == "kl" else ("float32", "bfloat16")
        for name in precisions if precision is None else (precision,):
            rounds = _rounds(work, name, micro, repeat)
            table.add_row(name, *_figures(rounds), f"{floor_seconds(work, name, peak):.3f}")
        console.print(table)


def _rounds(work: Work, precision: str, micro: int | None, repeat: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        job = {**write_inputs(work, Path(name)), "core": None, "micro": micro}
        side = Side(f"headwater {precision}", job, sys.executable, Path(name))
        try:
            return [side.round() for _ in range(repeat + 1)][1:]
        finally:
            side.stop()


def _figures(rounds: Sequence[dict[str, Any]]) -> list[str]:
    """Medians over the rounds, and the highest peak of memory above imports and weights."""
    seconds = statistics.median(done["seconds"] for done in rounds)
    tokens = statistics.median(done["tokens"] for done in rounds)
    parts = [statistics.median(done["parts"].get(part, 0.0) for done in rounds) for part in PARTS]
    memory = max(done["memory"]["peak"] - done["memory"]["base"] for done in rounds)
    return [
        f"{seconds:.3f}",
        f"{tokens / seconds:,.0f}",
        *(f"{part:.3f}" for part in parts),
        f"{memory / 2**20:,.0f}",
    ]
