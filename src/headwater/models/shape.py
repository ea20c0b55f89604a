"""The size of a Qwen3 network made here."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class QwenShape(BaseModel):
    """Sizes of a tiny Qwen3; the lab's student by default (53 k parameters)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hidden_size: int = Field(48, ge=8, le=4096, description="width of the residual stream")
    layers: int = Field(2, ge=1, le=128, description="decoder layers")
    heads: int = Field(2, ge=1, le=128, description="query heads")
    kv_heads: int = Field(1, ge=1, le=128, description="key and value heads")
    head_dim: int = Field(24, ge=4, le=512, multiple_of=2, description="width of one head")
    ff_size: int = Field(128, ge=8, le=16384, description="width of the feed-forward layer")
    max_positions: int = Field(64, ge=32, le=4096, description="longest prompt + response, in tokens")

    @model_validator(mode="after")
    def _heads_share_keys(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} kv_heads; use a divisor of {self.heads}")
        return self
