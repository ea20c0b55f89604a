"""The pilot as a graph: what it reads, what it shares with the run, what it costs at most."""

from __future__ import annotations

import pickle

import pytest

from headwater.advice import price
from headwater.advice.pilot import pilot, pilot_graph
from headwater.plan import build_graph
from headwater.problems.pools import PILOT, PILOT_PROBLEMS
from headwater.routes.recipe import read_recipe
from micro import micro

LABS = ["lab", "support-gap", "same-size", "raw-better"]
MOST = 0.12


@pytest.mark.parametrize("name", LABS)
def test_a_pilot_costs_at_most_an_eighth_less_than_a_hundredth_of_what_it_chooses_between(name: str) -> None:
    recipe = read_recipe(name)
    cost, prices = price.foreseen(pilot(recipe)), price.routes(recipe, None)
    share = price.share(cost, [prices[route] for route in price.COMPARED])
    assert share is not None
    assert share <= MOST


@pytest.mark.parametrize("name", LABS)
def test_its_labels_are_128_problems_of_1h(name: str) -> None:
    made = pilot(read_recipe(name))
    halves = made.graph.data.pools(made.seed).ids
    assert len(made.labels) == PILOT_PROBLEMS
    assert set(made.labels) <= set(halves["1H"])


def test_a_small_pool_is_piloted_whole() -> None:
    made = pilot(micro())
    assert sorted(made.labels) == sorted(made.graph.data.pools(0).ids["pool"])


@pytest.mark.parametrize("routes", ["default", "all"])
def test_raw_models_are_the_runs_and_nothing_that_reads_labels_is(routes: str) -> None:
    recipe = micro(f"routes={routes}")
    ours, theirs = pilot(recipe).graph, build_graph(recipe)
    shared = ours.nodes.keys() & theirs.nodes.keys()
    assert {ours.nodes[name].kind for name in shared} == {"model"}
    assert len(shared) == 2
    for name, node in ours.nodes.items():
        reads = node.kind == "pass-rate" or (node.stage is not None and node.stage.reads_labels)
        assert not reads or (node.pool == PILOT and name not in theirs.nodes)


def test_no_node_is_a_measurement_on_a_benchmark() -> None:
    nodes = pilot(micro()).graph.nodes.values()
    assert {node.kind for node in nodes} == {"model", "train", "rollouts", "pass-rate", "closeness"}
    assert {node.pool for node in nodes} <= {None, "pool", "exercises", PILOT}


def test_a_pilot_is_of_the_recipes_first_seed_and_its_models() -> None:
    assert {node.seed for node in pilot(micro("seeds=[3, 1]")).graph.nodes.values()} == {3}


def test_workers_are_told_the_graph_as_a_function() -> None:
    assert list(pickle.loads(pickle.dumps(pilot_graph))(micro()).nodes) == list(pilot(micro()).graph.nodes)


def test_rl_is_a_tenth_in_updates_and_never_more_passes_than_the_route_makes() -> None:
    def updates(*overrides: str) -> tuple[int, int]:
        made = pilot(read_recipe("lab", overrides))
        node = made.graph.nodes[made.nodes["student RL"]]
        return node.updates, node.stage.schedule.problems if node.stage else 0

    assert updates() == (32, 16)
    # Of 4,096 labels a tenth of 10 epochs is 256 updates: 32 passes over the pilot's 128 problems.
    assert updates("problems.labelled=4096", "stages.student_rl.epochs=10") == (80, 16)


def test_a_batch_that_does_not_divide_the_pilots_problems_is_cut_and_holds_no_problem_twice() -> None:
    overrides = ("problems.labelled=288", *(f"stages.{name}.problems=12" for name in ("student_rl", "teacher_rl")))
    made = pilot(
        read_recipe(
            "lab",
            (
                *overrides,
                "stages.warm_up.problems=48",
                "stages.on_policy_distillation.problems=48",
                "stages.teacher_sft.problems=48",
                "stages.teacher_sample_sft.problems=48",
            ),
        )
    )
    for node in made.graph.nodes.values():
        if node.kind == "train":
            assert node.stage is not None
            schedule = node.stage.schedule
            assert len(made.labels) % schedule.problems == 0
            problems = made.graph.data.problems(PILOT, 0)
            for step in range(min(schedule.updates, 20)):
                ids = [problem.problem_id for problem in schedule.batch(problems, 0, step)]
                assert len(set(ids)) == len(ids)
