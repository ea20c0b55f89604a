"""What does not fit is refused with a setting and a value, and with that value the same check passes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from headwater.engines.cpu.processor import Processor
from headwater.engines.settings import EngineSettings, device_memory, emulated
from headwater.plan import build_graph, plan
from headwater.plan.graph import Graph
from headwater.plan.room import disk, disk_fault, largest, memory_fault
from headwater.routes.recipe import read_recipe
from micro import FILE, headwater, micro

GIB = 2**30


def graph_of(*overrides: str) -> Graph:
    return build_graph(micro(*overrides))


def named(fault: str | None) -> list[str]:
    """The overrides that a message names, as they are typed."""
    assert fault is not None
    assert "\n" not in fault
    [said] = re.findall(r"Set (.*?): [\d.]+ \w+; or", fault)
    return [f"{key}={value}" for key, value in re.findall(r"([\w.]+) to (\[.*?\]|\w+)", said)]


def test_too_large_an_engine_is_refused_with_a_memory_that_fits() -> None:
    asked = graph_of(f"engine.memory={60 * GIB}")
    assert memory_fault(asked, 64 * GIB, "cpu") is None
    fault = memory_fault(asked, 4 * GIB, "cpu")
    [override] = named(fault)
    assert override.startswith("engine.memory=")
    mended = graph_of(override)
    assert memory_fault(mended, 4 * GIB, "cpu") is None
    assert largest(mended)[1] > 3.9 * GIB  # and no less than it has to be  # type: ignore[operator]


def test_models_that_do_not_fit_whole_are_refused_with_an_adapter_that_does() -> None:
    shape = "{hidden_size: 1024, layers: 8, heads: 8, kv_heads: 8, head_dim: 128, ff_size: 4096, max_positions: 64}"
    asked = graph_of(f"student.shape={shape}", f"teacher.shape={shape}", "engine.memory=268435456")
    whole = largest(asked)[1]
    assert whole is not None
    have = whole * 9 // 10  # pretraining, which has no adapter and no reference, fits
    fault = memory_fault(asked, have, "cpu")
    assert fault is not None
    assert "Set an adapter, {rank: 16}, for each model: " in fault
    mended = graph_of(
        f"student.shape={shape}", f"teacher.shape={shape}", "engine.memory=268435456",
        "student.adapter={rank: 16}", "teacher.adapter={rank: 16}",
    )  # fmt: skip
    assert memory_fault(mended, have, "cpu") is None


def test_models_that_no_setting_makes_fit_are_said_to_be_so() -> None:
    fault = memory_fault(graph_of(), 2**20, "cpu")
    assert fault is not None
    assert "No setting makes these models fit" in fault


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
def test_too_large_a_cache_is_refused_with_one_that_fits(share: float) -> None:
    asked = graph_of("cached_samples=4000", "seeds=[0,1]")
    need = disk(asked)
    assert need is not None
    free = round(share * need.needed)
    assert disk_fault(asked, need.needed, "runs") is None
    mended = graph_of("cached_samples=4000", "seeds=[0,1]", *named(disk_fault(asked, free, "runs")))
    assert disk_fault(mended, free, "runs") is None


def test_a_disk_that_holds_nothing_is_refused_without_a_value() -> None:
    fault = disk_fault(graph_of(), 4096, "runs")
    assert fault is not None
    assert "No setting of the cache or of seeds makes it fit" in fault


def test_a_run_of_fewer_seeds_is_costed_as_the_graph_of_those_seeds() -> None:
    from headwater.plan.room import _with

    two, one = graph_of("seeds=[0,1]"), graph_of("seeds=[0]")
    assert disk(_with(two, one.recipe)) == disk(one)


def test_plan_and_refusal_go_by_one_computation() -> None:
    graph = graph_of()
    totals, need = plan(graph, {}, {})["totals"], disk(graph)
    assert need is not None
    assert (totals["disk"], totals["handed_out"], totals["working_disk"]) == (need.kept, need.handed_out, need.working)
    assert totals["memory"] == largest(graph)[1] == sum(totals["parts"].values())


def test_validate_refuses_what_does_not_fit_and_takes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "micro.yaml").write_text(FILE.read_text())
    too_much = f"engine.memory={device_memory('cpu') + GIB}"
    refused = headwater("validate", "micro.yaml", "--set", too_much, cwd=tmp_path)
    assert refused.returncode == 2
    line = next(line for line in refused.stderr.splitlines() if "memory:" in line)
    [override] = named(line)
    assert headwater("validate", "micro.yaml", "--set", override, cwd=tmp_path).returncode == 0


# bfloat16 by the processor's flags, on stand-ins for other machines

SAPPHIRE = Processor(vendor="GenuineIntel", model="Xeon", flags=frozenset({"avx512f", "avx512_bf16", "amx_bf16"}))
GENOA = Processor(vendor="AuthenticAMD", model="EPYC 9654", flags=frozenset({"avx512f", "avx512_bf16"}))
ROME = Processor(vendor="AuthenticAMD", model="EPYC 7742", flags=frozenset({"avx2"}))
UNKNOWN = Processor()


@pytest.mark.parametrize("here", [SAPPHIRE, GENOA, UNKNOWN], ids=["intel", "amd", "another system"])
def test_bfloat16_is_not_remarked_on_where_there_is_an_instruction_or_nothing_is_known(here: Processor) -> None:
    assert emulated(EngineSettings(device="cpu", precision="bfloat16"), here) is None


def test_bfloat16_without_an_instruction_is_said_to_be_emulated_and_float32_is_not() -> None:
    settings = EngineSettings(device="cpu", precision="bfloat16")
    said = emulated(settings, ROME)
    assert said is not None
    assert "bfloat16 is emulated on this processor (EPYC 7742" in said
    assert emulated(settings.model_copy(update={"precision": "float32"}), ROME) is None


def test_plan_notes_that_bfloat16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, expected in ((ROME, 1), (GENOA, 0)):
        monkeypatch.setattr("headwater.engines.cpu.processor.here", lambda here=here: here)
        graph = build_graph(read_recipe(str(FILE), ["engine.precision=bfloat16", "engine.device=cpu"]))
        notes = plan(replace(graph), {}, {})["notes"]
        assert sum("emulated" in note for note in notes) == expected
