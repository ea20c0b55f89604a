"""A mixture of experts, as transformers saves one, runs from a recipe; killed at any disk operation, it ends alike."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path

import torch
import yaml
from test_own_models import recipe
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from headwater.folder import RunFolder
from headwater.models.family import word_tokenizer
from headwater.problems.arithmetic import VOCABULARY
from headwater.routes.recipe import read_recipe
from headwater.run import RunOptions, run_recipe
from micro import MortalDisk, identity, make

REWARD = Path(__file__).parents[1] / "golden" / "graded_reward.py"


def with_experts(folder: Path) -> Path:
    """The recipe on a model of one's own, with experts in its place and a reward that has something to teach."""
    path = recipe(folder)
    config = Qwen3MoeConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
        max_position_embeddings=64, bos_token_id=None, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(config).save_pretrained(folder / "model")
    word_tokenizer(VOCABULARY).save_pretrained(folder / "model")
    data = yaml.safe_load(path.read_text())
    data["problems"]["grading"] = {"function": f"{REWARD}:share_of_digits"}
    data["stages"]["student_rl"] = {"epochs": 2, "problems": 4, "samples": 4, "optimiser": {"learning_rate": 1e-2}}
    path.write_text(yaml.safe_dump(data))
    return path


def make_until_killed(path: Path, root: Path, operations: int) -> None:
    """One life of a process that commits after every step and dies at its n-th disk operation."""
    torch.set_num_threads(1)
    make(read_recipe(str(path)), root, MortalDisk(operations), commit_seconds=0)


def test_a_stage_of_experts_killed_at_any_disk_operation_ends_with_the_bytes_of_one_left_alone(tmp_path: Path) -> None:
    path = with_experts(tmp_path)
    make(read_recipe(str(path)), tmp_path / "whole", commit_seconds=0)
    context = multiprocessing.get_context("forkserver")  # a fork of a process that never trained
    context.set_forkserver_preload(["headwater.run"])
    chance, codes = random.Random(5), list[int | None]()
    while not codes or codes[-1] != 0:
        process = context.Process(
            target=make_until_killed, args=(path, tmp_path / "killed", chance.randrange(20, 120) + 10 * len(codes))
        )
        process.start()
        process.join()
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
    assert len(codes) > 2
    assert identity(tmp_path / "killed") == identity(tmp_path / "whole")


def test_experts_run_to_a_model_that_transformers_opens_and_that_has_learned(tmp_path: Path) -> None:
    folder = run_recipe(read_recipe(str(with_experts(tmp_path))), RunOptions(runs=tmp_path / "runs", workers=1))
    network, missing = Qwen3MoeForCausalLM.from_pretrained(
        RunFolder(folder.root).root / "models" / "R1-seed0", output_loading_info=True
    )
    assert not missing["missing_keys"]
    before = Qwen3MoeForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert all(
        not torch.equal(before[name], tensor) for name, tensor in network.state_dict().items() if "experts" in name
    )
