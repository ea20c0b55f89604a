"""A recipe on many GPUs: memory by part, and the simulated timeline of a step against what can be counted by hand."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from headwater.engines.settings import VLLM_SHARE, Cluster, EngineSettings
from headwater.errors import InputError
from headwater.models.size import Dimensions, ModelSize
from headwater.plan import build_graph, plan, print_plan
from headwater.plan.cluster import BATCHES, gpu_of, on_cluster
from headwater.plan.cost import Costs
from headwater.plan.machines import GPUS
from headwater.plan.memory import ENGINE, MOMENTS, WRITER, learning
from headwater.plan.timeline import PROMPT, Lengths, Step, simulate
from headwater.plan.timeline import _written as written
from micro import headwater, micro

DOCS = Path(__file__).parents[2] / "docs"
SIZE = ModelSize(
    parameters=1_000_000_000,
    embedding=100_000_000,
    vocabulary=50_000,
    dimensions=Dimensions(hidden=2000, layers=20, heads=16, kept_heads=4, head=128, inner=6000),
)
ENGINE_OF_8 = EngineSettings(precision="bfloat16", memory=2**34, cluster=Cluster(gpus=8))
WIRED = replace(GPUS["80gb"], near=1e18)
"""Nothing is waited for but another GPU."""
STEP = Step(learner=SIZE, engine=ENGINE_OF_8, gpu=WIRED, problems=64, samples=8, limit=4000)
EVEN = Lengths(median=1000, spread=0.0, limit=4000)


# memory


def test_what_is_sharded_falls_with_the_number_of_gpus_and_what_is_whole_does_not() -> None:
    one, four = (
        learning(SIZE, {"teacher": SIZE}, ENGINE_OF_8.model_copy(update={"cluster": Cluster(gpus=n)}), writes=True)
        for n in (2, 8)
    )
    for part in ("weights", "gradients", "moments", "teacher"):
        assert one[part] == 4 * four[part]
    for part in ("learner's head", "teacher's head", "gathered", WRITER, ENGINE):
        assert one[part] == four[part]
    assert four["weights"] == SIZE.bytes // 8
    assert 8 * four["teacher"] == four[WRITER]  # both as they are multiplied
    assert four["moments"] == MOMENTS * four["gradients"]
    assert four["learner's head"] == 2 * 4 * 50_000 * 2000  # and its gradient
    whole = SIZE.head + SIZE.embedding
    assert four[WRITER] == 4 * whole + 2 * (SIZE.parameters - whole)  # its layers as they are multiplied


def test_the_parts_of_every_piece_of_work_are_its_memory() -> None:
    for overrides in ((), ("engine.cluster={gpus: 4}",)):
        graph = build_graph(micro(*overrides))
        costs = Costs(graph)
        for name in graph.nodes:
            cost = costs.of(name)
            assert cost.memory == sum(cost.parts.values())


# the timeline


def test_equal_lengths_that_divide_evenly_leave_no_gpu_waiting() -> None:
    made = simulate(STEP, EVEN)
    assert made.waiting == pytest.approx(0.0, abs=1e-6)
    assert made.tokens == 64 * 8 * 1000


def test_one_gpu_waits_for_none_whatever_the_lengths() -> None:
    alone = replace(STEP, engine=ENGINE_OF_8.model_copy(update={"cluster": Cluster(gpus=1)}), problems=16)
    assert simulate(alone, Lengths(limit=4000)).waiting == pytest.approx(0.0, abs=1e-6)


def test_a_slow_network_is_waited_for_in_sync_and_update() -> None:
    slow = simulate(replace(STEP, gpu=replace(WIRED, near=1e9)), EVEN)
    assert slow.seconds["sync"] == pytest.approx(7 / 8 * SIZE.bytes / 1e9)
    assert slow.idle["sync"] == 1
    passes = -(-64_000 // STEP.tokens_a_pass)
    assert slow.seconds["update"] == pytest.approx(passes * 3 * 7 / 8 * SIZE.bytes / 1e9)


def test_a_longer_tail_makes_gpus_wait_longer_and_a_larger_step_shorter() -> None:
    def waiting(spread: float, problems: int) -> float:
        lengths, step = Lengths(median=500, spread=spread, limit=4000), replace(STEP, problems=problems)
        return sum(simulate(step, lengths, seed).waiting for seed in range(4)) / 4

    assert waiting(0.1, 16) < waiting(0.5, 16) < waiting(1.0, 16)
    assert waiting(1.0, 8) > waiting(1.0, 64) > waiting(1.0, 512)


def test_writing_by_events_is_writing_token_by_token() -> None:
    step = replace(STEP, engine=ENGINE_OF_8.model_copy(update={"rows": 3}))
    lengths = [5, 40, 7, 1, 22, 13, 9]
    waiting, active, seconds = list(lengths), list[list[int]](), 0.0
    while waiting or active:
        while waiting and len(active) < 3:
            active.append([waiting.pop(0), 0])
        kept = sum(PROMPT + done for _, done in active)
        seconds += step.token_seconds(len(active), kept + len(active) / 2)
        active = [[length, done + 1] for length, done in active if done + 1 < length]
    assert written(lengths, step)[0] == pytest.approx(seconds, rel=1e-9)


def test_a_token_takes_what_is_read_once_from_memory_or_its_products() -> None:
    gpu = GPUS["80gb"]
    assert STEP.token_seconds(1, 0) == (SIZE.parameters - SIZE.embedding) * 2 / gpu.bandwidth
    rows = 10_000
    assert STEP.token_seconds(rows, 0) == rows * SIZE.forward(0) / gpu.flops


def test_an_update_takes_the_products_of_three_passes_and_the_teachers_one() -> None:
    made = simulate(replace(STEP, teacher=SIZE), EVEN)
    products = made.tokens / 8 * 4 * SIZE.forward(500) / GPUS["80gb"].flops
    assert made.seconds["update"] == pytest.approx(products)


# the plan of a recipe


def test_a_plan_on_a_cluster_says_what_lies_where_and_what_fits() -> None:
    graph = build_graph(micro("engine.cluster={gpus: 2}", "engine.memory=268435456"))
    found = on_cluster(graph, gpu_of("80gb"))
    assert found["fault"] is None
    assert set(found["stages"]) == {"teacher-rl", "warm-up", "on-policy-distillation", "student-rl"}
    for stage in found["stages"].values():
        assert stage["memory"] == sum(stage["parts"].values())
    assert "step" not in found["stages"]["warm-up"]  # it writes nothing
    assert list(found["stages"]["student-rl"]["waiting"]) == list(BATCHES)
    out = io.StringIO()
    print_plan({**plan(graph, {}, {}), "cluster": found}, Console(file=out, width=80, color_system=None))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "by arithmetic alone" in out.getvalue().replace("\n", " ")


def test_what_does_not_fit_a_gpu_is_named_with_a_value_that_does() -> None:
    graph = build_graph(micro("engine.cluster={gpus: 2}", f"engine.memory={90 * 10**9}"))
    fault = on_cluster(graph, gpu_of("80gb"))["fault"]
    assert "each GPU has 74.5 GiB. Set engine.memory to " in fault
    value = fault.partition("Set engine.memory to ")[2].partition(":")[0]
    mended = build_graph(micro("engine.cluster={gpus: 2}", f"engine.memory={value}"))
    assert on_cluster(mended, gpu_of("80gb"))["fault"] is None


def test_vllm_takes_its_share_of_a_gpu() -> None:
    graph = build_graph(micro("engine.cluster={gpus: 2, generator: vllm}", f"engine.memory={60 * 10**9}"))
    found = on_cluster(graph, gpu_of("80gb"))
    assert found["stages"]["student-rl"]["parts"][WRITER] == VLLM_SHARE * GPUS["80gb"].memory
    assert "vLLM's share of 45% leaves too little" in found["fault"]


def test_the_command_prints_it_and_refuses_a_gpu_without_a_cluster(tmp_path: Path) -> None:
    done = headwater("plan", "lab", "--gpu", "141gb", "--set", "engine.cluster={gpus: 16}", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cluster"]["gpus"] == 16
    refused = headwater("plan", "lab", "--gpu", "141gb", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--gpu is of a recipe with engine.cluster" in refused.stderr
    with pytest.raises(InputError, match="no GPU '90gb'"):
        gpu_of("90gb")


def test_the_page_of_scale_is_what_its_command_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("scale", DOCS / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.folders(tmp_path)
    assert (DOCS / "scale.md").read_text(encoding="utf-8").partition(module.MARK)[2].strip() == module.page(
        tmp_path
    ).strip()
