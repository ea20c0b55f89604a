"""Whose states the loss is taken on."""

from headwater.samplers.on_policy import OnPolicy
from headwater.samplers.recorded import Recorded

__all__ = ["OnPolicy", "Recorded"]
