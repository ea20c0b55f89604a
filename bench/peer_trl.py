"""TRL's side of a benchmark: its trainers as they are, one optimiser step a command.

Run by `compare` with the Python of TRL's environment, as `python -m bench.peer_trl JOB`; imports nothing of
headwater but the protocol. A step is timed from the end of the one before to its own end, so the data loader and
logging are in it; a trainer's construction is not.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from headwater.bench.protocol import Channel, Memory, Parts, read_job

WAIT = torch.cuda.synchronize if torch.cuda.is_available() else None
MANY = 1_000_000


class Rounds(TrainerCallback):
    """Ends a round at each optimiser step, and the training when there are no more."""

    def __init__(self, channel: Channel, memory: Memory, tokens: int):
        self.channel = channel
        self.memory = memory
        self.tokens = 0
        self.parts = Parts(WAIT)
        self._full = tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimiser step is done."""
        self.parts.part("update")
        done = {"tokens": self.tokens or self._full}
        self.channel.say(**self.parts.measured, **done, memory=self.memory.measured)
        if not self.channel.wait():
            control.should_training_stop = True
        self.tokens, self.parts = 0, Parts(WAIT)

    @contextlib.contextmanager
    def booked(self, name: str) -> Iterator[None]:
        """What runs inside belongs to this part; what ran before, to the update."""
        self.parts.part("update")
        yield
        self.parts.part(name)


def half_of_them(completions: list[str], **kwargs: Any) -> list[float]:
    """A reward for half of all responses, by a hash of their text."""
    return [float(zlib.crc32(text.encode()) & 1) for text in completions]


def timed_grpo(rounds: Rounds) -> type[trl.GRPOTrainer]:
    """GRPOTrainer that books its generation and its rewards."""

    class Timed(trl.GRPOTrainer):
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            with rounds.booked("generate"):
                result = super()._generate_single_turn(*args, **kwargs)
            rounds.tokens += sum(len(ids) for ids in result[0])
            return result

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
            with rounds.booked("score"):
                return super()._calculate_rewards(*args, **kwargs)

    return Timed


def timed_distillation(rounds: Rounds) -> type[trl.DistillationTrainer]:
    """DistillationTrainer that books its generation."""

    class Timed(trl.DistillationTrainer):
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            with rounds.booked("generate"):
                return super()._generate_single_turn(*args, **kwargs)

    return Timed


def timed_gkd(rounds: Rounds) -> type[Any]:
    """GKDTrainer that books its generation."""
    from trl.experimental.gkd import GKDTrainer  # noqa: PLC0415

    class Timed(GKDTrainer):
        @staticmethod
        def generate_on_policy_outputs(*args: Any) -> Any:
            with rounds.booked("generate"):
                return GKDTrainer.generate_on_policy_outputs(*args)

    return Timed


class Trainers:
    """TRL's trainers on a job."""

    def __init__(self, job: dict[str, Any], channel: Channel):
        self._job = job
        self._batch = job["batch"]
        self._rows = self._batch["prompts"] * self._batch["samples"]
        self._prompts: list[list[int]] = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))
        self._tokenizer = AutoTokenizer.from_pretrained(job["student"], padding_side="left")
        self._model = _model(job["student"])
        self._rounds = Rounds(channel, Memory(), self._rows * self._batch["response_tokens"])

    def train(self) -> None:
        """Train until the channel ends."""
        trainer = self._trainer()
        self._rounds.channel.say(versions=versions())
        if self._rounds.channel.wait():
            self._rounds.parts = Parts(WAIT)
            trainer.train()

    def _trainer(self) -> Any:
        kind, setting = self._job["side"].split(" ", 1)[1], self._job["side"].split(" ")[-1]
        common = {
            "output_dir": tempfile.mkdtemp(prefix="headwater-bench-"),
            "use_cpu": not torch.cuda.is_available(),
            "bf16": setting != "float32",
            "gradient_checkpointing": setting == "default",
            "per_device_train_batch_size": self._job["micro"],
            "gradient_accumulation_steps": self._rows // self._job["micro"],
            "learning_rate": 1e-6,
            "lr_scheduler_type": "constant",
            "max_steps": MANY,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.cuda.is_available(),
        }
        if kind.startswith("gkd"):
            return self._gkd(common)
        fresh = {
            "max_completion_length": self._batch["response_tokens"],
            "temperature": 1.0,
            "shuffle_dataset": False,
        }
        if kind.startswith("distillation"):
            return timed_distillation(self._rounds)(
                model=self._model,
                teacher_model=_model(self._job["teacher"]),
                args=trl.DistillationConfig(**common, **fresh, beta=1.0),
                train_dataset=Dataset.from_list([{"prompt": text} for text in self._texts(self._batch["samples"])]),
                processing_class=self._tokenizer,
                callbacks=[self._rounds],
            )
        return timed_grpo(self._rounds)(
            model=self._model,
            reward_funcs=half_of_them,
            args=trl.GRPOConfig(**common, **fresh, num_generations=self._batch["samples"]),
            train_dataset=Dataset.from_list([{"prompt": text} for text in self._texts(1)]),
            processing_class=self._tokenizer,
            callbacks=[self._rounds],
        )

    def _gkd(self, common: dict[str, Any]) -> Any:
        """On fresh responses with reverse KL, or on the recorded ones with forward KL to a live teacher."""
        from trl.experimental.gkd import GKDConfig  # noqa: PLC0415

        recorded = self._job["work"] == "forward-kl"
        config = GKDConfig(
            **common,
            lmbda=0.0 if recorded else 1.0,
            beta=0.0 if recorded else 1.0,
            temperature=1.0,
            max_new_tokens=self._batch["response_tokens"],
            max_length=self._batch["prompt_tokens"] + self._batch["response_tokens"],
        )
        return timed_gkd(self._rounds)(
            model=self._model,
            teacher_model=_model(self._job["teacher"]),
            args=config,
            data_collator=collate,
            train_dataset=Dataset.from_list(self._recorded_rows()),
            processing_class=self._tokenizer,
            callbacks=[self._rounds],
        )

    def _texts(self, times: int) -> list[str]:
        texts = [" ".join(f"w{t}" for t in ids) for ids in self._prompts]
        return [text for text in texts for _ in range(times)]

    def _recorded_rows(self) -> list[dict[str, list[int]]]:
        """A prompt and a response a row; where responses are fresh, these only say how long they are."""
        samples, length = self._batch["samples"], self._batch["response_tokens"]
        prompts = [ids for ids in self._prompts for _ in range(samples)]
        if "recorded" not in self._job:
            return [{"prompt_ids": ids, "response_ids": [ids[0]] * length} for ids in prompts]
        responses = json.loads(Path(self._job["recorded"]).read_text(encoding="utf-8"))
        return [{"prompt_ids": p, "response_ids": r} for p, r in zip(prompts, responses, strict=True)]


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows of one length as GKDTrainer takes them; quicker than its own collator, which renders and tokenises."""
    prompts = torch.tensor([row["prompt_ids"] for row in rows])
    responses = torch.tensor([row["response_ids"] for row in rows])
    ids = torch.cat([prompts, responses], dim=1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.cat([torch.full_like(prompts, -100), responses], dim=1),
        "prompts": prompts,
        "prompt_attention_mask": torch.ones_like(prompts),
    }


def _model(path: str) -> Any:
    """The float32 model, out of its file and in memory."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def versions() -> dict[str, str]:
    """What this side runs on."""
    return {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}


def main() -> None:
    """Answer rounds until told to stop."""
    torch.set_num_threads(1)
    channel = Channel()
    job = read_job(sys.argv[1])
    Trainers(job, channel).train()


if __name__ == "__main__":
    main()
