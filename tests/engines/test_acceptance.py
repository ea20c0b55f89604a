"""A model is accepted by measurement: whatever is accepted learns as plain transformers would, the rest is refused."""

import copy

import pytest
import torch
import transformers
from torch import nn

import tiny
from headwater.batch import FullDistribution, Scored, ScoredRollout, token_mean_weights
from headwater.engines import acceptance
from headwater.engines.acceptance import accept
from headwater.engines.body import Body
from headwater.engines.local import LocalTeacher
from headwater.engines.settings import EngineSettings
from headwater.errors import InputError
from headwater.models.family import word_tokenizer
from headwater.models.language_model import LanguageModel
from headwater.models.logits import LogitChange
from headwater.models.miniature import miniature
from headwater.models.split import split
from headwater.signals import Divergence

SIZES = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
ALTERNATING = ["sliding_attention", "full_attention"]
LENGTH = 40
"""Prompt and response of the longest rollout: beyond the windows below."""


def config(name, **changes):
    return getattr(transformers, name)(**{**SIZES, **changes})


def composite(text, **changes):
    """A model of text and images, whose settings of text lie one floor down."""
    family = text.__name__.removesuffix("TextConfig") if isinstance(text, type) else text
    inner = getattr(transformers, f"{family}TextConfig")(**{**SIZES, **changes})
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    outer = getattr(transformers, f"{family}Config")
    return outer(text_config=inner.to_dict(), vision_config={**small, "image_size": 28, "patch_size": 14})


ROPE = {"factor": 4.0, "rope_type": "dynamic", "rope_theta": 10000.0}
KINDS = {
    "plain": lambda: config("Qwen3Config"),
    "a window within the length": lambda: config("MistralConfig", sliding_window=12),
    "a window in a config one floor down": lambda: composite("Gemma3", sliding_window=12, layer_types=ALTERNATING),
    "windows by another name": lambda: transformers.GPTNeoConfig(
        vocab_size=32, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=48, window_size=12,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=256, bos_token_id=None, eos_token_id=1,
    ),
    "soft caps": lambda: config("Gemma2Config", sliding_window=12, final_logit_softcapping=3.0),
    "a factor on the logits": lambda: config("CohereConfig", logit_scale=0.25),
    "sinks beside the keys": lambda: config("GptOssConfig", num_local_experts=4, sliding_window=12),
    "experts": lambda: config("MixtralConfig", num_local_experts=4, sliding_window=None),
    "experts of another kind": lambda: config(
        "Qwen3MoeConfig", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    ),
    "a norm with a gate and a state for a cache": lambda: transformers.MambaConfig(
        vocab_size=32, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0, bos_token_id=None,
        eos_token_id=1,
    ),
    "positions by the mask": lambda: transformers.OPTConfig(
        vocab_size=32, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=256, pad_token_id=0, bos_token_id=None, eos_token_id=1,
    ),
    "positions by a slope": lambda: transformers.BloomConfig(
        vocab_size=32, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0, bos_token_id=None, eos_token_id=1
    ),
    "a rotation that lengths beyond this one change": lambda: config(
        "LlamaConfig", max_position_embeddings=64, rope_parameters=ROPE
    ),
}  # fmt: skip


def sharp(settings, seed=0):
    """A network of sharp weights with a tokenizer, and a fresh copy of it that nothing of ours touches."""
    network = transformers.AutoModelForCausalLM.from_config(copy.deepcopy(settings)).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            parameter.copy_(0.3 * noise) if parameter.ndim > 1 else parameter.add_(0.1 * noise)
    words = ("<pad>", "<eos>", *(f"w{i}" for i in range(2, network.get_output_embeddings().weight.shape[0])))
    return LanguageModel(network=network, tokenizer=word_tokenizer(words)), copy.deepcopy(network)


def asked():
    """A short prompt and one that ends near the longest length: neighbours in every batch."""
    texts = ["w2 w3", " ".join(f"w{2 + i % 29}" for i in range(LENGTH - 8))]
    return [tiny.Problem(problem_id=f"p{i}", prompt=text, source="tiny") for i, text in enumerate(texts)]


def plain_logits(network, one):
    ids, first = [*one.prompt_ids, *one.response_ids], len(one.prompt_ids) - 1
    return network(input_ids=torch.tensor([ids])).logits[0, first:-1].float()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_samples_and_learns_as_plain_transformers_does(kind):
    model, plain = sharp(KINDS[kind]())
    teacher, plain_teacher = sharp(KINDS[kind](), seed=1)
    rollouts = tiny.draw(model, asked(), samples=2, tokens=8)
    for one in rollouts:
        with torch.no_grad():
            logprobs = torch.log_softmax(plain_logits(plain, one), -1)
        expected = logprobs.gather(-1, torch.tensor(one.response_ids)[:, None])
        assert (torch.tensor(one.logprobs) - expected[:, 0]).abs().max() < 1e-3
    signal = Divergence(direction="reverse")
    targets = LocalTeacher(teacher, EngineSettings()).distributions(rollouts, 1.0)
    weights = token_mean_weights(rollouts)
    scored = [ScoredRollout(rollout=r, target=t, weight=w) for r, t, w in zip(rollouts, targets, weights, strict=True)]
    tiny.learner(model).update(Scored(rollouts=tuple(scored)), signal)
    for one, weight in zip(rollouts, weights, strict=True):
        with torch.no_grad():
            target = FullDistribution(full=torch.log_softmax(plain_logits(plain_teacher, one), -1))
        (signal.loss(plain_logits(plain, one), torch.tensor(one.response_ids), target) * weight).sum().backward()
    ours, theirs = (
        torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in network.parameters()])
        for network in (model.network, plain)
    )
    tiny.assert_near(ours, theirs, 1e-3)


def test_a_rotation_that_a_longer_neighbour_changes_is_refused_where_a_rollout_can_reach_it():
    settings = config("LlamaConfig", max_position_embeddings=24, rope_parameters=ROPE)
    assert accept(settings, 20).ways.scoring == "trees"
    with pytest.raises(InputError, match="gives no way to sample up to 32 tokens"):
        accept(settings, 30)


def test_what_is_beyond_the_lengths_of_a_run_takes_no_slow_path():
    settings = config("MistralConfig", sliding_window=24)
    assert accept(settings, 20).ways.sampling == "slots"
    assert accept(settings, 30).ways.sampling == "slots, its own attention" or accept(settings, 30).refused


def test_a_network_that_looks_ahead_and_positions_that_end_are_refused_in_one_line():
    looks = transformers.BertConfig(
        vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    ends = transformers.GPT2Config(vocab_size=32, n_embd=32, n_layer=1, n_head=2, n_positions=24)
    for settings in (looks, ends):
        with pytest.raises(InputError, match="gives no way to") as refused:
            accept(settings, 30)
        assert "\n" not in str(refused.value)
    assert accept(ends, 24)


def test_a_soft_cap_that_is_left_out_is_seen(monkeypatch):
    settings = KINDS["soft caps"]()
    assert split(miniature(settings).network).change == LogitChange(cap=3.0)
    acceptance._known.clear()
    real = LanguageModel.split.func
    wrong = lambda self: type(real(self))(whole_body=True, change=LogitChange(cap=3.3))  # noqa: E731
    monkeypatch.setattr(LanguageModel, "split", property(wrong))
    with pytest.raises(InputError, match=r"gives no way to score up to 32 tokens .* nats off"):
        accept(settings, 30)
    acceptance._known.clear()


def test_logits_that_change_in_another_way_are_refused():
    class Shifted(nn.Module):
        def __init__(self, head):
            super().__init__()
            self.weight = head.weight

        def forward(self, hidden):
            return (hidden @ self.weight.T).abs()

    model = tiny.llama()
    model.network.lm_head = Shifted(model.network.lm_head)
    with pytest.raises(InputError, match="by neither a factor nor a soft cap"):
        Body(model).model.split  # noqa: B018


def test_a_copy_keeps_one_layer_of_every_kind_and_what_is_measured():
    settings = config("Gemma2Config", num_hidden_layers=40, hidden_size=1024, vocab_size=50_000, sliding_window=4096)
    small = miniature(settings).network.config
    assert small.num_hidden_layers == 2
    assert small.layer_types == ALTERNATING
    assert (small.sliding_window, small.final_logit_softcapping) == (4096, 30.0)
    assert sum(p.numel() for p in miniature(settings).network.parameters()) < 1_000_000
