"""The preflight: every fault of models, prompts and labels is found without weights, and all are listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import micro
import tiny
from headwater.errors import InputError
from headwater.models.family import build, word_tokenizer
from headwater.models.language_model import LanguageModel
from headwater.models.shape import QwenShape
from headwater.plan import build_graph, plan
from headwater.plan.cost import in_bytes
from headwater.plan.learnable import moved_share
from headwater.plan.preflight import preflight
from headwater.problems.arithmetic import VOCABULARY, problem_set
from headwater.routes.recipe import read_recipe
from headwater.run import RunOptions, run_recipe

SHAPE = QwenShape(hidden_size=16, layers=1, heads=2, kv_heads=1, head_dim=8, ff_size=32)
CHAT = "{% for m in messages %}{{ m.content }} {% endfor %}"


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound recipe, its labels and two directories with one and the same model."""
    monkeypatch.chdir(tmp_path)
    held_out = frozenset(problem_set(12, 2)[1])
    for name, count, seed, exclude in (("labels", 16, 1, held_out), ("benchmark", 12, 2, frozenset())):
        problems, answers = problem_set(count, seed, exclude=exclude)
        lines = [json.dumps({"problem": p.prompt, "solution": answers[p.problem_id]}) for p in problems]
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for role in ("student", "teacher"):
        build(SHAPE, VOCABULARY, 0).save(tmp_path / role)
    recipe = {
        "name": "mine",
        "routes": ["R1"],
        "student": {"path": "student"},
        "teacher": {"path": "teacher"},
        "problems": {
            "kind": "files",
            "labelled": 16,
            "labels": {"path": "labels.jsonl"},
            "benchmarks": {"held-out": {"source": {"path": "benchmark.jsonl"}}},
        },
        "stages": {"student_rl": {"epochs": 1, "problems": 8, "samples": 2}},
    }
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def faults(*overrides: str, **how: Any) -> list[str]:
    return preflight(read_recipe("mine.yaml", overrides), **how).faults


def word_model(directory: str, words: tuple[str, ...]) -> None:
    """The tokenizer of a directory replaced by one of these words."""
    word_tokenizer(words).save_pretrained(directory)


def edit(path: str, **keys: Any) -> None:
    file = Path(path)
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def test_a_sound_recipe_has_no_fault_and_says_what_was_looked_at(at_home: Path) -> None:
    found = preflight(read_recipe("mine.yaml"))
    assert found.faults == []
    said = "\n".join(found.lines)
    for part in ("student  student: qwen3", "51 ids, stops at 1", "the same ids, templates and stops", "16 labels"):
        assert part in said
    assert "spend labels" not in said  # what to spend them on is asked of a pilot, not of a benchmark


def test_the_room_that_is_asked_for_is_that_of_the_plan(at_home: Path) -> None:
    recipe = read_recipe("mine.yaml", ("engine.memory=100000000",))
    kept = plan(build_graph(recipe), {}, {})["totals"]
    said = "\n".join(preflight(recipe).lines)
    total = kept["disk"] + kept["handed_out"] + kept["working_disk"]
    assert f"disk     about {in_bytes(total)} at most" in said
    assert f"memory   about {in_bytes(kept['memory'])} a worker" in said


def test_layers_that_an_adapter_cannot_find_are_named(at_home: Path) -> None:
    assert any("no_such_layer" in fault for fault in faults("student.adapter={target_modules: [no_such_layer]}"))


@pytest.mark.parametrize("setting", ["stages.student_rl.samples=1", "stages.student_rl.sampler={samples: 1}"])
def test_reward_with_one_response_a_problem_is_refused(at_home: Path, setting: str) -> None:
    (fault,) = faults(setting)
    assert fault.startswith("stages.student_rl.samples: reward compares the responses to a problem")
    with pytest.raises(InputError, match="use 2 or more"):
        run_recipe(read_recipe("mine.yaml", (setting,)), RunOptions(runs=at_home / "runs"))


def test_a_rate_that_bfloat16_rounds_away_is_refused_and_the_rate_that_is_named_is_not(at_home: Path) -> None:
    rate = "stages.student_rl.optimiser.learning_rate={}".format
    kept = ("student.dtype=bfloat16", "teacher.dtype=bfloat16")
    (fault,) = faults(*kept, rate("1e-6"))
    assert fault.startswith("stages.student_rl.optimiser.learning_rate: a step of 1e-06 moves about 2 % of weights")
    assert "student.dtype" in fault
    least = fault.removesuffix(" or more").rpartition(" ")[2]
    assert faults(*kept, rate(least)) == []
    assert faults("teacher.dtype=bfloat16", rate("1e-6")) == []
    assert faults(*kept, rate("1e-6"), "student.adapter={rank: 2}") == []


@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4])
def test_the_share_that_a_step_is_said_to_move_in_bfloat16_bounds_what_adamw_moves(rate: float) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter((0.02 * torch.randn(100_000, generator=draw)).bfloat16())
    before = weight.detach().clone()
    weight.grad = torch.randn(100_000, generator=draw).bfloat16()
    torch.optim.AdamW([weight], lr=rate, weight_decay=0.0).step()
    moved = float((weight != before).float().mean())
    assert 0.5 * moved_share(rate) <= moved <= moved_share(rate)


def test_permuted_ids_are_refused(at_home: Path) -> None:
    word_model("teacher", (*VOCABULARY[:4], VOCABULARY[5], VOCABULARY[4], *VOCABULARY[6:]))
    assert any("tokenizers differ in 4 entries" in fault for fault in faults())


def test_rows_that_no_tokenizer_emits_may_differ(at_home: Path) -> None:
    model = LanguageModel.load("teacher")
    model.network.resize_token_embeddings(len(VOCABULARY) + 13)
    model.save(Path("teacher"))
    assert faults() == []
    assert "51 ids, 13 rows of padding" in "\n".join(preflight(read_recipe("mine.yaml")).lines)


def test_other_stops_are_named_with_the_setting_that_mends_them(at_home: Path) -> None:
    edit("teacher/generation_config.json", eos_token_id=[1, 7])
    (fault,) = faults()
    assert "the student stops at 1 (<eos>), the teacher at 1 (<eos>), 7 (3)" in fault
    assert fault.endswith("student.stop_ids: [7].")
    assert faults("student.stop_ids=[7]") == []


def test_other_templates_are_shown_at_the_first_token_that_differs(at_home: Path) -> None:
    for role, ending in (("student", ":"), ("teacher", "#")):
        Path(role, "chat_template.jinja").write_text(CHAT + ending)
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    chats = [
        {"prompt": [{"role": "user", "content": row["problem"][:-2]}], "solution": row["solution"]} for row in rows
    ]
    Path("labels.jsonl").write_text("\n".join(map(json.dumps, chats)) + "\n")
    (fault,) = (fault for fault in faults() if "different ids" in fault)
    assert "the student has ':', the teacher '#'" in fault


def test_a_prompt_without_room_is_listed_with_all_others(at_home: Path) -> None:
    edit("student/config.json", max_position_embeddings=20)
    (fault,) = faults()
    assert "prompts have no room for 14 response tokens in a context of 20 (longest: 7 tokens): " in fault
    assert faults("max_response_tokens=8") == []


def test_a_memory_in_which_no_response_fits_is_refused_with_one_in_which_it_does(at_home: Path) -> None:
    tight = ("engine.memory=1048576", "max_response_tokens=9000")
    [said] = [fault for fault in faults(*tight) if fault.startswith("engine.memory") and "the student's" in fault]
    need = int(said.rpartition(" ")[2].rstrip("."))
    assert need > 2**20
    mended = faults(f"engine.memory={need}", "max_response_tokens=9000")
    assert not any("engine.memory: " in fault and "sampler" in fault for fault in mended)
    assert any("sampler" in fault for fault in faults(f"engine.memory={need - 1}", "max_response_tokens=9000"))
    assert not any("sampler" in fault for fault in faults(*tight, "engine.rows=1"))  # said by hand


def test_control_tokens_in_prompts_are_all_listed(at_home: Path) -> None:
    with Path("labels.jsonl").open("a") as file:
        for start in ("3 <eos> +2 :", "4 <pad> +2 :"):
            file.write(json.dumps({"problem": start, "solution": "5"}) + "\n")
    (fault,) = faults("problems.labelled=18", "stages.student_rl.problems=9")
    assert "2 of 30 prompts cannot be read" in fault
    assert "<eos>" in fault or "<pad>" in fault


def test_faults_of_every_kind_come_in_one_list(at_home: Path) -> None:
    edit("teacher/generation_config.json", eos_token_id=[1, 7])
    Path("benchmark.jsonl").write_text(Path("benchmark.jsonl").read_text().replace('"solution": "', '"solution": "x'))
    found = faults()
    assert len(found) == 2
    assert "stops at" in found[0]
    assert "benchmark held-out: verifier: 12 of 12 gold answers" in found[1]


def test_weights_may_be_absent_only_by_choice(at_home: Path) -> None:
    Path("teacher/model.safetensors").unlink()
    assert ["teacher has no safetensors" in fault for fault in faults()] == [True]
    assert faults(weights=False) == []


def test_a_tensor_that_is_missing_is_seen_in_the_header(at_home: Path) -> None:
    shutil.rmtree("teacher")
    build(SHAPE.model_copy(update={"layers": 2}), VOCABULARY, 0).save(Path("teacher"))
    shutil.copy("student/model.safetensors", "teacher/model.safetensors")
    assert any("lacks 11 tensors of its own network (first: model.layers.1" in fault for fault in faults())


def test_the_command_exits_2_with_every_fault_on_a_line_of_its_own(at_home: Path) -> None:
    done = micro.headwater("validate", "mine.yaml", cwd=at_home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mine.yaml: valid." in done.stdout
    edit("teacher/generation_config.json", eos_token_id=[1, 7])
    edit("student/config.json", max_position_embeddings=20)
    done = micro.headwater("validate", "mine.yaml", cwd=at_home)
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["headwater"] * 2


def test_a_run_refuses_what_the_preflight_finds_before_it_makes_a_folder(at_home: Path) -> None:
    edit("teacher/generation_config.json", eos_token_id=[1, 7])
    with pytest.raises(InputError, match="the teacher at 1"):
        run_recipe(read_recipe("mine.yaml"), RunOptions(runs=at_home / "runs"))
    assert not (at_home / "runs" / "mine" / "graph.json").exists()


def test_the_lab_needs_room_for_prompt_and_response() -> None:
    assert preflight(micro.micro()).faults == []
    (fault, _) = preflight(micro.micro("max_response_tokens=60")).faults
    assert "do not fit in 64 positions" in fault


def test_an_outline_is_the_model_but_for_its_numbers(tmp_path: Path) -> None:
    tiny.llama(stop_ids=(4, 6)).save(tmp_path)
    outline, model = LanguageModel.outline(tmp_path), LanguageModel.load(tmp_path)
    assert (outline.size, outline.parameters, outline.stop_ids) == (model.size, model.parameters, model.stop_ids)
    assert outline.vocabulary == model.vocabulary
    assert outline.encode(tiny.problems()[0]) == model.encode(tiny.problems()[0])


def test_what_is_wrong_behind_an_unreachable_benchmark_is_listed_too(at_home: Path) -> None:
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    rows += [{"problem": rows[0]["problem"], "solution": "-99"}, {"problem": "no answer here"}]
    Path("labels.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    found = faults("problems.benchmarks.other={source: {path: nowhere.jsonl}}")
    assert any("nowhere.jsonl" in fault for fault in found)
    bad = next(fault for fault in found if "rows are bad" in fault)
    assert "line 18" in bad  # the missing answer
    assert "have rows with different answers (line 1 and line 17)" in bad  # and the contradiction
