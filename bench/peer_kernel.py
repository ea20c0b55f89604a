"""The divergence kernel by others: TRL's chunked one or Liger's, on hidden states, one forward and backward a command.

Run by `compare` as `python -m bench.peer_kernel JOB`, with the Python of the peer's environment.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from headwater.bench.protocol import Channel, Memory, Parts, read_job

HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WAIT = torch.cuda.synchronize if torch.cuda.is_available() else None
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(student's hidden states, its head, the teacher's hidden states, its head) -> mean reverse KL over the tokens"""


def trl() -> Kernel:
    """TRL's, with beta 1: reverse KL."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction  # noqa: PLC0415

    def kernel(hidden: Tensor, head: Tensor, teacher: Tensor, teacher_head: Tensor) -> Tensor:
        loss, _ = ChunkedDivergenceFunction.apply(hidden, head, None, teacher, teacher_head, None, 1.0, 1.0)
        return loss.sum() / len(hidden)

    return kernel


def liger() -> Kernel:
    """Liger's, with beta 1 and no hard labels; compiled as it comes where there is a GPU."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # noqa: PLC0415

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=1.0, compiled=WAIT is not None)

    def kernel(hidden: Tensor, head: Tensor, teacher: Tensor, teacher_head: Tensor) -> Tensor:
        labels = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)  # says only that no token is padding
        return loss(hidden, head, teacher, teacher_head, labels)

    return kernel


KERNELS = {"trl": trl, "liger": liger}


def main() -> None:
    """Answer rounds until told to stop."""
    torch.set_num_threads(1)
    channel = Channel()
    job = read_job(sys.argv[1])
    size: dict[str, Any] = job["kernel"]
    peer = job["side"].split(" ")[0]
    draw = torch.Generator().manual_seed(0)

    def noise(rows: int) -> Tensor:
        return (torch.randn(rows, size["hidden"], generator=draw) / size["hidden"] ** 0.5).to(HERE)

    kernel = KERNELS[peer]()
    hidden = noise(size["tokens"]).mul_(size["hidden"] ** 0.5).requires_grad_()
    head = torch.nn.Parameter(noise(size["vocab"]))
    teacher, teacher_head = noise(size["tokens"]).mul_(size["hidden"] ** 0.5), noise(size["vocab"])
    memory = Memory()
    package = {"liger": "liger-kernel"}.get(peer, peer)
    channel.say(versions={peer: importlib.metadata.version(package), "torch": torch.__version__})
    while channel.wait():
        parts = Parts(WAIT)
        hidden.grad = head.grad = None
        kernel(hidden, head, teacher, teacher_head).backward()
        parts.part("update")
        channel.say(**parts.measured, tokens=size["tokens"], memory=memory.measured)


if __name__ == "__main__":
    main()
