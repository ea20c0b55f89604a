"""vLLM in a process and, if need be, a Python environment of its own: requests come in and answers go out as lines.

    python serve_vllm.py        (run by `writer.VllmWriter`; nothing of headwater is imported here)

Each line is a JSON object. `{"beat": n}` lines say, while responses are written, how many steps were made.
Weights come as safetensors files in shared memory through vLLM's own weight-transfer interface, by an engine that is
registered below; the prefix cache, which vLLM leaves to whoever changes the weights, is emptied after each update.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, TextIO

BEAT = 1.0
"""Seconds between two signs of life."""
PASS = 4096
"""Prompt tokens of one pass on a CPU, at least."""


def serve(requests: TextIO, answers: TextIO) -> None:
    """Until the requests end."""

    def tell(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    server = Server(tell)
    for line in requests:
        request = json.loads(line)
        try:
            tell({"done": getattr(server, request.pop("do"))(**request)})
        except Exception as error:  # noqa: BLE001  told to whoever asked, who decides
            said = str(error).strip().splitlines() or [""]
            tell({"error": f"{type(error).__name__}: {said[0]:.300}"})


class Server:
    """One vLLM."""

    def __init__(self, tell: Any):
        self._tell = tell
        self._llm: Any = None
        self._count = 0

    def open(self, model: str, dtype: str, longest: int, share: float | None, cache: int | None) -> str:
        """Start vLLM on a model directory, on a share of a GPU or on a CPU with so many bytes of cache; its version."""
        import vllm  # noqa: PLC0415  after the environment is set
        from vllm.config import WeightTransferConfig  # noqa: PLC0415
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest  # noqa: PLC0415

        register()
        options: dict[str, Any] = {"gpu_memory_utilization": share}
        if share is None:  # on a CPU, whose memory each vLLM would take nearly all of; compiling would take minutes
            options = {"kv_cache_memory_bytes": cache, "enforce_eager": True}
            # a prompt that is read in parts draws at each, which vLLM takes back; a CPU's generator goes nowhere back
            options |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, PASS)}
        self._llm = vllm.LLM(
            model=model,
            dtype=dtype,
            max_model_len=-1,  # what the model can, as far as it fits the cache
            seed=0,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",  # of the distribution that was drawn from, temperature and all
            disable_log_stats=True,
            weight_transfer_config=WeightTransferConfig(backend=BACKEND),
            **options,
        )
        self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info={}))
        return str(vllm.__version__)

    def start(self) -> None:
        """Weights follow."""
        self._llm.start_weight_update()

    def take(self, path: str) -> None:
        """Some of them, in a safetensors file."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest  # noqa: PLC0415

        self._llm.update_weights(WeightTransferUpdateRequest(update_info={"path": path}))

    def finish(self, version: str) -> str:
        """All came: make what follows from them, forget what was cached under others. The version as vLLM has it."""
        self._llm.finish_weight_update(weight_version=version)
        if self._llm.reset_prefix_cache() is not True:
            raise RuntimeError("the prefix cache was not emptied after an update of the weights")
        return str(self._llm.get_weight_version())

    def generate(self, requests: list[dict[str, Any]], common: dict[str, Any]) -> list[Any]:
        """For each request (prompt ids and seed) the ids, their logprobs, and whether it stopped by itself."""
        from vllm import SamplingParams  # noqa: PLC0415

        engine, found, last = self._llm.llm_engine, {}, time.monotonic()
        for i, request in enumerate(requests):
            parameters = SamplingParams(
                seed=request["seed"], logprobs=0, detokenize=False, ignore_eos=True, n=1, **common
            )
            self._count += 1
            engine.add_request(f"{self._count}/{i}", {"prompt_token_ids": request["prompt"]}, parameters)
        steps = 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    found[int(output.request_id.rpartition("/")[2])] = output.outputs[0]
            steps += 1
            if time.monotonic() - last > BEAT:
                last = time.monotonic()
                self._tell({"beat": steps})
        return [_told(found[i]) for i in range(len(requests))]


def _told(output: Any) -> list[Any]:
    ids = list(output.token_ids)
    logprobs = [row[token].logprob for token, row in zip(ids, output.logprobs, strict=True)]
    return [ids, logprobs, output.finish_reason == "stop"]


BACKEND = "headwater_files"


def register() -> None:
    """Make the transfer engine known to vLLM in this process, and in those that it starts (as its plugin)."""
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415
    from vllm.distributed.weight_transfer.base import (  # noqa: PLC0415
        WeightTransferEngine,
        WeightTransferInitInfo,
        WeightTransferUpdateInfo,
    )
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory  # noqa: PLC0415
    from vllm.model_executor.model_loader.reload import (  # noqa: PLC0415
        finalize_layerwise_reload,
        initialize_layerwise_reload,
    )

    @dataclass
    class Init(WeightTransferInitInfo):
        pass

    @dataclass
    class Update(WeightTransferUpdateInfo):
        path: str = ""

    class Files(WeightTransferEngine[Init, Update]):
        init_info_cls, update_info_cls = Init, Update

        def init_transfer_engine(self, init_info: Init) -> None:
            pass

        def start_weight_update(self) -> None:
            initialize_layerwise_reload(self.model)

        def update_weights(self, update_info: dict[str, Any]) -> None:
            self.receive_weights(self.parse_update_info(update_info))

        def receive_weights(self, update_info: Update) -> None:
            self.model.load_weights(iter(load_file(update_info.path).items()))

        def finish_weight_update(self) -> None:
            finalize_layerwise_reload(self.model, self.model_config)
            head = getattr(self.model, "lm_head", None)
            if head is not None and not torch.cuda.is_available():
                # on a CPU the head's product is packed beforehand, and for a tied head, which has nothing of its own
                # to load, the packed one would stay that of the old weights
                from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm  # noqa: PLC0415

                dispatch_cpu_unquantized_gemm(head, remove_weight=False)

        def shutdown(self) -> None:
            pass

    WeightTransferEngineFactory.register_engine(BACKEND, Files)


PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel end this process with the thread that started it: stopped, it reads no end of its input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    serve(sys.stdin, answers)
