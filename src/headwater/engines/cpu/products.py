"""Which library multiplies float32 matrices on a CPU: a rule names it, and its exactness is measured before it is used.

PyTorch sends such products to MKL, which takes a slow path on AMD's processors; oneDNN, which PyTorch carries too, is
twice as fast there and as exact. The switch that chooses oneDNN allows it bfloat16 products, and on some processors
(Intel's with AMX) it makes them: a thousand times coarser. So the rule asks for vendor and instructions and never for a
clock, and no process takes oneDNN before it has seen there that its products are float32, whatever a run recorded
elsewhere. The switch also slows other kernels, so it is thrown around each product alone and put back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.engines.cpu import processor
from headwater.engines.cpu.processor import Processor
from headwater.errors import ResourceError

T = TypeVar("T")
Library = Literal["default", "onednn"]

ERROR = 1e-6
"""Largest relative error of a product that still counts as float32."""
TINY = 2**15
"""Weights of a network's largest matrix below which it counts as tiny; the lab's teacher has 24,576."""
SLICE = 2**22
"""Numbers in a slice of a product that is raised to a higher precision."""

_kept: list[Library] = []
"""The library that this process was told to keep to, if it was; the one setting here, made before any product."""


def is_tiny(hidden: int, inner: int) -> bool:
    """Whether a network of such widths (of its states, of its feed-forward layers) counts as tiny."""
    return hidden * inner < TINY


def rule(here: Processor, *, tiny: bool) -> Library:
    """The library that fits a processor and the networks of a run.

    Tiny networks keep PyTorch's own: oneDNN makes a kernel for each new size of a batch, which takes longer than a
    small product, and a lot of memory.
    """
    fast = here.vendor == "AuthenticAMD" and "avx512f" in here.flags
    return "onednn" if fast and not tiny and torch.backends.mkldnn.is_available() else "default"


def exact_or_default(library: Library) -> Library:
    """This library where its products are float32 here, else PyTorch's own choice, which they always are."""
    return library if library == "default" or error_here() <= ERROR else "default"


def fitting(*, tiny: bool) -> Library:
    """What the rule names for this processor, where it is exact."""
    return exact_or_default(rule(processor.here(), tiny=tiny))


def keep(library: Library) -> None:
    """Use this library in this process. Raises ResourceError where its products are not float32."""
    if exact_or_default(library) != library:
        raise ResourceError(
            f"engine: float32 products by {library} have an error of {error_here():.1e} on this processor "
            f"({processor.here()}), allowed {ERROR:.0e}; run the same command again, which takes an exact library"
        )
    _kept[:] = [library]


def library() -> Library:
    """Which library float32 products take in this process."""
    return _kept[0] if _kept else _by_rule()


@cache
def _by_rule() -> Library:
    return fitting(tiny=False)


@cache
def error_here() -> float:
    """The largest relative error of oneDNN's products here: plain, turned, batched and added, large and small."""
    draw = torch.Generator().manual_seed(0)
    worst = 0.0
    for rows, inner, columns in ((384, 256, 256), (130, 64, 33), (7, 16, 48)):
        a, b = torch.randn((rows, inner), generator=draw), torch.randn((inner, columns), generator=draw)
        exact = a.double() @ b.double()
        turned = b.t().contiguous().t()
        for made in (
            on_onednn(torch.mm, a, b),
            on_onednn(torch.mm, a, turned),
            on_onednn(torch.nn.functional.linear, a, turned.t()),
            on_onednn(torch.bmm, a[None], b[None])[0],
            on_onednn(torch.addmm, torch.zeros(rows, columns), a, b),
        ):
            worst = max(worst, float((made - exact).norm() / exact.norm()))
    return worst


def on_onednn(product: Callable[..., T], *operands: Tensor | None) -> T:
    """The product with the switch thrown; nothing else sees it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return product(*operands)
    finally:
        torch.set_float32_matmul_precision(before)


def routed(tensor: Tensor) -> bool:
    """Whether products of such tensors take another library than PyTorch's choice."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and library() == "onednn"


def product(a: Float[Tensor, "rows inner"], b: Float[Tensor, "inner columns"]) -> Float[Tensor, "rows columns"]:
    """a @ b without gradients; float32 matrices on a CPU take the library that was chosen."""
    return on_onednn(torch.mm, a, b) if routed(a) else torch.mm(a, b)


def chosen_products(products: Callable[[], T]) -> T:
    """Run these matrix products, and nothing else, on the library that was chosen."""
    return on_onednn(products) if library() == "onednn" else products()


@torch.no_grad()
def product_into(
    out: Float[Tensor, "rows columns"],
    a: Float[Tensor, "rows inner"],
    b: Float[Tensor, "inner columns"],
    *,
    add: bool = False,
) -> None:
    """Write a @ b into `out`, or add it, without a temporary of its size.

    Operands of a lower precision than `out` are multiplied as they are and their product raised, a slice of
    `out` at a time along its longer side.
    """
    if a.dtype != out.dtype:
        rows, columns = out.shape
        step = max(1, SLICE // min(rows, columns))
        for start in range(0, max(rows, columns), step):
            piece = slice(start, start + step)
            where, left, right = (out[piece], a[piece], b) if rows > columns else (out[:, piece], a, b[:, piece])
            made = torch.mm(left, right)
            where.add_(made) if add else where.copy_(made)
        return
    run = functools.partial(torch.Tensor.addmm_, out) if add else functools.partial(torch.mm, out=out)
    if routed(out):
        on_onednn(run, a, b)
    else:
        run(a, b)
