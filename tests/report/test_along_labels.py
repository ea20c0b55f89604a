"""Accuracy against labels, route by route: every arm of the axis is a point with its error, and no other is."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from matplotlib.container import ErrorbarContainer

from headwater.folder import RunFolder
from headwater.report import spent, summarise
from headwater.report.figures import spent_figures
from headwater.report.page import render_page
from headwater.report.rows import ArmRow, LabelUse
from micro import FILE, headwater

Points = list[tuple[float, float, float]]
"""labels, right answers in %, its standard error"""


def drawn(arms: list[ArmRow]) -> dict[str, Points]:
    """Route -> the points that the picture holds, read off the picture."""
    figure = spent.along_labels(arms)
    assert figure is not None
    (ax,) = figure.axes
    found = {}
    for container in ax.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (bars,) = container.lines
        heights = [abs(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
        found[str(container.get_label())] = [
            (float(x), float(y), float(e)) for (x, y), e in zip(line.get_xydata(), heights, strict=True)
        ]
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Direct GRPO of the micro recipe with 8 labels and with all 16, each with two seeds."""
    home = tmp_path_factory.mktemp("axis")
    shutil.copy(FILE, home / "micro.yaml")
    more = ("labels=[8]", "student.pretraining.mixture_updates=60", "problems.held_out=40")
    settings = [part for setting in more for part in ("--set", setting)]
    done = headwater("run", "micro.yaml", "--workers", "1", "--routes", "R1", "--seeds", "2", *settings, cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "runs" / "micro"


def test_a_run_on_two_numbers_of_labels_is_a_line_of_its_measured_means_with_their_errors_over_seeds(
    root: Path,
) -> None:
    folder = RunFolder(root)
    wanted = []
    for name, labels in (("R1-8", 8), ("R1", 16)):
        nodes = [node for arm in folder.graph["arms"] if arm["name"] == name for node in arm["evaluation"].values()]
        scores = [json.loads(folder.result(node, "scores.json") or b"") for node in nodes]
        shares = [100 * sum(s["correct"]) / (s["samples"] * len(s["correct"])) for s in scores]
        assert len(shares) == 2
        wanted.append((labels, fmean(shares), stdev(shares) / math.sqrt(2)))
    assert any(share for _, share, _ in wanted)
    (points,) = [found for name, found in drawn(list(summarise(folder).arms)).items() if name == "R1"]
    assert points == [pytest.approx(point) for point in wanted]


def test_the_picture_stands_in_the_report(root: Path) -> None:
    summary = summarise(RunFolder(root))
    titles = [title for title, _ in spent_figures(summary)]
    assert "Each route along its labels, with standard errors" in titles
    assert "a line for each route" in render_page(summary)


def axis(arm: ArmRow, levels: dict[int, float], spread: float | None) -> list[ArmRow]:
    """An arm as it is with so many labels each, at these levels."""
    return [
        replace(
            arm,
            name=f"{arm.name}-{labels}",
            family=arm.name,
            mean=level,
            spread=spread,
            labels=tuple(LabelUse(direct=labels, inherited=0, distinct=labels, reads=labels, prompts=0) for _ in "123"),
        )
        for labels, level in levels.items()
    ]


def test_each_route_has_a_line_of_its_own_and_the_models_that_taught_are_dashed(lab: Any) -> None:
    arms = {arm.name: arm for arm in summarise(lab).arms}
    teacher = axis(arms["teacher-rl-1H"], {32: 0.5, 64: 0.9}, 0.09)
    made = [*axis(arms["R1"], {32: 0.2, 256: 0.8}, 0.06), *axis(arms["R3-full"], {256: 0.9, 64: 0.7, 32: 0.6}, 0.03)]
    error = 1 / math.sqrt(3)
    assert drawn([*made, *teacher, arms["raw-teacher"]]) == {
        "R1": [pytest.approx((32, 20, 6 * error)), pytest.approx((256, 80, 6 * error))],
        "R3-full": [pytest.approx((n, level, 3 * error)) for n, level in ((32, 60), (64, 70), (256, 90))],
        "teacher-rl-1H": [pytest.approx((32, 50, 9 * error)), pytest.approx((64, 90, 9 * error))],
    }
    figure = spent.along_labels([*made, *teacher])
    assert figure is not None
    styles = {str(one.get_label()): one.lines[0].get_linestyle() for one in figure.axes[0].containers}
    assert styles == {"R1": "-", "R3-full": "-", "teacher-rl-1H": "--"}


def test_one_seed_has_the_error_over_problems(lab: Any) -> None:
    arm = next(arm for arm in summarise(lab).arms if arm.name == "R1")
    alone = replace(arm, scores=arm.scores[:1])
    average = alone.scores[0].average
    assert average is not None
    points = drawn(axis(alone, {32: 0.2, 256: 0.8}, None))["R1"]
    assert [error for _, _, error in points] == [pytest.approx(100 * average.standard_error)] * 2


def test_without_an_axis_there_is_no_such_picture(lab: Any) -> None:
    assert spent.along_labels(summarise(lab).arms) is None
