"""`headwater bench`: its options. Heavy imports happen inside, so that --help comes at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from headwater.errors import InputError


def bench(
    *works: str,
    every: Annotated[bool, Parameter(name="--all", help="every work")] = False,
    shape: Annotated[str | None, Parameter(help="tiny, lab, a, b, c, qwen3-1.7b, or the sizes of a kernel")] = None,
    precision: Annotated[Literal["float32", "bfloat16"] | None, Parameter(help="headwater's; not given: both")] = None,
    repeat: Annotated[int, Parameter(help="rounds that count, after one that does not")] = 5,
    against: Annotated[list[str] | None, Parameter(help="a peer: trl, transformers, vllm")] = None,
    peer_python: Annotated[list[str] | None, Parameter(help="PEER=PYTHON, the Python of a peer's environment")] = None,
    core: Annotated[int | None, Parameter(help="CPU core that every side is pinned to")] = None,
    file: Annotated[Path | None, Parameter(name="--json", help="raw rounds; what it holds is not run again")] = None,
    page: Annotated[Path | None, Parameter(help="make this page of the file, and measure nothing")] = None,
    redo: bool = False,
) -> None:
    """Measure time and memory of steps on random weights, alone or in turn with a peer on the same work.

    Works: grpo, grpo-ragged, opd, forward-kl, kl, generation. Times are CPU seconds of one thread.

    Example: headwater bench grpo --shape a
    Example: headwater bench --all --against trl --peer-python trl=trl-env/bin/python --json bench.json
    """
    from headwater.bench.command import chosen_cases, make_page, measure, peers  # noqa: PLC0415
    from headwater.bench.compare import Options  # noqa: PLC0415

    if page is not None:
        make_page(file, page)
        return
    if not works and not every:
        raise InputError("bench: name a work (grpo, grpo-ragged, opd, forward-kl, kl, generation), or --all")
    options = Options(
        pythons=peers(against or [], peer_python or []),
        precision=precision,
        repeat=repeat,
        core=core,
        say=lambda text: print(text, file=sys.stderr),
    )
    measure(chosen_cases(works, shape), options, file, Console(), redo=redo)
