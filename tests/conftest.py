"""Every test runs with shapes checked (jaxtyping + beartype) and on one thread (cores are shared)."""

from jaxtyping import install_import_hook

install_import_hook("headwater", "beartype.beartype")  # before anything imports headwater

import torch  # noqa: E402

torch.set_num_threads(1)
