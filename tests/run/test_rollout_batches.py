"""Several updates a rollout batch: a run that stops or dies within one makes its rollouts again, to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import Interrupted
from headwater.plan import build_graph
from headwater.plan.node import Node
from headwater.records import StepRecord
from micro import identity, make, micro

SEVERAL = (
    "routes=[R5-half]",
    "stages.student_rl.rollout_problems=8",
    "stages.student_rl.passes=2",
    "stages.on_policy_distillation.passes=2",
)
"""Four updates a rollout batch in student RL, two in on-policy distillation; the other stages as ever."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    make(micro(*SEVERAL), root)
    return root


def test_stopped_wherever_it_can_stop_a_run_ends_as_if_never_stopped(whole: Path, tmp_path: Path) -> None:
    stops = []
    while True:
        try:
            make(micro(*SEVERAL), tmp_path, stopping=lambda: True)
            break
        except Interrupted as error:
            stops.append(str(error).partition(";")[0])
    expected = []
    for node in build_graph(micro(*SEVERAL)).nodes.values():
        if node.stage is not None:
            ends = range(node.stage.schedule.updates_a_batch, node.updates, node.stage.schedule.updates_a_batch)
            expected += [f"{node.title}: stopped after step {step} of {node.updates}" for step in ends]
    assert stops == expected
    assert any("student-rl on 2H: stopped after step 4 of 8" in stop for stop in stops)
    assert identity(tmp_path) == identity(whole)


class Died(Exception):
    """As by kill -9, after some update."""


@pytest.mark.parametrize("step", [1, 4])
def test_dead_after_any_update_of_student_rl_a_run_ends_as_if_it_had_lived(
    whole: Path, tmp_path: Path, step: int
) -> None:
    def die(node: Node, record: StepRecord) -> None:
        if node.title == "student-rl on 2H" and record.step == step:
            raise Died

    with pytest.raises(Died):
        make(micro(*SEVERAL), tmp_path, commit_seconds=0, on_step=die)
    make(micro(*SEVERAL), tmp_path)
    assert identity(tmp_path) == identity(whole)
