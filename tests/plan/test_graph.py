"""The graph of a run: shared prefixes, an order that can be worked off, and names that say what depends on what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from headwater.plan import build_graph, plan_rows
from headwater.plan.graph import Graph
from headwater.plan.node import Arm, Node
from headwater.routes.recipe import Recipe
from micro import micro


def arm(graph: Graph, name: str, seed: int = 0) -> Arm:
    return next(arm for arm in graph.arms if (arm.name, arm.seed) == (name, seed))


def stage(node: Node) -> str:
    return node.stage.name if node.stage else node.kind


def dependants(graph: Graph, chosen: Callable[[Node], bool]) -> set[str]:
    """The chosen nodes and all that come after them."""
    found: set[str] = set()
    for name, node in graph.nodes.items():
        if chosen(node) or found & set(node.parents.values()):
            found.add(name)
    return found


# Sharing and order


def test_r5_and_r7_share_teacher_and_bridge_and_part_at_student_rl() -> None:
    graph = build_graph(micro())
    r5, r7 = arm(graph, "R5-half").stages, arm(graph, "R7").stages
    assert [stage(graph.nodes[name]) for name in r5[:3]] == ["teacher-rl", "warm-up", "on-policy-distillation"]
    assert r5[:3] == r7[:3]
    assert r5[3] != r7[3]


def test_routes_share_every_common_prefix() -> None:
    graph = build_graph(micro("routes=all"))
    routes = graph.recipe.routes_by_name()
    for one in routes.values():
        for other in routes.values():
            if one.teacher != other.teacher:
                continue
            common = 0
            while common < min(len(one.steps), len(other.steps)) and one.steps[common] == other.steps[common]:
                common += 1
            ours, theirs = arm(graph, one.name).stages, arm(graph, other.name).stages
            assert ours[:common] == theirs[:common], (one.name, other.name)


def test_no_two_nodes_are_the_same_work() -> None:
    graph = build_graph(micro("routes=all"))
    work = [
        (node.kind, node.seed, dict(node.parents), dict(node.settings), node.stage) for node in graph.nodes.values()
    ]
    assert all(work.count(piece) == 1 for piece in work)


def test_the_half_split_routes_have_one_teacher_between_them() -> None:
    graph = build_graph(micro("routes=all"))
    teachers = {arm(graph, name).stages[0] for name in ("R2", "R5-half", "R5-bridge", "R7", "R8")}
    assert len(teachers) == 1


@pytest.mark.parametrize("routes", ["default", "all"])
def test_every_nodes_parents_come_before_it(routes: str) -> None:
    graph = build_graph(micro(f"routes={routes}", "seeds=[0, 1]"))
    before: set[str] = set()
    for name, node in graph.nodes.items():
        assert name == node.fingerprint
        assert set(node.parents.values()) <= before
        before.add(name)


def test_an_arms_stages_list_the_teachers_before_the_students() -> None:
    graph = build_graph(micro("routes=all"))
    for one in graph.arms:
        learners = [
            "teacher" if stage(graph.nodes[name]) in ("teacher-rl", "teacher-sft") else "student" for name in one.stages
        ]
        assert learners == sorted(learners, reverse=True)


def test_every_arm_is_measured_and_its_last_stage_is_its_endpoint() -> None:
    graph = build_graph(micro("routes=all"))
    for one in graph.arms:
        assert [graph.nodes[name].parents for name in one.evaluation.values()] == [{"model": one.endpoint}]
        if one.stages:
            assert one.endpoint == one.stages[-1]


def test_seeds_are_pairs_where_arms_share_something_trained() -> None:
    made = build_graph(micro("routes=all"))
    pairing = {f"{c.treatment} {c.control}": made.pairing(c) for c in made.recipe.all_contrasts()}
    assert set(pairing.values()) == {"paired"}  # each has the student that was pretrained here
    # The same arms from models that were given: these are the same for every seed.
    nodes = {name: replace(node, updates=0) if node.kind == "model" else node for name, node in made.nodes.items()}
    given = replace(made, nodes=nodes)
    pairing = {f"{c.treatment} {c.control}": given.pairing(c) for c in made.recipe.all_contrasts()}
    assert pairing["R3-full R1"] == pairing["R3-full raw-bridge"] == pairing["R5-half R1"] == "unpaired"
    assert pairing["R5-half R7"] == pairing["R5-half R8"] == pairing["R3-full rl-opd"] == "paired"
    assert {c["pairing"] for c in made.plain({})["contrasts"]} == {"paired"}


def test_two_seeds_share_nothing() -> None:
    zero, one, both = (build_graph(micro(f"seeds={seeds}")).nodes for seeds in ("[0]", "[1]", "[0, 1]"))
    assert not zero.keys() & one.keys()
    assert both.keys() == zero.keys() | one.keys()


def test_a_same_size_teacher_is_the_endpoint_of_direct_grpo_trained_once() -> None:
    graph = build_graph(micro("routes=[R1, same-size-bridge, same-size-opd]"))
    teacher, *rest = arm(graph, "same-size-bridge").stages
    assert teacher == arm(graph, "R1").endpoint == arm(graph, "same-size-opd").stages[0]
    assert graph.nodes[teacher].parents == {"start": arm(graph, "raw student").endpoint}
    assert arm(graph, "same-size-bridge").inherited == (
        teacher,
    )  # R1 read these labels itself, the bridge's student owes them
    assert arm(graph, "R1").inherited == ()
    assert [stage(graph.nodes[name]) for name in rest] == ["warm-up", "on-policy-distillation"]


# What a changed field remakes

ON_POLICY = ("teacher-rl", "on-policy-distillation", "student-rl")
CHANGES: dict[str, Callable[[Node], bool]] = {
    "stages.teacher_rl.optimiser.learning_rate=9.0e-4": lambda node: stage(node) == "teacher-rl",
    "stages.teacher_rl.epochs=21": lambda node: stage(node) == "teacher-rl",
    "stages.warm_up.optimiser.learning_rate=9.0e-4": lambda node: stage(node) == "warm-up",
    "stages.on_policy_distillation.samples=3": lambda node: stage(node) == "on-policy-distillation",
    "stages.student_rl.optimiser.learning_rate=9.0e-4": lambda node: stage(node) == "student-rl",
    "stages.teacher_sft.epochs=3": lambda node: False,
    "reward.kl_coefficient=0": lambda node: stage(node) in ("teacher-rl", "student-rl"),
    "distillation.direction=jsd": lambda node: stage(node) == "on-policy-distillation",
    "cached_samples=4": lambda node: node.kind == "rollouts",
    "cache={keep: top_k, top_k: 4}": lambda node: node.kind == "rollouts",
    "temperature=0.9": lambda node: node.kind in ("train", "rollouts", "closeness"),
    "max_response_tokens=13": lambda node: stage(node) in (*ON_POLICY, "rollouts", "evaluate", "closeness"),
    "evaluation.samples=8": lambda node: node.kind == "evaluate",
    "evaluation.top_p=0.9": lambda node: node.kind == "evaluate",
    "evaluation.closeness_problems=32": lambda node: node.kind == "closeness",
    "student.pretraining.mixture_updates=900": lambda node: node.title == "pretrain the student",
    "teacher.shape.ff_size=128": lambda node: node.title == "pretrain the teacher",
    "problems.seed=7": lambda node: True,
    "problems.held_out=300": lambda node: True,
    "seeds=[1]": lambda node: True,
    "name=other": lambda node: False,
    "guard.patience=30": lambda node: False,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_field_renames_what_depends_on_it_and_nothing_else(change: str) -> None:
    before, after = build_graph(micro()), build_graph(micro(change))
    renamed = dependants(before, CHANGES[change])
    assert before.nodes.keys() - after.nodes.keys() == renamed
    assert len(after.nodes) == len(before.nodes)


def test_a_same_size_teachers_rl_follows_the_students_numbers() -> None:
    routes = "routes=[same-size-bridge, R1]"
    before, after = (build_graph(micro(routes, f"stages.student_rl.samples={samples}")) for samples in (4, 2))
    renamed = dependants(before, lambda node: stage(node) in ("teacher-rl", "student-rl"))
    assert before.nodes.keys() - after.nodes.keys() == renamed


@pytest.mark.parametrize("more", ["routes=all", "seeds=[0, 1]", "arms=[{name: mine, steps: [{stage: student-rl}]}]"])
def test_more_routes_seeds_or_arms_rename_nothing(more: str) -> None:
    before, after = build_graph(micro()), build_graph(micro(more))
    assert before.nodes.keys() <= after.nodes.keys()


def test_equal_recipes_give_equal_names() -> None:
    assert (
        build_graph(micro()).nodes.keys()
        == build_graph(Recipe.model_validate_json(micro().model_dump_json())).nodes.keys()
    )


# The plan


def test_the_plan_opens_no_model(tmp_path) -> None:
    recipe = micro(f"student.path={tmp_path / 'nowhere'}")
    graph = build_graph(recipe)
    assert {row["stage"] for row in plan_rows(graph, {})} >= {
        "teacher-rl on 1H",
        "warm-up on 1H",
    }
    assert list(tmp_path.iterdir()) == []


def test_the_plan_says_what_each_stage_spends() -> None:
    graph = build_graph(micro())
    rows = {row["node"]: row for row in plan_rows(graph, {})}
    spent = [(rows[n]["stage"], rows[n]["labels"], rows[n]["updates"]) for n in arm(graph, "R5-half").stages]
    assert spent == [
        ("teacher-rl on 1H", 8, 4),
        ("warm-up on 1H", 0, 2),
        ("on-policy-distillation on 1H", 0, 2),
        ("student-rl on 2H", 8, 4),
    ]
    assert rows[arm(graph, "R5-half").stages[0]]["tokens_at_most"] == 4 * 4 * 4 * 14
    assert rows[arm(graph, "R5-half").stages[0]]["generated"] == 4 * 4 * 4 * 14
    assert rows[arm(graph, "R5-half").stages[0]]["arms"] == ["R5-half", "R7", "teacher-rl-1H"]
    assert not any(row["done"] for row in rows.values())
