"""The processor of this machine, as the kernel describes it: what a rule may choose by, and what a run records."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Processor:
    """Vendor and abilities; empty where the kernel says nothing of them (another system, an ARM machine)."""

    vendor: str = ""
    model: str = ""
    family: str = ""
    flags: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> Processor:
        """From the text of /proc/cpuinfo: the first processor stands for all."""
        found: dict[str, str] = {}
        for line in text.splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
        return cls(
            vendor=found.get("vendor_id", ""),
            model=found.get("model name", ""),
            family=found.get("cpu family", ""),
            flags=frozenset(found.get("flags", "").split()),
        )

    def __str__(self) -> str:
        name = self.model or platform.processor() or platform.machine() or "unknown"
        return f"{name} (family {self.family})" if self.family else name


@cache
def here() -> Processor:
    """This machine's."""
    try:
        return Processor.read(CPUINFO.read_text(encoding="utf-8"))
    except OSError:
        return Processor()
