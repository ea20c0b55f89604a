"""Conversion: any model becomes a directory that opens, and a cut leaves out the layers that are missed least."""

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from headwater.errors import InputError
from headwater.models import convert as room
from headwater.models.convert import convert
from headwater.models.family import build
from headwater.models.language_model import LanguageModel
from headwater.models.shape import QwenShape

DEEP = QwenShape(hidden_size=16, layers=5, heads=2, kv_heads=1, head_dim=8, ff_size=32)


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A model of five layers of which the third and fourth hardly do anything."""
    monkeypatch.setattr(room, "PROBES", ("a b c d e f g h", "h a d e"))
    model = build(DEEP, tiny.WORDS, seed=0)
    with torch.no_grad():
        for layer in model.network.model.layers[2:4]:
            layer.self_attn.o_proj.weight.mul_(1e-3)
            layer.mlp.down_proj.weight.mul_(1e-3)
    model.save(tmp_path / "deep")
    return tmp_path / "deep"


def test_a_whole_model_is_written_as_it_was(deep, tmp_path):
    done = convert(str(deep), tmp_path / "copy")
    assert str(done).startswith("5 layers, ")
    before, after = (AutoModelForCausalLM.from_pretrained(p).state_dict() for p in (deep, tmp_path / "copy"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_cut_leaves_out_the_block_that_is_missed_least(deep, tmp_path):
    done = convert(str(deep), tmp_path / "cut", layers=3)
    assert done.left_out == (2, 3)
    assert 0 <= done.divergence < 1e-3
    assert "3 of 5 layers (2 to 3 left out" in str(done)
    cut, whole = LanguageModel.load(tmp_path / "cut"), LanguageModel.load(deep)
    assert cut.network.config.num_hidden_layers == len(cut.network.config.layer_types) == 3
    kept = {int(name.split(".")[2]) for name in cut.network.state_dict() if ".layers." in name}
    assert kept == {0, 1, 2}
    ours, theirs = cut.network.model.layers[2], whole.network.model.layers[4]
    assert torch.equal(ours.mlp.up_proj.weight, theirs.mlp.up_proj.weight)
    assert tiny.draw(cut)[0].response_ids  # the sampler's cache finds every layer


def test_a_model_is_never_written_over_and_nothing_is_left_of_a_failure(deep, tmp_path):
    with pytest.raises(InputError, match="exists; choose another place"):
        convert(str(deep), deep)
    for layers in (0, 5, 6):
        with pytest.raises(InputError, match="from 1 to 4"):
            convert(str(deep), tmp_path / "none", layers=layers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]


def test_a_file_that_is_no_gguf_is_one_line(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF of another kind")
    with pytest.raises(InputError, match=r"x\.gguf") as refused:
        convert(str(tmp_path / "x.gguf"), tmp_path / "out")
    assert "\n" not in str(refused.value)
