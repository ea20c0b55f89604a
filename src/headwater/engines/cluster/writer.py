"""What writes responses on a rank: headwater's own generator on a copy of the model, or a vLLM beside it.

Both take up the learner's weights whole and say which version they have; both write a response from its own seed.
vLLM draws other numbers than headwater's generator, so it is part of a result's name (`engine.cluster.generator`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from headwater.engines.generation import Drawn
from headwater.engines.linears import keep_rounded
from headwater.engines.local import LocalGenerator, grouped, refuse_not_finite
from headwater.engines.settings import VLLM_SHARE, EngineSettings
from headwater.errors import HeadwaterError
from headwater.interfaces import Generator, Seeds
from headwater.models.language_model import LanguageModel
from headwater.records import Group, Problem, Sampling

CHUNK = 2**30
"""Bytes of weights that lie in shared memory at once, at least a tensor."""
SHARED = Path("/dev/shm")  # noqa: S108  memory that two processes of a node see


class Writer(Generator):
    """A generator whose weights are brought to it."""

    @abstractmethod
    def take(self, weights: Iterable[tuple[str, Tensor]], version: int) -> int:
        """Take up all weights; the version that it has now."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""

    def sync(self) -> None:
        """Weights are brought by `take`."""


@dataclass(kw_only=True)
class _Copied:
    """What a generator stamps on its rollouts: the updates that its weights have seen; -1 of a fixed model."""

    version: int = -1

    def drop_gradients(self) -> None:
        """A copy has none."""


class OwnWriter(Writer):
    """headwater's generator on a whole copy of the model in this process, its layers as they are multiplied."""

    def __init__(self, model: LanguageModel, engine: EngineSettings):
        self._model, self._copied = model, _Copied()
        self._generator = LocalGenerator(model, self._copied, engine)
        keep_rounded(model.network)

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        return self._generator.generate(problems, samples, sampling, seeds)

    @torch.no_grad()
    def take(self, weights: Iterable[tuple[str, Tensor]], version: int) -> int:
        own = dict(self._model.network.named_parameters())
        for name, tensor in weights:
            own[name].copy_(tensor)
        self._copied.version = version
        return version

    def close(self) -> None:
        """Nothing was started."""


class VllmWriter(Writer):
    """vLLM in a process of its own (`serve_vllm`), spoken to by lines; its end is this process's end."""

    script = Path(__file__).with_name("serve_vllm.py")

    def __init__(self, model: Path, python: str | None, engine: EngineSettings, beat: Callable[[], None]):
        self._outline = LanguageModel.outline(model, dtype="auto")
        self._beat, self._version = beat, -1
        self._path, self._python, self._engine = model, python or sys.executable, engine
        self._encode = lru_cache(maxsize=4096)(self._outline.encode)
        self._process: subprocess.Popen[str] | None = None

    def generate(self, problems: Sequence[Problem], samples: int, sampling: Sampling, seeds: Seeds) -> list[Group]:
        """One request a sample, each with its own seed."""
        prompts = [self._encode(problem) for problem in problems]
        head = self._outline.head[0]
        common: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_response_tokens,
            "stop_token_ids": sorted(self._outline.stop_ids),
        }
        if self._outline.emitted < len(head):  # rows that no tokenizer emits take no part
            common["allowed_token_ids"] = list(range(self._outline.emitted))
        requests = [
            {"prompt": prompt, "seed": seeds.of(problem.problem_id, s) % 2**63}
            for problem, prompt in zip(problems, prompts, strict=True)
            for s in range(samples)
        ]
        drawn = [
            Drawn(ids=tuple(ids), logprobs=tuple(logprobs), stopped=stopped)
            for ids, logprobs, stopped in self._ask("generate", requests=requests, common=common)
        ]
        responses = [drawn[i * samples : (i + 1) * samples] for i in range(len(problems))]
        refuse_not_finite(problems, responses, seeds.step)
        return [
            grouped(self._outline, problem, prompt, own, seeds, self._version)
            for problem, prompt, own in zip(problems, prompts, responses, strict=True)
        ]

    def take(self, weights: Iterable[tuple[str, Tensor]], version: int) -> int:
        """In pieces through shared memory, by vLLM's weight-transfer interface."""
        self._ask("start")
        with tempfile.TemporaryDirectory(prefix="headwater-", dir=SHARED if SHARED.is_dir() else None) as folder:
            path = Path(folder) / "weights.safetensors"
            for piece in _pieces(weights):
                save_file(piece, path)
                self._ask("take", path=str(path))
        found = self._ask("finish", version=str(version))
        if found != str(version):
            raise HeadwaterError(f"sync: vLLM has weights of version {found} after an update to {version}")
        self._version = version
        return version

    def close(self) -> None:
        """End vLLM."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ask(self, what: str, **given: Any) -> Any:
        if self._process is None:
            self._process = self._started()
            longest = int(self._outline.network.config.get_text_config().max_position_embeddings)
            dtype = str(self._outline.network.dtype).removeprefix("torch.")
            share, cache = (None, self._engine.memory // 2) if self._engine.kind == "cpu" else (VLLM_SHARE, None)
            self._say("open", model=str(self._path), dtype=dtype, longest=longest, share=share, cache=cache)
        return self._say(what, **given)

    def _say(self, what: str, **given: Any) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise HeadwaterError("vLLM: it is not running")
        print(json.dumps({"do": what, **given}), file=process.stdin, flush=True)
        while line := process.stdout.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"vLLM could not {what}: {answer['error']}")
            if "done" in answer:
                return answer["done"]
            self._beat()
        raise RuntimeError(f"vLLM ended in {what} (exit {process.wait()})")

    def _started(self) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | ENVIRONMENT
        return subprocess.Popen(  # noqa: S603  the recipe names the Python
            [self._python, str(self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )


ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in the process that we started, so that its end is the end
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}


def _pieces(weights: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """All of them, some at a time, in the host's memory."""
    piece: dict[str, Tensor] = {}
    size = 0
    for name, tensor in weights:
        if piece and size + tensor.nbytes > CHUNK:
            yield piece
            piece, size = {}, 0
        piece[name] = tensor.cpu().clone().contiguous()
        size += tensor.nbytes
    if piece:
        yield piece
