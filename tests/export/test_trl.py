"""An arm as a script for TRL: our values in its settings, what it cannot do by name, and a real run of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from headwater.errors import InputError
from headwater.export.stages import Exported, exported
from headwater.export.trl import export
from micro import Finished, finished, headwater, micro

KEYWORDS = {"loss_type": "dapo", "scale_rewards": "group", "num_iterations": 2, "steps_per_generation": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory)


def arm(made: Finished, name: str | None, *overrides: str) -> Exported:
    """An arm of the micro recipe, its raw models those of the finished run."""
    return exported(micro(*overrides), name, None, made.root.parent)


def configs(script: Path) -> dict[str, dict[str, Any]]:
    """Class -> the settings that the script gives it; the last where there are two."""
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    return {
        call.func.id: {
            word.arg: ast.literal_eval(word.value)
            for word in call.keywords
            if word.arg not in (None, "output_dir")  # the rest of the machine, and a path made there
        }
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id.endswith("Config")
    }


def test_every_stage_of_the_paper_is_a_trainer_with_the_recipes_numbers(made: Finished, tmp_path: Path) -> None:
    batches = ("stages.teacher_rl.rollout_problems=8", "stages.teacher_rl.passes=2")
    export(arm(made, "R3-full", *batches, "reward.clip_high=0.3"), tmp_path)
    found = configs(tmp_path / "R3-full.py")
    grpo, warm_up, opd = found["GRPOConfig"], found["GKDConfig"], found["DistillationConfig"]
    # 16 problems, 2 epochs, 2 passes, 4 problems an update
    expected = {"max_steps": 16, "learning_rate": 1e-3, "adam_beta2": 0.99, "max_grad_norm": 1.0, "warmup_steps": 1}
    expected |= {"num_generations": 4, "max_completion_length": 14, "temperature": 1.0, "top_k": 0, "beta": 5e-4}
    expected |= {"epsilon": 0.2, "epsilon_high": 0.3, "lr_scheduler_kwargs": {"min_lr_rate": 0.3}, **KEYWORDS}
    assert expected.items() <= grpo.items()
    assert grpo["per_device_train_batch_size"] * grpo["gradient_accumulation_steps"] == 4 * 4
    assert {"lmbda": 0.0, "beta": 0.0, "max_new_tokens": 14, "max_steps": 4}.items() <= warm_up.items()
    assert {"beta": 1.0, "max_completion_length": 14, "max_steps": 4}.items() <= opd.items()


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("reward.divide_by_std=false", {"scale_rewards": "none"}),
        ("reward.normalisation=sequence-mean", {"loss_type": "grpo"}),
        ("engine.precision=bfloat16", {"bf16": True}),
        ("stages.student_rl.optimiser.final_share=1.0", {"lr_scheduler_type": "constant_with_warmup"}),
    ],
)
def test_a_setting_goes_where_trl_has_it(made: Finished, tmp_path: Path, override: str, found: dict[str, Any]) -> None:
    export(arm(made, "R1", override), tmp_path)
    assert found.items() <= configs(tmp_path / "R1.py")["GRPOConfig"].items()


def test_answers_stand_only_in_the_rows_of_stages_that_read_them(made: Finished, tmp_path: Path) -> None:
    export(arm(made, "raw-bridge"), tmp_path / "bridge")
    export(arm(made, "R5-half"), tmp_path / "half")
    rows = [json.loads(line) for line in (tmp_path / "bridge" / "pool.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert all(row.keys() == {"prompt"} for row in rows)
    labels = arm(made, "R5-half").data.answers
    for half in ("1H", "2H"):
        rows = [json.loads(line) for line in (tmp_path / "half" / f"{half}.jsonl").read_text().splitlines()]
        assert len(rows) == 8
        assert {row["answer"] for row in rows} <= set(labels.values())


def test_what_trl_cannot_do_is_left_out_and_named(made: Finished, tmp_path: Path) -> None:
    written = export(arm(made, "R3-sampled"), tmp_path)
    assert "left out: on-policy-distillation on pool" in written.notes[0]
    assert "no trainer for Sampled" in written.notes[0]
    script = (tmp_path / "R3-sampled.py").read_text()
    assert set(configs(tmp_path / "R3-sampled.py")) == {"GRPOConfig", "GKDConfig"}
    assert all(note in script for note in written.notes)


def test_settings_without_a_counterpart_are_named_where_they_do_something(made: Finished, tmp_path: Path) -> None:
    def notes(*overrides: str) -> str:
        return str(export(arm(made, "R1", *overrides), tmp_path))

    assert "zero_variance" in notes()
    assert "zero_variance" not in notes("reward.kl_coefficient=0.0")
    assert "zero_variance" not in notes("reward.zero_variance=keep")
    assert "validation" not in notes()
    assert "validation" in notes("validation={every: 4}", "problems.validation=8")


def test_models_that_are_made_by_a_run_are_asked_for_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made by the run micro, which has not begun"):
        exported(micro(), "R1", None, tmp_path)
    with pytest.raises(InputError, match="no arm 'R9'"):
        exported(micro(), "R9", None, tmp_path)


@pytest.mark.parametrize("name", ["R3-full", "R2"])
def test_trl_itself_runs_the_script(made: Finished, tmp_path: Path, name: str) -> None:
    pytest.importorskip("trl", reason="`make integration` installs it")
    said = headwater("export", "micro", name, "--to", "trl", "--folder", tmp_path, cwd=made.home)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"python {tmp_path / name}.py")
    done = subprocess.run(
        [sys.executable, str(tmp_path / f"{name}.py"), "out"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"student: out/3-{'on-policy-distillation' if name == 'R3-full' else 'student-rl'}" in done.stdout
    taught = "2-warm-up" if name == "R3-full" else "2-teacher-sample-sft"
    places = (made.folder.model(made.folder.arm("raw student")), tmp_path / "out" / taught)
    before, after = (load_file(place / "model.safetensors") for place in places)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
