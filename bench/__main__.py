"""headwater beside its peers: time and memory of the same work, side by side, round by round.

    python -m bench --all --against trl --peer-python trl=trl-env/bin/python --json bench.json
    python -m bench --page docs/benchmarks.md --json bench.json

Chooses the cases, runs what the file does not hold yet, and prints what came of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from bench.cases import WORKS, Case, choose
from bench.compare import Options, run_case
from bench.page import write_page
from bench.results import code, figures, new_document, ratios, read_document, write_document
from headwater.bench.floor import floor_seconds, probe
from headwater.errors import HeadwaterError, InputError

PEERS = ("trl", "liger", "transformers", "vllm")
app = App(name="bench", help=__doc__)


@app.default
def bench(
    *works: str,
    every: Annotated[bool, Parameter(name="--all", help="every work")] = False,
    shape: Annotated[str | None, Parameter(help="tiny, lab, a, b, c, qwen3-1.7b, or the sizes of a kernel")] = None,
    precision: Annotated[Literal["float32", "bfloat16"] | None, Parameter(help="headwater's; not given: both")] = None,
    repeat: Annotated[int, Parameter(help="rounds that count, after one that does not")] = 5,
    against: Annotated[list[str] | None, Parameter(help="a peer: trl, liger, transformers, vllm")] = None,
    peer_python: Annotated[list[str] | None, Parameter(help="PEER=PYTHON, the Python of a peer's environment")] = None,
    core: Annotated[int | None, Parameter(help="CPU core that every side is pinned to")] = None,
    file: Annotated[Path | None, Parameter(name="--json", help="raw rounds; what it holds is not run again")] = None,
    page: Annotated[Path | None, Parameter(help="make this page of the file, and measure nothing")] = None,
    redo: bool = False,
) -> None:
    """Measure time and memory of steps on random weights in turn with peers on the same work.

    Works: grpo, grpo-ragged, opd, forward-kl, kl, generation. Times are CPU seconds of one thread.
    """
    if page is not None:
        make_page(file, page)
        return
    if not works and not every:
        raise InputError(f"bench: name a work ({', '.join(WORKS)}), or --all")
    options = Options(
        pythons=peers(against or [], peer_python or []),
        precision=precision,
        repeat=repeat,
        core=core,
        say=lambda text: print(text, file=sys.stderr),
    )
    measure(choose(tuple(works), shape), options, file, Console(), redo=redo)


def peers(names: Sequence[str], pythons: Sequence[str]) -> dict[str, str]:
    """Each peer's Python: this one, or what PEER=PYTHON says."""
    chosen = dict.fromkeys(names, sys.executable)
    for entry in pythons:
        peer, equals, python = entry.partition("=")
        if not equals or not Path(python).is_file():
            raise InputError(f"bench: --peer-python {entry!r}: give PEER=PYTHON, such as trl=/path/to/venv/bin/python")
        chosen[peer] = str(Path(python).absolute())
    unknown = [peer for peer in chosen if peer not in PEERS]
    if unknown:
        raise InputError(f"bench: no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
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
        own = figure.side.startswith("headwater")
        floor = floor_seconds(case.work, figure.side.split(" ")[1], document["peak"]) if own else 0.0
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


if __name__ == "__main__":
    try:
        app()
    except HeadwaterError as error:
        print(f"headwater: {error}", file=sys.stderr)
        sys.exit(2)
