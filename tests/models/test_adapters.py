"""LoRA: an adapter starts as nothing, moves alone, is merged at every save, and resumes to the bit."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from headwater.engines.local import LocalLearner
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError, IntegrityError
from headwater.models import adapters
from headwater.models.choice import Lora
from headwater.models.language_model import LanguageModel
from headwater.optimiser import Optimiser
from headwater.signals import Imitation
from scripted import ONCE

LORA = Lora(rank=2, alpha=4)


def learner(make=tiny.qwen, seed=0, lora=LORA):
    model = make()
    adapters.attach(model.network, lora, seed)
    return LocalLearner(model, Optimiser(learning_rate=1e-2), 4, 1.0, EngineSettings())


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
