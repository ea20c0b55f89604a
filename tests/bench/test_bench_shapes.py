"""Shapes and floors: sizes and operation counts, against numbers worked by hand and against the real models."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from bench.cases import CASES, choose
from bench.compare import _module, micro_batches
from headwater.bench.floor import step_operations
from headwater.bench.shapes import BATCHES, KERNELS, SHAPES, Batch, Shape
from headwater.bench.work import WORKS

ONE = Shape(architecture="qwen3", hidden=8, layers=1, heads=2, kv_heads=1, head_dim=4, ff=16, vocab=10)


def test_parameters_are_those_of_the_shapes_they_are_named_after():
    assert SHAPES["c"].parameters == 134_515_008  # SmolLM2-135M
    assert SHAPES["a"].parameters == pytest.approx(0.80e6, rel=0.01)
    assert SHAPES["b"].parameters == pytest.approx(4.9e6, rel=0.02)
    assert SHAPES["qwen3-1.7b"].parameters == pytest.approx(1.72e9, rel=0.01)
    assert SHAPES["qwen3-8b"].parameters == pytest.approx(8.19e9, rel=0.01)


@pytest.mark.parametrize("name", ["tiny", "a"])
def test_parameters_are_counted_as_transformers_builds_them(name):
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[name].config))
    assert sum(parameter.numel() for parameter in network.parameters()) == SHAPES[name].parameters


def test_a_forward_pass_by_hand():
    # one token: q 8x8, k and v 8x4, o 8x8, three 8x16 of the feed-forward: 576 weights, two operations each
    assert ONE.matrices == 576
    # it attends to 3 keys: scores and sum, 2 heads of 4, two operations each: 4 x 2 x 4 x 3 = 96; head 2 x 8 x 10
    assert ONE.forward(tokens=1, attended=3, scored=1) == 1152 + 96 + 160


def test_a_step_by_hand():
    batch = Batch(prompts=1, samples=2, prompt_tokens=2, response_tokens=2)
    # prompt: 2 tokens, 1 + 2 keys; then one token of each of 2 responses, 3 keys each; 4 tokens are chosen
    generate = 2 * 576 * 4 + 32 * (3 + 6) + 160 * 4
    # 2 rows of 4 tokens, 1 + 2 + 3 + 4 keys each, 4 tokens scored; three passes' worth
    whole = 2 * 576 * 8 + 32 * 20 + 160 * 4
    assert step_operations("grpo", ONE, ONE, batch) == {"generate": generate, "update": 3 * whole}
    assert step_operations("opd", ONE, ONE, batch) == {"generate": generate, "score": whole, "update": 3 * whole}
    assert step_operations("forward-kl", ONE, ONE, batch) == {"update": 3 * whole}
    assert step_operations("generation", ONE, ONE, batch) == {"generate": generate}
    assert KERNELS["tiny"].operations == 8 * 32 * 16 * 64


def test_every_case_is_possible():
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.work.kind in WORKS
        assert case.work.shape in (KERNELS if case.work.batch is None else SHAPES)
        assert all(_module(side, case.work.kind) for side in case.sides)
        for bar in case.bars:
            assert {bar.ours, *bar.theirs} <= set(case.sides)


def test_every_work_runs_on_the_tiny_shape_and_all_of_them_by_default():
    assert {case.work.kind for case in choose((), "tiny")} == set(WORKS)
    assert choose((), None) == list(CASES)
    assert [case.name for case in choose(("opd",), None)] == ["opd a", "opd c"]


def test_a_sweep_offers_a_peer_every_cut_of_the_batch_and_ours_those_that_fit_a_cache():
    batch = BATCHES["a"]
    assert micro_batches("trl amp", batch) == (256, 128, 64, 32, 16, 8, 4, 2, 1)
    assert micro_batches("headwater float32", batch) == (4096, 2048, 1536, 1024, 512, 256, 128, 64)
