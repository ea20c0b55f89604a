"""A model is accepted by measurement: whatever is accepted learns as plain transformers would, the rest is refused."""

import pytest
import transformers
from torch import nn

import tiny
from headwater.engines import acceptance
from headwater.engines.acceptance import accept
from headwater.engines.body import Body
from headwater.errors import InputError
from headwater.models.language_model import LanguageModel
from headwater.models.logits import LogitChange
from headwater.models.miniature import miniature
from headwater.models.split import split
from plainly import gradients, sampled_apart, sharp

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


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_accepted_samples_and_learns_as_plain_transformers_does(kind):
    model, plain = sharp(KINDS[kind]())
    rollouts, apart = sampled_apart(model, plain)
    assert apart < 1e-3
    tiny.assert_near(*gradients(model, plain, *sharp(KINDS[kind](), seed=1), rollouts), 1e-3)


def test_a_rotation_that_a_longer_neighbour_changes_is_refused_where_a_rollout_can_reach_it():
    settings = config("LlamaConfig", max_position_embeddings=24, rope_parameters=ROPE)
    assert accept(settings, 20).ways.scoring == "trees"
    with pytest.raises(InputError, match="gives no way to sample up to 32 tokens"):
        accept(settings, 30)


def test_what_is_beyond_the_lengths_of_a_run_takes_no_slow_path():
    settings = config("MistralConfig", sliding_window=24)
    assert accept(settings, 20).ways.sampling == "slots"
    assert accept(settings, 30).ways.sampling == "slots, its own attention" or accept(settings, 30).refused


def test_long_rollouts_are_compared_up_to_a_bounded_length_beyond_the_last_that_the_config_names(monkeypatch):
    monkeypatch.setattr(acceptance, "BEYOND", 40)
    plain = accept(config("LlamaConfig", max_position_embeddings=4096), 1000)
    assert (plain.length, plain.measured) == (1024, 48 + 40)  # intermediate_size 48 might be a length
    assert "up to 1,024 tokens (compared up to 88: its config names no length from there on)" in str(plain)
    window = accept(config("MistralConfig", max_position_embeddings=4096, sliding_window=200), 1000)
    assert window.measured == 200 + 40
    with pytest.raises(InputError, match="gives no way to score"):  # positions that end far below the rollouts
        accept(transformers.GPT2Config(vocab_size=32, n_embd=32, n_layer=1, n_head=2, n_positions=500), 1000)


def test_an_architecture_is_measured_once_whatever_folder_it_was_opened_from(monkeypatch):
    measured, measure = [], acceptance._measured
    monkeypatch.setattr(acceptance, "_known", {})
    monkeypatch.setattr(acceptance, "_measured", lambda *asked: measured.append(asked) or measure(*asked))
    for folder, theta in (("here", 1e4), ("there", 1e4), ("there", 1e6)):
        one = config("Qwen3Config", rope_parameters={"rope_type": "default", "rope_theta": theta})
        one.name_or_path = folder
        accept(one, 40)
    assert len(measured) == 2


def test_what_was_right_further_on_is_not_measured_again_nearer_by_and_what_was_not_is(monkeypatch):
    measured, measure = [], acceptance._measured
    monkeypatch.setattr(acceptance, "_known", {})
    monkeypatch.setattr(acceptance, "_measured", lambda one, *asked: measured.append(asked[0]) or measure(one, *asked))
    plain, window = config("Qwen3Config"), config("MistralConfig", sliding_window=24)
    assert accept(plain, 40).ways == accept(plain, 20).ways
    assert measured == [48]
    assert accept(window, 30).refused and not accept(window, 20).refused
    assert measured == [48, 32, 24]


def test_a_network_asks_once_for_each_length(monkeypatch):
    asked, one = [], Body(tiny.qwen())
    monkeypatch.setattr(acceptance, "accept", lambda *given: asked.append(given[1]) or accept(*given))
    for length in (20, 20, 30, 20):
        assert one.ways(length).scoring == "trees"
    assert asked == [20, 30]


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
