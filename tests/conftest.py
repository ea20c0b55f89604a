"""Every test runs with shapes checked (jaxtyping + beartype) and on one thread (cores are shared)."""

import os

from jaxtyping import install_import_hook

# Runs made in different processes are compared byte by byte; a probe of a busy machine must not set them apart.
os.environ.setdefault("HEADWATER_PRODUCTS", "default")

ROOMS_WITH_TENSORS = ["batch", "interfaces", "cache", "signals", "engines", "models"]
# Before anything imports headwater.
install_import_hook([f"headwater.{room}" for room in ROOMS_WITH_TENSORS], "shapes.check")

import torch  # noqa: E402

torch.set_num_threads(1)
