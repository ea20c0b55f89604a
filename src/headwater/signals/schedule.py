"""A number that may change over a stage: a function of the share done, so that a resume needs no state.

0.5                                   constant
{start: 0.0, end: 1.0}                a straight line from the first step to the last
{start: 0.0, end: 1.0, switch: 0.5}   `start` before half of the stage is done, `end` from there on
"""

from __future__ import annotations

from pydantic import Field

from headwater.interfaces import At
from headwater.value import Value


class Ramp(Value):
    """From one number to another, in a line or at once."""

    start: float = Field(0.0, description="at the first step")
    end: float = Field(1.0, description="at the last step")
    switch: float | None = Field(None, ge=0, le=1, description="share of the stage at which it jumps; null: a line")

    def at(self, at: At) -> float:
        """The number at a step."""
        if self.switch is not None:
            return self.start if at.share < self.switch else self.end
        return self.start + (self.end - self.start) * at.share


def at_step(number: float | Ramp, at: At) -> float:
    """A number, or what a ramp says at this step."""
    return number.at(at) if isinstance(number, Ramp) else number


def extremes(number: float | Ramp) -> tuple[float, float]:
    """The least and the largest that it can be."""
    ends = (number.start, number.end) if isinstance(number, Ramp) else (number, number)
    return min(ends), max(ends)
