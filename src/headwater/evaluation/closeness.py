"""How close a student is to a teacher (condition C2), on the states of either.

Closeness is half a story: a raw teacher can be near the student and still a poor source (C1 is the other half).
Source: arXiv 2605.12483, conditions C1 and C2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headwater.batch import ExactDistribution, TopKDistribution
from headwater.errors import InputError
from headwater.interfaces import Teacher
from headwater.records import Rollout
from headwater.signals.divergence import forward_kl, on_one_support, reverse_kl
from headwater.signals.responses import entropy

SAMPLES = 4
"""Rollouts a prompt."""


def closeness(student: Teacher, teacher: Teacher, rollouts: Sequence[Rollout], temperature: float) -> dict[str, float]:
    """Means per response token of these rollouts; KL and entropies in nats.

    `kl_teacher_student` = KL(teacher to student), `kl_student_teacher` = KL(student to teacher), `overlap` =
    sum over tokens of min(p, q), `top1` = the student's probability of the teacher's first choice. Of a teacher
    that knows its likeliest tokens alone, all are taken over these and one bucket for the rest: KL and entropies
    are then lower bounds, the overlap an upper one. Raises InputError for a student that is not exact.
    """
    return means(sums(student, teacher, rollouts, temperature))


@torch.no_grad()
def sums(student: Teacher, teacher: Teacher, rollouts: Sequence[Rollout], temperature: float) -> dict[str, float]:
    """The measures summed over tokens, and the tokens; sums of several pieces add up."""
    found: dict[str, float] = {}
    asked = (student.distributions(rollouts, temperature), teacher.distributions(rollouts, temperature))
    for ours, theirs in zip(*asked, strict=True):
        if not isinstance(ours, ExactDistribution):
            raise InputError("closeness: the student must give exact distributions")
        on_both = on_one_support(ours.logprobs(), theirs)
        kept = theirs.token_ids.shape[-1] if isinstance(theirs, TopKDistribution) else None
        measured = {name: float(value.sum()) for name, value in compare(*on_both, kept=kept).items()}
        found = added(found, {**measured, "tokens": float(len(on_both[0]))})
    return found


def added(some: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Two sums as one."""
    return {name: some.get(name, 0.0) + value for name, value in more.items()}


def means(found: Mapping[str, float]) -> dict[str, float]:
    """Per token."""
    return {name: value if name == "tokens" else value / found["tokens"] for name, value in found.items()}


def compare(
    student: Float[Tensor, "token bucket"], teacher: Float[Tensor, "token bucket"], *, kept: int | None = None
) -> Mapping[str, Float[Tensor, " token"]]:
    """The six measures at each token, from logprobs; `kept`: so many first buckets are single tokens (None: all)."""
    p, q = teacher.exp(), student.exp()
    return {
        "kl_teacher_student": forward_kl(student, teacher),
        "kl_student_teacher": reverse_kl(student, teacher),
        "overlap": torch.minimum(p, q).sum(-1),
        "top1": q.gather(-1, teacher[:, :kept].argmax(-1, keepdim=True))[:, 0],
        "student_entropy": entropy(student),
        "teacher_entropy": entropy(teacher),
    }
