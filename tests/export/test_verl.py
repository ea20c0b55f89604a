"""An arm as configurations for verl: our values in its keys, its own schema, and what it cannot do by name."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyarrow import parquet

from headwater.errors import InputError
from headwater.export.stages import exported
from headwater.export.verl import export
from headwater.routes.recipe import read_recipe
from micro import Finished, finished, micro

SYSTEM = "Put the answer in a box."
VERL = "HEADWATER_VERL_PYTHON"


def rows(path: Path, numbers: range) -> Path:
    lines = (json.dumps({"problem": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in numbers)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """`qwen3-math` on labels, a benchmark and names of models of one's own."""
    labels, held = rows(tmp_path / "labels.jsonl", range(256)), rows(tmp_path / "held.jsonl", range(1000, 1010))
    benchmarks = f"{{b: {{source: {{path: {held}, system_prompt: {SYSTEM}}}}}}}"
    return [
        f"problems={{kind: files, labelled: 256, labels: {{path: {labels}, system_prompt: {SYSTEM}}}, "
        f"grading: {{answer_type: integer, extractor: boxed}}, benchmarks: {benchmarks}}}"
    ]


def written(overrides: list[str], name: str, to: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """File -> configuration of an arm, and what the command says."""
    said = str(export(exported(read_recipe("qwen3-math", overrides), name, None, to), to))
    return {file.stem: yaml.safe_load(file.read_text()) for file in to.glob("*.yaml")}, said


def test_grpo_has_the_recipes_numbers(overrides: list[str], tmp_path: Path) -> None:
    more = ["stages.student_rl.rollout_problems=128", "stages.student_rl.passes=10", "stages.student_rl.epochs=1"]
    found, _ = written([*overrides, *more, "reward.clip_high=0.28"], "R1", tmp_path / "out")
    grpo = found["1-student-rl"]
    actor, rollout = grpo["actor_rollout_ref"]["actor"], grpo["actor_rollout_ref"]["rollout"]
    assert (grpo["data"]["train_batch_size"], actor["ppo_mini_batch_size"], actor["ppo_epochs"]) == (128, 8, 10)
    assert grpo["trainer"]["total_training_steps"] == 256 // 128  # a step of verl's is a rollout batch
    assert (rollout["n"], rollout["temperature"], rollout["top_k"]) == (8, 1.0, -1)
    assert (actor["clip_ratio_low"], actor["clip_ratio_high"], actor["loss_agg_mode"]) == (0.2, 0.28, "token-mean")
    assert (actor["use_kl_loss"], actor["kl_loss_coef"], actor["kl_loss_type"]) == (True, 5e-4, "low_var_kl")
    assert (actor["optim"]["lr"], actor["optim"]["betas"], actor["grad_clip"]) == (1e-6, [0.9, 0.999], 1.0)
    assert (grpo["data"]["max_prompt_length"], grpo["data"]["max_response_length"]) == (3072, 16384)
    assert grpo["data"]["apply_chat_template_kwargs"] == {"enable_thinking": False}
    assert grpo["actor_rollout_ref"]["model"]["path"] == "Qwen/Qwen3-1.7B"


def test_rows_are_in_verls_layout_and_the_reward_is_the_runs_own_grading(overrides: list[str], tmp_path: Path) -> None:
    to = tmp_path / "out"
    written(overrides, "R1", to)
    table = parquet.read_table(to / "pool.parquet").to_pylist()
    assert len(table) == 256
    assert {row["reward_model"]["ground_truth"] for row in table} == {str(2 * n) for n in range(256)}
    assert [turn["role"] for turn in table[0]["prompt"]] == ["system", "user"]
    assert len(parquet.read_table(to / "benchmark.parquet")) == 10
    score = runpy.run_path(str(to / "reward.py"))["compute_score"]
    assert score("qwen3-math", r"so \boxed{034}", "34") == 1.0
    assert score("qwen3-math", r"so \boxed{35}", "34") == score("qwen3-math", "34", "34") == 0.0


def test_distillation_is_the_sampled_tokens_reward_and_a_warm_up_is_left_out(
    overrides: list[str], tmp_path: Path
) -> None:
    found, said = written(overrides, "R5-half", tmp_path / "out")
    assert set(found) == {"1-teacher-rl", "3-on-policy-distillation", "4-student-rl"}
    distillation = found["3-on-policy-distillation"]["distillation"]
    loss = distillation["distillation_loss"]
    assert (loss["loss_mode"], loss["use_policy_gradient"], loss["use_task_rewards"]) == ("k1", True, False)
    assert distillation["teacher_models"]["teacher_model"]["model_path"] == str(tmp_path / "out" / "1-teacher-rl")
    assert "left out: warm-up on 1H" in said
    assert "exact reverse KL becomes the sampled token's reward" in said
    _, said = written(overrides, "R3-sampled", tmp_path / "sampled")
    assert "exact reverse KL" not in said
    found, said = written(overrides, "R3-returns-to-go", tmp_path / "returns")
    assert "left out: on-policy-distillation" in said
    steps = (tmp_path / "out" / "run.sh").read_text().splitlines()[2:]
    assert [line.split()[2] for line in steps] == ["verl.trainer.main_ppo", "verl.model_merger"] * 3


def test_prompts_of_plain_text_are_refused(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    made: Finished = finished(tmp_path_factory)
    with pytest.raises(InputError, match="verl takes chats alone"):
        export(exported(micro(), "R1", None, made.root.parent), tmp_path)


@pytest.mark.skipif(VERL not in os.environ, reason="`make integration` sets up a Python with verl's configurations")
@pytest.mark.parametrize("name", ["R1", "R2", "R3-sampled", "R5-half"])
def test_every_key_is_one_of_verls_own(overrides: list[str], tmp_path: Path, name: str) -> None:
    more = ["student.adapter={rank: 8}", "reward.normalisation=constant", "reward.constant_length=16384"]
    found, _ = written([*overrides, *more], name, tmp_path / "out")
    check = [os.environ[VERL], str(Path(__file__).with_name("verl_keys.py")), str(tmp_path / "out")]
    done = subprocess.run(check, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr[-2000:]
    read = dict(json.loads(line) for line in done.stdout.splitlines())
    assert read.keys() == found.keys()
    for stage, config in found.items():
        assert read[stage]["trainer"]["total_training_steps"] == config["trainer"]["total_training_steps"]
