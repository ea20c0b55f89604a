"""What a process that computes is started with: its libraries read it once, before any line of ours runs."""

from __future__ import annotations

from collections.abc import Mapping

ENVIRONMENT = {
    # two spinning threads on a busy machine crawl
    "OMP_NUM_THREADS": "1",
    # tensors on huge pages where the kernel hands them out on request: a tenth of a step on a CPU was page faults
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def environment(present: Mapping[str, str]) -> dict[str, str]:
    """The variables to start with, beside those present; the user's own word on malloc stands."""
    return {name: value for name, value in ENVIRONMENT.items() if name == "OMP_NUM_THREADS" or name not in present}
