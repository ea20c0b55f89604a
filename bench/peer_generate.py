"""Generation by others: transformers' own generate, or vLLM, one batch of responses a command.

Run by `compare` as `python -m bench.peer_generate JOB`, with the Python of the peer's environment.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from headwater.bench.protocol import Channel, Memory, Parts, read_job

WAIT = torch.cuda.synchronize if torch.cuda.is_available() else None

BLOCK = 128
"""vLLM keeps keys and values in blocks of so many tokens."""


class Writer(ABC):
    """Writes a batch of responses."""

    memory: Memory
    versions: dict[str, str]

    @abstractmethod
    def write(self, prompts: list[list[int]], samples: int, tokens: int) -> int:
        """`samples` responses to each prompt; how many tokens they have."""


class Transformers(Writer):
    """`generate` with its dynamic cache, every row from its prompt."""

    def __init__(self, path: str, dtype: torch.dtype):
        import transformers  # noqa: PLC0415

        self._model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        for parameter in self._model.parameters():
            parameter.data = parameter.data.clone()
        self.memory = Memory()
        self.versions = {"transformers": transformers.__version__}

    @torch.no_grad()
    def write(self, prompts: list[list[int]], samples: int, tokens: int) -> int:
        """Prompts are of one length, so nothing is padded."""
        ids = torch.tensor([prompt for prompt in prompts for _ in range(samples)], device=self._model.device)
        written = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=tokens,
        )
        return int(written[:, ids.shape[1] :].numel())


def cache_bytes(path: str, dtype: str, tokens: int) -> int:
    """What keys and values of so many tokens take; vLLM would else ask for nearly all of the machine's memory."""
    config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    wide = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    held = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * wide
    return tokens * held * getattr(torch, dtype).itemsize


class Vllm(Writer):
    """vLLM in this process."""

    def __init__(self, path: str, dtype: str, batch: dict[str, int]):
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        import vllm  # noqa: PLC0415

        rows = batch["prompts"] * batch["samples"]
        length = batch["prompt_tokens"] + batch["response_tokens"]
        self._parameters = vllm.SamplingParams
        self._engine = vllm.LLM(
            model=path,
            dtype=dtype,
            max_model_len=length,
            max_num_seqs=rows,
            kv_cache_memory_bytes=cache_bytes(path, dtype, rows * (length + BLOCK)),
            enforce_eager=True,
            disable_log_stats=True,
        )
        self.memory = Memory()
        self.versions = {"vllm": vllm.__version__}

    def write(self, prompts: list[list[int]], samples: int, tokens: int) -> int:
        """One request a prompt, with its group."""
        parameters = self._parameters(n=samples, temperature=1.0, max_tokens=tokens, logprobs=0, detokenize=False)
        outputs = self._engine.generate([{"prompt_token_ids": ids} for ids in prompts], parameters, use_tqdm=False)
        return sum(len(completion.token_ids) for output in outputs for completion in output.outputs)


def open_writer(job: dict[str, Any]) -> Writer:
    """The peer that the job names, in its precision."""
    peer, precision = job["side"].split(" ")
    if peer == "vllm":
        return Vllm(job["student"], precision, job["batch"])
    return Transformers(job["student"], getattr(torch, precision))


def main() -> None:
    """Answer rounds until told to stop."""
    torch.set_num_threads(1)
    channel = Channel()
    job = read_job(sys.argv[1])
    batch = job["batch"]
    prompts = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))
    writer = open_writer(job)
    channel.say(versions=writer.versions)
    step = 0
    while channel.wait():
        parts = Parts(WAIT)
        start = step * batch["prompts"] % len(prompts)
        own = prompts[start : start + batch["prompts"]]
        tokens = writer.write(own, batch["samples"], batch["response_tokens"])
        parts.part("generate")
        step += 1
        channel.say(**parts.measured, tokens=tokens, memory=writer.memory.measured)


if __name__ == "__main__":
    main()
