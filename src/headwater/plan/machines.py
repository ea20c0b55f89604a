"""GPUs that a plan reckons with: sizes as their makers state them, and rates that are stated here and not measured.

    80gb     80 GB,  3.35 TB/s, 989 TFLOP/s (H100 SXM)       141gb     141 GB, 4.8 TB/s, 989 TFLOP/s (H200)

Products are taken to reach 40 % of the peak, memory 70 % of its rate, links between the GPUs of a machine 300 GB/s
a GPU and those between machines 50 GB/s a GPU (400 Gb/s). Nothing was run on such machines.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, and how it is joined to others."""

    memory: int
    """bytes"""
    flops: float
    """bfloat16 operations a second that products reach"""
    bandwidth: float
    """bytes a second that its memory reaches"""
    near: float = 3e11
    """bytes a second that it sends to GPUs of its machine"""
    far: float = 5e10
    """... and to those of another"""
    beside: int = 8
    """GPUs in a machine"""

    def link(self, gpus: int) -> float:
        """Bytes a second of a collective over so many."""
        return self.near if gpus <= self.beside else self.far


GPUS = {
    "80gb": Gpu(memory=80 * 10**9, flops=0.4 * 989e12, bandwidth=0.7 * 3.35e12),
    "141gb": Gpu(memory=141 * 10**9, flops=0.4 * 989e12, bandwidth=0.7 * 4.8e12),
}
