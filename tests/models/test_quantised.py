"""Frozen teachers with quantised layers: what their form is part of, where it is refused, and what opens them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import tiny
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.models.choice import ModelChoice
from headwater.models.family import build
from headwater.models.language_model import LanguageModel
from headwater.models.shape import QwenShape
from headwater.models.size import model_size
from headwater.plan import build_graph
from headwater.problems.arithmetic import VOCABULARY, problem_set
from headwater.routes.recipe import read_recipe
from micro import headwater

SHAPE = QwenShape(hidden_size=64, layers=2, heads=2, kv_heads=1, head_dim=32, ff_size=128)
INT8, NF4 = "teacher.quantise=int8", "teacher.quantise=nf4"


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe whose teacher stays as it is, its labels and its models."""
    monkeypatch.chdir(tmp_path)
    held_out = frozenset(problem_set(12, 2)[1])
    for name, count, seed, exclude in (("labels", 16, 1, held_out), ("benchmark", 12, 2, frozenset())):
        problems, answers = problem_set(count, seed, exclude=exclude)
        lines = [json.dumps({"problem": p.prompt, "solution": answers[p.problem_id]}) for p in problems]
        Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for role, seed in (("student", 0), ("teacher", 1)):
        build(SHAPE, VOCABULARY, seed).save(tmp_path / role)
    small = {"epochs": 1, "problems": 8, "samples": 2}
    recipe = {
        "name": "mine",
        "routes": ["raw-bridge"],
        "student": {"path": "student"},
        "teacher": {"path": "teacher"},
        "problems": {
            "kind": "files",
            "labelled": 16,
            "labels": {"path": "labels.jsonl"},
            "benchmarks": {"held-out": {"source": {"path": "benchmark.jsonl"}}},
        },
        "stages": dict.fromkeys(("teacher_rl", "warm_up", "on_policy_distillation", "student_rl"), small),
    }
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a machine with a GPU and bitsandbytes, as far as a plan asks for them."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("headwater.plan.learnable.find_spec", lambda name: name)


def nodes(*overrides: str) -> dict[str, set[str]]:
    """The names of a graph's nodes by their titles."""
    found: dict[str, set[str]] = {}
    for name, node in build_graph(read_recipe("mine.yaml", overrides)).nodes.items():
        found.setdefault(node.title, set()).add(name)
    return found


@pytest.mark.usefixtures("at_home", "gpu")
def test_the_form_is_part_of_the_name_of_the_model_and_of_all_that_comes_from_it() -> None:
    plain, int8, nf4 = nodes(), nodes(INT8), nodes(NF4)
    assert plain.keys() == int8.keys() == nf4.keys()
    same = {title for title in plain if plain[title] == int8[title]}
    assert "student: student" in same
    for title in (
        "teacher: teacher",
        "teacher's rollouts on pool",
        "warm-up on pool",
        "on-policy-distillation on pool",
    ):
        assert not plain[title] & int8[title], title
        assert not int8[title] & nf4[title], title


@pytest.mark.usefixtures("at_home", "gpu")
def test_a_stage_that_would_train_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"^teacher\.quantise: int8 weights stay as they are, and teacher-rl trains"):
        nodes(INT8, "routes=[R3-full]")
    with pytest.raises(InputError, match=r"^student\.quantise: nf4 weights stay as they are, and warm-up trains"):
        nodes("student.quantise=nf4")


@pytest.mark.usefixtures("at_home", "gpu")
def test_it_is_refused_on_ranks_and_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^teacher\.quantise: int8: ranks \(engine\.cluster\) shard weights"):
        nodes(INT8, "engine.cluster={gpus: 2}")
    monkeypatch.setattr("headwater.plan.learnable.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"bitsandbytes is not installed; `pip install 'headwater\[quantise\]'`"):
        nodes(INT8)


def test_a_model_that_is_made_here_has_no_such_form() -> None:
    with pytest.raises(InputError, match="quantise is of a model with a path"):
        read_recipe("lab", (INT8,))


@pytest.mark.parametrize("command", ["plan", "validate", "run"])
def test_every_command_refuses_it_on_a_cpu_in_one_line(at_home: Path, command: str) -> None:
    done = headwater(command, "mine.yaml", "--set", "engine.device=cpu", "--set", INT8, cwd=at_home)
    assert done.returncode == 2
    (line,) = (line for line in (done.stderr + done.stdout).splitlines() if "needs a GPU" in line)
    assert line.endswith("needs a GPU, and this run computes on a CPU (engine.device: cpu); leave it out here")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("int8", {"load_in_8bit": True, "load_in_4bit": False}),
        ("nf4", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}),
        (None, None),
    ],
)
def test_transformers_is_told_the_form(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, form: Any, told: dict[str, Any] | None
) -> None:
    given: dict[str, Any] = {}
    real = AutoModelForCausalLM.from_pretrained

    def without_a_gpu(source: Any, **settings: Any) -> Any:
        given.update(settings)
        settings.pop("quantization_config", None)
        return real(source, **settings)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", without_a_gpu)
    opening = ModelChoice(path="teacher", dtype="bfloat16", quantise=form).opening
    LanguageModel.load(opening.pop("path"), **opening)
    if told is None:
        assert "quantization_config" not in given
    else:
        assert told.items() <= given["quantization_config"].to_dict().items()
    assert given["dtype"] == torch.bfloat16


@pytest.mark.parametrize(("form", "each"), [("int8", 1), ("nf4", 0.5)])
def test_a_plan_counts_its_layers_in_fewer_bytes_and_its_head_as_it_is(at_home: Path, form: Any, each: float) -> None:
    plain = model_size(ModelChoice(path="teacher"), len(VOCABULARY))
    small = model_size(ModelChoice(path="teacher", quantise=form), len(VOCABULARY))
    assert plain is not None
    assert small is not None
    table = 64 * len(VOCABULARY)
    assert small.bytes == 4 * table + each * (plain.parameters - table)


@pytest.mark.parametrize("form", ["int8", "nf4"])
def test_what_is_saved_opens_in_its_form_and_the_teacher_says_what_transformers_says(at_home: Path, form: Any) -> None:
    pytest.importorskip("bitsandbytes", reason="`make integration` installs it; it computes on a CPU as well")
    made = LanguageModel.load("teacher", quantise=form)
    made.save(at_home / form)
    again, outline = LanguageModel.load(form, dtype="auto"), LanguageModel.outline(form, dtype="auto")
    assert made.quantised
    assert again.quantised
    assert outline.vocabulary == again.vocabulary
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]])
    plain = torch.log_softmax(made.network(ids).logits[0, 2:5].float(), dim=-1)[range(3), ids[0, 3:]]
    torch.testing.assert_close(again.network(ids).logits, made.network(ids).logits, rtol=0, atol=0)
    teacher = LocalTeacher(again, EngineSettings(device="cpu"))
    (said,) = teacher.logprobs([tiny.rollout("p/0", (3, 4, 5), (6, 7, 8))], 1.0)
    torch.testing.assert_close(said, plain, rtol=0, atol=0.05)  # of a spread of about 1.2 nats
    (drawn, *_) = tiny.draw(again, tiny_problems(), samples=2, tokens=4)
    torch.testing.assert_close(torch.tensor(drawn.logprobs), tiny.token_logprobs(again, drawn), rtol=0, atol=0.05)


def tiny_problems() -> list[Any]:
    """Two prompts of the arithmetic task."""
    return list(problem_set(2, 3)[0])
