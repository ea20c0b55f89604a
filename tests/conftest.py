"""Every test runs with shapes checked (jaxtyping + beartype) and on one thread (cores are shared)."""

from jaxtyping import install_import_hook

ROOMS_WITH_TENSORS = ["batch", "interfaces", "cache", "recording", "signals", "engines", "models"]
# Before anything imports headwater.
install_import_hook([f"headwater.{room}" for room in ROOMS_WITH_TENSORS], "shapes.check")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

from headwater.engines.cpu import products  # noqa: E402

products.keep("default")  # as runs of tiny networks do; worker processes choose for themselves


@pytest.fixture
def double():
    """Everything that is made in the test is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
