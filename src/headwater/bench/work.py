"""The work that is measured: what kind of step, on which shape, with which batch."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.bench.shapes import BATCHES, KERNELS, SHAPES, TEACHERS, Batch
from headwater.errors import InputError

WORKS = ("grpo", "grpo-ragged", "opd", "forward-kl", "kl", "generation")
RAGGED = ("grpo-ragged",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One kind of work on one shape."""

    kind: str
    shape: str
    batch: Batch | None = None
    """None for a kernel, whose sizes are its shape's"""

    @property
    def name(self) -> str:
        """As it is asked for and stored."""
        return f"{self.kind} {self.shape}"

    @property
    def teacher(self) -> str:
        """Shape of the teacher."""
        return TEACHERS.get(self.shape, self.shape)


def on_shape(kind: str, shape: str) -> Work:
    """This kind of work on the shape's own batch. Raises InputError for a work or shape that is not there."""
    if kind not in WORKS:
        raise InputError(f"bench: no work {kind!r}; there are {', '.join(WORKS)}")
    if shape not in (*SHAPES, *KERNELS):
        raise InputError(f"bench: no shape {shape!r}; there are {', '.join(dict.fromkeys((*SHAPES, *KERNELS)))}")
    sizes = KERNELS if kind == "kl" else BATCHES
    if shape not in sizes:
        raise InputError(f"bench: {kind} has no shape {shape}; it has {', '.join(sizes)}")
    return Work(kind=kind, shape=shape, batch=None if kind == "kl" else BATCHES[shape])
