"""The simplest dense signal: the negative log-likelihood of the recorded token (SFT).

On demonstrations it is supervised fine-tuning; on a teacher's rollouts it is teacher-sample SFT, hard
labels in place of the teacher's distributions. Left out: label smoothing, loss on the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.batch import Logits, NoTarget, PerToken, Scored, ScoredRollout, Target, TokenIds, token_mean_weights
from headwater.interfaces import At, Measured, Need, Signal, Workers
from headwater.late import no_grad, torch
from headwater.records import Group, rollouts_of
from headwater.signals import closed_form
from headwater.signals.responses import entropy, response_metrics


class Imitation(Signal):
    """Negative log-likelihood of the recorded tokens, every token weighing the same."""

    @property
    def needs(self) -> frozenset[Need]:
        """Nothing: whether the recorded responses are labels is the sampler's to say."""
        return frozenset()

    def score(self, groups: Sequence[Group], workers: Workers, at: At) -> Scored:
        """Token-mean weights and no target; asks nobody."""
        rollouts = rollouts_of(groups)
        return Scored(
            rollouts=tuple(
                ScoredRollout(rollout=rollout, target=NoTarget(), weight=weight)
                for rollout, weight in zip(rollouts, token_mean_weights(rollouts), strict=True)
            ),
            metrics=response_metrics(rollouts),
        )

    def loss(self, logits: Logits, response_ids: TokenIds, target: Target) -> PerToken:
        """-log p of each recorded token, in nats."""
        return torch.nn.functional.cross_entropy(logits, response_ids, reduction="none")

    @no_grad
    def diagnostics(self, logits: Logits, response_ids: TokenIds, target: Target) -> dict[str, PerToken]:
        """Entropy (nats) and accuracy: whether the likeliest token is the recorded one."""
        return {
            "entropy": entropy(torch.log_softmax(logits, dim=-1)),
            "accuracy": _accuracy(logits, response_ids),
        }

    def differentiate(self, logits: Logits, response_ids: TokenIds, target: Target, weight: PerToken) -> Measured:
        """In closed form, diagnostics included."""
        accuracy = _accuracy(logits, response_ids)
        found = closed_form.token_loss(logits, response_ids, weight, torch.neg)
        return Measured(loss=found.loss, watched={"entropy": found.entropy, "accuracy": accuracy})


def _accuracy(logits: Logits, ids: TokenIds) -> PerToken:
    """1 where no token is likelier than the recorded one, else 0."""
    return (logits.gather(-1, ids[:, None])[:, 0] >= logits.amax(dim=-1)).to(logits.dtype)
