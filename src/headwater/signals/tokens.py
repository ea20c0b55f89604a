"""Which of a batch's response tokens: the largest of some number, or as many at random."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.fingerprint import derive_seed
from headwater.late import Tensor, torch
from headwater.records import Rollout


def largest(values: Sequence[Tensor], count: int) -> list[Tensor]:
    """For each rollout's values [token] a mask that is 1 at the batch's `count` largest, 0 elsewhere; earlier first."""
    whole = torch.cat(list(values)) if values else torch.empty(0)
    mask = torch.zeros_like(whole)
    mask[whole.argsort(descending=True, stable=True)[:count]] = 1.0
    return list(mask.split([len(part) for part in values]))


def chances(rollouts: Sequence[Rollout], purpose: str) -> list[Tensor]:
    """A number between 0 and 1 for each response token: a function of the purpose and the rollout alone."""
    found = []
    for rollout in rollouts:
        seed = derive_seed(purpose, rollout.rollout_id, *rollout.response_ids)
        source = torch.Generator().manual_seed(seed % 2**63)
        found.append(torch.rand(len(rollout.response_ids), generator=source))
    return found
