"""The arithmetic floor of a step: its operations at the speed of this machine's best matrix product.

Counted are the products of the weights, attention and the head; a prompt is read once for its whole group.
Elementwise work, memory traffic and the optimiser are left out, so nothing can reach the floor; it says how much
of a step is arithmetic that no engine can avoid.
"""

from __future__ import annotations

import statistics
import time

import torch

from headwater.bench.shapes import KERNELS, SHAPES, Batch, Shape
from headwater.bench.work import Work
from headwater.engines.cpu.products import exact_or_default, on_onednn

PASSES = {"update": 3}
"""A backward pass is two forward passes' worth of products."""


def step_operations(work: str, student: Shape, teacher: Shape, batch: Batch) -> dict[str, int]:
    """Floating-point operations of one step by part: generate, score, update; full-length responses."""
    parts: dict[str, int] = {}
    if work in ("grpo", "grpo-ragged", "opd", "generation"):
        parts["generate"] = _generate(student, batch)
    if work == "opd":
        parts["score"] = _whole(teacher, batch)
    if work != "generation":
        parts["update"] = PASSES["update"] * _whole(student, batch)
    return parts


def floor_seconds(work: Work, precision: str, peak: dict[str, float]) -> float:
    """Seconds that the round's arithmetic alone takes at this machine's best matrix product."""
    if work.batch is None:
        operations = KERNELS[work.shape].operations
    else:
        operations = sum(step_operations(work.kind, SHAPES[work.shape], SHAPES[work.teacher], work.batch).values())
    return operations / (peak[precision] * 1e9)


def _generate(shape: Shape, batch: Batch) -> int:
    """Each prompt once, then every response token but the last by itself."""
    prompts = batch.prompts * batch.prompt_tokens
    read = batch.prompts * batch.prompt_tokens * (batch.prompt_tokens + 1) // 2
    steps = range(batch.prompt_tokens + 1, batch.length)
    written = batch.rows * len(steps)
    return shape.forward(prompts + written, read + batch.rows * sum(steps), batch.rows * batch.response_tokens)


def _whole(shape: Shape, batch: Batch) -> int:
    """Every prompt with its response through the model, logits at the response alone."""
    attended = batch.rows * batch.length * (batch.length + 1) // 2
    return shape.forward(batch.rows * batch.length, attended, batch.rows * batch.response_tokens)


def probe(seconds: float = 0.3) -> dict[str, float]:
    """GFLOP/s of a square matrix product here, by precision; float32 by the library's default and by oneDNN."""
    if torch.cuda.is_available():
        return {name: _product_gpu(dtype) for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
    measured = {"float32 default": _product(torch.float32, seconds), "bfloat16": _product(torch.bfloat16, seconds)}
    measured["float32"] = measured["float32 default"]
    if exact_or_default("onednn") == "onednn":  # where its products are float32, and not bfloat16 under that name
        measured["float32 oneDNN"] = on_onednn(lambda: _product(torch.float32, seconds))
        measured["float32"] = max(measured["float32"], measured["float32 oneDNN"])
    return measured


@torch.no_grad()
def _product(dtype: torch.dtype, seconds: float, size: int = 1024) -> float:
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.nn.functional.linear(left, right)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.process_time()
        torch.nn.functional.linear(left, right)
        times.append(time.process_time() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


@torch.no_grad()
def _product_gpu(dtype: torch.dtype, size: int = 8192) -> float:
    left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    times = []
    for _ in range(6):
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[1:]) / 1e9
