"""Labels as an axis, and prompts without labels: nested pools, the same updates, and no label that nobody spent."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from headwater.data.problems import RunData
from headwater.errors import InputError, LabelError
from headwater.plan import build_graph, plan
from headwater.routes.contrast import differences
from headwater.routes.recipe import Recipe
from micro import micro

AXIS = ("problems.labelled=32", "labels=[8, 16, 32]")


def arms(recipe: Recipe) -> set[str]:
    return set(recipe.routes_by_name())


# Nested pools


def test_smaller_pools_are_part_of_larger_ones_and_so_are_their_halves() -> None:
    data = RunData(micro(*AXIS).problems)
    for seed in (0, 1):
        pools = data.pools(seed)
        for base in ("pool", "1H", "2H"):
            sizes = [set(pools.part(f"{base} of {n}")) for n in (4, 8, 16, 32)]
            assert all(small < large for small, large in pairwise(sizes))
            assert sizes[-1] == set(pools.part(base))
        for n in (4, 8, 16):
            halves = [set(pools.part(f"{half} of {n}")) for half in ("1H", "2H")]
            assert [len(half) for half in halves] == [n // 2, n // 2]
            assert halves[0] | halves[1] == set(pools.part(f"pool of {n}"))
    assert data.pools(0).part("pool of 8") != data.pools(1).part("pool of 8")  # seeds draw other labels


@pytest.mark.parametrize("name", ["3H", "pool of 34", "1H of 7", "2H of x", "prompts of 8"])
def test_a_pool_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="pools: "):
        RunData(micro(*AXIS).problems).pools(0).part(name)


# Arms on the axis


def test_every_route_that_reads_labels_is_made_with_each_number_of_them() -> None:
    recipe = micro(*AXIS, "routes=[R1, raw-bridge, R5-half]")
    assert arms(recipe) == {"R1", "R1-8", "R1-16", "raw-bridge", "R5-half", "R5-half-8", "R5-half-16"}
    assert differences(recipe.routes_by_name()["R1"], recipe.routes_by_name()["R1-8"]) == ("labels",)


def test_the_whole_pools_arms_are_named_and_made_as_without_the_axis() -> None:
    alone, axis = build_graph(micro("problems.labelled=32")), build_graph(micro(*AXIS))
    assert alone.nodes.keys() < axis.nodes.keys()


def test_an_arm_on_the_axis_spends_its_labels_and_makes_the_updates_of_the_whole_pool() -> None:
    made = plan(build_graph(micro(*AXIS, "routes=[R1, R3-full, R5-half, R7]")), {}, {})
    by_name = {arm["arm"]: arm for arm in made["arms"]}
    for base, spent in (("R1", 1.0), ("R3-full", 1.0), ("R5-half", 1.0), ("R7", 0.5)):
        for n in (8, 16):
            assert by_name[f"{base}-{n}"]["distinct"] == spent * n
            assert by_name[f"{base}-{n}"]["updates"] == by_name[base]["updates"]


def test_batches_shrink_to_a_pool_that_is_smaller_and_never_hold_a_problem_twice() -> None:
    graph = build_graph(micro(*AXIS, "routes=[R1, R5-half]", "stages.warm_up.problems=16"))
    for node in graph.nodes.values():
        if node.kind == "train" and node.stage is not None:
            problems = graph.data.problems(node.stage.pool, 0)
            assert len(problems) % node.stage.schedule.drawn == 0, node.title
            for step in range(0, node.updates, node.stage.schedule.updates_a_batch):
                batch = node.stage.schedule.batch(problems, 0, step)
                assert len({problem.problem_id for problem in batch}) == len(batch)


def test_arms_on_the_axis_are_compared_with_direct_grpo_at_the_same_labels_alone() -> None:
    recipe = micro(*AXIS, "routes=[R1, raw-bridge, R3-full, R5-half, R7]")
    found = [(c.treatment, c.control) for c in recipe.all_contrasts()]
    assert found[0] == ("R3-full", "R1")
    small = [pair for pair in found if any(name.endswith(("-8", "-16")) for name in pair)]
    assert small == [("R3-full-8", "R1-8"), ("R5-half-8", "R1-8"), ("R3-full-16", "R1-16"), ("R5-half-16", "R1-16")]


def test_the_axis_and_several_teachers_go_together() -> None:
    large = "models={big: {shape: {hidden_size: 24, layers: 1, heads: 2, kv_heads: 1, head_dim: 8, ff_size: 32}}}"
    recipe = micro(*AXIS, large, "teachers=[teacher, big]", "routes=[R1, R3-full]")
    assert {"R3-full-big-8", "R3-full-8", "R1-8"} <= arms(recipe)
    assert ("R3-full-big-8", "R1-8") in {(c.treatment, c.control) for c in recipe.all_contrasts()}
    assert build_graph(recipe).nodes


def test_an_arm_on_the_axis_can_be_asked_for_by_name() -> None:
    assert arms(micro("problems.labelled=32", "routes=[R1, R1-8]")) == {"R1", "R1-8"}
    with pytest.raises(InputError, match="no route 'raw-bridge-8'"):
        micro("problems.labelled=32", "routes=[raw-bridge-8]")  # it reads none


@pytest.mark.parametrize(
    ("setting", "said"),
    [("labels=[7]", "labels: 7; use even"), ("labels=[64]", "at most the 32"), ("labels=[0]", "greater than")],
)
def test_numbers_of_labels_that_cannot_be_are_refused(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        micro("problems.labelled=32", setting)


# Prompts without labels

ON_PROMPTS = (
    "arms=[{name: wide, steps: [{stage: teacher-rl, pool: 1H}, {stage: warm-up, pool: prompts}, "
    "{stage: on-policy-distillation, pool: prompts}, {stage: student-rl, pool: 2H}]}]"
)


def test_a_bridge_on_prompts_reads_no_label_and_its_arm_owes_its_teachers_alone() -> None:
    graph = build_graph(micro("routes=[R5-half]", ON_PROMPTS, "problems.unlabelled=24"))
    bridge = [n for n in graph.nodes.values() if n.kind == "train" and n.pool == "prompts"]
    assert [node.stage.name for node in bridge if node.stage] == ["warm-up", "on-policy-distillation"]
    assert not any(node.stage.reads_labels for node in bridge if node.stage)
    assert {node.updates for node in bridge} == {24 // 4}
    spent = {arm["arm"]: (arm["direct"], arm["inherited"]) for arm in plan(graph, {}, {})["arms"]}
    assert spent["wide"] == spent["R5-half"] == (8, 8)


def test_prompts_are_no_problems_of_the_pool_and_of_no_benchmark() -> None:
    data = RunData(micro("problems.unlabelled=200").problems)
    prompts = {problem.problem_id for problem in data.problems("prompts", 0)}
    assert len(prompts) == 200
    assert not prompts & set(data.answers)
    assert not prompts & set(data.benchmarks["held-out"].answers)
    assert prompts <= data.corpus_exclusions()


def test_without_any_the_prompts_are_those_of_the_whole_pool_whatever_the_arms_labels() -> None:
    recipe = micro(*AXIS, ON_PROMPTS.replace("wide,", "wide, labels: 8,"))
    graph = build_graph(recipe)
    bridge = next(n for n in graph.nodes.values() if n.pool == "prompts" and n.kind == "train")
    assert {p.problem_id for p in graph.data.problems(str(bridge.pool), 0)} == set(graph.data.answers)


def test_a_stage_that_reads_labels_on_prompts_is_refused() -> None:
    with pytest.raises(InputError, match="reads labels, and the pool prompts has none"):
        build_graph(micro("arms=[{name: a, steps: [{stage: student-rl, pool: prompts}]}]", "problems.unlabelled=8"))


def files(root: Path, prompts: list[dict[str, object]]) -> list[str]:
    rows = {
        "labels": [{"problem": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(16)],
        "held": [{"problem": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(100, 110)],
        "prompts": prompts,
    }
    for name, lines in rows.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [
        f"problems={{kind: files, labelled: 16, labels: {{path: {root / 'labels.jsonl'}}}, benchmarks: {{b: {{source: "
        f"{{path: {root / 'held.jsonl'}}}}}}}, prompts: {{path: {root / 'prompts.jsonl'}}}, unlabelled: 8}}",
        "student={path: x}",
        "teacher={path: y}",
    ]


def test_prompts_of_a_file_need_no_answers_and_answers_beside_them_are_not_read(tmp_path: Path) -> None:
    prompts: list[dict[str, object]] = [{"problem": f"What is {n} - 1?"} for n in range(20)]
    data = RunData(micro(*files(tmp_path, prompts)).problems)
    plain = {problem.problem_id for problem in data.unlabelled}
    assert len(plain) == 8
    data = RunData(micro(*files(tmp_path, [{**row, "answer": "secret"} for row in prompts])).problems)
    assert {problem.problem_id for problem in data.unlabelled} == plain
    assert data._unlabelled is not None
    assert set(data._unlabelled.answers.values()) == {""}
    assert not plain & set(data.answers)


def test_prompts_that_stand_in_a_benchmark_are_refused(tmp_path: Path) -> None:
    prompts: list[dict[str, object]] = [{"problem": f"What is {n} + {n}?"} for n in range(105, 125)]
    with pytest.raises(LabelError, match="prompts: 5 problems also occur in a benchmark"):
        RunData(micro(*files(tmp_path, prompts)).problems).pools(0)
