"""Losses whose gradient with respect to the logits is known: one pass over the vocabulary, no graph.

With P = softmax(z), lse = log sum exp z and Q the teacher's distribution, for each token

    f(log p of one id)     dL/dz = f' (onehot - P)
    KL(Q to P)             dL/dz = P - Q
    KL(P to Q)             dL/dz = P (r - sum P r),  r = log P - log Q
    JSD_b(Q, P)            dL/dz = P (g - sum P g),  g = (1 - b) log(P / M),  M = b Q + (1 - b) P
    L(bucket logprobs l)   dL/dz = P_i (dL/dl_b P_b^-1 - sum dL/dl), b the bucket of i and P_b its mass

Each function takes logits [token vocab] and each token's weight, writes weight x gradient over the logits, and
returns what it has found on the way. Autograd of the formula in `signals/` gives the same (tests hold it to
that) with five to ten times the memory traffic. Sums are taken in the dtype of the logits, float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from headwater.batch import Logits, PerToken, TokenIds, TopKDistribution
from headwater.late import Float, Tensor, torch

NEVER = -1e30
"""A finite logit of a masked id: its probability is exactly 0, and a difference of two of them is no NaN."""

ENDLESS = 1e20
"""A divergence above this is infinite: one side rules out what the other says."""


class Softmax(NamedTuple):
    """A row's probabilities and what normalises it."""

    probabilities: Float[Tensor, "token vocab"]
    normaliser: Float[Tensor, "token 1"]

    def entropy(self, logits: Logits) -> PerToken:
        """-sum p log p in nats, per token."""
        return self.normaliser[:, 0] - torch.linalg.vecdot(self.probabilities, logits)


def softmax(logits: Logits) -> Softmax:
    """Softmax and log-sum-exp together; the log-sum-exp is read off the likeliest token, at least 1 / vocab."""
    probabilities = torch.softmax(logits, dim=-1)
    largest = logits.amax(dim=-1, keepdim=True)
    normaliser = largest - probabilities.amax(dim=-1, keepdim=True).log_()
    return Softmax(probabilities, normaliser)


class TokenLoss(NamedTuple):
    """What a loss of one id's logprob has found, per token."""

    loss: PerToken
    logprobs: PerToken
    """of the id"""
    entropy: PerToken


def token_loss(
    logits: Logits,
    ids: TokenIds,
    weight: PerToken,
    loss_of: Callable[[PerToken], PerToken],
) -> TokenLoss:
    """A loss of one id's logprob a token; logits become the gradient."""
    said = softmax(logits.clamp_(min=NEVER))
    entropy = said.entropy(logits)
    logprobs = logits.gather(-1, ids[:, None]) - said.normaliser
    with torch.enable_grad():
        leaf = logprobs[:, 0].requires_grad_()
        loss = loss_of(leaf)
        (slope,) = torch.autograd.grad(loss, leaf, weight.to(loss.dtype))
    slope = slope[:, None]
    torch.mul(said.probabilities, -slope, out=logits)
    logits.scatter_add_(-1, ids[:, None], slope)
    return TokenLoss(loss.detach(), leaf.detach(), entropy)


class Pair(NamedTuple):
    """What a divergence over a whole vocabulary has found, per token."""

    loss: PerToken
    entropy: PerToken
    overlap: PerToken
    top1: PerToken


def divergence(
    logits: Logits,
    teacher: Float[Tensor, "token vocab"],
    weight: PerToken,
    direction: str,
    beta: float,
) -> Pair:
    """Forward KL, reverse KL or JSD to a teacher given by logits; the student's logits become the gradient."""
    if direction == "jsd" and beta in (0.0, 1.0):
        direction = "reverse" if beta else "forward"
    said = softmax(logits.clamp_(min=NEVER))
    entropy, student = said.entropy(logits), said.probabilities
    teacher = teacher.to(logits.dtype).clamp(min=NEVER)
    likeliest = teacher.argmax(dim=-1, keepdim=True)
    wanted = softmax(teacher)
    overlap = torch.minimum(student, wanted.probabilities).sum(dim=-1)
    top1 = student.gather(-1, likeliest)[:, 0]
    shift = said.normaliser - wanted.normaliser
    ratio = torch.sub(logits, teacher, out=teacher).sub_(shift)
    scale = weight.to(logits.dtype)[:, None]
    if direction == "reverse":
        loss = torch.linalg.vecdot(student, ratio)
        torch.mul(ratio.sub_(loss[:, None]), student, out=logits).mul_(scale)
    elif direction == "forward":
        loss = -torch.linalg.vecdot(wanted.probabilities, ratio)
        torch.sub(student, wanted.probabilities, out=logits).mul_(scale)
    else:
        loss = _jsd(logits, student, wanted.probabilities, ratio, beta)
        logits.mul_(scale)
    return Pair(loss.masked_fill(loss > ENDLESS, math.inf), entropy, overlap, top1)


def _jsd(
    out: Float[Tensor, "token vocab"],
    student: Float[Tensor, "token vocab"],
    teacher: Float[Tensor, "token vocab"],
    ratio: Float[Tensor, "token vocab"],
    beta: float,
) -> PerToken:
    """The value; `out` becomes the gradient. From the ratio r = log P/Q: log P/M = -log(1 - b + b exp(-r))."""
    shift = math.log1p(-beta) - math.log(beta)
    of_student = torch.nn.functional.softplus(-(ratio + shift), threshold=50).neg_().sub_(math.log1p(-beta))
    of_teacher = torch.nn.functional.softplus(ratio + shift, threshold=50).neg_().sub_(math.log(beta))
    inner = (1.0 - beta) * torch.linalg.vecdot(student, of_student)
    loss = inner + beta * torch.linalg.vecdot(teacher, of_teacher)
    torch.mul(of_student.mul_(1.0 - beta).sub_(inner[:, None]), student, out=out)
    return loss


TINY = 1e-30
"""A tail of less mass has no float32 quotients; its gradient is left to autograd in logarithms."""


class Bucketed(NamedTuple):
    """What a loss over the teacher's top k and one bucket for the rest has found, per token."""

    loss: PerToken
    entropy: PerToken
    student: Float[Tensor, "token bucket"]
    """the student's logprob of each bucket"""


def bucketed(
    logits: Logits,
    teacher: TopKDistribution,
    weight: PerToken,
    loss_of: Callable[[Float[Tensor, "token bucket"]], PerToken],
) -> Bucketed | None:
    """A loss of the bucket logprobs; logits become the gradient. None, with logits as they were, for a TINY tail."""
    said = softmax(logits.clamp_(min=NEVER))
    entropy, rest, ids = said.entropy(logits), said.probabilities, teacher.token_ids
    kept = rest.gather(-1, ids)
    logprobs = logits.gather(-1, ids) - said.normaliser
    tail = rest.scatter_(-1, ids, 0.0).sum(dim=-1, keepdim=True)
    whole = ids.shape[-1] == logits.shape[-1]
    if not whole and bool((tail < TINY).any()):
        return None
    with torch.enable_grad():
        leaf = (logprobs if whole else torch.cat([logprobs, tail.log()], dim=-1)).requires_grad_()
        loss = loss_of(leaf)
        (slope,) = torch.autograd.grad(loss, leaf, weight.to(loss.dtype))
    total = slope.sum(dim=-1, keepdim=True)
    if whole:
        logits.zero_()
    else:
        torch.mul(rest, slope[:, -1:] / tail - total, out=logits)
    logits.scatter_(-1, ids, slope[:, : ids.shape[-1]] - kept * total)
    return Bucketed(loss.detach(), entropy, leaf.detach())
