"""The size of a Qwen3 network made here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class QwenShape(BaseModel):
    """Sizes of a tiny Qwen3; the lab's student by default (53 k parameters)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hidden_size: int = Field(48, ge=8, description="width of the residual stream")
    layers: int = Field(2, ge=1, description="decoder layers")
    heads: int = Field(2, ge=1, description="query heads")
    kv_heads: int = Field(1, ge=1, description="key and value heads")
    head_dim: int = Field(24, ge=4, description="width of one head")
    ff_size: int = Field(128, ge=8, description="width of the feed-forward layer")
    max_positions: int = Field(64, ge=32, description="longest prompt + response, in tokens")
