"""`headwater bench`: its options. Heavy imports happen inside, so that --help comes at once."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def bench(
    *works: str,
    shape: Annotated[str, Parameter(help="tiny, lab, a, b, c, qwen3-1.7b, or the sizes of a kernel")] = "a",
    precision: Annotated[Literal["float32", "bfloat16"] | None, Parameter(help="not given: both")] = None,
    micro_batch_tokens: Annotated[int | None, Parameter(help="tokens of one pass; not given: the engine's own")] = None,
    repeat: Annotated[int, Parameter(help="rounds that count, after one that does not")] = 5,
) -> None:
    """Measure time and memory of steps on random weights, on this machine.

    Works: grpo, grpo-ragged, opd, forward-kl, kl, generation. Times are CPU seconds of one thread. How this compares
    with other trainers stands in docs/benchmarks.md, measured by `python -m bench` of the source.

    Example: headwater bench grpo opd --shape a
    """
    from headwater.bench.command import measure  # noqa: PLC0415

    measure(works, shape, precision, micro_batch_tokens, repeat)
