"""The dense signal: how far the student's next-token distribution is from the teacher's, at every token.

    forward  KL(T to S) = sum T (log T - log S)          covers the teacher; the warm-up's
    reverse  KL(S to T) = sum S (log S - log T)          seeks the teacher's modes; on-policy distillation's
    jsd      b KL(T to M) + (1 - b) KL(S to M), M = b T + (1 - b) S      GKD, arXiv 2306.13649 section 2

The direction is named after the distribution that weighs the sum (T: forward, S: reverse), never after whose
states it is taken on: that is the sampler's business, so two prefixes x two directions are four losses.

Over a teacher's top k tokens, both sides are first summed up in k + 1 buckets, the last one the mass of all
other tokens. A divergence of buckets lies between 0 and the full one, so nothing is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from headwater.batch import (
    ExactDistribution,
    Logits,
    PerToken,
    Scored,
    ScoredRollout,
    Target,
    TeacherDistribution,
    TokenIds,
    TopKDistribution,
    token_mean_weights,
)
from headwater.errors import ObjectiveError
from headwater.interfaces import LOSS, At, Measured, Need, Signal, Watch, Workers
from headwater.late import Float, Tensor, no_grad, torch
from headwater.records import Group, rollouts_of
from headwater.signals import closed_form
from headwater.signals.closed_form import NEVER
from headwater.signals.responses import entropy, response_metrics

MASS_TOLERANCE = 1e-2
"""How far the mass of a stored top-k distribution and its tail may be from 1: half-precision rounding."""


def forward_kl(
    student_logprobs: Float[Tensor, "token vocab"], teacher_logprobs: Float[Tensor, "token vocab"]
) -> PerToken:
    """KL(teacher to student) in nats, per token; infinite where only the student gives a token no mass."""
    return _kl(teacher_logprobs, student_logprobs)


def reverse_kl(
    student_logprobs: Float[Tensor, "token vocab"], teacher_logprobs: Float[Tensor, "token vocab"]
) -> PerToken:
    """KL(student to teacher) in nats, per token; infinite where only the teacher gives a token no mass."""
    return _kl(student_logprobs, teacher_logprobs)


def jsd(
    student_logprobs: Float[Tensor, "token vocab"],
    teacher_logprobs: Float[Tensor, "token vocab"],
    beta: float,
) -> PerToken:
    """Generalised Jensen-Shannon divergence in nats, per token; beta weighs the teacher, 0.5 is symmetric.

    It vanishes at beta 0 and 1, so these dispatch to the limits of JSD / (beta (1 - beta)): forward KL at 0,
    reverse KL at 1. Raises ObjectiveError for beta outside [0, 1]. Source: GKD, arXiv 2306.13649.
    """
    if not 0.0 <= beta <= 1.0:
        raise ObjectiveError(f"divergence: beta is {beta}; a mixture's weight lies in [0, 1]")
    if beta == 0.0:
        return forward_kl(student_logprobs, teacher_logprobs)
    if beta == 1.0:
        return reverse_kl(student_logprobs, teacher_logprobs)
    # NEVER, not -inf: an id that both sides mask would give logaddexp a gradient of NaN
    teacher = teacher_logprobs.clamp_min(NEVER)
    mixture = torch.logaddexp(teacher + math.log(beta), student_logprobs + math.log1p(-beta))
    return beta * _kl(teacher, mixture) + (1.0 - beta) * _kl(student_logprobs, mixture)


def _kl(logprobs: Float[Tensor, "token vocab"], other: Float[Tensor, "token vocab"]) -> PerToken:
    """sum p (log p - log q), where a token with p = 0 adds nothing, to the gradient neither."""
    difference = (logprobs - other).masked_fill(logprobs == float("-inf"), 0.0)
    return (logprobs.exp() * difference).sum(dim=-1)


def buckets(
    student_logprobs: Float[Tensor, "token vocab"], teacher: TopKDistribution
) -> tuple[Float[Tensor, "token bucket"], Float[Tensor, "token bucket"]]:
    """Student and teacher logprobs over the teacher's top k tokens and one bucket for all the others.

    Both are [token bucket], bucket = k + 1, or k when the k tokens are the whole vocabulary. The student's
    tail is summed from its dropped tokens, not from 1 - kept: exact in float32 however small it is.
    """
    kept = student_logprobs.gather(-1, teacher.token_ids)
    if teacher.token_ids.shape[-1] == student_logprobs.shape[-1]:
        return kept, _teacher_buckets(teacher, student_logprobs)
    # NEVER, not -inf: log-sum-exp of nothing but -inf (all other ids masked) has a gradient of NaN
    dropped = student_logprobs.scatter(-1, teacher.token_ids, NEVER)
    tail = torch.logsumexp(dropped, dim=-1, keepdim=True)
    tail = tail.masked_fill(tail < 0.5 * NEVER, float("-inf"))
    return torch.cat([kept, tail], dim=-1), _teacher_buckets(teacher, student_logprobs)


def _teacher_buckets(teacher: TopKDistribution, student: Float[Tensor, "token vocab"]) -> Float[Tensor, "token bucket"]:
    """The teacher's side of `buckets`, in the student's dtype."""
    if teacher.token_ids.shape[-1] == student.shape[-1]:
        return teacher.top_logprobs.to(student.dtype)
    return torch.cat([teacher.top_logprobs, teacher.tail_logprob[:, None]], dim=-1).to(student.dtype)


def refuse_missing_mass(teacher: TopKDistribution) -> None:
    """Raise ObjectiveError unless the k tokens and the tail sum to 1 at every position.

    Without its tail, forward KL over the top k goes negative and reverse KL rewards the student for moving
    mass out of the top k.
    """
    logprobs = torch.cat([teacher.top_logprobs, teacher.tail_logprob[:, None]], dim=-1).float()
    mass = logprobs.exp().sum(dim=-1)
    wrong = ~((mass - 1.0).abs() <= MASS_TOLERANCE)  # NaN is wrong too
    if bool(wrong.any()):
        position = int(wrong.nonzero()[0])
        raise ObjectiveError(
            f"divergence: top-{teacher.token_ids.shape[-1]} and tail hold mass {float(mass[position]):.4f} "
            f"at position {position}, not 1; keep the tail, as TopKDistribution.from_logprobs does"
        )


def dense_advantage(
    student_logprobs: Float[Tensor, "token ..."], teacher_logprobs: Float[Tensor, "token ..."]
) -> PerToken:
    """The per-token reward log T - log S of the *sampled* tokens, a constant for the score function.

    Raises ObjectiveError for the two mistakes that run without complaint and teach nothing: logprobs over a
    support [token vocab], whose KL is the same whichever token was sampled; and logprobs with a gradient,
    which pass around the teacher, since log T is a constant.
    """
    if student_logprobs.dim() != 1 or teacher_logprobs.dim() != 1:
        raise ObjectiveError(
            "divergence: a KL summed over a support does not depend on the sampled token, so as an advantage "
            "its expected gradient is zero; use it as a loss (forward_kl, reverse_kl, jsd)"
        )
    if student_logprobs.requires_grad or teacher_logprobs.requires_grad:
        raise ObjectiveError(
            "divergence: back-propagating log S - log T of the sampled token leaves the teacher out of the "
            "gradient; detach it and use the score function (sampled_reverse_kl)"
        )
    return teacher_logprobs - student_logprobs


def sampled_reverse_kl(student_logprobs: PerToken, teacher_logprobs: PerToken) -> PerToken:
    """A loss whose expected gradient over tokens drawn from the student is that of reverse KL.

    Takes the sampled tokens' logprobs [token]. Its value is (log S - log T) log S with the bracket held
    constant: not a divergence, only its gradient has a meaning.
    """
    advantage = dense_advantage(student_logprobs.detach(), teacher_logprobs.detach())
    return -advantage * student_logprobs


class Divergence(Signal):
    """Match the teacher's next-token distribution at every response token."""

    direction: Literal["forward", "reverse", "jsd"] = Field(
        description="which distribution weighs the sum: forward = teacher, reverse = student, jsd = both"
    )
    beta: float = Field(default=0.5, ge=0, le=1, description="jsd only: the teacher's share of the mixture")
    estimator: Literal["exact", "sampled"] = Field(
        default="exact", description="sum over the vocabulary, or score function of the sampled token"
    )
    teacher: str = Field(default="teacher", description="the model that is followed, by name")

    @model_validator(mode="after")
    def _sampled_is_reverse(self) -> Self:
        if self.estimator == "sampled" and self.direction != "reverse":
            raise ObjectiveError(
                f"divergence: the sampled estimator draws from the student, so it estimates reverse KL only, "
                f"not {self.direction!r}; use estimator 'exact'"
            )
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """A teacher: its distribution is no answer."""
        return frozenset({Need.TEACHER})

    @property
    def teachers(self) -> tuple[str, ...]:
        """The one that is followed."""
        return (self.teacher,)

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The divergence itself."""
        return (Watch("kl", "KL, nats per token", logarithmic=True), LOSS)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Ask the teacher for its distribution at every response position; every token weighs the same.

        Raises ObjectiveError for a distribution that the objective cannot be taken over.
        """
        rollouts = rollouts_of(groups)
        distributions = self.asked(groups, workers) if rollouts else []
        for distribution in distributions:
            self._refuse(distribution)
        weights = token_mean_weights(rollouts)
        return Scored(
            rollouts=tuple(
                ScoredRollout(rollout=rollout, target=distribution, weight=weight)
                for rollout, distribution, weight in zip(rollouts, distributions, weights, strict=True)
            ),
            metrics=response_metrics(rollouts),
        )

    def asked(self, groups: Sequence[Group], workers: Workers) -> Sequence[TeacherDistribution]:
        """What is followed at every response position, one a rollout: a kind of this signal may put its own here."""
        return workers.teacher(self.teacher).distributions(rollouts_of(groups), workers.temperature)

    def _refuse(self, distribution: TeacherDistribution) -> None:
        if not isinstance(distribution, TopKDistribution):
            return
        if self.estimator == "sampled":
            raise ObjectiveError(
                "divergence: the sampled estimator needs the teacher's logprob of any token; "
                "a top-k distribution lacks most of them. Use an exact one, or estimator 'exact'"
            )
        refuse_missing_mass(distribution)

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """The divergence in nats, per token; for the sampled estimator see `sampled_reverse_kl`."""
        if self.estimator == "exact":
            return self._divergence(*on_one_support(torch.log_softmax(logits, dim=-1), target))
        if not isinstance(target, ExactDistribution):
            raise ObjectiveError("divergence: the sampled estimator needs an exact teacher distribution")
        student = -torch.nn.functional.cross_entropy(logits, response_ids, reduction="none")
        teacher = target.logprobs().gather(-1, response_ids[:, None])[:, 0]
        return sampled_reverse_kl(student, teacher)

    def _divergence(self, student: Float[Tensor, "token vocab"], teacher: Float[Tensor, "token vocab"]) -> PerToken:
        if self.direction == "forward":
            return forward_kl(student, teacher)
        if self.direction == "reverse":
            return reverse_kl(student, teacher)
        return jsd(student, teacher, self.beta)

    @no_grad
    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """kl (this direction's divergence, nats), entropy (student, nats), overlap (sum of min(S, T)), and
        top1 (the student's probability of the teacher's likeliest token)."""
        logprobs = torch.log_softmax(logits, dim=-1)
        student, teacher = on_one_support(logprobs, target)
        return {
            "kl": self._divergence(student, teacher),
            "entropy": entropy(logprobs),
            **_agreement(student, teacher, target),
        }

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """In closed form for the exact estimator, diagnostics included."""
        if self.estimator == "exact" and isinstance(target, ExactDistribution):
            found = closed_form.divergence(logits, target.logits(), weight, self.direction, self.beta)
            watched = {"kl": found.loss, "entropy": found.entropy, "overlap": found.overlap, "top1": found.top1}
            return Measured(loss=found.loss, watched=watched)
        if self.estimator == "exact" and isinstance(target, TopKDistribution):
            teacher = _teacher_buckets(target, logits)
            over = closed_form.bucketed(logits, target, weight, lambda student: self._divergence(student, teacher))
            if over is not None:
                watched = {"kl": over.loss, "entropy": over.entropy, **_agreement(over.student, teacher, target)}
                return Measured(loss=over.loss, watched=watched)
        return super().differentiate(logits, response_ids, target, weight)


def _agreement(
    student: Float[Tensor, "token bucket"], teacher: Float[Tensor, "token bucket"], target: Target
) -> dict[str, PerToken]:
    """overlap, the sum of min(S, T); top1, the student's probability of the teacher's likeliest token."""
    likeliest = _kept_only(teacher, target).argmax(dim=-1, keepdim=True)
    shares = student.exp()
    return {
        "overlap": torch.minimum(shares, teacher.exp()).sum(dim=-1),
        "top1": shares.gather(-1, likeliest)[:, 0],
    }


def on_one_support(
    student_logprobs: Float[Tensor, "token vocab"], target: Target
) -> tuple[Float[Tensor, "token bucket"], Float[Tensor, "token bucket"]]:
    """Student and teacher over one support: the vocabulary, or the top k with the tail."""
    if isinstance(target, ExactDistribution):
        return student_logprobs, target.logprobs()
    if isinstance(target, TopKDistribution):
        return buckets(student_logprobs, target)
    raise ObjectiveError(f"divergence: needs a TeacherDistribution, was given a {type(target).__name__}")


def exact(distribution: Target, what: str) -> ExactDistribution:
    """A distribution that knows every token here and now. Raises ObjectiveError for any other."""
    if not isinstance(distribution, ExactDistribution):
        raise ObjectiveError(
            f"{what}: needs every token's logprob before the update, and was given a {type(distribution).__name__}; "
            "use an exact recording, or a live teacher"
        )
    return distribution


def _kept_only(teacher: Float[Tensor, "token bucket"], target: Target) -> Float[Tensor, "token k"]:
    """The buckets that are single tokens: a heavy tail is not a token."""
    return teacher[:, : target.token_ids.shape[-1]] if isinstance(target, TopKDistribution) else teacher
