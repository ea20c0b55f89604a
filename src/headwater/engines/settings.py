"""The engine: where a run computes, in what precision, and how much is laid on the device at once.

One engine serves every stage of a run, so two arms never differ in it. Two kinds of settings are kept apart:
those that change what is computed (`numerics`: device and precision) are part of the name of
every result; those that only cut the same sums into other pieces (memory and the three sizes below it) change
rounding at most and are no part of it, so a run that ran out of memory may go on with less. The same settings
give the same bytes; memory is a number of the recipe and is never read off the machine, for the same reason.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from headwater.engines.cpu.processor import Processor
from headwater.errors import InputError
from headwater.late import torch
from headwater.models.size import Dimensions
from headwater.value import Value

MICRO_BATCH = {"cpu": 1536, "cuda": 32_768}
"""Padded tokens beyond which a larger pass is no faster: on a CPU its activations leave the cache."""
TILE_BYTES = {"cpu": 48 * 2**20, "cuda": 2**31}
"""Bytes of a tile of float32 logits beyond which its products are no faster."""
LEAST_TILE = 256
"""Tokens in a tile below which its products are slower: the head's weight is read once a tile."""
LOGIT_COPIES = 3
"""[tile vocab] numbers of 4 bytes at the peak of a tile: the student's, an exact teacher's, one rounded."""
ROWS = {"cpu": 512, "cuda": 4096}
"""Responses beyond which a larger wave is no faster."""

PIECE = {"cpu": 2**15, "cuda": 2**20}
"""Response tokens of a recording or a measurement between two commits, at most: about a minute's work."""

VLLM_SHARE = 0.45
"""Part of a GPU's memory that vLLM takes on a cluster; a rank trains in the rest."""

NUMERICS = ("device", "precision")
"""The settings that change what is computed."""

DRIVERS = ("nvidia*", "nvhost*", "nvmap", "nvgpu*", "dxg", "kfd")
"""What drivers of GPUs that torch can use put into /dev: NVIDIA's, those of its small boards, WSL's, AMD's."""

Bytes = Annotated[int, Field(ge=2**20, le=2**46)]
Kind = Literal["cpu", "cuda"]
Size = Annotated[int, Field(ge=1, le=2**24)]


class Cluster(Value):
    """Ranks, each one process with one GPU (or, on a CPU, a process)."""

    gpus: Annotated[int, Field(ge=1, le=4096)] = Field(description="ranks: GPUs that learn and write together")
    generator: Literal["own", "vllm"] = Field("own", description="what writes: headwater's own, or vLLM")
    vllm_python: str | None = Field(None, description="the Python that has vLLM; null: the one that runs headwater")
    address: str | None = Field(None, description="the Ray cluster to join; null starts Ray on this machine")
    patience: float = Field(600.0, gt=0, description="seconds without a pass on any rank after which all are ended")


class EngineSettings(Value):
    """Where and how a run computes."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="inputs of linear layers; weights, their updates and all sums stay float32"
    )
    gradient_checkpointing: bool = Field(False, description="recompute layers in the backward pass to save memory")
    memory: Bytes = Field(2 * 2**30, description="bytes for activations, tiles of logits and the sampler's cache")
    micro_batch_tokens: Size | None = Field(None, description="padded tokens of one pass; null: from memory")
    head_bytes: Bytes | None = Field(None, description="bytes of one tile of logits; null: from memory")
    rows: Size | None = Field(None, description="responses sampled side by side; null: from memory")
    cluster: Cluster | None = Field(None, description="many GPUs; null: this process and one device")

    @property
    def torch_device(self) -> torch.device:
        """The device meant. Raises InputError when a GPU is asked for and there is none."""
        return torch.device(self.kind)

    @property
    def kind(self) -> Kind:
        """The kind of device meant, for values that need no torch. Raises InputError as `torch_device`."""
        if self.device == "cpu":
            return "cpu"
        found = "torch" in sys.modules or _driven()
        if found and torch.cuda.is_available():
            return "cuda"
        if self.device == "cuda":
            raise InputError("engine.device: cuda is asked for, but torch finds no GPU here; use cpu or auto")
        return "cpu"

    @property
    def numerics(self) -> dict[str, Any]:
        """What changes a result, as plain data: part of the name of everything that a model computes."""
        found = {**{name: getattr(self, name) for name in NUMERICS}, "device": self.kind}
        if self.cluster is not None and self.cluster.generator != "own":  # other draws from the same distribution
            found["generator"] = self.cluster.generator
        return found

    def tokens_a_tile(self, vocab: int) -> int:
        """Tokens in a slice of the head: a quarter of memory for its logits, as far as more of them help."""
        if self.head_bytes is not None:
            return max(1, self.head_bytes // (4 * LOGIT_COPIES * vocab))
        bytes_a_token = 4 * vocab
        helpful = max(LEAST_TILE, TILE_BYTES[self.kind] // bytes_a_token)
        return max(1, min(helpful, self.memory // 4 // (LOGIT_COPIES * bytes_a_token)))

    def tokens_a_pass(self, sizes: Dimensions, kind: Kind | None = None) -> int:
        """Padded tokens of one forward and backward pass: half of memory, as far as more of them help.

        Args: kind: of the device that is meant, where it is not this machine's.
        """
        if self.micro_batch_tokens is not None:
            return self.micro_batch_tokens
        fitting = self.memory // 2 // sizes.activation_bytes(self.gradient_checkpointing)
        return max(1, min(MICRO_BATCH[kind or self.kind], fitting))

    def rows_a_wave(self, sizes: Dimensions, places: int, kind: Kind | None = None) -> int:
        """Responses sampled side by side, each with room for so many tokens: half of memory, as far as it helps."""
        if self.rows is not None:
            return self.rows
        fitting = self.memory // 2 // (places * sizes.cache_bytes)
        return max(1, min(ROWS[kind or self.kind], fitting))

    def least_memory(self, sizes: Dimensions, places: int) -> int:
        """The `memory` at which one response with room for so many tokens fits the sampler's half of it."""
        return 2 * places * sizes.cache_bytes


def device_memory(kind: Kind) -> int:
    """Bytes of the GPU, or of the machine."""
    if kind == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""The kernel's flags for instructions that multiply bfloat16."""


def emulated(settings: EngineSettings, here: Processor) -> str | None:
    """What to say of bfloat16 on a CPU that has no instruction for it; None where there is nothing to say.

    By the processor's flags and never by a clock. A processor of which the kernel says nothing is not judged.
    """
    if settings.precision != "bfloat16" or settings.kind != "cpu" or not here.flags or BFLOAT16 & here.flags:
        return None
    return (
        f"engine.precision: bfloat16 is emulated on this processor ({here}: neither avx512_bf16 nor amx_bf16), and "
        "slower than float32"
    )


@cache
def _driven() -> bool:
    """Whether there may be a GPU: on Linux without its driver there is none, and no need to load torch to hear so."""
    return sys.platform != "linux" or any(any(Path("/dev").glob(name)) for name in DRIVERS)
