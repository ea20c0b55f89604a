"""A learner on disk: the step after a resume is the step without one, to the bit, and gaps are errors."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

import tiny
from headwater.batch import Scored
from headwater.engines.checkpoint import MOMENTS, STATE, WEIGHTS
from headwater.errors import InputError, IntegrityError
from headwater.models.family import word_tokenizer
from headwater.models.language_model import LanguageModel
from headwater.optimiser import Optimiser
from headwater.signals import Imitation
from scripted import ONCE

SETTINGS = Optimiser(learning_rate=1e-2, weight_decay=0.1, warmup_share=0.3, clip_norm=0.5)


def taught(model, updates):
    """A learner after so many updates on rollouts of its own."""
    learner = tiny.learner(model, SETTINGS)
    for _ in range(updates):
        step(learner)
    return learner


def step(learner):
    groups = tiny.sample(learner.model, learner=learner, step=learner.version)
    return learner.update(Imitation().score(groups, tiny.workers(), ONCE), Imitation())


def moments(learner):
    return {
        f"{name}.{key}": value.clone()
        for name, parameter in learner.model.network.named_parameters()
        for key, value in learner._optimiser.state[parameter].items()
    }


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("updates", [0, 1, 4])
def test_the_step_after_a_resume_is_the_step_without_one_to_the_bit(family, updates, tmp_path):
    unbroken = taught(tiny.FAMILIES[family](), updates)
    unbroken.save(tmp_path)
    resumed = tiny.learner(tiny.FAMILIES[family](seed=5), SETTINGS)
    resumed.load(tmp_path)
    assert resumed.version == updates
    for _ in range(2):
        assert step(resumed) == step(unbroken)
    tiny.assert_same_bits(tiny.weights(resumed.model), tiny.weights(unbroken.model))
    tiny.assert_same_bits(moments(resumed), moments(unbroken))


def test_a_stage_whose_first_updates_had_nothing_to_learn_resumes(tmp_path):
    learner = tiny.learner(tiny.qwen(), SETTINGS)
    learner.update(Scored(rollouts=()), Imitation())
    learner.save(tmp_path)
    resumed = tiny.learner(tiny.qwen(seed=5), SETTINGS)
    resumed.load(tmp_path)
    assert resumed.version == 1
    assert step(resumed) == step(learner)
    tiny.assert_same_bits(tiny.weights(resumed.model), tiny.weights(learner.model))


def test_saving_changes_nothing(tmp_path):
    learner = taught(tiny.qwen(), 2)
    before, kept = tiny.weights(learner.model), moments(learner)
    learner.save(tmp_path)
    tiny.assert_same_bits(tiny.weights(learner.model), before)
    tiny.assert_same_bits(moments(learner), kept)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_directory_opens_with_from_pretrained(family, tmp_path):
    learner = taught(tiny.FAMILIES[family](), 1)
    learner.save(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    tiny.assert_same_bits({n: p.detach() for n, p in opened.named_parameters()}, tiny.weights(learner.model))
    assert AutoTokenizer.from_pretrained(tmp_path)("a b")["input_ids"] == [2, 3]


def test_nothing_on_disk_is_a_pickle(tmp_path):
    taught(tiny.qwen(), 1).save(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
        else:
            header = int.from_bytes(content[:8], "little")
            assert json.loads(content[8 : 8 + header])


# gaps


def saved(directory):
    taught(tiny.llama(), 2).save(directory)
    return tiny.learner(tiny.llama(seed=5), SETTINGS)


@pytest.mark.parametrize("lost", [MOMENTS, STATE, "model.safetensors"])
@pytest.mark.parametrize("cut", [None, 0, 20])
def test_a_missing_or_cut_file_is_an_integrity_error_that_names_it(lost, cut, tmp_path):
    learner = saved(tmp_path)
    path = tmp_path / lost
    content = path.read_bytes()
    path.unlink()
    if cut is not None:
        path.write_bytes(content[:cut])
    with pytest.raises(IntegrityError, match=path.name) as found:
        learner.load(tmp_path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("kind", ["exp_avg", "exp_avg_sq", "step"])
def test_a_missing_moment_of_one_parameter_is_an_integrity_error(kind, tmp_path):
    learner = saved(tmp_path)
    tensors = load_file(tmp_path / MOMENTS)
    del tensors[f"{kind}.model.norm.weight"]
    save_file(tensors, tmp_path / MOMENTS)
    with pytest.raises(IntegrityError, match="optimiser state"):
        learner.load(tmp_path)


def test_moments_of_another_model_are_an_integrity_error(tmp_path):
    learner = saved(tmp_path)
    tensors = load_file(tmp_path / MOMENTS)
    tensors["step.lm_head.bias"] = tensors.pop("step.lm_head.weight")
    save_file(tensors, tmp_path / MOMENTS)
    with pytest.raises(IntegrityError, match="optimiser state"):
        learner.load(tmp_path)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.norm.weight"])
def test_missing_weights_are_an_integrity_error(name, tmp_path):
    learner = saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="weights do not fit"):
        learner.load(tmp_path)


def experts(seed=0):
    """A mixture of experts, which transformers writes under other names than the network has."""
    config = Qwen3MoeConfig(
        vocab_size=len(tiny.WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
        max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    network = Qwen3MoeForCausalLM(config)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=source)
    return LanguageModel(network=network, tokenizer=word_tokenizer(tiny.WORDS))


def test_a_stopped_stage_of_experts_goes_on_to_the_bit_and_its_model_opens(tmp_path):
    unbroken = taught(experts(), 2)
    unbroken.save(tmp_path)
    resumed = tiny.learner(experts(seed=5), SETTINGS)
    resumed.load(tmp_path)
    for _ in range(2):
        assert step(resumed) == step(unbroken)
    tiny.assert_same_bits(tiny.weights(resumed.model), tiny.weights(unbroken.model))
    opened = LanguageModel.load(tmp_path)
    opened.refuse_missing(str(tmp_path))
    tiny.assert_same_bits(tiny.weights(opened), load_file(tmp_path / WEIGHTS))


def test_experts_of_which_one_is_missing_are_refused_unread(tmp_path):
    model = experts()
    model.save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    gone = next((name for name in tensors if "experts.2." in name), None)
    del tensors[gone or next(name for name in tensors if "experts" in name)]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError):
        LanguageModel.outline(tmp_path).refuse_missing(str(tmp_path))
