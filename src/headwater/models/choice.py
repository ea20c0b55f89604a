"""Which model a recipe means, as a value: a directory or hub id with how it is opened, or a shape to be made here.

Left out: the device, its precision and memory, which are one for a whole run (the recipe's `engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater.models.shape import QwenShape

MOST = 1_000_000
"""Largest count of anything: stops a slip of the keyboard before it fills a machine."""

Count = Annotated[int, Field(ge=1, le=MOST)]
TokenId = Annotated[int, Field(ge=0, le=2**31)]
Quantise = Literal["int8", "nf4"]

_OPENING = ("revision", "dtype", "template", "stop_ids")

_VALUE = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Pretraining(BaseModel):
    """How a model of the lab family learns the task's forms before any label is spent."""

    model_config = _VALUE

    learning_rate: float = Field(8e-3, gt=0, description="peak learning rate")
    single_step_updates: int = Field(300, ge=0, le=MOST, description="first updates, on single-step exercises only")
    mixture_updates: int = Field(1000, ge=0, le=MOST, description="further updates, on the mixture of styles")
    batch: Count = Field(64, description="exercises an update")
    careful: float = Field(0.3, ge=0, le=1, description="share of responses that work every operation")
    hasty: float = Field(0.4, ge=0, le=1, description="share that merge operations and err")
    direct: float = Field(0.3, ge=0, le=1, description="share that only guess the answer")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        shares = (self.careful, self.hasty, self.direct)
        if abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"careful, hasty and direct are {shares} and sum to {sum(shares):g}; let them sum to 1")
        return self

    @property
    def updates(self) -> int:
        """Updates in all."""
        return self.single_step_updates + self.mixture_updates


class Lora(BaseModel):
    """Low-rank additions to linear layers, trained in place of the weights; each stage merges its own."""

    model_config = _VALUE

    rank: int = Field(16, ge=1, le=4096, description="inner width of an addition")
    alpha: int = Field(32, ge=1, description="an addition is scaled by alpha / rank")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of layers, such as q_proj; all-linear takes all but the head"
    )


class ModelChoice(BaseModel):
    """A model: made here from a shape and pretrained on the spot, or a Hugging Face directory or hub id."""

    model_config = _VALUE

    path: str | None = Field(None, description="model directory or hub id; null makes a tiny Qwen3 here")
    revision: str | None = Field(None, description="hub revision")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the weights; in bfloat16 most small updates are lost, so for frozen models"
    )
    quantise: Quantise | None = Field(
        None, description="bitsandbytes' form of the layers' weights, for frozen models on a GPU: int8 or nf4 (4 bits)"
    )
    template: dict[str, bool | int | float | str] = Field(
        {}, description="keyword arguments of the chat template, such as enable_thinking"
    )
    stop_ids: tuple[TokenId, ...] = Field((), description="ids that end a response, beside those the model names")
    adapter: Lora | None = Field(None, description="train a LoRA adapter; null trains every weight")
    shape: QwenShape = Field(QwenShape(), description="size of a model made here")
    pretraining: Pretraining = Field(Pretraining(), description="how a model made here is pretrained")

    @model_validator(mode="after")
    def _made_here_is_plain(self) -> Self:
        given = [name for name in (*_OPENING, "quantise") if name in self.model_fields_set]
        changed = [name for name in given if getattr(self, name) != type(self).model_fields[name].default]
        if self.path is None and changed:
            raise ValueError(f"{changed[0]} is of a model with a path; a model made here needs none, leave it out")
        return self

    @property
    def opening(self) -> dict[str, Any]:
        """How a model with a path is opened, as plain data: part of the name of everything made from it."""
        quantised = {} if self.quantise is None else {"quantise": self.quantise}
        return {name: getattr(self, name) for name in ("path", *_OPENING)} | quantised


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A model by where it lies: a directory or a hub id. An engine opens it."""

    path: Path | str
    adapter: Lora | None = None
    """trained in place of the weights"""
    adapter_seed: int = 0
