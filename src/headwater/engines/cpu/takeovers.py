"""Layers of a network that compute in another way on a CPU: by name, so that a run can say which.

Each is chosen by a rule (the kind of layer, its size, its device) and used where it is exact: against the layer's own
values where other people wrote it, by a test where PyTorch did. No clock is asked and no setting read.
"""

from __future__ import annotations

from torch import nn

from headwater.engines.cpu import embeddings, norms

TAKE_OVERS = {
    "RMS norms": norms.take_over,
    f"embeddings of {embeddings.LARGE:,} numbers or more": embeddings.take_over,
}
"""What a run's identity calls it -> what does it to a network, in place, as far as the network is on a CPU."""


def take_over(network: nn.Module) -> None:
    """Take over every layer that a rule names; the network's names and parameters stay."""
    for change in TAKE_OVERS.values():
        change(network)


def named(device: str) -> str:
    """What is taken over in the networks of a run on this kind of device."""
    return ", ".join(TAKE_OVERS) if device == "cpu" else "none"
