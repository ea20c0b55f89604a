"""Distillation gated by the verdict: the teacher may praise a right response and blame a wrong one, never otherwise.

    A_t = max(0, r_t) on a right response, min(0, r_t) on a wrong one;   r_t = (log T - log S)(y_t | s_t)

arXiv 2608.24696. Its fixed point is a region, not the teacher, and it cannot pass the teacher. `by: advantage` takes
the sign of the group's advantage for the verdict, so that groups without spread are left out. Controls: `inverse`
(praise wrong, blame right) and `random` (as many tokens as the true gate would let through, whichever they are).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from headwater.batch import Scored, ScoredRollout, token_mean_weights
from headwater.interfaces import At, Need, Watch, Workers
from headwater.late import Tensor, torch
from headwater.records import Grade, Group, Verdict, rollouts_of
from headwater.signals.grades import answers_of, graded
from headwater.signals.policy import Policy
from headwater.signals.responses import response_metrics
from headwater.signals.reward import group_advantages
from headwater.signals.sampled import token_rewards
from headwater.signals.tokens import chances, largest
from headwater.verifiers.answers import UNGRADED_LIMIT

PASSES = {Verdict.CORRECT: 1.0, Verdict.WRONG: -1.0, Verdict.UNGRADED: 0.0}
"""What the teacher may say of a response: praise (1), blame (-1), nothing."""


class Gated(Policy):
    """The teacher's word on each sampled token, let through where the verdict agrees with it."""

    teacher: str = Field(default="teacher", description="the model that is followed, by name")
    gate: Literal["agree", "inverse", "random"] = Field(
        default="agree", description="let through what agrees with the verdict, what does not, or as much at random"
    )
    by: Literal["verdict", "advantage"] = Field(
        default="verdict", description="right and wrong, or above and below the group's mean reward"
    )
    ungraded_limit: float = Field(
        default=UNGRADED_LIMIT, ge=0, le=1, description="largest share of a step's rollouts that may go ungraded"
    )

    @property
    def needs(self) -> frozenset[Need]:
        """A teacher, answers and verdicts on them."""
        return super().needs | {Need.TEACHER, Need.ANSWERS, Need.VERIFIER}

    @property
    def teachers(self) -> tuple[str, ...]:
        """The one that is followed."""
        return (self.teacher,)

    @property
    def least_samples(self) -> int:
        """A group's mean needs two."""
        return 2 if self.by == "advantage" else 1

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The mean reward, and how much passes."""
        return (Watch("reward", "reward"), Watch("passed", "share of tokens let through"))

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Grade every response and gate the teacher's word on its tokens; every token weighs the same.

        A response without a verdict, or in a group without spread by `advantage`, has advantage 0.
        """
        rollouts = rollouts_of(groups)
        verdicts = graded(groups, answers_of(groups, workers), workers, self.ungraded_limit, "gated")
        grades = [[verdicts[rollout.rollout_id] for rollout in group.rollouts] for group in groups]
        said = token_rewards(rollouts, workers, self.teacher)
        open_for = [sign for group in grades for sign in self._signs(group)]
        passed = [(sign * reward > 0).to(reward.dtype) for sign, reward in zip(open_for, said, strict=True)]
        if self.gate == "random":
            passed = largest(chances(rollouts, "gate"), int(sum(float(mask.sum()) for mask in passed)))
        advantages: list[Tensor] = [mask * reward for mask, reward in zip(passed, said, strict=True)]
        targets = self.targets(rollouts, advantages, workers)
        known = [grade.reward for group in grades for grade in group if grade.reward is not None]
        found = {"passed": float(torch.cat(passed).mean())} if rollouts else {}
        if known:
            found["reward"] = sum(known) / len(known)
        return Scored(
            rollouts=tuple(
                ScoredRollout(rollout=rollout, target=target, weight=weight)
                for rollout, target, weight in zip(rollouts, targets, token_mean_weights(rollouts), strict=True)
            ),
            metrics={**response_metrics(rollouts), **found},
        )

    def _signs(self, grades: Sequence[Verdict | Grade]) -> list[float]:
        """For each response of a group what passes: praise (1), blame (-1), nothing (0)."""
        if self.by == "advantage":
            advantages = group_advantages([grade.reward for grade in grades], divide_by_std=False)
            signs = [float(advantage > 0) - float(advantage < 0) for advantage in advantages]
        else:
            signs = [PASSES[grade.verdict] for grade in grades]
        return [-sign for sign in signs] if self.gate == "inverse" else signs
