"""Reverse KL, and forward KL as well where the teacher is undecided (EOPD).

    loss_t = KL(S to T) + alpha 1[H(T_t) > tau] KL(T to S)

arXiv 2603.07079: where several tokens are good, reverse KL picks one of them and forward KL keeps the others. What was
gained there is pass@k. tau depends on the vocabulary, so it is given as a share of the step's tokens: those at which
the teacher's entropy is largest. alpha = 0 is on-policy distillation. Control: `gate: random`, as many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from headwater.batch import Scored
from headwater.interfaces import LOSS, At, Signal, Watch, Workers
from headwater.late import torch
from headwater.records import Group
from headwater.signals.divergence import Divergence, exact
from headwater.signals.inner import weighted
from headwater.signals.responses import entropy
from headwater.signals.summed import Summed, summed
from headwater.signals.tokens import chances, largest


class EntropyGate(Summed):
    """Reverse KL at every token, forward KL at those where the teacher's entropy is largest."""

    reads_teachers: ClassVar[bool] = True

    teacher: str = Field(default="teacher", description="the model that is followed, by name")
    alpha: float = Field(default=1.0, ge=0, description="weight of forward KL where the gate is open")
    share: float = Field(default=0.2, ge=0, le=1, description="of the step's tokens, for which the gate is open")
    gate: Literal["entropy", "random"] = Field(
        default="entropy", description="the tokens of the teacher's largest entropy, or as many at random"
    )

    @property
    def parts(self) -> tuple[Signal, Signal]:
        """Reverse, forward."""
        return (
            Divergence(direction="reverse", teacher=self.teacher),
            Divergence(direction="forward", teacher=self.teacher),
        )

    @property
    def watch(self) -> tuple[Watch, ...]:
        """The reverse KL."""
        return (Watch("kl", "KL, nats per token", logarithmic=True), LOSS)

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Ask the teacher once, and open the gate. Raises ObjectiveError for a top-k distribution."""
        reverse = self.parts[0].score(groups, workers, at)
        found = [entropy(exact(member.target, "entropy-gate").logprobs()) for member in reverse.rollouts]
        tokens = sum(len(values) for values in found)
        rollouts = [member.rollout for member in reverse.rollouts]
        ranked = found if self.gate == "entropy" else chances(rollouts, "entropy-gate")
        gates = largest(ranked, round(self.share * tokens))
        forward = weighted(reverse, [self.alpha * gate.cpu() for gate in gates], empty=False)
        both = summed(reverse, forward)
        mean = float(torch.cat(found).mean()) if found else 0.0
        return Scored(rollouts=both.rollouts, metrics={**both.metrics, "teacher_entropy": mean})
