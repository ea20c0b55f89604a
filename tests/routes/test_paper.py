"""The paper's tables, row by row: each has its arm, and each comparison that the paper states has its contrast.

Source: arXiv 2605.12483 (avg@16 in %, MATH-500 / AIME 2024 / AIME 2025); the numbers say which row is meant and are
compared with nothing: no model of that size is trained here.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from headwater.plan import build_graph
from headwater.routes.contrast import Contrast
from headwater.routes.recipe import read_recipe
from headwater.routes.table import Route
from headwater.signals.sampled import Sampled
from micro import micro

SIZES = {"1.7B": "student", "8B": "teacher", "14B": "qwen3-14b", "4B": "qwen3-4b"}
"""A size of Qwen3 -> the model's name in the recipe."""
TEACHER = {"raw": None, "SFT'd": "teacher-sft", "RL'd": "teacher-rl"}
TRANSFER = {
    "bridge": ("warm-up", "on-policy-distillation"),
    "OPD only": ("on-policy-distillation",),
    "teacher-sample SFT": ("teacher-sample-sft",),
    "forward KL only": ("warm-up",),
}


class Row(NamedTuple):
    """A row of a table: who teaches, how it is carried over, and on what the student is then trained."""

    teacher: str
    transfer: str
    then: str | None = None  # "2H", "1H", or nothing after a transfer on a half
    published: str = ""


def row(teacher: str, transfer: str, published: str, then: str | None = None) -> Row:
    return Row(teacher, transfer, then, published)


ENDPOINTS = [
    row("raw 8B", "bridge", "71.5 15.0 10.6"),
    row("raw 14B", "bridge", "72.8 16.7 13.5"),
    row("SFT'd 8B", "bridge", "76.9 22.1 17.6"),
    row("SFT'd 14B", "bridge", "77.6 23.2 18.4"),
    row("RL'd 1.7B", "bridge", "76.5 20.6 17.1"),
    row("RL'd 8B", "bridge", "79.3 25.2 20.2"),
    row("RL'd 14B", "bridge", "78.6 24.6 20.8"),
    row("RL'd 1.7B", "OPD only", "75.2 19.1 12.4"),
    row("RL'd 8B", "OPD only", "77.6 23.0 18.9"),
    row("RL'd 14B", "OPD only", "77.1 22.8 18.6"),
    row("RL'd 1.7B", "teacher-sample SFT", "73.6 16.7 11.4"),
    row("RL'd 8B", "teacher-sample SFT", "76.0 22.4 19.4"),
    row("RL'd 14B", "teacher-sample SFT", "76.5 21.5 17.0"),
]
HALVES = [
    row(f"{source} {size}", "bridge", numbers, then)
    for source, size, found in (
        ("RL'd", "8B", ("75.4 22.0 16.7", "78.5 23.7 18.5", "75.7 21.6 17.0")),
        ("RL'd", "14B", ("76.3 22.7 17.3", "78.7 23.1 19.2", "75.6 22.4 17.6")),
        ("SFT'd", "8B", ("74.3 21.8 14.5", "77.2 22.9 18.4", "74.0 22.1 14.2")),
        ("SFT'd", "14B", ("75.8 22.0 15.1", "76.9 23.2 18.6", "75.6 22.3 14.9")),
    )
    for then, numbers in zip(("nothing", "2H", "1H"), found, strict=True)
]
PROTOCOLS = [
    row("RL'd 8B", "OPD only", "77.8 22.8 16.6", "2H"),
    row("RL'd 8B", "teacher-sample SFT", "77.3 22.5 16.9", "2H"),
    row("RL'd 14B", "OPD only", "77.5 21.9 19.5", "2H"),
    row("RL'd 14B", "teacher-sample SFT", "77.2 21.6 19.0", "2H"),
]
DIRECT = {"1.7B": "75.9 19.8 17.1", "4B": "85.2 39.2 34.4", "8B": "88.4 47.7 36.7", "14B": "89.5 47.1 39.0"}
ROWS = [*ENDPOINTS, *HALVES, *PROTOCOLS, row("RL'd 8B", "forward KL only", "")]  # the last: of v4's ablation, no number


def half(which: str, size: str, then: str | None = "2H", transfer: str = "bridge") -> Row:
    return Row(f"{which} {size}", transfer, then)


def whole(teacher: str, transfer: str = "bridge") -> Row:
    return Row(teacher, transfer)


COMPARISONS: list[tuple[Row | str, Row | str]] = [
    # section 5.4: the labels are the same; all on the teacher, or half kept for the student
    *((whole(f"RL'd {size}"), half("RL'd", size)) for size in ("8B", "14B")),
    # upstream against direct
    *((whole(f"RL'd {size}"), "1.7B") for size in ("1.7B", "8B", "14B")),
    *((whole(f"SFT'd {size}"), "1.7B") for size in ("8B", "14B")),
    *(("1.7B", whole(f"raw {size}")) for size in ("8B", "14B")),
    # what makes a teacher: reward, imitation, size
    *((whole(f"RL'd {size}"), whole(f"{other} {size}")) for size in ("8B", "14B") for other in ("raw", "SFT'd")),
    *((whole(f"SFT'd {size}"), whole(f"raw {size}")) for size in ("8B", "14B")),
    *((whole(f"RL'd {size}"), whole("RL'd 1.7B")) for size in ("8B", "14B")),
    (whole("RL'd 14B"), whole("RL'd 8B")),
    # how it is carried over, alone and before the same student RL
    *((whole(f"RL'd {size}"), whole(f"RL'd {size}", "OPD only")) for size in ("8B", "14B")),
    *((whole(f"RL'd {size}"), whole(f"RL'd {size}", "teacher-sample SFT")) for size in ("8B", "14B")),
    *((whole(f"RL'd {s}", "OPD only"), whole(f"RL'd {s}", "teacher-sample SFT")) for s in ("8B", "14B")),
    *((half("RL'd", size), half("RL'd", size, transfer="OPD only")) for size in ("8B", "14B")),
    *((half("RL'd", size), half("RL'd", size, transfer="teacher-sample SFT")) for size in ("8B", "14B")),
    *((half("RL'd", s, transfer="OPD only"), half("RL'd", s, transfer="teacher-sample SFT")) for s in ("8B", "14B")),
    # after the bridge: fresh labels, replay, nothing
    *(
        (half(which, size, a), half(which, size, b))
        for which in ("RL'd", "SFT'd")
        for size in ("8B", "14B")
        for a, b in (("2H", "nothing"), ("2H", "1H"), ("1H", "nothing"))
    ),
    *((half("RL'd", size), half("SFT'd", size)) for size in ("8B", "14B")),
    # v4's ablation on MATH-500
    (whole("RL'd 8B"), whole("raw 8B")),
    (whole("RL'd 8B"), whole("RL'd 8B", "OPD only")),
    (whole("RL'd 8B"), whole("RL'd 8B", "teacher-sample SFT")),
    (whole("RL'd 8B"), whole("RL'd 8B", "forward KL only")),
]

RECIPE = read_recipe("qwen3-math", ["routes=paper", "problems.labelled=256"])
ARMS = RECIPE.routes_by_name()


def model_of(size: str) -> str:
    return SIZES[size]


def does(route: Route, wanted: Row) -> bool:
    """Whether an arm is a row: the same teacher made the same way, the same transfer, the same student RL."""
    source, size = wanted.teacher.split()
    pool = "1H" if wanted.then else "pool"
    made = [(TEACHER[source], pool)] if TEACHER[source] else []
    carried = [(stage, pool) for stage in TRANSFER[wanted.transfer]]
    then = [("student-rl", wanted.then)] if wanted.then in ("1H", "2H") else []
    plain = all(step.budget == 1 and not step.replaces and not step.settings for step in route.steps)
    roles = route.student == "student" and route.teacher == model_of(size)
    return plain and roles and [(step.stage, step.pool) for step in route.steps] == [*made, *carried, *then]


def arm_of(wanted: Row | str) -> str:
    """The one arm that is a row; of a size alone, direct GRPO on it."""
    if isinstance(wanted, str):
        return "R1" if wanted == "1.7B" else f"R1-{model_of(wanted)}"
    found = [name for name, route in ARMS.items() if does(route, wanted)]
    assert len(found) == 1, (wanted, found)
    return found[0]


@pytest.mark.parametrize("wanted", ROWS, ids=str)
def test_each_row_of_the_papers_tables_has_one_arm(wanted: Row) -> None:
    assert arm_of(wanted) in ARMS


@pytest.mark.parametrize("size", DIRECT)
def test_direct_grpo_on_each_size_has_an_arm(size: str) -> None:
    route = ARMS[arm_of(size)]
    assert route.student == model_of(size)
    assert [(route.role(step), step.pool) for step in route.steps] == [("student", "pool")]
    (step,) = route.steps
    assert RECIPE.stage(route, step).signal == RECIPE.reward


@pytest.mark.parametrize("pair", COMPARISONS, ids=str)
def test_each_comparison_that_the_paper_states_has_a_contrast(pair: tuple[Row | str, Row | str]) -> None:
    treatment, control = map(arm_of, pair)
    assert {(c.treatment, c.control) for c in RECIPE.all_contrasts()} >= {(treatment, control)}


def contrasts() -> dict[tuple[str, str], Contrast]:
    return {(c.treatment, c.control): c for c in RECIPE.all_contrasts()}


def test_no_pair_of_arms_is_compared_twice_and_the_central_question_is_tested_first() -> None:
    assert len(contrasts()) == len(RECIPE.all_contrasts())
    assert next(iter(contrasts())) == ("R3-full", "R1")
    assert len({c.name for c in RECIPE.all_contrasts()}) == len(RECIPE.all_contrasts())


def test_teacher_sample_sft_stands_at_one_epoch_and_at_equal_updates() -> None:
    for model in ("", "-qwen3-14b"):
        for plain, bridge in ((f"rl-sample-sft{model}", f"R3-full{model}"), (f"R2{model}", f"R5-half{model}")):
            updates = {
                name: sum(
                    RECIPE.stage(ARMS[name], step).updates
                    for step in ARMS[name].steps
                    if step.stage not in ("teacher-rl", "student-rl")
                )
                for name in (plain, with_equal(plain), bridge)
            }
            assert 2 * updates[plain] == updates[with_equal(plain)] == updates[bridge]
            assert not contrasts()[bridge, plain].equal_updates
            assert contrasts()[bridge, with_equal(plain)].equal_updates


def with_equal(name: str) -> str:
    base, model = name.removesuffix("-qwen3-14b"), "-qwen3-14b" if name.endswith("-14b") else ""
    return f"{base}-equal{model}"


LITERAL = {
    "R3-sampled": {"baseline": False, "gamma": 0.0},
    "R3-sampled-baseline": {"baseline": True, "gamma": 0.0},
    "R3-returns-to-go": {"baseline": True, "gamma": 1.0},
}
"""The estimators of the paper's Table 10 and eq. 2, as `signals/sampled.py` is told them."""


@pytest.mark.parametrize("name", LITERAL)
@pytest.mark.parametrize("model", ["teacher", "qwen3-14b"])
def test_literal_opd_is_the_bridge_with_another_signal_and_is_set_against_it(name: str, model: str) -> None:
    suffix = "" if model == "teacher" else f"-{model}"
    route, bridge = ARMS[name + suffix], ARMS[f"R3-full{suffix}"]
    signal = RECIPE.stage(route, route.steps[-1]).signal
    assert isinstance(signal, Sampled)
    assert (signal.teacher, signal.beta, signal.limit) == ("teacher", 1.0, None)
    assert {"baseline": signal.baseline, "gamma": signal.gamma} == LITERAL[name]
    assert route.steps[:-1] == bridge.steps[:-1]
    assert contrasts()[bridge.name, route.name].declares == ("on-policy-distillation.signal",)


# The same recipe shape on the lab's models: what is shared, and what the plan says


def lab_paper(*more: str):
    large = "{shape: {hidden_size: 24, layers: 1, heads: 2, kv_heads: 1, head_dim: 8, ff_size: 32}}"
    return build_graph(micro("routes=paper", f"models={{qwen3-14b: {large}}}", "teachers=[teacher, qwen3-14b]", *more))


def test_all_teachers_share_direct_grpo_and_a_same_size_teacher_is_its_endpoint() -> None:
    graph = lab_paper()
    arms = {arm.name: arm for arm in graph.arms}
    assert arms["same-size-bridge"].stages[0] == arms["same-size-opd"].stages[0] == arms["R1"].endpoint
    for model in ("teacher", "qwen3-14b"):
        suffix = "" if model == "teacher" else f"-{model}"
        assert arms[f"R1-{model}"].endpoint == arms[f"R3-full{suffix}"].stages[0]
        assert arms[f"R1-{model}"].inherited == ()  # a row of direct GRPO read these labels itself
    titles = {node.title for node in graph.nodes.values()}
    assert {"teacher-rl on pool", "teacher-rl on pool, qwen3-14b", "qwen3-14b's rollouts on 1H"} <= titles
    assert {"warm-up on pool", "warm-up on pool from qwen3-14b", "student-rl on 2H"} <= titles


@pytest.mark.parametrize("name", LITERAL)
def test_literal_opd_adds_one_stage_to_what_the_bridge_makes(name: str) -> None:
    graph = lab_paper()
    arms = {arm.name: arm for arm in graph.arms}
    assert arms[name].stages[:-1] == arms["R3-full"].stages[:-1]
    own, bridge = graph.nodes[arms[name].endpoint], graph.nodes[arms["R3-full"].endpoint]
    assert own.parents == bridge.parents
    assert own.stage is not None
    assert bridge.stage is not None
    assert own.stage.model_copy(update={"signal": bridge.stage.signal}) == bridge.stage


def test_a_second_teacher_leaves_every_node_of_the_first_as_it_was() -> None:
    alone = build_graph(micro("routes=paper"))
    assert alone.nodes.keys() < lab_paper().nodes.keys()


def test_one_teacher_alone_may_be_the_other_model() -> None:
    graph = lab_paper("teachers=[qwen3-14b]")
    names = {arm.name for arm in graph.arms}
    assert "R3-full-qwen3-14b" in names
    assert "R3-full" not in names
    assert graph.recipe.all_contrasts()[0].treatment == "R3-full-qwen3-14b"


def test_an_arm_of_another_teacher_can_be_asked_for_by_name() -> None:
    graph = lab_paper("routes=[R1, R3-full-qwen3-14b, R1-qwen3-14b]", "teachers=[teacher]")
    assert {arm.name for arm in graph.arms if arm.group == "route"} == {"R1", "R3-full-qwen3-14b", "R1-qwen3-14b"}


def test_every_arm_with_a_teacher_is_made_with_each_and_no_other_arm_is() -> None:
    both, alone = (
        set(lab_paper(f"teachers={names}").recipe.routes_by_name()) for names in ("[teacher, qwen3-14b]", "[teacher]")
    )
    taught = {name for name in alone if name not in ("R1", "R1-teacher", "R1-qwen3-14b") and "same-size" not in name}
    assert both == alone | {f"{name}-qwen3-14b" for name in taught}


def test_a_model_that_no_arm_names_is_not_made() -> None:
    titles = {node.title for node in lab_paper("routes=[R1]", "teachers=[teacher]").nodes.values()}
    assert titles >= {"pretrain the student", "pretrain the teacher"}
    assert "pretrain the qwen3-14b" not in titles
