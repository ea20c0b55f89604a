"""Attention over trees: a shared prompt gives what each rollout alone gives, and the network stays as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from headwater.engines import attention
from headwater.engines.attention import Tree, attend, our_attention, tree_attention
from headwater.engines.body import Body
from headwater.engines.cpu.norms import rms_norm
from headwater.engines.linears import round_up
from headwater.engines.local import LocalTeacher
from headwater.engines.packing import pack_trees
from headwater.engines.plain import TakenOver
from headwater.engines.settings import EngineSettings
from headwater.signals import Imitation
from scripted import ONCE

FAMILIES = st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(0, 5), min_size=1, max_size=4)), max_size=5)


def made(families):
    """Rollouts whose token ids are all different; members of a family share a prompt."""
    ids = iter(range(1, 10_000))
    rollouts = []
    for prompt_length, responses in families:
        prompt = [next(ids) for _ in range(prompt_length)]
        rollouts += [tiny.rollout(f"p{len(rollouts)}/0", prompt, [next(ids) for _ in range(n)]) for n in responses]
    return rollouts


@settings(deadline=None, max_examples=80)
@given(FAMILIES, st.integers(1, 40))
def test_every_response_token_is_scored_once_at_the_place_before_it_whatever_the_budget(families, budget):
    rollouts = made(families)
    found = {}
    for layout in pack_trees(rollouts, budget):
        flat, positions = layout.input_ids[0].tolist(), layout.tree.position_ids[0].tolist()
        assert len(flat) == len(positions) == layout.tree.trunks.tokens + layout.tree.branches.tokens + layout.padding
        assert len(flat) - layout.padding <= budget or sum(length > 1 for length in layout.response_lengths) <= 1
        assert len(flat) == round_up(len(flat) - layout.padding)
        places = iter(layout.scored_at.tolist())
        for i, length in zip(layout.members, layout.response_lengths, strict=True):
            found[i] = [(flat[p], positions[p]) for p in (next(places) for _ in range(length))]
    whole = [[*r.prompt_ids, *r.response_ids] for r in rollouts]
    starts = [len(r.prompt_ids) - 1 for r in rollouts]
    assert found == {
        i: [(whole[i][p], p) for p in range(starts[i], starts[i] + len(r.response_ids))] for i, r in enumerate(rollouts)
    }


def test_a_shared_prompt_is_read_once():
    rollouts = made([(6, [4, 4, 4, 4])])
    (layout,) = pack_trees(rollouts, 100)
    assert layout.input_ids.numel() == 6 + 4 * 3


TREES = {
    "even": Tree.of([3, 3], [2, 2, 2], [0, 1, 1]),
    "ragged branches": Tree.of([3, 3], [2, 0, 4], [1, 0, 1]),
    "ragged trunks": Tree.of([3, 1, 5], [2, 4, 1], [1, 0, 2]),
    "trunks alone": Tree.of([3, 5], [], []),
}


def states(tree, heads=4, shared=2, dim=8):
    source = torch.Generator().manual_seed(1)
    tokens = tree.position_ids.numel()
    return [torch.randn((tokens, n, dim), generator=source).requires_grad_() for n in (heads, shared, shared)]


@pytest.mark.parametrize("name", TREES)
def test_the_fused_form_is_the_definition_in_value_and_gradient(name):
    tree = TREES[name]
    outcomes = []
    for form in (attention._TreeAttention.apply, tree_attention):
        given = states(tree)
        out = form(*given, tree, 0.3)
        out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape))
        outcomes.append([out.detach(), *(one.grad for one in given)])
    for found, expected in zip(*outcomes, strict=True):
        tiny.assert_near(found, expected, 2e-6)


@pytest.mark.parametrize("name", TREES)
def test_the_definition_is_plain_attention_of_each_branch_behind_its_trunk(name):
    tree = TREES[name]
    query, key, value = (one.detach() for one in states(tree, shared=4))
    found = tree_attention(query, key, value, tree, 0.3)
    trunks = [slice(s, s + n) for s, n in zip(tree.trunk_starts, tree.trunks.lengths, strict=True)]
    branches = [slice(s, s + n) for s, n in zip(tree.branch_starts, tree.branches.lengths, strict=True)]
    paths = [(trunk, slice(0, 0)) for trunk in trunks]
    paths += [(trunks[owner], branch) for owner, branch in zip(tree.owner.tolist(), branches, strict=True)]
    for trunk, branch in paths:
        q, k, v = (torch.cat([s[trunk], s[branch]]).transpose(0, 1) for s in (query, key, value))
        alone = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3).transpose(0, 1)
        torch.testing.assert_close(found[trunk], alone[: trunk.stop - trunk.start], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[branch], alone[trunk.stop - trunk.start :], rtol=0, atol=1e-6)


def test_long_sequences_take_the_definition_and_give_the_same_gradient(monkeypatch):
    gradients = []
    for limit in (attention.WEIGHTS, 0):
        monkeypatch.setattr(attention, "WEIGHTS", limit)
        model = tiny.qwen()
        tiny.learner(model).update(Imitation().score(tiny.sample(model), tiny.workers(), ONCE), Imitation())
        gradients.append(tiny.gradients(model))
    tiny.assert_near(gradients[1], gradients[0], 1e-5)


def test_what_the_function_does_not_compute_it_refuses():
    query = torch.zeros(1, 2, 1, 4)
    with pytest.raises(ValueError, match="softcap"):
        attend(nn.Identity(), query, query, query, None, softcap=50.0)


# the network


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_network_is_found_to_share_prompts_and_is_otherwise_untouched(family, tmp_path):
    model, plain = tiny.FAMILIES[family](), tiny.FAMILIES[family]()
    one = Body(model)
    assert one.ways(20).scoring == "trees"
    (layout,) = one.pack([tiny.rollout("p/0", (2, 3), (4, 5))], 100)
    with one.attention(layout):
        assert model.network.config._attn_implementation == attention.NAME
    assert model.network.config._attn_implementation == plain.network.config._attn_implementation
    model.save(tmp_path / "ours")
    plain.save(tmp_path / "plain")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_network_that_does_not_ask_for_our_attention_gets_padded_rows(monkeypatch):
    model = tiny.llama()
    for layer in model.network.model.layers:
        inner = layer.self_attn.forward

        def deaf(*given, inner=inner, tree=None, **named):
            with our_attention(model.network.config):
                model.network.config._attn_implementation = "sdpa"
                return inner(*given, **named)

        monkeypatch.setattr(layer.self_attn, "forward", deaf)
    scored = Imitation().score(tiny.sample(tiny.llama()), tiny.workers(), ONCE)
    one = Body(model)
    assert one.ways(20).scoring == "rows"
    (layout,) = one.pack([s.rollout for s in scored.rollouts], 10**6)
    assert layout.tree is None
    metrics = tiny.learner(model).update(scored, Imitation())
    assert metrics["padding"] > 0
    tiny.assert_near(tiny.gradients(model), tiny.plain_gradient(tiny.llama(), scored, Imitation()), 1e-5)


def test_norms_are_taken_over_only_where_they_are_the_formula():
    model = tiny.llama()

    class Shifted(type(model.network.model.norm)):
        def forward(self, hidden_states):
            return super().forward(hidden_states) + 1

    model.network.model.norm.__class__ = Shifted
    Body(model)
    assert type(model.network.model.norm) is Shifted
    assert issubclass(type(model.network.model.layers[0].input_layernorm), TakenOver)


def test_rms_norm_has_the_value_and_gradient_of_pytorchs():
    x = torch.randn((5, 7, 16), generator=torch.Generator().manual_seed(0))
    outcomes = []
    for form in (rms_norm, lambda x, weight, epsilon: nn.functional.rms_norm(x, weight.shape, weight, epsilon)):
        given = [x.clone().requires_grad_(), torch.linspace(-1, 2, 16).requires_grad_()]
        out = form(*given, 1e-3)
        out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape))
        outcomes.append([out.detach(), *(one.grad for one in given)])
    for found, expected in zip(*outcomes, strict=True):
        tiny.assert_near(found, expected, 2e-6)


def test_rms_norm_has_the_same_bits_with_and_without_a_gradient_to_come():
    x, weight = torch.randn((3, 7, 16)), torch.linspace(-1, 2, 16)
    with torch.no_grad():
        sampled = rms_norm(x, weight, 1e-6)
    assert torch.equal(rms_norm(x.clone().requires_grad_(), weight, 1e-6), sampled)


def test_bfloat16_linear_layers_stay_near_the_float32_gradient():
    scored = Imitation().score(tiny.sample(tiny.qwen()), tiny.workers(), ONCE)
    found = []
    for precision in ("float32", "bfloat16"):
        model = tiny.qwen()
        tiny.learner(model, engine=EngineSettings(precision=precision)).update(scored, Imitation())
        found.append(tiny.gradients(model))
    tiny.assert_near(found[1], found[0], 3e-2)


def test_a_teacher_in_bfloat16_scores_within_its_rounding():
    model = tiny.llama()
    rollouts = tiny.draw(model)
    rounded = LocalTeacher(tiny.llama(), EngineSettings(precision="bfloat16")).logprobs(rollouts, 1.0)
    for found, expected in zip(rounded, LocalTeacher(model, EngineSettings()).logprobs(rollouts, 1.0), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0.15)
