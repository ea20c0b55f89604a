"""TRL's side of r3_full.py: GRPOTrainer on the teacher, GKDTrainer on its rollouts, then on the student's own.

Written as fast as TRL allows here: no gradient checkpointing, one pass a step, its own collator replaced by one
without templates, and GKDTrainer for distillation, which on this work is faster than DistillationTrainer. TRL has no
cached distributions, so the warm-up asks a live teacher.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from headwater.bench.protocol import Memory, Parts, read_job

SCALES = "headwater_learning_rate_scales"


class Run:
    """The pair and the numbers."""

    def __init__(self, job: dict[str, Any], setting: str):
        self.job = job
        self.setting = setting
        self.tokenizer = AutoTokenizer.from_pretrained(job["models"]["teacher"], padding_side="left")
        self.teacher = self._load("teacher")
        self.student = self._load("student")

    def _load(self, role: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.job["models"][role], dtype=torch.float32)

    def _common(self, stage: str) -> dict[str, Any]:
        numbers = self.job["stages"][stage]
        return {
            "output_dir": tempfile.mkdtemp(prefix="headwater-r3-"),
            "use_cpu": True,
            "bf16": self.setting != "float32",
            "gradient_checkpointing": self.setting == "default",
            "per_device_train_batch_size": numbers["problems"] * numbers["samples"],
            "max_steps": numbers["updates"],
            "max_grad_norm": numbers["optimiser"]["clip_norm"],
            "learning_rate": numbers["optimiser"]["learning_rate"],
            "temperature": 1.0,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "seed": self.job["seed"],
        }

    def _optimisers(self, model: Any, stage: str) -> tuple[Any, Any]:
        """AdamW and the cosine of headwater's stage, with the lab family's factors on two learning rates."""
        numbers = self.job["stages"][stage]["optimiser"]
        updates = self.job["stages"][stage]["updates"]
        scales = getattr(model.config, SCALES, None) or {}
        groups = [
            {"params": [p], "lr": numbers["learning_rate"] * scales.get(name, 1.0)}
            for name, p in model.named_parameters()
            if name in scales
        ]
        groups.append({"params": [p for name, p in model.named_parameters() if name not in scales]})
        optimiser = torch.optim.AdamW(
            groups,
            lr=numbers["learning_rate"],
            betas=(numbers["beta1"], numbers["beta2"]),
            weight_decay=numbers["weight_decay"],
            fused=True,
        )
        warmup = math.ceil(numbers["warmup_share"] * updates)

        def share(update: int) -> float:
            if update < warmup:
                return (update + 1) / warmup
            progress = (update - warmup) / max(updates - warmup, 1)
            return numbers["final_share"] + (1 - numbers["final_share"]) * 0.5 * (1 + math.cos(math.pi * progress))

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)

    def teacher_rl(self) -> None:
        """GRPO with a KL to where it started."""
        numbers = self.job["stages"]["teacher-rl"]
        end = self.tokenizer.eos_token_id

        def right(completions: list[str], completion_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
            return [
                float(ids[-1:] == [end] and text.rpartition("#")[2].strip() == gold)
                for text, ids, gold in zip(completions, completion_ids, answer, strict=True)
            ]

        config = trl.GRPOConfig(
            **self._common("teacher-rl"),
            num_generations=numbers["samples"],
            max_completion_length=self.job["max_response_tokens"],
            beta=self.job["kl_coefficient"],
        )
        trainer = trl.GRPOTrainer(
            model=self.teacher,
            reward_funcs=right,
            args=config,
            train_dataset=Dataset.from_list(self.job["problems"]),
            processing_class=self.tokenizer,
            optimizers=self._optimisers(self.teacher, "teacher-rl"),
        )
        trainer.train()
        self.teacher = trainer.accelerator.unwrap_model(trainer.model).eval()

    @torch.no_grad()
    def record(self) -> list[dict[str, list[int]]]:
        """The teacher's rollouts, as rows of ids."""
        end, samples = self.tokenizer.eos_token_id, self.job["cached_samples"]
        rows = []
        for start in range(0, len(self.job["problems"]), 32):
            texts = [row["prompt"] for row in self.job["problems"][start : start + 32] for _ in range(samples)]
            inputs = self.tokenizer(texts, return_tensors="pt", padding=True)
            written = self.teacher.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self.job["max_response_tokens"],
            )[:, inputs["input_ids"].shape[1] :].tolist()
            for text, ids in zip(texts, written, strict=True):
                stop = ids.index(end) + 1 if end in ids else len(ids)
                rows.append({"prompt_ids": self.tokenizer(text)["input_ids"], "response_ids": ids[:stop]})
        return rows

    def distil(self, stage: str, rows: list[dict[str, list[int]]]) -> None:
        """Forward KL on the recorded rows, or reverse KL on fresh responses to their prompts."""
        fresh = stage == "on-policy-distillation"
        config = GKDConfig(
            **self._common(stage),
            lmbda=1.0 if fresh else 0.0,
            beta=1.0 if fresh else 0.0,
            max_new_tokens=self.job["max_response_tokens"],
        )
        trainer = GKDTrainer(
            model=self.student,
            teacher_model=self.teacher,
            args=config,
            data_collator=self._collate,
            train_dataset=Dataset.from_list(rows),
            processing_class=self.tokenizer,
            optimizers=self._optimisers(self.student, stage),
        )
        trainer.train()
        self.student = trainer.accelerator.unwrap_model(trainer.model).eval()

    def _collate(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Whole rows padded on the right, prompts alone padded on the left."""
        wholes = [row["prompt_ids"] + row["response_ids"] for row in rows]
        width, wide = max(map(len, wholes)), max(len(row["prompt_ids"]) for row in rows)
        pad = self.tokenizer.pad_token_id
        labels = [
            [-100] * len(row["prompt_ids"]) + row["response_ids"] + [-100] * (width - len(whole))
            for row, whole in zip(rows, wholes, strict=True)
        ]
        prompts = [[pad] * (wide - len(row["prompt_ids"])) + row["prompt_ids"] for row in rows]
        masks = [[0] * (wide - len(row["prompt_ids"])) + [1] * len(row["prompt_ids"]) for row in rows]
        return {
            "input_ids": torch.tensor([whole + [pad] * (width - len(whole)) for whole in wholes]),
            "attention_mask": torch.tensor([[1] * len(whole) + [0] * (width - len(whole)) for whole in wholes]),
            "labels": torch.tensor(labels),
            "prompts": torch.tensor(prompts),
            "prompt_attention_mask": torch.tensor(masks),
        }


def main() -> None:
    """Run, print CPU seconds by stage, leave the student and the teacher behind."""
    torch.set_num_threads(1)
    job = read_job(sys.argv[1])
    out = Path(sys.argv[2])
    run = Run(job, sys.argv[3])
    memory, parts = Memory(), Parts()
    run.teacher_rl()
    parts.part("teacher RL")
    rows = run.record()
    parts.part("recording")
    run.distil("warm-up", rows)
    parts.part("warm-up")
    run.distil("on-policy-distillation", rows)
    parts.part("OPD")
    for name, model in (("student", run.student), ("teacher", run.teacher)):
        model.save_pretrained(out / name)
        run.tokenizer.save_pretrained(out / name)
    print(json.dumps({**parts.measured, "memory": memory.measured}))


if __name__ == "__main__":
    main()
