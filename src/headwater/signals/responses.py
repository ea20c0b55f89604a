"""What every signal reports, whatever it scores with: the responses' lengths and the policy's entropy."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from headwater.records import Rollout


def response_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Mean response length in tokens, and the share of rollouts cut off by the length limit; {} for none."""
    if not rollouts:
        return {}
    tokens = sum(len(rollout.response_ids) for rollout in rollouts)
    cut = sum(rollout.finish_reason == "length" for rollout in rollouts)
    return {"response_tokens": tokens / len(rollouts), "truncated": cut / len(rollouts)}


def entropy(logprobs: Float[Tensor, "token vocab"]) -> Float[Tensor, " token"]:
    """-sum p log p in nats, per token; a masked id (logprob -inf) adds nothing."""
    return -(logprobs.exp() * logprobs.clamp_min(-1e30)).sum(dim=-1)
