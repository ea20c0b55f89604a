"""Linear layers on the fast matrix product of this machine, forwards and backwards.

PyTorch sends float32 products on a CPU to one library (MKL); on some machines another that it also carries
(oneDNN) is twice as fast and as exact. Which holds here is probed once a process, on speed and on error. The
switch that chooses it also slows other kernels, so it is thrown around each product alone and put back.

With precision "bfloat16" inputs and weights are rounded to bfloat16 for the product, which sums in float32;
parameters, their gradients, and everything between the linear layers stay float32. A weight is rounded when it is
used. `Copies` rounds it once for many uses, and lives for one piece of work within which no weight changes: nothing
rounded outlives an update, whatever a tensor's version or address say (fused AdamW raises no version).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, TypeVar, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from headwater.engines.plain import TakenOver

T = TypeVar("T")
Precision = Literal["float32", "bfloat16"]

MARGIN = 1.3
"""How many times faster the other library must be: ties keep PyTorch's choice, so that a probe repeats itself."""
SLICE = 2**22
"""Numbers in a slice of a product that is raised to a higher precision."""
ERROR = 1e-6
"""Largest relative error of a product that still counts as float32."""
SIZES = 16
"""Numbers of rows that products are rounded up to, in each doubling: at most 1/16 of the rows are padding."""


class Copies:
    """bfloat16 copies of weights and of what several layers are given, for as long as no weight changes."""

    def __init__(self) -> None:
        self._made = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor in bfloat16."""
        version, made = self._made.get(tensor, (-1, None))
        if version != tensor._version:  # an input that was changed in place
            version, made = self._made[tensor] = tensor._version, tensor.detach().bfloat16()
        return cast(Tensor, made)


def rounded(tensor: Tensor, copies: Copies | None = None) -> Tensor:
    """The tensor in bfloat16: one of these copies, or rounded now."""
    return tensor.detach().bfloat16() if copies is None else copies.of(tensor)


def linear(
    x: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
    *,
    precision: Precision = "float32",
    copies: Copies | None = None,
) -> Float[Tensor, "*batch outputs"]:
    """x @ weight.T + bias, as `torch.nn.functional.linear`, with gradients to all three.

    float32 tensors on a CPU take the fast product; other dtypes and devices take PyTorch's own. "bfloat16"
    rounds float32 tensors for the product alone, to these copies where there are any; the result is float32.
    """
    if weight.dtype != torch.float32 or x.dtype != torch.float32:
        return nn.functional.linear(x, weight, bias)
    if precision == "bfloat16":
        short = rounded(x, copies), rounded(weight, copies)
        return _Bfloat16Linear.apply(x, weight, bias, *short) if torch.is_grad_enabled() else _short(*short, bias)
    if not _routed(weight):
        return nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _OneDnnLinear.apply(x, weight, bias)
    return _onednn(nn.functional.linear, x, weight, bias)


class FastLinear(TakenOver, nn.Linear):
    """A linear layer that a network already had, computing through `linear`; its parameters are as they were."""

    original = nn.Linear
    precision: Precision = "float32"
    copies: Copies | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output."""
        return linear(input, self.weight, self.bias, precision=self.precision, copies=self.copies)


@contextmanager
def shared_copies(network: nn.Module) -> Iterator[Copies]:
    """The network's layers round each weight once in here. No weight may change in here; nothing is kept after."""
    copies = Copies()
    layers = [module for module in network.modules() if isinstance(module, FastLinear)]
    try:
        for layer in layers:
            layer.copies = copies
        yield copies
    finally:
        for layer in layers:
            layer.copies = None


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
    if _routed(out):
        _onednn(run, a, b)
    else:
        run(a, b)


def round_up(rows: int) -> int:
    """The next number of rows that products are made with.

    The libraries make and keep a kernel for each number of rows that they meet. Rows of text are never twice
    as many; a few sizes that come again are faster, and need a fraction of the memory.
    """
    step = max(1, 2 ** (rows.bit_length() - 1) // SIZES) if rows else 1
    return -(-rows // step) * step


def take_over(network: nn.Module, precision: Precision) -> None:
    """Make every plain linear layer of the network a FastLinear, in place: names and parameters do not change."""
    for module in network.modules():
        if type(module) in (nn.Linear, FastLinear):
            module.__class__ = FastLinear
            cast(FastLinear, module).precision = precision


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        return _onednn(nn.functional.linear, x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _onednn(torch.mm, rows, weight).view(x.shape)
        if ctx.needs_input_grad[1]:
            to_weight = _onednn(torch.mm, rows.t(), x.reshape(-1, x.shape[-1]))
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias


class _Bfloat16Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, short, short_weight):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(short, short_weight)
        return _short(short, short_weight, bias)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        short = rows.bfloat16()
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(short, weight).float().view(x.shape)
        if ctx.needs_input_grad[1]:
            to_weight = torch.mm(short.t(), x.reshape(-1, x.shape[-1])).float()
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias, None, None


def _short(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = nn.functional.linear(x, weight).float()
    return y if bias is None else y.add_(bias)


def product(a: Float[Tensor, "rows inner"], b: Float[Tensor, "inner columns"]) -> Float[Tensor, "rows columns"]:
    """a @ b without gradients; float32 matrices on a CPU take the fast library."""
    return _onednn(torch.mm, a, b) if _routed(a) else torch.mm(a, b)


def _routed(tensor: Tensor) -> bool:
    """Whether products of such tensors take another library than PyTorch's choice."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and library() == "onednn"


def fast_products(products: Callable[[], T]) -> T:
    """Run these matrix products, and nothing else, on the library that is fast here."""
    return _onednn(products) if library() == "onednn" else products()


def _onednn(product: Callable[..., T], *operands: Tensor | None) -> T:
    """The product with the switch thrown; nothing else sees it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return product(*operands)
    finally:
        torch.set_float32_matmul_precision(before)


Library = Literal["default", "onednn"]

CHOICE = "HEADWATER_PRODUCTS"
"""Environment variable that settles the library without a probe, which a busy machine can mislead."""

_kept: list[Library] = []
"""The library that this process was told to keep to, if it was; the one setting here, made before any product."""


def keep_library(library: Library) -> None:
    """Use this library from now on, whatever a probe would say: a resumed run must round as it began."""
    _kept[:] = [library]


def library() -> Library:
    """Which library float32 products take: the one that was to be kept, else the one that the probe found."""
    return _kept[0] if _kept else _probed()


@cache
def _probed() -> Library:
    if (asked := os.environ.get(CHOICE)) in get_args(Library):
        return cast(Library, asked)
    return "onednn" if onednn_is_faster() else "default"


def onednn_is_faster() -> bool:
    """Whether float32 products through oneDNN are clearly faster on this CPU, and still float32."""
    source = torch.Generator().manual_seed(0)
    x, weight = torch.randn((384, 256), generator=source), torch.randn((256, 256), generator=source)
    exact = x.double() @ weight.double()
    if float((_onednn(torch.mm, x, weight) - exact).norm() / exact.norm()) > ERROR:
        return False
    plain, other = [], []
    for _ in range(20):
        plain.append(_seconds(lambda: torch.mm(x, weight)))
        other.append(_seconds(lambda: _onednn(torch.mm, x, weight)))
    return min(plain) > MARGIN * min(other)


def _seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
