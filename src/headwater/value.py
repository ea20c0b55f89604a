"""What every setting is made of: a frozen value that can be hashed, compared and written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Base of every recipe value: frozen, no unknown keys, no coercion of one type into another, no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
