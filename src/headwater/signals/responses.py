"""What every signal reports, whatever it scores with: the responses' lengths and the policy's entropy."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.batch import PerToken
from headwater.late import Float, Tensor
from headwater.records import Rollout


def response_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Mean length in tokens, share cut off by the length limit, mean `repetition`; {} for no rollouts."""
    if not rollouts:
        return {}
    tokens = sum(len(rollout.response_ids) for rollout in rollouts)
    repeated = sum(repetition(rollout.response_ids) for rollout in rollouts)
    cut = sum(rollout.finish_reason == "length" for rollout in rollouts)
    return {
        "response_tokens": tokens / len(rollouts),
        "truncated": cut / len(rollouts),
        "repetition": repeated / len(rollouts),
    }


def entropy(logprobs: Float[Tensor, "token vocab"]) -> PerToken:
    """-sum p log p in nats, per token; a masked id (logprob -inf) adds nothing."""
    return -(logprobs.exp() * logprobs.clamp_min(-1e30)).sum(dim=-1)


def repetition(response_ids: Sequence[int], gram: int = 4) -> float:
    """Share of a response's 4-grams of tokens that it said before: 0 for none, near 1 for a loop."""
    grams = len(response_ids) - gram + 1
    if grams < 1:
        return 0.0
    distinct = {tuple(response_ids[i : i + gram]) for i in range(grams)}
    return 1.0 - len(distinct) / grams
