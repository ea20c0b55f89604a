"""The share of weights that an update changed, in their own precision."""

from __future__ import annotations

import pytest
import torch

from headwater.engines.moved import SEEN, changed, some_weights


@pytest.mark.parametrize(
    ("precision", "rate", "low", "high"),
    [
        (torch.float32, 1e-3, 0.99, 1.0),
        (torch.bfloat16, 1e-3, 0.99, 1.0),
        (torch.bfloat16, 1e-6, 0.0, 0.05),  # 8 bits of mantissa: a weight of 0.02 takes steps of 1e-4
        (torch.float32, 1e-12, 0.0, 0.01),
    ],
)
def test_a_rate_below_what_weights_can_hold_moves_next_to_none(
    precision: torch.dtype, rate: float, low: float, high: float
) -> None:
    torch.manual_seed(0)
    weights = torch.nn.Parameter((0.02 * torch.randn(300, 200)).to(precision))
    before = some_weights([weights])
    optimiser = torch.optim.AdamW([weights], lr=rate, weight_decay=0.0)
    weights.grad = torch.randn_like(weights)
    optimiser.step()
    moved, total = changed(before, [weights])
    assert low <= moved / total <= high


def test_parameters_count_by_their_size_and_a_copy_stays_small() -> None:
    large, small = torch.zeros(3 * SEEN), torch.zeros(SEEN)
    before = some_weights([large, small, torch.zeros(0)])
    small += 1.0
    assert changed(before, [large, small, torch.zeros(0)]) == pytest.approx((SEEN, 4 * SEEN))
    assert sum(len(part) for part in before) <= 2 * (SEEN + 1)
