"""What some networks do to logits behind the head: a factor, a soft cap."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.late import Float, Tensor, torch


@dataclass(frozen=True, kw_only=True)
class LogitChange:
    """What some networks do to logits behind the head, before any temperature: y = s z, or y = c tanh(s z / c)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
        """The changed logits; autograd goes through."""
        logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def apply_(self, logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
        """In place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def back_(
        self, gradient: Float[Tensor, "token vocab"], changed: Float[Tensor, "token vocab"] | None
    ) -> Float[Tensor, "token vocab"]:
        """The gradient over the head's own logits, in place of that over the changed ones (needed under a cap)."""
        if self.cap is not None and changed is not None:
            gradient.addcmul_(gradient, (changed / self.cap).square_(), value=-1.0)
        return gradient if self.scale == 1.0 else gradient.mul_(self.scale)


UNCHANGED = LogitChange()
