"""What computes: versions of the packages, and a digest of headwater's own source. Stored with every commit."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from headwater.fingerprint import fingerprint
from headwater.store import measure

PRODUCTS = "float32 products"
"""Beside the versions in graph.json: which library multiplies, by a rule and where it is exact."""
PRODUCTS_BEFORE = "float32 products at first"
"""The library that the run began with, where it went on on a processor on which that one is not exact."""
PROCESSOR = "processor"
TAKEN_OVER = "layers taken over on a CPU alone"
"""By the names of their rules; linear layers and attention are taken over on every device."""


@cache
def identity() -> dict[str, str]:
    """Versions and the source's digest. Recorded, and part of no node's name: see `plan.node.METHOD` for that."""
    found = {"python": platform.python_version()}
    for package in ("headwater", "torch", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "source": _source_digest()}


def _source_digest() -> str:
    """One hash of every Python file of the package: a version number stands still while code is edited."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    return fingerprint({path.relative_to(package).as_posix(): measure(path).sha256 for path in files})
