"""LoRA: an adapter starts as nothing, moves alone, is merged at every save, and resumes to the bit."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig

import tiny
from headwater.engines.local import LocalLearner
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError, IntegrityError
from headwater.interfaces import Training
from headwater.models import adapters
from headwater.models.choice import Lora
from headwater.models.family import word_tokenizer
from headwater.models.language_model import LanguageModel
from headwater.optimiser import Optimiser
from headwater.signals import Imitation
from scripted import ONCE

LORA = Lora(rank=2, alpha=4)


def learner(make=tiny.qwen, seed=0, lora=LORA):
    model = make()
    adapters.attach(model.network, lora, seed)
    return LocalLearner(model, Training(optimiser=Optimiser(learning_rate=1e-2), updates=4), EngineSettings())


def step(found):
    """One update on rollouts that the learner draws itself."""
    groups = tiny.sample(found.model, learner=found, step=found.version)
    found.update(Imitation().score(groups, tiny.workers(), ONCE), Imitation())


def logits(network):
    with torch.no_grad():
        return network(torch.tensor([[2, 3, 4, 5]])).logits


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_fresh_adapter_changes_nothing_and_a_step_moves_it_alone(family):
    make = tiny.FAMILIES[family]
    plain, found = make(), learner(make)
    torch.testing.assert_close(logits(found.model.network), logits(plain.network))
    before = {name: p.clone() for name, p in found.model.network.named_parameters()}
    step(found)
    moved = {name for name, p in found.model.network.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(".lora_" in name for name in moved)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_saved_is_the_merged_model_with_the_adapter_beside(tmp_path, family):
    found = learner(tiny.FAMILIES[family])
    for _ in range(2):
        step(found)
    found.save(tmp_path)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(opened), logits(found.model.network), rtol=1e-4, atol=1e-5)
    assert opened.state_dict().keys() == tiny.FAMILIES[family]().network.state_dict().keys()
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 2
    assert not adapters.attached(LanguageModel.load(tmp_path).network)


def test_peft_opens_the_adapter_on_the_start(tmp_path):
    from peft import PeftModel

    found = learner()
    step(found)
    found.save(tmp_path)
    reopened = PeftModel.from_pretrained(tiny.qwen().network, tmp_path / "adapter")
    torch.testing.assert_close(logits(reopened), logits(found.model.network))


def test_a_resumed_stage_goes_on_to_the_bit(tmp_path):
    whole = learner()
    for _ in range(4):
        step(whole)
    first = learner()
    for _ in range(2):
        step(first)
    first.save(tmp_path)
    second = learner()
    second.load(tmp_path)
    assert second.version == 2
    for _ in range(2):
        step(second)
    ours, theirs = second.model.network.state_dict(), whole.model.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_start_of_an_adapter_comes_from_the_stages_seed():
    one, same, other = (adapters._trained(learner(seed=seed).model.network) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_an_adapter_of_another_rank_and_a_target_that_is_not_there_are_refused(tmp_path):
    learner().save(tmp_path)
    with pytest.raises(IntegrityError, match="of another network or rank"):
        learner(lora=Lora(rank=2, target_modules=("q_proj",))).load(tmp_path)
    with pytest.raises(InputError, match="adapter: "):
        learner(lora=Lora(target_modules=("nowhere",)))


def test_samples_are_drawn_with_the_adapter():
    found = learner()
    before = tiny.draw(found.model, learner=found)
    for parameter in adapters._trained(found.model.network).values():
        with torch.no_grad():
            parameter.fill_(0.5)
    after = tiny.draw(found.model, learner=found)
    assert [r.logprobs for r in before] != [r.logprobs for r in after]


# mixtures: their experts lie packed in one tensor, which no linear layer holds


def experts(kind):
    """A mixture that peft adapts through its packed tensors."""
    sizes = {"num_experts": 4, "moe_intermediate_size": 8} if kind is Qwen3MoeConfig else {"num_local_experts": 4}
    config = kind(
        vocab_size=len(tiny.WORDS), hidden_size=16, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_experts_per_tok=2, max_position_embeddings=64, pad_token_id=0,
        eos_token_id=1, bos_token_id=None, **sizes,
    )  # fmt: skip
    network = AutoModelForCausalLM.from_config(config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=draw)
    return LanguageModel(network=network, tokenizer=word_tokenizer(tiny.WORDS))


def moved_far(found):
    """The adapter, experts' included, far from nothing."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapters._trained(found.model.network).values():
            parameter.normal_(0, 0.3, generator=draw)


@pytest.mark.parametrize("kind", [Qwen3MoeConfig, MixtralConfig])
def test_an_adapter_on_experts_learns_and_is_merged_into_a_model_that_is_whole(tmp_path, kind):
    found = learner(lambda: experts(kind))
    step(found)
    trained = adapters._trained(found.model.network)
    assert all(p.abs().sum() > 0 for name, p in trained.items() if "experts" in name and "lora_B" in name)
    moved_far(found)
    found.save(tmp_path)
    opened, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert opened.state_dict().keys() == experts(kind).network.state_dict().keys()
    torch.testing.assert_close(logits(opened), logits(found.model.network), rtol=1e-4, atol=1e-5)
    assert (logits(opened) - logits(experts(kind).network)).abs().max() > 0.1


def test_a_resumed_adapter_on_experts_goes_on_to_the_bit(tmp_path):
    whole = learner(lambda: experts(Qwen3MoeConfig))
    step(whole)
    whole.save(tmp_path)
    resumed = learner(lambda: experts(Qwen3MoeConfig), seed=5)
    resumed.load(tmp_path)
    for found in (whole, resumed):
        step(found)
    tiny.assert_same_bits(tiny.weights(resumed.model), tiny.weights(whole.model))


@pytest.mark.parametrize("make", [tiny.qwen, lambda: experts(Qwen3MoeConfig)])
def test_a_layer_that_is_not_merged_is_found_by_the_logits_and_nothing_is_saved(tmp_path, monkeypatch, make):
    found = learner(make)
    moved_far(found)
    layers = adapters._adapted
    monkeypatch.setattr(adapters, "_adapted", lambda network: layers(network)[:-1])  # the planted fault
    with pytest.raises(IntegrityError, match=r"adapter: merged, the logits are .* away"):
        found.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_merged_model_with_other_names_is_refused(tmp_path, monkeypatch):
    found = learner(lambda: experts(Qwen3MoeConfig))
    monkeypatch.setattr(adapters, "_merge", lambda network: None)
    with pytest.raises(IntegrityError, match=r"the merged model and the plain network differ in model\.layers\.0"):
        found.save(tmp_path)


def test_saving_leaves_the_network_in_training_as_it_was(tmp_path):
    found = learner(lambda: experts(MixtralConfig))
    moved_far(found)
    before = tiny.weights(found.model)
    found.save(tmp_path)
    tiny.assert_same_bits(tiny.weights(found.model), before)


def test_the_cluster_refuses_an_adapter_on_packed_experts_and_names_the_layers_to_take():
    model = experts(Qwen3MoeConfig)
    adapters.attach(model.network, LORA, 0)
    with pytest.raises(
        InputError, match=r"engine.cluster cannot merge one on packed experts .*\[k_proj, o_proj, q_proj"
    ):
        adapters.refuse_packed(model.network)
    plain = experts(Qwen3MoeConfig)
    adapters.attach(plain.network, Lora(target_modules=("q_proj", "v_proj")), 0)
    adapters.refuse_packed(plain.network)


def test_a_peft_that_leaves_packed_experts_out_is_refused_with_the_layers_that_it_does_take(monkeypatch):
    def older(network, config):
        config.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"}
        injected(network, config)

    injected = adapters._injected
    monkeypatch.setattr(adapters, "_injected", older)
    with pytest.raises(InputError, match=r"target_modules to \[k_proj, o_proj, q_proj, v_proj\]"):
        adapters.attach(experts(Qwen3MoeConfig).network, LORA, 0)
