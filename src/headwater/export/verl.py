"""An arm as configurations for verl, one a stage, its rows in verl's layout, and a script that runs them in turn.

| stage's signal and sampler | verl |
|---|---|
| reward, on policy | `verl.trainer.main_ppo`, group advantages (GRPO) |
| sampled (no gamma, no baseline) or reverse divergence, on policy | the same, distilling by policy gradient (k1) |
| imitation, recorded | `verl.trainer.sft_trainer`, on rollouts that are to be written first |

verl distils on the student's own states alone, and by the sampled token's reward: exact reverse KL becomes its
estimator of the same expected gradient, and a warm-up on the teacher's states has no counterpart. Responses are graded
by headwater's own rules (`reward.py`). A stage that cannot be written is left out, and named.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from pyarrow import parquet

from headwater.errors import InputError
from headwater.export.stages import Exported, Part, Written, a_pass, common_notes, rows_by_pool, rows_of
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Imitation, Reward
from headwater.signals.sampled import Sampled

VERSION = "0.9.1"
"""Of verl, whose settings these are."""
PROMPT_TOKENS = 1024
"""Of a prompt, where the recipe sets no limit: verl must know one."""
NO_DUAL_CLIP = 1.0e6
"""verl's third clip, which bounds the loss of a bad response: out of reach, as headwater has none."""
_LOSSES = {"token-mean": "token-mean", "sequence-mean": "seq-mean-token-mean", "constant": "seq-mean-token-sum-norm"}
_REWARD = '''\
"""The run's own grading for verl: 1 for a right response, 0 for a wrong one. Needs headwater installed."""

from headwater.verifiers.grading import Grading, make_verifier

VERIFIER = make_verifier(Grading(**{grading}))


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """A response's reward; without a verdict 0, since verl has no place for none."""
    found = VERIFIER.grade({{"response": (ground_truth, solution_str)}})["response"]
    return float(found.reward or 0.0)
'''


def export(arm: Exported, to: Path) -> Written:
    """Write `to`/NUMBER-STAGE.yaml, the rows, the reward and run.sh; returns the command, and what is not in it.

    Raises InputError for prompts without messages: verl takes chats alone.
    """
    to.mkdir(parents=True, exist_ok=True)
    to = to.resolve()
    models, steps, left_out = dict(arm.models), [], []
    for part in arm.parts:
        made = _config(arm, part, models, to)
        if made is None:
            left_out.append(f"left out: {part.line()}: {_why(part)}")
            continue
        text = yaml.safe_dump(made, sort_keys=False, allow_unicode=True)
        (to / f"{part.folder}.yaml").write_text(f"# {part.line()}; verl {VERSION}\n{text}", encoding="utf-8")
        steps.append(_step(part, to))
        models[part.role] = str(to / part.folder)
    _write_data(arm, to)
    (to / "run.sh").write_text("\n".join(["#!/bin/sh", "set -e", *steps, ""]), encoding="utf-8")
    notes = [*left_out, *_notes(arm)]
    return Written(command=f"sh {shlex.quote(str(to / 'run.sh'))}", notes=notes)


def _kind(part: Part) -> str | None:
    """What a stage is in verl: grpo, opd or sft; None where it is nothing."""
    signal, sampler = part.stage.signal, part.stage.sampler
    if type(signal) is Imitation and type(sampler) is Recorded and sampler.of == "teacher":
        return "sft"
    if type(sampler) is not OnPolicy:
        return None
    if type(signal) is Reward:
        return "grpo"
    reverse = type(signal) is Divergence and signal.direction == "reverse" and signal.teacher == "teacher"
    plain = type(signal) is Sampled and not signal.baseline and signal.gamma == 0 and signal.teacher == "teacher"
    return "opd" if reverse or plain else None


def _config(arm: Exported, part: Part, models: Mapping[str, str], to: Path) -> dict[str, Any] | None:
    """A stage's configuration, to be laid over verl's own; None: verl has no such stage."""
    kind = _kind(part)
    if kind is None:
        return None
    over = {"hydra": {"searchpath": ["pkg://verl.trainer.config"]}}
    if kind == "sft":
        return {"defaults": ["sft_trainer_engine", "_self_"], **over, **_sft(arm, part, models, to)}
    found = {"defaults": ["ppo_trainer", "_self_"], **over, **_ppo(arm, part, models, to)}
    policy = found["actor_rollout_ref"]["actor"]
    if kind == "grpo":
        policy |= _clipped(part)
        found["algorithm"]["norm_adv_by_std_in_grpo"] = part.stage.signal.divide_by_std  # type: ignore[attr-defined]
    else:
        found["distillation"] = _distillation(part, models)
    return found


def _optim(part: Part, steps: int) -> dict[str, Any]:
    """verl's scheduler steps once a rollout batch."""
    optimiser = part.stage.optimiser
    return {
        "lr": optimiser.learning_rate,
        "betas": [optimiser.beta1, optimiser.beta2],
        "weight_decay": optimiser.weight_decay,
        "clip_grad": optimiser.clip_norm,
        "lr_warmup_steps_ratio": optimiser.warmup_share,
        "total_training_steps": steps,
        "lr_scheduler_type": "constant" if optimiser.final_share == 1 else "cosine",
        "min_lr_ratio": optimiser.final_share,
    }


def _model(arm: Exported, part: Part, models: Mapping[str, str]) -> dict[str, Any]:
    adapter = arm.recipe.all_models[getattr(arm.route, part.role)].adapter
    found: dict[str, Any] = {
        "path": models[part.role],
        "enable_gradient_checkpointing": arm.recipe.engine.gradient_checkpointing,
    }
    if adapter is not None:
        modules = adapter.target_modules
        found |= {"lora_rank": adapter.rank, "lora_alpha": adapter.alpha}
        found["target_modules"] = modules if isinstance(modules, str) else list(modules)
    return found


def _lengths(arm: Exported, part: Part) -> tuple[int, int]:
    """Tokens of a prompt and of a response, at most."""
    settings = arm.recipe.settings(part.stage.name)
    return settings.max_prompt_tokens or PROMPT_TOKENS, part.stage.sampler.longest or arm.recipe.max_response_tokens


def _ppo(arm: Exported, part: Part, models: Mapping[str, str], to: Path) -> dict[str, Any]:
    schedule, sampler, engine = part.stage.schedule, part.stage.sampler, arm.recipe.engine
    prompt, response = _lengths(arm, part)
    steps = schedule.updates // schedule.updates_a_batch
    template = arm.template(part.role)
    gpus = engine.cluster.gpus if engine.cluster else 1
    return {
        "data": {
            "train_files": str(to / f"{part.pool}.parquet"),
            "val_files": str(to / "benchmark.parquet"),
            "train_batch_size": schedule.drawn,
            "max_prompt_length": prompt,
            "max_response_length": response,
            "seed": arm.seed,
            **({"apply_chat_template_kwargs": template} if template else {}),
        },
        "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False},
        "actor_rollout_ref": {
            "model": _model(arm, part, models),
            "actor": {
                "optim": _optim(part, steps),
                "grad_clip": part.stage.optimiser.clip_norm,
                "ppo_mini_batch_size": schedule.problems,
                "ppo_epochs": schedule.passes,
                "use_dynamic_bsz": True,
                "ppo_max_token_len_per_gpu": max(prompt + response, 16384),
                "fsdp_config": {"model_dtype": "fp32", "dtype": engine.precision},
            },
            "rollout": {
                "name": "vllm",
                "n": sampler.samples,
                "temperature": sampler.temperature,
                "top_p": 1.0,
                "top_k": -1,
                "dtype": engine.precision,
                "tensor_model_parallel_size": 1,
                "seed": arm.seed,
            },
        },
        "reward": {"custom_reward_function": {"path": str(to / "reward.py"), "name": "compute_score"}},
        "trainer": {
            "total_training_steps": steps,
            "total_epochs": steps,  # more than there are: the steps above end it
            "n_gpus_per_node": gpus,
            "nnodes": 1,
            "logger": ["console"],
            "val_before_train": False,
            "test_freq": -1,
            "save_freq": steps,
            "project_name": arm.recipe.name,
            "experiment_name": part.folder,
            "default_local_dir": str(to / "checkpoints" / part.folder),
        },
    }


def _clipped(part: Part) -> dict[str, Any]:
    """GRPO's own part of the actor."""
    signal = part.stage.signal
    assert isinstance(signal, Reward)  # noqa: S101
    found: dict[str, Any] = {
        "clip_ratio_low": signal.clip_low,
        "clip_ratio_high": signal.clip_high,
        "clip_ratio_c": NO_DUAL_CLIP,
        "loss_agg_mode": _LOSSES[signal.normalisation],
        "use_kl_loss": signal.kl_coefficient > 0,
        "kl_loss_coef": signal.kl_coefficient,
        "kl_loss_type": "low_var_kl",  # k3
    }
    return found | ({"loss_scale_factor": signal.constant_length} if signal.normalisation == "constant" else {})


def _distillation(part: Part, models: Mapping[str, str]) -> dict[str, Any]:
    """The sampled token's log T - log S as its advantage."""
    signal = part.stage.signal
    limit = signal.limit if isinstance(signal, Sampled) else None
    return {
        "enabled": True,
        "nnodes": 1,
        "n_gpus_per_node": 1,
        "teacher_models": {
            "teacher_model": {
                "model_path": models["teacher"],
                "num_replicas": 1,
                "inference": {"tensor_model_parallel_size": 1},
            }
        },
        "distillation_loss": {
            "loss_mode": "k1",
            "use_policy_gradient": True,
            "use_task_rewards": False,
            "loss_max_clamp": limit,
            "log_prob_min_clamp": None,
        },
    }


def _sft(arm: Exported, part: Part, models: Mapping[str, str], to: Path) -> dict[str, Any]:
    schedule, engine = part.stage.schedule, arm.recipe.engine
    prompt, response = _lengths(arm, part)
    template = arm.template(part.role)
    return {
        "data": {
            "train_files": str(to / f"{part.folder}.parquet"),
            "train_batch_size": part.rollouts,
            "micro_batch_size_per_gpu": a_pass(part, prompt + response),
            "max_length": prompt + response,
            "max_token_len_per_gpu": max(prompt + response, 8192),
            **({"apply_chat_template_kwargs": template} if template else {}),
        },
        "model": _model(arm, part, models),
        "engine": {"model_dtype": "fp32", "dtype": engine.precision},
        "optim": _optim(part, schedule.updates),
        "trainer": {
            "total_training_steps": schedule.updates,
            "total_epochs": schedule.updates,
            "n_gpus_per_node": engine.cluster.gpus if engine.cluster else 1,
            "logger": ["console"],
            "seed": arm.seed,
            "save_freq": schedule.updates,
            "project_name": arm.recipe.name,
            "experiment_name": part.folder,
            "default_local_dir": str(to / "checkpoints" / part.folder),
        },
    }


def _step(part: Part, to: Path) -> str:
    """The command of a stage, and the one that writes its model in Hugging Face's form."""
    sft = _kind(part) == "sft"
    module = "verl.trainer.sft_trainer" if sft else "verl.trainer.main_ppo"
    launcher = ["torchrun", "--nproc_per_node=1", "-m"] if sft else ["python", "-m"]
    steps = part.stage.schedule.updates // (1 if sft else part.stage.schedule.updates_a_batch)
    saved = to / "checkpoints" / part.folder / f"global_step_{steps}"
    merge = ["python", "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    merge += ["--local_dir", str(saved if sft else saved / "actor"), "--target_dir", str(to / part.folder)]
    train = [*launcher, module, f"--config-path={to}", f"--config-name={part.folder}"]
    return f"{shlex.join(train)}\n{shlex.join(merge)}"


def _write_data(arm: Exported, to: Path) -> None:
    """A file a pool, the primary benchmark, and the reward."""
    for pool, rows in rows_by_pool(arm).items():
        _table(arm, rows, to / f"{pool}.parquet")
    primary = next(iter(arm.data.benchmarks.values()))
    _table(arm, rows_of(primary.problems, primary.answers), to / "benchmark.parquet")
    grading = arm.recipe.problems.grading.model_dump(mode="json", exclude_defaults=True)
    (to / "reward.py").write_text(_REWARD.format(grading=grading), encoding="utf-8")


def _table(arm: Exported, rows: list[dict[str, Any]], to: Path) -> None:
    """Rows in verl's layout."""
    if any(isinstance(row["prompt"], str) for row in rows):
        raise InputError("export: verl takes chats alone, and a prompt here is plain text; set system_prompt")
    made = [
        {
            "data_source": arm.recipe.name,
            "prompt": row["prompt"],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row.get("answer", "")},
            "extra_info": {"index": index},
        }
        for index, row in enumerate(rows)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(made), to)


def _why(part: Part) -> str:
    signal, sampler = type(part.stage.signal).__name__, type(part.stage.sampler).__name__
    return f"verl has nothing for {signal} as set here with {sampler}; the next stage goes on without it"


def _notes(arm: Exported) -> list[str]:
    """Settings without a counterpart, where they do something in this arm."""
    found = common_notes(arm)
    kinds = {part.number: _kind(part) for part in arm.parts}
    for part in arm.parts:
        signal, kind = part.stage.signal, kinds[part.number]
        if kind == "sft":
            whose = "right responses" if getattr(part.stage.sampler, "only_correct", False) else "responses"
            found.append(f"{part.folder}.parquet is to be written first: the teacher's {whose}, as messages")
        if isinstance(signal, Divergence) and kind == "opd":
            found.append("exact reverse KL becomes the sampled token's reward, of the same expected gradient")
        if isinstance(signal, Reward) and signal.zero_variance == "drop" and signal.kl_coefficient:
            found.append(
                "reward.zero_variance: groups of equal rewards stay in the batch for their KL to the reference"
            )
        if arm.recipe.settings(part.stage.name).max_prompt_tokens is None:
            found.append(f"max_prompt_tokens: none is set, and verl must know one; {PROMPT_TOKENS} is written")
    if any(part.stage.optimiser.warmup_share for part in arm.parts):
        found.append("the rate is set once a rollout batch there, and once an update here")
    found.append("guard: a collapsing stage is not stopped")
    return list(dict.fromkeys(found))
