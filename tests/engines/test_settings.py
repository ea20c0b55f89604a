"""The engine's settings: what changes a result is told from what only cuts the work into other pieces."""

import pytest
import torch

import tiny
from headwater.engines.settings import NUMERICS, Cluster, EngineSettings
from headwater.errors import InputError
from headwater.models.outline import dimensions
from headwater.plan.graph import build_graph
from headwater.routes.recipe import Recipe

SIZES = {"gradient_checkpointing": True, "memory": 2**24, "micro_batch_tokens": 7, "head_bytes": 2**20, "rows": 3}
SIZES["cluster"] = Cluster(gpus=2)
CHANGES = {"device": "cpu", "precision": "bfloat16"}


def test_every_setting_either_changes_results_or_only_cuts_the_work():
    assert set(CHANGES) == set(NUMERICS)
    assert {*CHANGES, *SIZES} == set(EngineSettings.model_fields)


@pytest.mark.parametrize("name", [*CHANGES, *SIZES])
def test_a_node_is_named_after_what_changes_its_result_and_nothing_else(name):
    changed = EngineSettings(**{name: {**CHANGES, **SIZES}[name]})
    here = name == "device" and not torch.cuda.is_available()  # auto means the CPU then: nothing is changed
    plain, other = (set(build_graph(Recipe(engine=engine)).nodes) for engine in (EngineSettings(), changed))
    assert (plain == other) == (name in SIZES or here)


def test_what_writes_is_part_of_a_name_where_it_draws_other_numbers():
    names = [
        set(build_graph(Recipe(engine=EngineSettings(cluster=Cluster(gpus=8, generator=writer)))).nodes)
        for writer in ("own", "vllm")
    ]
    assert names[0] == set(build_graph(Recipe()).nodes) != names[1]


def test_more_memory_lays_more_on_the_device_until_it_no_longer_helps():
    sizes = dimensions(tiny.qwen().network)
    tokens = [EngineSettings(device="cpu", memory=2**n).tokens_a_pass(sizes) for n in range(20, 40, 2)]
    rows = [EngineSettings(device="cpu", memory=2**n).rows_a_wave(sizes, 40) for n in range(20, 40, 2)]
    assert tokens == sorted(tokens)
    assert rows == sorted(rows)
    assert tokens[0] < tokens[-1] == 1536
    assert rows[0] < rows[-1] == 512
    assert EngineSettings(device="cpu", memory=2**20, gradient_checkpointing=True).tokens_a_pass(sizes) > tokens[0]


def test_a_size_that_is_set_is_taken():
    engine = EngineSettings(micro_batch_tokens=11, head_bytes=2**22, rows=5)
    assert engine.tokens_a_pass(dimensions(tiny.qwen().network)) == 11
    assert engine.rows_a_wave(dimensions(tiny.qwen().network), 40) == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert EngineSettings().torch_device == torch.device("cpu")
    with pytest.raises(InputError, match=r"engine\.device.*no GPU"):
        _ = EngineSettings(device="cuda").torch_device


def test_a_tile_of_logits_fits_its_memory_and_has_at_least_one_token():
    assert EngineSettings(head_bytes=12 * 151_936 * 441).tokens_a_tile(151_936) == 441
    assert EngineSettings(head_bytes=2**20).tokens_a_tile(151_936) == 1
    sizes = [EngineSettings(device="cpu", memory=2**n).tokens_a_tile(49_152) for n in range(20, 40, 2)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == 256
