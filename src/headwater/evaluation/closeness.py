"""How close a student is to a teacher (condition C2), on the states of either.

Closeness is half a story: a raw teacher can be near the student and still a poor source (C1 is the other half).
Source: arXiv 2605.12483, conditions C1 and C2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from headwater.batch import ExactDistribution, PerToken, TopKDistribution
from headwater.errors import InputError
from headwater.interfaces import Teacher
from headwater.late import Float, Tensor, no_grad, torch
from headwater.records import Group, Rollout, rollouts_of
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
    return means(total(by_rollout(student, teacher, rollouts, temperature)))


@no_grad
def by_rollout(
    student: Teacher, teacher: Teacher, rollouts: Sequence[Rollout], temperature: float
) -> list[dict[str, float]]:
    """The measures of each rollout summed over its tokens, and its tokens."""
    found: list[dict[str, float]] = []
    asked = (student.distributions(rollouts, temperature), teacher.distributions(rollouts, temperature))
    for ours, theirs in zip(*asked, strict=True):
        if not isinstance(ours, ExactDistribution):
            raise InputError("closeness: the student must give exact distributions")
        on_both = on_one_support(ours.logprobs(), theirs)
        kept = theirs.token_ids.shape[-1] if isinstance(theirs, TopKDistribution) else None
        measured = {name: float(value.sum()) for name, value in compare(*on_both, kept=kept).items()}
        found.append({**measured, "tokens": float(len(on_both[0]))})
    return found


def by_problem(
    student: Teacher, teacher: Teacher, groups: Sequence[Group], temperature: float
) -> list[dict[str, float]]:
    """The sums of each problem's rollouts."""
    measured = iter(by_rollout(student, teacher, rollouts_of(groups), temperature))
    return [total(next(measured) for _ in group.rollouts) for group in groups]


def total(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums of several rollouts or problems as one."""
    found: dict[str, float] = {}
    for part in parts:
        found = {name: found.get(name, 0.0) + value for name, value in part.items()}
    return found


def means(found: Mapping[str, float]) -> dict[str, float]:
    """Per token."""
    return {name: value if name == "tokens" else value / found["tokens"] for name, value in found.items()}


def errors(problems: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Standard errors over problems of the means per token, of a ratio of sums: by the sums of each problem.

    SE^2 = P / (P - 1) sum_i (x_i - m n_i)^2 / (sum_i n_i)^2, m the mean per token. Source: Cochran 1977, section 6.4.
    """
    mean, count = means(total(problems)), len(problems)
    tokens = mean.pop("tokens")
    squares = {
        name: sum((problem[name] - value * problem["tokens"]) ** 2 for problem in problems)
        for name, value in mean.items()
    }
    return {name: sqrt(square * count / max(count - 1, 1)) / tokens for name, square in squares.items()}


def compare(
    student: Float[Tensor, "token bucket"], teacher: Float[Tensor, "token bucket"], *, kept: int | None = None
) -> Mapping[str, PerToken]:
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
