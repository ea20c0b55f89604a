"""An arm as a script for TRL: GRPO, on-policy distillation, a warm-up on recorded rollouts, imitation.

| stage's signal and sampler | trainer |
|---|---|
| reward, on policy | `GRPOTrainer` |
| divergence (exact), on policy | `DistillationTrainer` |
| divergence (exact), recorded | `trl.experimental.gkd.GKDTrainer`, on rollouts that the script records first |
| imitation, recorded | `SFTTrainer`, on the same |

Responses are graded by headwater's own rules, which the script imports. What has no counterpart is named in the script
and in the command's answer; a stage of another method is left out of the script, and named.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader

from headwater.export.stages import Exported, Part, Written, a_pass, common_notes, rows_by_pool, warm_up
from headwater.samplers import OnPolicy, Recorded
from headwater.signals import Divergence, Imitation, Reward

VERSION = "1.16"
"""Of TRL, whose settings these are."""
_LOSSES = {"token-mean": "dapo", "sequence-mean": "grpo", "constant": "dr_grpo"}


def export(arm: Exported, to: Path) -> Written:
    """Write `to`/ARM.py and its rows; returns the command that runs it, and what is not in it."""
    made = {part.number: _call(arm, part) for part in arm.parts}
    left_out = [part for part in arm.parts if made[part.number] is None]
    notes = [f"left out: {part.line()}: {_why(part)}" for part in left_out] + _notes(arm)
    to.mkdir(parents=True, exist_ok=True)
    for pool, rows in rows_by_pool(arm).items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (to / f"{pool}.jsonl").write_text(text, encoding="utf-8")
    environment = Environment(  # noqa: S701  it writes Python, not markup
        loader=PackageLoader("headwater.export", "."), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = environment.get_template("trl.py.jinja").render(
        name=arm.route.name,
        recipe=arm.recipe.name,
        version=VERSION,
        notes=notes,
        models=arm.models,
        template=arm.template("student"),
        grading=arm.recipe.problems.grading.model_dump(mode="json", exclude_defaults=True),
        seed=arm.seed,
        recording={
            "samples": arm.recipe.cached_samples,
            "temperature": arm.recipe.temperature,
            "max_response_tokens": arm.recipe.max_response_tokens,
        },
        calls=[call for call in made.values() if call],
    )
    file = to / f"{arm.route.name}.py"
    file.write_text(text, encoding="utf-8")
    return Written(command=f"python {shlex.quote(str(file))}", notes=notes)


class Trainer(NamedTuple):
    """A function of the script, the class of its settings, and what writes them."""

    function: str
    config: str
    settings: Callable[[Exported, Part], dict[str, Any]]


def _trainer(part: Part) -> Trainer | None:
    """What a stage is in TRL; None where it has none."""
    signal, sampler = part.stage.signal, part.stage.sampler
    on_policy = type(sampler) is OnPolicy
    if not on_policy and not (type(sampler) is Recorded and sampler.of == "teacher"):
        return None
    if type(signal) is Reward and on_policy:
        return Trainer("grpo", "GRPOConfig", _grpo)
    if type(signal) is Imitation and not on_policy:
        return Trainer("imitate", "SFTConfig", _sft)
    if type(signal) is Divergence and signal.estimator == "exact" and signal.teacher == "teacher":
        distil = Trainer("distil", "DistillationConfig", _distillation)
        return distil if on_policy else Trainer("warm_up", "GKDConfig", _gkd)
    return None


def _call(arm: Exported, part: Part) -> dict[str, Any] | None:
    """A stage as a call of the script; None: TRL has no such stage."""
    trainer = _trainer(part)
    if trainer is None:
        return None
    return {
        "line": part.line(),
        "function": trainer.function,
        "role": part.role,
        "pool": part.pool,
        "config": trainer.config,
        "folder": part.folder,
        "settings": trainer.settings(arm, part),
        "more": _more(part, trainer),
        "adapter": _adapter(arm, part),
    }


def _more(part: Part, trainer: Trainer) -> dict[str, str]:
    """What a function of the script takes beside the configuration."""
    sampler = part.stage.sampler
    own: dict[str, dict[str, str]] = {
        "grpo": {},
        "distil": {"teacher": "teacher", "samples": str(sampler.samples)},
        "warm_up": {"teacher": "teacher"},
        "imitate": {"teacher": "teacher", "only_correct": str(isinstance(sampler, Recorded) and sampler.only_correct)},
    }
    return own[trainer.function]


def _why(part: Part) -> str:
    signal, sampler = type(part.stage.signal).__name__, type(part.stage.sampler).__name__
    return f"TRL has no trainer for {signal} as set here with {sampler}; the next stage goes on without it"


def _common(arm: Exported, part: Part) -> dict[str, Any]:
    """What all trainers share; `output_dir`, `use_cpu` and the like are the template's."""
    optimiser, schedule, engine = part.stage.optimiser, part.stage.schedule, arm.recipe.engine
    longest = part.stage.sampler.longest or arm.recipe.max_response_tokens
    size = a_pass(part, longest)
    constant = optimiser.final_share == 1
    return {
        "seed": arm.seed,
        "max_steps": schedule.updates,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": part.rollouts // size,
        "learning_rate": optimiser.learning_rate,
        "adam_beta1": optimiser.beta1,
        "adam_beta2": optimiser.beta2,
        "weight_decay": optimiser.weight_decay,
        "max_grad_norm": optimiser.clip_norm,
        "warmup_steps": warm_up(optimiser, schedule.updates),
        "lr_scheduler_type": "constant_with_warmup" if constant else "cosine_with_min_lr",
        **({} if constant else {"lr_scheduler_kwargs": {"min_lr_rate": optimiser.final_share}}),
        "bf16": engine.precision == "bfloat16",
        "gradient_checkpointing": engine.gradient_checkpointing,
    }


def _sampled(arm: Exported, part: Part) -> dict[str, Any]:
    """How a trainer that samples does so."""
    template = arm.template(part.role)
    return {
        "max_completion_length": part.stage.sampler.longest,
        "temperature": part.stage.sampler.temperature,
        "top_p": 1.0,
        "top_k": 0,
        **({"chat_template_kwargs": template} if template else {}),
    }


def _grpo(arm: Exported, part: Part) -> dict[str, Any]:
    signal, schedule = part.stage.signal, part.stage.schedule
    assert isinstance(signal, Reward)  # noqa: S101
    common = _common(arm, part)
    return {
        **common,
        **_sampled(arm, part),
        "num_generations": part.stage.sampler.samples,
        "steps_per_generation": common["gradient_accumulation_steps"] * schedule.drawn // schedule.problems,
        "num_iterations": schedule.passes,
        "beta": signal.kl_coefficient,
        "epsilon": signal.clip_low,
        "epsilon_high": signal.clip_high,
        "scale_rewards": "group" if signal.divide_by_std else "none",
        "loss_type": _LOSSES[signal.normalisation],
    }


def _beta(part: Part) -> float:
    """TRL's one number for the direction: 0 forward, 1 reverse, between them the mixture's weight of the teacher."""
    signal = part.stage.signal
    assert isinstance(signal, Divergence)  # noqa: S101
    return {"forward": 0.0, "reverse": 1.0, "jsd": signal.beta}[signal.direction]


def _distillation(arm: Exported, part: Part) -> dict[str, Any]:
    return {**_common(arm, part), **_sampled(arm, part), "beta": _beta(part)}


def _gkd(arm: Exported, part: Part) -> dict[str, Any]:
    longest = arm.recipe.max_response_tokens
    return {**_common(arm, part), "lmbda": 0.0, "beta": _beta(part), "max_new_tokens": longest, "max_length": None}


def _sft(arm: Exported, part: Part) -> dict[str, Any]:
    return {**_common(arm, part), "max_length": None, "completion_only_loss": True}


def _adapter(arm: Exported, part: Part) -> dict[str, Any] | None:
    adapter = arm.recipe.all_models[getattr(arm.route, part.role)].adapter
    if adapter is None:
        return None
    modules = adapter.target_modules
    return {
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "target_modules": modules if isinstance(modules, str) else list(modules),
        "task_type": "CAUSAL_LM",
    }


def _notes(arm: Exported) -> list[str]:
    """Settings without a counterpart, where they do something in this arm."""
    found = common_notes(arm)
    rewards = [part for part in arm.parts if type(part.stage.signal) is Reward]
    if any(part.stage.optimiser.warmup_share for part in arm.parts):
        found.append("the rate rises from 0 there, here from its first share: an update later")
    for part in rewards:
        signal = part.stage.signal
        assert isinstance(signal, Reward)  # noqa: S101
        if signal.zero_variance == "drop" and signal.kl_coefficient:
            found.append(
                "reward.zero_variance: groups of equal rewards stay in the batch for their KL to the reference"
            )
        if signal.normalisation == "constant" and signal.constant_length != part.stage.sampler.longest:
            found.append("reward.constant_length: TRL's dr_grpo takes max_completion_length")
        if part.stage.schedule.drawn > part.stage.schedule.problems:
            found.append("responses of a rollout batch are dealt to its updates by lot, not problem by problem")
    if any(isinstance(part.stage.sampler, Recorded) for part in arm.parts):
        found.append("recorded rollouts are gone through in a shuffled order, instead of some of each problem a step")
    if any(_recorded_divergence(part) for part in arm.parts):
        found.append("the warm-up asks the live teacher again; headwater reads what was recorded of it (cache)")
    if any(type(p.stage.signal) is Divergence and p.stage.sampler.samples > 1 for p in arm.parts):
        found.append("responses to one problem fall into several updates of distillation")
    found.append("guard: a collapsing stage is not stopped")
    return list(dict.fromkeys(found))


def _recorded_divergence(part: Part) -> bool:
    return type(part.stage.signal) is Divergence and isinstance(part.stage.sampler, Recorded)
