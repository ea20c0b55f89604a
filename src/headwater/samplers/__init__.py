"""Whose states the loss is taken on."""

from headwater.samplers.demonstrations import Demonstrations
from headwater.samplers.on_policy import OnPolicy
from headwater.samplers.recorded import Recorded

__all__ = ["Demonstrations", "OnPolicy", "Recorded"]
