"""What a bug report needs to know of a machine, and nothing that says whose it is. Imports no library that it names."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from headwater.posix import cores

PACKAGES = (
    "headwater", "torch", "transformers", "tokenizers", "peft", "accelerate", "datasets", "huggingface-hub",
    "safetensors", "numpy", "pydantic", "math-verify", "sympy",
)  # fmt: skip
EXTRAS = (
    "trackio", "wandb", "tensorboard", "mlflow", "lm-eval", "vllm", "trl", "gguf", "reasoning-gym", "bitsandbytes",
)  # fmt: skip
SETTINGS = ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES")


def environment() -> dict[str, str]:
    """Name -> what it is here."""
    found = {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "free disk here": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB",
        "gpu": _gpu(),
    }
    found |= {name: _version(name) or "not installed" for name in PACKAGES}
    found |= {name: installed for name in EXTRAS if (installed := _version(name))}
    return found | {name: os.environ[name] for name in SETTINGS if name in os.environ}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> str:
    """What nvidia-smi says, so that torch need not be imported."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none found (no nvidia-smi)"
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not answer ({type(error).__name__})"
    return "; ".join(said.splitlines())
